"""Run lengths and outlines: against their definitions, and against COCO's own API where it is installed."""

from importlib.util import find_spec

import numpy as np
import pytest
from make_layouts import box, counts_of, pack_brush, text_of

from atrous.datasets.rle import decode_brush, decode_counts, runs_of
from atrous.datasets.shapes import area, fill, is_outside, points_of

needs_coco = pytest.mark.skipif(find_spec("pycocotools") is None, reason="pycocotools, the reference, is not installed")


def blobs(seed: int) -> np.ndarray:
    """A bool mask of any size, sparse to dense; some empty, some full."""
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 40, 2)
    return rng.random((height, width)) < rng.choice([0, 0.02, 0.5, 0.98, 1])


@pytest.mark.parametrize("seed", range(40))
def test_counts_come_back_in_both_forms(seed: int) -> None:
    mask = blobs(seed)
    counts = counts_of(mask)
    text = text_of(counts)
    assert runs_of(text).tolist() == counts
    for form in (counts, text, text.encode()):
        found = decode_counts(form, *mask.shape)
        assert found.dtype == bool
        np.testing.assert_array_equal(found, mask)


def test_a_text_by_hand() -> None:
    """48 + 6 is '6'; 40 = 8 + 32 is 48 + 8 + 32, 'X', then '1'; from the fourth on differences: 4 - 1 is '3',
    1 - 40 = -39 = 25 - 64 is 48 + 25 + 32, 'i', then 30 (-2 in five bits), 'N'."""
    assert runs_of("61X13iN").tolist() == [6, 1, 40, 4, 1]


