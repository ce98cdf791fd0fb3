"""Pictures for people: every type and channel count, sizes, colours that can be told apart."""

import doctest

import cv2
import numpy as np
import pytest

from atrous import visual
from atrous.errors import DataError
from atrous.labels import ADE150, CAMVID11, LabelSet
from atrous.visual import KIND_COLOURS, WRONG, error_map, legend, overlay, to_rgb8

LABELS = LabelSet(("sky", "road"), ((200, 220, 240), (40, 20, 60)))
IGNORED = LABELS.ignore_index


def test_8_bit_colours_pass_unchanged() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    np.testing.assert_array_equal(to_rgb8(image), image)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32, np.float64])
def test_other_types_are_stretched_between_percentiles(dtype: type) -> None:
    image = np.arange(1000, 11000).reshape(100, 100, 1).astype(dtype)
    image[0, 0], image[0, 1] = 0, 60000  # two outliers must not flatten the rest
    rgb = to_rgb8(image)
    assert rgb.dtype == np.uint8
    assert (rgb[..., 0] == rgb[..., 2]).all()
    assert rgb[0, 0, 0] == 0
    assert rgb[0, 1, 0] == 255
    assert abs(int(rgb[50, 0, 0]) - 127) <= 1
    assert (rgb == 0).mean() == pytest.approx(0.01, abs=0.006)


def test_channels_are_padded_or_cut() -> None:
    image = np.random.default_rng(0).integers(0, 256, (4, 4, 5), np.uint8)
    np.testing.assert_array_equal(to_rgb8(image), image[..., :3])
    two = to_rgb8(image[..., :2])
    np.testing.assert_array_equal(two[..., :2], image[..., :2])
    assert not two[..., 2].any()


def test_rare_nan_and_constant_values_still_show() -> None:
    rare = np.zeros((50, 50, 1), np.float32)
    rare[3, 3], rare[4, 4] = 5, np.nan
    assert to_rgb8(rare)[3, 3].tolist() == [255, 255, 255]
    assert to_rgb8(rare)[4, 4].tolist() == [0, 0, 0]
    assert not to_rgb8(np.full((4, 4, 3), 7.0)).any()
    assert not to_rgb8(np.full((4, 4, 3), np.nan)).any()


def test_a_mask_is_no_image() -> None:
    with pytest.raises(DataError, match=r"shape \(4, 4\); expected \(H, W, C\)"):
        to_rgb8(np.zeros((4, 4)))


def test_overlay_blends_and_leaves_ignored_pixels() -> None:
    image = np.full((2, 2, 3), 100, np.uint8)
    picture = overlay(image, np.array([[0, 1], [IGNORED, 1]], np.uint8), LABELS, alpha=0.25)
    assert picture[0, 0].tolist() == [125, 130, 135]
    assert picture[0, 1].tolist() == [85, 80, 90]
    assert picture[1, 0].tolist() == [100, 100, 100]
    np.testing.assert_array_equal(overlay(image, np.zeros((2, 2), np.uint8), LABELS, 0), image)


def test_errors_are_red_and_nothing_else_is() -> None:
    rng = np.random.default_rng(0)
    truth = rng.choice([0, 1, IGNORED], (30, 40)).astype(np.uint8)
    prediction = rng.integers(0, 2, (30, 40)).astype(np.uint16)
    picture = error_map(truth, prediction, LABELS)
    wrong, ignored = (truth != prediction) & (truth != IGNORED), truth == IGNORED
    np.testing.assert_array_equal((picture == WRONG).all(axis=2), wrong)
    assert (picture[ignored] < 100).all()
    right = picture[~wrong & ~ignored]
    assert (right > 190).all()
    assert (right == right[:, :1]).all(), "what is right is grey"
    assert picture[(truth == 0) & ~wrong].min() > picture[(truth == 1) & ~wrong].max(), "lighter class, lighter grey"


def test_kinds_of_errors_have_their_colours() -> None:
    truth = np.array([[0, 0, 1, 1, IGNORED]], np.uint8)
    prediction = np.array([[1, 0, 0, 1, 0]], np.uint8)
    kinds = np.array([[3, 254, 1, 254, 255]], np.uint8)
    picture = error_map(truth, prediction, LABELS, kinds)
    assert picture[0, 0].tolist() == list(KIND_COLOURS[3])
    assert picture[0, 2].tolist() == list(KIND_COLOURS[1])
    plain = error_map(truth, prediction, LABELS)
    np.testing.assert_array_equal(picture[:, [1, 3, 4]], plain[:, [1, 3, 4]], "the rest is as ever")


def as_seen(colours: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """RGB 0..255 (n, 3) as CIE L*a*b*, seen through a matrix of colour blindness on linear RGB."""
    scaled = colours / 255
    linear = np.where(scaled <= 0.04045, scaled / 12.92, ((scaled + 0.055) / 1.055) ** 2.4)
    seen = np.clip(linear @ matrix.T, 0, 1)
    coded = np.where(seen <= 0.0031308, seen * 12.92, 1.055 * seen ** (1 / 2.4) - 0.055)
    return cv2.cvtColor(coded[None].astype(np.float32), cv2.COLOR_RGB2LAB)[0]


@pytest.mark.parametrize(
    "matrix",
    [  # Machado, Oliveira and Fernandes 2009, full severity; the first is normal sight
        [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
        [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
        [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
    ],
    ids=["normal", "protan", "deutan", "tritan"],
)
def test_kinds_of_errors_can_be_told_apart_by_every_reader(matrix: list[list[float]]) -> None:
    greys = [(196,) * 3, (246,) * 3, (84,) * 3, (46,) * 3]  # right, and the two of the hatching
    seen = as_seen(np.array([*KIND_COLOURS, *greys], float), np.array(matrix))
    distance = np.linalg.norm(seen[:, None] - seen[None], axis=2)
    pairs = [(i, j) for i in range(len(KIND_COLOURS)) for j in range(i + 1, len(seen))]
    assert min(distance[i, j] for i, j in pairs) > 17, "2.3 is a difference that is just noticed"


@pytest.mark.parametrize("draw", [lambda a, b: overlay(a[..., None], b, LABELS), lambda a, b: error_map(a, b, LABELS)])
def test_sizes_must_agree(draw) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(DataError, match=r"\(4, 6.*\(6, 4\); expected equal heights and widths"):
        draw(np.zeros((4, 6), np.uint8), np.zeros((6, 4), np.uint8))


@pytest.mark.parametrize(
    "labels",
    [LABELS, CAMVID11, pytest.param(ADE150, marks=pytest.mark.slow), LabelSet(("Straße", "水\nwater"))],
    ids=len,
)
def test_legend_shows_every_colour_and_name(labels: LabelSet) -> None:
    picture = legend(labels)
    height, width = picture.shape[:2]
    for colour in set(labels.colours):
        assert (picture == colour).all(axis=2).sum() >= 30 * 15
    columns = -(-len(labels) // 25)
    assert height <= 25 * 30 + 14
    for k in range(len(labels)):
        cell = picture[k % 25 * 30 + 10 : k % 25 * 30 + 34, k // 25 * (width // columns) :][:, 52 : width // columns]
        assert (cell < 128).any(), f"no name is drawn beside {labels.names[k]}"
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    assert (border == 255).all(), "nothing is cut off"
    assert cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY).shape == (height, width)


def test_examples_print_what_they_say() -> None:
    found = doctest.testmod(visual)
    assert found.attempted
    assert not found.failed
