"""Each change of colour and each trace of a camera alone, against its formula."""

import cv2
import numpy as np
import pytest

from atrous.errors import ModelError
from atrous.sample import Sample
from atrous.transforms import Augment, generator
from atrous.transforms.look import CropLook, change_look, colour_matrix, grain

NOTHING = CropLook(brightness=1, contrast=1, colour=None, gamma=1, blur=0, noise=0, jpeg=100)
STILL = {"scale": (1.0, 1.0), "flip": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
TYPES = [("uint8", 1), ("uint8", 3), ("uint8", 5), ("uint16", 3), ("float32", 2)]


def picture(dtype: str, channels: int, size: tuple[int, int] = (40, 50)) -> np.ndarray:
    rng = np.random.default_rng(3)
    values = rng.uniform(0, 1, (*size, channels))
    return (values * {"uint8": 255, "uint16": 65535, "float32": 3.5}[dtype]).astype(dtype)


def look(image: np.ndarray, **changed: object) -> np.ndarray:
    result = change_look(image, NOTHING._replace(**changed), generator(1, 2, 3))
    assert (result.shape, result.dtype) == (image.shape, image.dtype)
    return result


@pytest.mark.parametrize("dtype, channels", TYPES)
def test_nothing_changes_nothing(dtype: str, channels: int) -> None:
    image = picture(dtype, channels)
    np.testing.assert_array_equal(look(image), image)


@pytest.mark.parametrize("dtype, channels", TYPES)
@pytest.mark.parametrize("gamma", [0.5, 2.0])
def test_gamma_is_a_power_between_the_ends(dtype: str, channels: int, gamma: float) -> None:
    image = picture(dtype, channels)
    low, high = {"uint8": (0, 255), "uint16": (0, 65535), "float32": (image.min(), image.max())}[dtype]
    expected = low + (high - low) * ((image.astype(np.float64) - low) / (high - low)) ** gamma
    np.testing.assert_allclose(look(image, gamma=gamma), expected, atol=1e-5 if dtype == "float32" else 0.51)


def test_all_of_the_colour_is_one_matrix() -> None:
    image = picture("uint8", 3)
    matrix = colour_matrix(1.2, 0.3)
    result = look(image, brightness=1.1, contrast=0.8, colour=matrix)
    turned = image @ matrix.T
    expected = 1.1 * (0.8 * (turned - turned.mean()) + turned.mean())
    np.testing.assert_allclose(result, expected.clip(0, 255), atol=1)  # OpenCV's matrix has ten bits after the point


@pytest.mark.parametrize("dtype, channels", TYPES)
def test_blur_spreads_a_point_as_a_gaussian(dtype: str, channels: int) -> None:
    image = np.zeros((41, 51, channels), dtype)
    image[20, 25] = 250
    result = look(image, blur=2.0).astype(np.float64)
    y, x = np.mgrid[:41, :51]
    expected = 250 * np.exp(-((y - 20) ** 2 + (x - 25) ** 2) / 8) / (8 * np.pi)
    np.testing.assert_allclose(result, np.repeat(expected[..., None], channels, 2), atol=1.1)
    if dtype == "float32":
        assert result.sum() == pytest.approx(250 * channels, rel=1e-3)


@pytest.mark.parametrize("dtype, channels", TYPES)
def test_noise_has_the_size_asked_for(dtype: str, channels: int) -> None:
    middle = {"uint8": 128, "uint16": 30000, "float32": 1}[dtype]
    image = np.full((200, 200, channels), middle, dtype)
    white = {"uint8": 255, "uint16": 65535, "float32": 1}[dtype]
    difference = (look(image, noise=0.05).astype(np.float64) - middle) / white
    assert difference.std() == pytest.approx(0.05, rel=0.02)
    assert abs(difference.mean()) < 1e-3
    assert abs(np.corrcoef(difference[:-1].ravel(), difference[1:].ravel())[0, 1]) < 0.02


def test_noise_is_normally_distributed() -> None:
    values = np.sort(grain((300, 300), 2.0, generator(0, 0, 0)).ravel())
    shares = {-2.0: 0.1587, 0.0: 0.5, 2.0: 0.8413, 4.0: 0.9772}
    for value, share in shares.items():
        assert np.searchsorted(values, value) / values.size == pytest.approx(share, abs=0.005)
    assert values[-1] < 9


@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_what_a_file_of_that_quality_holds(channels: int) -> None:
    image = cv2.GaussianBlur(picture("uint8", channels, (64, 64)), (0, 0), 2).reshape(64, 64, channels)
    results = [look(image, jpeg=quality).astype(float) for quality in (95, 50, 10)]
    errors = [np.abs(result - image).mean() for result in results]
    assert 0 < errors[0] < errors[1] < errors[2]
    if channels == 3:  # red must not have become blue on the way
        red = np.zeros((32, 32, 3), np.uint8)
        red[..., 0] = 200
        assert np.abs(look(red, jpeg=80).astype(int) - red).max() <= 3


def test_jpeg_refuses_what_it_cannot_hold() -> None:
    for image in (picture("uint16", 3), picture("uint8", 5)):
        with pytest.raises(ModelError, match=r"jpeg=50 is for uint8 images of 1 or 3 channels"):
            Augment((8, 8), jpeg=50)(Sample(image), generator(0, 0, 0))


DRAWN = [("gamma", 1.0, 0.5, 2.0), ("blur", 3.0, 0.0, 3.0), ("noise", 0.2, 0.0, 0.2), ("jpeg", 30, 30, 100)]


@pytest.mark.parametrize("name, most, low, high", DRAWN)
def test_what_is_drawn_fills_its_range(name: str, most: float, low: float, high: float) -> None:
    augment = Augment((8, 8), **{**STILL, name: most})
    values = [getattr(augment.draw((9, 9), generator(0, 0, index))[1], name) for index in range(400)]
    assert low <= min(values) < low + 0.05 * (high - low)
    assert high - 0.05 * (high - low) < max(values) <= high
    off = [getattr(Augment((8, 8)).draw((9, 9), generator(0, 0, index))[1], name) for index in range(20)]
    assert set(off) == {getattr(NOTHING, name)}


@pytest.mark.parametrize("name, most", [("gamma", 1.0), ("blur", 3.0), ("noise", 0.2), ("jpeg", 30)])
def test_a_camera_leaves_the_mask_and_the_other_changes_alone(name: str, most: float) -> None:
    sample = Sample(picture("uint8", 3), picture("uint8", 1)[..., 0])
    without, with_it = (Augment((24, 24), rotate=20, **more) for more in ({}, {name: most}))
    plain, changed = without(sample, generator(1, 2, 3)), with_it(sample, generator(1, 2, 3))
    np.testing.assert_array_equal(plain.mask, changed.mask)
    assert (plain.image != changed.image).any()
    before, after = (augment.draw((40, 50), generator(1, 2, 3)) for augment in (without, with_it))
    assert before[1]._replace(colour=None, **{name: 0}) == after[1]._replace(colour=None, **{name: 0})
    np.testing.assert_array_equal(before[0].matrix, after[0].matrix)