@pytest.mark.parametrize(
    "counts, message",
    [
        ([3, 2], "the RLE has 5 pixels, its image 2 x 3 = 6"),
        ([], "the RLE has 0 pixels, its image 2 x 3 = 6"),
        ([8, -2], "the RLE has negative runs"),
        ("33\x7f", "cut short or holds a character that cannot be in it"),
        ("3p", "cut short or holds a character that cannot be in it"),
        ("3X", "cut short"),
        ("", "cut short"),
        ("o" * 13 + "0", "more than 60 bits"),
        ("3é", "cut short or holds a character"),
    ],
)
def test_run_lengths_that_do_not_add_up(counts: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_counts(counts, 2, 3)


@needs_coco
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("seed", range(20))
def test_counts_are_those_of_coco(seed: int) -> None:
    from pycocotools import mask as reference

    mask = blobs(seed)
    packed = reference.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert text_of(counts_of(mask)) == packed["counts"].decode()
    np.testing.assert_array_equal(decode_counts(packed["counts"], *mask.shape), mask)


@needs_coco
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # its wheel knows numpy 1
@pytest.mark.parametrize("seed", range(200))
def test_outlines_are_those_of_coco(seed: int) -> None:
    from pycocotools import mask as reference

    rng = np.random.default_rng(seed)
    height, width = (int(side) for side in rng.integers(1, 80, 2))
    outlines = [(rng.random((rng.integers(3, 12), 2)) * 1.5 - 0.25) * [width, height] for _ in range(1 + seed % 3)]
    if seed % 4 == 0:
        outlines = [points.round() for points in outlines]  # upright and doubled edges
    if seed % 5 == 0:
        outlines[0][1] = outlines[0][0]
    packed = reference.merge(reference.frPyObjects([points.ravel().tolist() for points in outlines], height, width))
    np.testing.assert_array_equal(fill(outlines, height, width), reference.decode(packed).astype(bool))


@pytest.mark.parametrize("seed", range(20))
def test_a_pixel_is_inside_when_its_centre_is(seed: int) -> None:
    """On COCO's grid of fifths an edge may be off by a part of a pixel: centres as near as that are left out."""
    rng = np.random.default_rng(seed)
    corners = rng.random((3, 2)) * [30, 20]
    x, y = np.meshgrid(np.arange(30) + 0.5, np.arange(20) + 0.5)
    sides = []
    for start, end in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        along = end - start
        sides.append((along[0] * (y - start[1]) - along[1] * (x - start[0])) / np.hypot(*along))
    distance = np.array(sides)
    turn = np.sign(np.cross(np.append(corners[1] - corners[0], 0), np.append(corners[2] - corners[0], 0))[2])
    inside = (distance * turn > 0).all(axis=0)
    sure = (np.abs(distance) > 0.3).all(axis=0)
    np.testing.assert_array_equal(fill([corners], 20, 30)[sure], inside[sure])


def test_upright_boxes_are_exact_and_cut_at_the_border() -> None:
    for left, top, right, bottom in ((2, 3, 7, 9), (0, 0, 12, 10), (-4, -3, 5, 4), (8, 6, 40, 50), (3, 3, 3, 8)):
        expected = np.zeros((10, 12), bool)
        expected[max(top, 0) : bottom, max(left, 0) : right] = True
        points = points_of(box(left, top, right, bottom))
        np.testing.assert_array_equal(fill([points], 10, 12), expected)
        assert area(points) == (right - left) * (bottom - top)


def test_one_outline_is_even_odd_and_several_are_united() -> None:
    outer, inner = box(1, 1, 9, 9), box(3, 3, 6, 6)
    ring = points_of([*outer, *outer[:2], *inner, *inner[:2]])
    found = fill([ring], 10, 10)
    assert not found[3:6, 3:6].any()
    assert found.sum() == 64 - 9
    assert fill([points_of(outer), points_of(inner)], 10, 10).sum() == 64


@pytest.mark.parametrize(
    "numbers, message",
    [
        ([1, 2, 3, 4, 5], "an outline of 5 numbers; expected an even number, x, y pairs"),
        ([1, 2, 3, 4], r"an outline of shape \(2, 2\); expected at least 3 points"),
        ([1, 2, 3, 4, 5, float("nan")], "NaN"),
        (["a", 2, 3, 4, 5, 6], "something other than numbers"),
        ([[1, 2, 3]] * 4, r"shape \(4, 3\)"),
    ],
)
def test_outlines_that_are_none(numbers: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        points_of(numbers)


def test_a_point_far_away_is_refused_before_anything_is_drawn() -> None:
    with pytest.raises(ValueError, match=r"a point at x 1e\+09, y 4, far outside of its image, 12 wide"):
        fill([np.array([[0, 0], [1e9, 4], [3, 3]])], 10, 12)


@pytest.mark.parametrize("place, outside", [((-9, 0), True), ((0, -9), True), ((13, 0), True), ((0, 11), True),
                                            ((-3, 0), False), ((10, 8), False)])  # fmt: skip
def test_what_lies_outside(place: tuple[int, int], outside: bool) -> None:
    left, top = place
    assert is_outside(points_of(box(left, top, left + 5, top + 5)), 10, 12) == outside


@pytest.mark.parametrize("seed", range(20))
def test_a_brush_comes_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    alpha = np.where(blobs(seed), rng.choice([128, 200, 255]), rng.choice([0, 5, 127])).astype(np.uint8)
    np.testing.assert_array_equal(decode_brush(pack_brush(alpha), *alpha.shape), alpha >= 128)


def test_a_brush_of_words_of_its_own() -> None:
    """One bit per value and runs of at most four: 2 x 1 pixels of RGBA, written by hand."""
    bits = f"{8:032b}" + "00000" + "0001" * 4 + "100110" + "001111111"
    bits += "0" * (-len(bits) % 8)
    packed = [int(bits[start : start + 8], 2) for start in range(0, len(bits), 8)]
    assert decode_brush(packed, 2, 1).tolist() == [[False], [True]]


@pytest.mark.parametrize("kept, message", [(-3, "cut short"), (6, "cut short"), (3, "cut short"), (0, "cut short")])
def test_a_brush_that_is_cut_short(kept: int, message: str) -> None:
    packed = pack_brush(np.random.default_rng(0).integers(0, 256, (9, 7)).astype(np.uint8))
    with pytest.raises(ValueError, match=message):
        decode_brush(packed[:kept], 9, 7)
    with pytest.raises(ValueError, match=r"has 252 values, its image 9 x 8 x 4 = 288"):
        decode_brush(packed, 9, 8)


def test_a_run_beyond_the_image_is_refused() -> None:
    bits = f"{4:032b}" + "00111" + "0111" * 4 + "1000000010000000001" + "0" * 16
    packed = [int(bits[start : start + 8], 2) for start in range(0, len(bits) // 8 * 8, 8)]
    with pytest.raises(ValueError, match="a run beyond the image"):
        decode_brush(packed, 1, 1)
