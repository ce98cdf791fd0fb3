"""Augmentation: sizes, alignment of image and mask, randomness by (seed, epoch, index) alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atrous.errors import ModelError
from atrous.sample import Sample
from atrous.transforms import Augment, generator

STILL = {"scale": (1.0, 1.0), "flip": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}


def sample(height: int, width: int, channels: int = 3, dtype: str = "uint8", seed: int = 0) -> Sample:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 250, (height, width, channels)).astype(dtype)
    return Sample(image, rng.integers(0, 5, (height, width)).astype(np.uint8))


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    crop=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    channels=st.sampled_from([1, 2, 3, 4, 5, 9]),
    dtype=st.sampled_from(["uint8", "uint16", "float32"]),
    low=st.floats(0.1, 3.0),
    rotate=st.sampled_from([0.0, 15.0, 180.0]),
    seed=st.integers(0, 2**64 - 1),
)
def test_any_image_gives_the_crop(size, crop, channels, dtype, low, rotate, seed) -> None:  # type: ignore[no-untyped-def]
    given_ = sample(*size, channels, dtype)
    given_.image.flags.writeable = given_.mask.flags.writeable = False
    changed = Augment(crop, (low, 2 * low), rotate, vflip=0.5)(given_, generator(seed, 1, 2))
    assert changed.image.shape == (*crop, channels)
    assert changed.mask.shape == crop
    assert (changed.image.dtype, changed.mask.dtype) == (given_.image.dtype, np.uint8)
    assert set(np.unique(changed.mask)) <= set(np.unique(given_.mask)) | {255}


def test_nothing_to_change_is_the_image_itself() -> None:
    given_ = sample(20, 30)
    same = Augment((20, 30), **STILL)(given_, generator(0, 0, 0))
    np.testing.assert_array_equal(same.image, given_.image)
    np.testing.assert_array_equal(same.mask, given_.mask)


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_at_scale_one_a_crop_is_a_piece_of_the_image(channels: int) -> None:
    given_ = sample(20, 30, channels)
    corners = set()
    for index in range(20):
        piece = Augment((8, 9), **STILL)(given_, generator(0, 0, index))
        places = [
            (top, left)
            for top in range(13)
            for left in range(22)
            if (given_.image[top : top + 8, left : left + 9] == piece.image).all()
        ]
        assert len(places) == 1
        top, left = places[0]
        np.testing.assert_array_equal(piece.mask, given_.mask[top : top + 8, left : left + 9])
        corners.add(places[0])
    assert len(corners) > 12


def test_every_place_of_the_crop_occurs() -> None:
    columns = Sample(np.arange(6, dtype=np.uint8)[None, :, None])
    seen = {int(Augment((1, 3), **STILL)(columns, generator(0, 0, index)).image[0, 0, 0]) for index in range(100)}
    assert seen == {0, 1, 2, 3}


@pytest.mark.parametrize("axis, chance", [(1, {"flip": 1.0}), (0, {"vflip": 1.0})])
def test_a_flip_mirrors_and_twice_is_the_identity(axis: int, chance: dict[str, float]) -> None:
    given_ = sample(20, 30)
    mirror = Augment((20, 30), **(STILL | chance))
    once = mirror(given_, generator(0, 0, 0))
    np.testing.assert_array_equal(once.image, np.flip(given_.image, axis))
    np.testing.assert_array_equal(once.mask, np.flip(given_.mask, axis))
    np.testing.assert_array_equal(mirror(once, generator(0, 0, 0)).image, given_.image)


def test_half_a_turn_is_both_flips() -> None:
    given_ = sample(20, 30)
    rotated = Augment((20, 30), **STILL, rotate=180.0)(given_, _fixed(0.0))
    np.testing.assert_array_equal(rotated.mask, given_.mask[::-1, ::-1])
    assert np.abs(rotated.image.astype(int) - given_.image[::-1, ::-1]).max() <= 1


@pytest.mark.parametrize("draw, turns", [(0.0, 1), (1 - 1e-9, -1)])
def test_a_quarter_turn(draw: float, turns: int) -> None:
    given_ = sample(21, 21)
    rotated = Augment((21, 21), **STILL, rotate=90.0)(given_, _fixed(draw))
    np.testing.assert_array_equal(rotated.mask, np.rot90(given_.mask, turns))
    assert np.abs(rotated.image.astype(int) - np.rot90(given_.image, turns)).max() <= 1


def _fixed(value: float) -> np.random.Generator:
    """A generator that draws this value only."""

    class Fixed:
        def random(self, count: int) -> np.ndarray:
            return np.full(count, value)

    return Fixed()  # type: ignore[return-value]


@pytest.mark.parametrize("scale", [(0.2, 0.45), (0.5, 2.0), (2.0, 8.0)])
@pytest.mark.parametrize("rotate", [0.0, 40.0])
def test_image_and_mask_stay_aligned(scale: tuple[float, float], rotate: float) -> None:
    """Image and mask both hold their own coordinates: they may differ by rounding alone."""
    y, x = np.mgrid[:300, :400]
    augment = Augment((48, 64), **(STILL | {"scale": scale, "flip": 0.5}), vflip=0.5, rotate=rotate)
    differences = []
    for index in range(20):
        for axis, size in ((x, 400), (y, 300)):
            given_ = Sample(axis[..., None].astype(np.float32), axis.astype(np.uint16))
            changed = augment(given_, generator(7, 0, index))
            inside = (changed.mask > 8) & (changed.mask < size - 8)  # away from reflections and from 65535
            differences.append((changed.image[..., 0] - changed.mask)[inside])
    difference = np.concatenate(differences)
    assert np.abs(difference).max() < 0.6
    assert abs(difference.mean()) < 0.03  # a shift by half a pixel is 0.5


def test_zooming_in_repeats_pixels() -> None:
    given_ = sample(12, 12)
    zoomed = Augment((36, 36), **(STILL | {"scale": (3.0, 3.0)}))(given_, generator(0, 0, 0))
    np.testing.assert_array_equal(zoomed.mask, given_.mask.repeat(3, axis=0).repeat(3, axis=1))
    np.testing.assert_array_equal(zoomed.image[1::3, 1::3], given_.image)


def test_shrinking_averages() -> None:
    stripes = np.zeros((64, 64, 5), np.float32)
    stripes[:, ::4] = 100
    small = Augment((16, 16), **(STILL | {"scale": (0.25, 0.25)}))(Sample(stripes), generator(0, 0, 0))
    np.testing.assert_allclose(small.image, 25, atol=0.5)


def test_outside_is_ignored_in_the_mask_and_reflected_in_the_image() -> None:
    given_ = Sample(np.full((10, 10, 3), 90, np.uint8), np.full((10, 10), 3, np.uint8))
    changed = Augment((30, 30), **STILL)(given_, generator(0, 0, 0))
    assert (changed.mask == 3).sum() == 100
    assert (changed.mask == 255).sum() == 800
    assert (changed.image == 90).all()
    wide = Sample(given_.image, given_.mask.astype(np.uint16))
    assert (Augment((30, 30), **STILL)(wide, generator(0, 0, 0)).mask == 65535).sum() == 800


def test_the_same_place_gives_the_same_bytes_and_others_do_not() -> None:
    given_, augment = sample(40, 50), Augment((24, 24), rotate=20.0)
    first = augment(given_, generator(5, 6, 7))
    again = augment(given_, generator(5, 6, 7))
    assert first.image.tobytes() == again.image.tobytes()
    assert first.mask.tobytes() == again.mask.tobytes()
    others = [augment(given_, generator(*place)).image.tobytes() for place in ((4, 6, 7), (5, 5, 7), (5, 6, 8))]
    assert len({first.image.tobytes(), *others}) == 4


def test_streams_of_neighbouring_samples_do_not_overlap() -> None:
    long = [generator(0, 0, index).random(5000) for index in range(3)]
    assert len(np.unique(np.concatenate(long))) == 15000


def test_switching_one_change_off_leaves_the_others() -> None:
    given_ = sample(40, 50)
    with_colour = Augment((24, 24))(given_, generator(1, 2, 3))
    without = Augment((24, 24), brightness=0.0, contrast=0.0, saturation=0.0, hue=0.0)(given_, generator(1, 2, 3))
    np.testing.assert_array_equal(with_colour.mask, without.mask)
    assert (with_colour.image != without.image).any()


@pytest.mark.parametrize("dtype, top", [("uint8", 255), ("uint16", 65535), ("float32", None)])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_brightness_and_contrast_are_one_straight_line(dtype: str, top: int | None, channels: int) -> None:
    given_ = sample(20, 20, channels, dtype)
    augment = Augment((20, 20), **(STILL | {"brightness": 0.4, "contrast": 0.5}))
    changed = augment(given_, _fixed(0.9)).image.astype(np.float64)  # factors 1.32 and 1.4
    brighter = given_.image.astype(np.float64) * 1.32
    expected = (brighter - brighter.mean()) * 1.4 + brighter.mean()
    if top:
        expected = np.clip(np.rint(expected), 0, top)
    np.testing.assert_allclose(changed, expected, atol=1.0 if top else 1e-3)


def test_no_saturation_is_grey_and_hue_keeps_grey() -> None:
    given_ = sample(20, 20)
    grey = Augment((20, 20), **(STILL | {"saturation": 1.0}))(given_, _fixed(0.0)).image
    assert np.ptp(grey.astype(int), axis=2).max() == 0
    np.testing.assert_allclose(grey[..., 0], given_.image.mean(axis=2), atol=1)
    turned = Augment((20, 20), **(STILL | {"hue": 120.0}))(given_, _fixed(1 - 1e-9)).image
    assert np.abs(turned.astype(int) - np.roll(given_.image, 1, axis=2)).max() <= 1  # red becomes green
    plain = Sample(np.full((5, 5, 3), 77, np.uint8))
    assert (Augment((5, 5), **(STILL | {"hue": 90.0}))(plain, _fixed(0.3)).image == 77).all()


def test_an_image_without_mask_stays_without() -> None:
    changed = Augment((8, 8))(Sample(sample(9, 9).image, geometry={"spacing": (1, 1)}), generator(0, 0, 0))
    assert changed.mask is None
    assert changed.geometry == {}


@pytest.mark.parametrize(
    "wrong", [{"crop": (0, 5)}, {"scale": (0.0, 1.0)}, {"scale": (2.0, 1.0)}, {"flip": 1.5}, {"contrast": -0.1}]
)
def test_impossible_options_are_refused(wrong: dict) -> None:
    with pytest.raises(ModelError, match="expected"):
        Augment(**({"crop": (5, 5)} | wrong))
