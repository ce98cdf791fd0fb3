"""From volumes to what a network sees, and back: copies in any order give the same, labels come back in place."""

import numpy as np
import pytest
from grids import GRIDS, TURNS
from pydantic import ValidationError

from atrous.errors import DataError
from atrous.io.geometry import Geometry
from atrous.volumes import Channel, VolumeForm, prepare

CT = Channel(channel="CT", scheme="ct", clip=(-200.0, 300.0), mean=50.0, std=25.0)
Z = Channel(channel="T1", scheme="z-score")


def form(**given: object) -> VolumeForm:
    return VolumeForm(**{"spacing": (2.0, 1.0, 1.0), "normalisation": (CT,), "patch": (8, 8, 8)} | given)  # type: ignore[arg-type]


@pytest.mark.parametrize("grid", GRIDS[::4], ids=range(len(GRIDS[::4])))
@pytest.mark.parametrize("axes", [("z", "y", "x"), ("x", "z", "y")])
def test_copies_in_any_order_are_seen_alike(grid: Geometry, axes: tuple[str, str, str]) -> None:
    rng = np.random.default_rng(0)
    array = np.pad(rng.integers(-1000, 1000, (6, 7, 8)).astype(np.int16), ((1, 2), (0, 1), (3, 0)))
    labels = rng.integers(0, 3, array.shape).astype(np.uint8)
    two = np.stack([array, array // 2], -1)
    wish = form(axes=axes, normalisation=(CT, Z))
    seen, truth, place = prepare(two, grid, wish, labels)
    assert truth is not None
    assert seen.shape == (2, *place.shape) == (2, *truth.shape)
    back = place.back(labels_of(place.inner))
    for turn in TURNS:
        copy, there = turn.array(two), turn.geometry(grid, array.shape)
        again, same, found = prepare(copy, there, wish, turn.array(labels))
        np.testing.assert_array_equal(again, seen)
        np.testing.assert_array_equal(same, truth)
        np.testing.assert_array_equal(turn.back(found.back(labels_of(found.inner))), back)


def labels_of(shape: tuple[int, int, int]) -> np.ndarray:
    """A label map without any symmetry."""
    return np.random.default_rng(5).integers(1, 9, shape).astype(np.uint8)


def test_the_box_the_spacing_and_the_way_back() -> None:
    array = np.zeros((10, 20, 30), np.int16)
    array[2:8, 5:15, 10:30] = 100
    seen, truth, place = prepare(array, Geometry((4.0, 2.0, 0.5)), form(), (array > 0).astype(np.uint8))
    assert place.inner == (6, 10, 20)
    assert place.shape == (12, 20, 10)
    np.testing.assert_array_equal(seen, 2.0)  # (100 - 50) / 25
    np.testing.assert_array_equal(truth, 1)
    back = place.back(np.full(place.inner, 7, np.uint8))
    np.testing.assert_array_equal(back, np.where(array > 0, 7, 0))


def test_normalisation() -> None:
    array = np.array([[[0, 10, 20, 30]]], np.float32)
    same = {"spacing": (1.0, 1.0, 1.0)}
    scored = prepare(array, Geometry(), form(normalisation=(Z,), **same))[0]
    values = array[..., 1:]  # the box leaves the empty voxel out
    np.testing.assert_allclose(scored[0], (values - 20) / values.std(), rtol=1e-6)
    holed = np.array([[[10, 0, 20, 30]]], np.float32)
    inside = prepare(holed, Geometry(), form(normalisation=(Z.model_copy(update={"inside_only": True}),), **same))[0]
    np.testing.assert_allclose(inside[0], np.where(holed, (holed - 20) / values.std(), 0), rtol=1e-6)
    clipped = prepare(np.array([[[-999, 50, 999]]], np.int16), Geometry(), form(**same))[0]
    np.testing.assert_array_equal(clipped[0], [[[-10, 0, 10]]])
    for scheme, expected in (("by 255", holed / 255), ("to 0..1", holed / 30), ("none", holed)):
        found = prepare(holed, Geometry(), form(normalisation=(Channel(channel="", scheme=scheme),), **same))[0]  # type: ignore[arg-type]
        np.testing.assert_allclose(found[0], expected, rtol=1e-6)


def test_voxels_without_a_number_count_as_the_least() -> None:
    array = np.array([[[np.nan, -100, 200, np.inf]]], np.float32)
    seen = prepare(array, Geometry(), form(spacing=(1.0, 1.0, 1.0)))[0]
    np.testing.assert_array_equal(seen[0], [[[-6, -6, 6, -6]]])
    with pytest.raises(DataError, match="case: no voxel of channel 'CT' holds a number"):
        prepare(np.full((2, 2, 2), np.nan), Geometry(), form(), name="case")
    with pytest.raises(DataError, match="case: 2 channels, but the network was trained on 1"):
        prepare(np.ones((2, 2, 2, 2)), Geometry(), form(), name="case")


def test_thick_slices_are_not_mixed() -> None:
    array = np.stack([np.full((6, 6), value, np.float32) for value in (10, 20)])
    seen = prepare(array, Geometry((8.0, 1.0, 1.0)), form(normalisation=(Channel(channel="", scheme="none"),)))[0]
    assert seen.shape == (1, 8, 6, 6)
    assert set(np.unique(seen)) == {10, 20}


@pytest.mark.parametrize(
    "wrong",
    [
        {"axes": ("z", "y", "y")}, {"spacing": (0.0, 1.0, 1.0)}, {"spacing": (1.0, np.nan, 1.0)}, {"mirror": (0, 0)},
        {"normalisation": (Channel.model_construct(scheme="ct"),)}, {"patch": (0, 8, 8)},
        {"more": 1},
    ],
    ids=str,
)  # fmt: skip
def test_forms_have_bounds(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        VolumeForm.model_validate(
            form().model_dump() | {k: v if k != "normalisation" else [dict(c) for c in v] for k, v in wrong.items()}
        )  # type: ignore[attr-defined]


def test_ct_needs_its_numbers() -> None:
    with pytest.raises(ValidationError, match="the scheme ct needs clip, mean and std"):
        Channel(channel="", scheme="ct")
    with pytest.raises(ValidationError, match=r"clip is \[3.0, -3.0\]; expected the lower number first"):
        Channel(channel="", scheme="ct", clip=(3.0, -3.0), mean=0.0, std=1.0)
