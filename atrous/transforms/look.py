"""How a crop looks: colour, and what a camera adds to it."""

from functools import lru_cache
from math import cos, prod, sin
from typing import Any, NamedTuple

import cv2
import numpy as np
from scipy.special import ndtri

from atrous.sample import FULL_SCALE
from atrous.transforms.warp import by_fours


class CropLook(NamedTuple):
    """What was drawn for the look of one crop.

    brightness, contrast: factors. colour: a 3 x 3 matrix, RGB -> RGB, or None. gamma: an exponent.
    blur: a standard deviation in pixels. noise: a standard deviation as a share of white. jpeg: a
    quality, 100 for none.
    """

    brightness: float
    contrast: float
    colour: np.ndarray | None
    gamma: float
    blur: float
    noise: float
    jpeg: int


def change_look(image: np.ndarray, look: CropLook, rng: np.random.Generator) -> np.ndarray:
    """(H, W, C) -> the same shape and type. rng: for the noise of the pixels."""
    image = _recolour(image, look)
    if look.blur:
        image = by_fours(
            image, lambda part: cv2.GaussianBlur(part, (0, 0), look.blur, borderType=cv2.BORDER_REFLECT_101)
        )
    if look.noise:
        image = _noisy(image, look.noise * white(image.dtype), rng)
    return image if look.jpeg == 100 else _packed(image, look.jpeg)


def colour_matrix(saturation: float, angle: float) -> np.ndarray:
    """RGB -> RGB, 3 x 3: a turn about the grey axis (Rodrigues' formula), then saturation.

    saturation: the factor of a pixel's difference from its own grey. angle: in radians.
    """
    axis = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = cos(angle) * np.eye(3) + sin(angle) * cross + (1 - cos(angle)) * axis
    return (saturation * np.eye(3) + (1 - saturation) * axis) @ turn


def white(dtype: np.dtype) -> float:
    """The value of white in an image of this type; 1 for float types, which have none."""
    return FULL_SCALE.get(str(dtype), 1.0)


def to_range(values: np.ndarray, dtype: np.dtype) -> np.ndarray:
    """float32 values as the type `dtype`: rounded and clipped where it is an integer type."""
    return np.clip(np.rint(values), 0, white(dtype)).astype(dtype) if dtype.kind == "u" else values


def _recolour(image: np.ndarray, look: CropLook) -> np.ndarray:
    """Colour in one pass: brightness and contrast are one line, saturation and hue one matrix."""
    means = _means(image) if look.contrast != 1 else np.zeros(image.shape[2])
    colour = look.colour if image.shape[2] == 3 else None
    if colour is not None:
        means = colour @ means
    gain, offset = look.brightness * look.contrast, look.brightness * (1 - look.contrast) * float(means.mean())
    if colour is not None:
        image = cv2.transform(image, np.column_stack([gain * colour, np.full(3, offset)]))
        gain, offset = 1.0, 0.0
    if (gain, offset, look.gamma) == (1, 0, 1):
        return image
    if image.dtype == np.uint8:
        table = to_range(_bent(np.arange(256, dtype=np.float32) * gain + offset, look.gamma, 0, 255), image.dtype)
        return cv2.LUT(image, table).reshape(image.shape)
    values = image.astype(np.float32) * np.float32(gain) + np.float32(offset)
    ends = (0, white(image.dtype)) if image.dtype.kind == "u" else (float(values.min()), float(values.max()))
    return to_range(_bent(values, look.gamma, *ends), image.dtype)


def _bent(values: np.ndarray, gamma: float, low: float, high: float) -> np.ndarray:
    if gamma == 1 or high <= low:
        return values
    return low + (high - low) * np.clip((values - low) / (high - low), 0, 1) ** gamma


def _means(image: np.ndarray) -> np.ndarray:
    """The mean of each channel, float64."""
    if image.shape[2] > 4:
        return image.mean(axis=(0, 1), dtype=np.float64)
    return np.array(cv2.mean(image)[: image.shape[2]])


@lru_cache(maxsize=1)
def _normal_quantiles() -> np.ndarray:
    """(65536,) float64: the middles of as many equal shares of the standard normal; up to 4.2."""
    return ndtri((np.arange(65536) + 0.5) / 65536)


def grain(shape: tuple[int, ...], deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Normally distributed float32 from a table: it takes a quarter of `standard_normal`'s time."""
    return (_normal_quantiles() * deviation).astype(np.float32)[_sixteen_bits(shape, rng)]


def _sixteen_bits(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return np.frombuffer(rng.bytes(2 * prod(shape)), "<u2").reshape(shape)


def _noisy(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    if image.dtype != np.uint8:
        return to_range(image + grain(image.shape, deviation, rng), image.dtype)
    whole = (
        np.rint(_normal_quantiles() * deviation).clip(-255, 255).astype(np.int16)
    )  # the image is whole: as good as rounding the sum
    return cv2.add(image, whole[_sixteen_bits(image.shape, rng)], dtype=cv2.CV_8U).reshape(image.shape)


def _packed(image: np.ndarray, quality: int) -> np.ndarray:
    """(H, W, 1 or 3) uint8 after it was packed as JPEG and unpacked."""
    coloured = image.shape[2] == 3
    pixels = cv2.cvtColor(image, cv2.COLOR_RGB2BGR) if coloured else image
    data = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    packed: Any = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    return cv2.cvtColor(packed, cv2.COLOR_BGR2RGB) if coloured else packed.reshape(image.shape)
