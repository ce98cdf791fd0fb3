"""Augmentation of a training sample: one warp, then colour.

Scale, rotation, flips and crop are one affine map from the crop's pixels to the image's, so that the picture is
resampled once (bilinear) and only where it is needed. The mask follows by nearest neighbour through the same map.
An elastic deformation moves the crop's pixels before the map, within the same warp.
Pixel centres lie at half-integers in both, hence image and mask stay aligned to a fraction of a pixel at every scale.
"""

from dataclasses import dataclass, replace
from math import cos, log, radians, sin
from typing import Any

import cv2
import numpy as np

from atrous.errors import ModelError
from atrous.sample import Sample
from atrous.transforms.elastic import displacements, pixel_grid


def generator(seed: int, epoch: int, index: int) -> np.random.Generator:
    """Random numbers for one sample of one epoch; they depend on nothing else (not on workers, order or a resume).

    seed, epoch: 0..2^64-1; index: the sample's place in its data set. Philox is counter based (Salmon et al., SC
    2011): seed and epoch are its key, the index the third word of the counter, so that streams never overlap.
    """
    key, counter = np.array([seed, epoch], np.uint64), np.array([0, 0, index, 1], np.uint64)
    return np.random.Generator(np.random.Philox(key=key, counter=counter))


@dataclass(frozen=True)
class Augment:
    """Sample -> Sample of exactly `crop` (height, width) pixels, any dtype and number of channels.

    scale: from, to; drawn so that zooming out and in by the same factor are equally likely. rotate: at most so many
    degrees either way. flip, vflip: chance of a mirror image (left-right, up-down). elastic: standard deviation, in
    pixels of the crop, of the vectors on a 3 x 3 grid (10 in U-Net 2015). brightness, contrast, saturation: a factor
    within 1 - x .. 1 + x, contrast about the crop's mean, saturation about each pixel's grey; hue: a turn of at most
    so many degrees about the grey axis. Saturation and hue apply to three-channel images only.

    Outside the image the mask is ignored (255, or 65535 in a uint16 mask) and the image continues by reflection:
    those pixels cost nothing in the loss, but a flat border would be an edge that no real image has, and would shift
    the batch norms' statistics. uint8 and uint16 are clipped to their range, float32 is not. The geometry of the
    sample is dropped.
    """

    crop: tuple[int, int]
    scale: tuple[float, float] = (0.5, 2.0)
    rotate: float = 0.0
    flip: float = 0.5
    vflip: float = 0.0
    elastic: float = 0.0
    brightness: float = 0.2
    contrast: float = 0.2
    saturation: float = 0.2
    hue: float = 5.0

    def __post_init__(self) -> None:
        if min(self.crop) < 1:
            raise ModelError(f"crop {self.crop} is empty; expected a height and a width of at least 1 pixel")
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ModelError(f"scale {self.scale} is no range; expected two positive factors, the smaller one first")
        for name, most in (("flip", 1), ("vflip", 1), ("brightness", 1), ("contrast", 1), ("saturation", 1)):
            if not 0 <= getattr(self, name) <= most:
                raise ModelError(f"{name}={getattr(self, name)} is out of range; expected 0..{most}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """image (H, W, C), mask (H, W) or None -> the same types at the crop's size; equal rng, equal bytes."""
        draws = rng.random(10)  # always ten, in one order: switching one change off leaves the others as they were
        matrix, zoom = self._map(sample.image.shape[:2], draws)
        moved = displacements(self.crop, rng, sigma=self.elastic) if self.elastic else None
        image = _warp_image(sample.image, matrix, zoom, self.crop, moved)
        mask = None if sample.mask is None else _warp_mask(sample.mask, matrix, self.crop, moved)
        return replace(sample, image=self._recolour(image, draws[6:]), mask=mask, geometry={})

    def _map(self, size: tuple[int, ...], draws: np.ndarray) -> tuple[np.ndarray, float]:
        """The 2x3 matrix from (x, y) of the crop to (x, y) of the image, in pixel indices; and the enlargement."""
        (height, width), (high, wide) = self.crop, size
        low, top = log(self.scale[0]), log(self.scale[1])
        zoom = float(np.exp(low + draws[0] * (top - low)))
        angle = radians(self.rotate * (2 * draws[1] - 1))
        mirror_x, mirror_y = -1 if draws[2] < self.flip else 1, -1 if draws[3] < self.vflip else 1
        # The crop's place in the enlarged image, in whole pixels of it: at zoom 1 pixels are copied, not interpolated.
        left, upper = _place(wide * zoom - width, draws[4]), _place(high * zoom - height, draws[5])
        turn = np.array([[cos(angle), sin(angle)], [-sin(angle), cos(angle)]])
        linear = turn @ np.diag([mirror_x, mirror_y]) / zoom
        centre = np.array([left + width / 2, upper + height / 2]) / zoom
        start = centre - linear @ np.array(
            [width / 2, height / 2]
        )  # where the crop's corner falls, in continuous coordinates
        return np.column_stack([linear, start + linear @ [0.5, 0.5] - 0.5]), zoom

    def _recolour(self, image: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """Brightness and contrast (one straight line per value), saturation and hue (one 3x3 matrix)."""
        brightness, contrast, saturation = 1 + np.array([self.brightness, self.contrast, self.saturation]) * (
            2 * draws[:3] - 1
        )
        angle = radians(self.hue * (2 * draws[3] - 1))
        if image.shape[2] == 3 and (saturation != 1 or angle != 0):
            image = cv2.transform(image, _colour_matrix(saturation, angle))
        if brightness == 1 and contrast == 1:
            return image
        gain, offset = brightness * contrast, brightness * (1 - contrast) * _mean(image)
        if image.dtype == np.uint8:
            table = np.clip(np.rint(np.arange(256) * gain + offset), 0, 255).astype(np.uint8)
            return cv2.LUT(image, table).reshape(image.shape)
        changed = image.astype(np.float32) * np.float32(gain) + np.float32(offset)
        if image.dtype == np.uint16:
            return np.clip(np.rint(changed), 0, 65535).astype(np.uint16)
        return changed


def _place(room: float, draw: float) -> int:
    """A whole number between 0 and room, which is negative where the image is smaller than the crop."""
    low, high = (0, int(room)) if room >= 0 else (int(room), 0)
    return low + int(draw * (high - low + 1))


def _warp_image(
    image: np.ndarray, matrix: np.ndarray, zoom: float, crop: tuple[int, int], moved: np.ndarray | None
) -> np.ndarray:
    """Bilinear; an image shrunk below one half is averaged over blocks first, since bilinear would skip pixels."""
    if zoom < 0.5:
        high, wide = image.shape[:2]
        size = max(1, round(wide * zoom)), max(1, round(high * zoom))
        shrink = np.array([size[0] / wide, size[1] / high])
        image = _by_fours(image, lambda part: cv2.resize(part, size, interpolation=cv2.INTER_AREA))
        matrix = matrix * shrink[:, None]
        matrix[:, 2] += (shrink - 1) / 2  # index i has its centre at i + 1/2: shrink (i + 1/2) - 1/2
    return _by_fours(image, lambda part: _warp(part, matrix, crop, moved, cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101, 0))


def _warp_mask(mask: np.ndarray, matrix: np.ndarray, crop: tuple[int, int], moved: np.ndarray | None) -> np.ndarray:
    ignored = int(np.iinfo(mask.dtype).max)
    return _warp(mask, matrix, crop, moved, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT, ignored)


def _warp(
    pixels: np.ndarray,
    matrix: np.ndarray,
    crop: tuple[int, int],
    moved: np.ndarray | None,
    method: int,
    border: int,
    value: int,
) -> np.ndarray:
    values = (value,) * 4
    if moved is None:
        flags = method | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(pixels, matrix, crop[::-1], flags=flags, borderMode=border, borderValue=values)
    x, y = cv2.split(cv2.transform(pixel_grid(crop) + moved, matrix))  # in the image, of every pixel of the crop
    return cv2.remap(pixels, x, y, method, borderMode=border, borderValue=values)


def _by_fours(image: np.ndarray, change: Any) -> np.ndarray:
    """Apply a change to (H, W, C) four channels at a time, the most that OpenCV warps; keeps the third axis."""
    parts = [change(np.ascontiguousarray(image[..., start : start + 4])) for start in range(0, image.shape[2], 4)]
    parts = [part[..., None] if part.ndim == 2 else part for part in parts]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)


def _mean(image: np.ndarray) -> float:
    return (
        float(image.mean(dtype=np.float64)) if image.shape[2] > 4 else float(np.mean(cv2.mean(image)[: image.shape[2]]))
    )


def _colour_matrix(saturation: float, angle: float) -> np.ndarray:
    """RGB -> RGB: a turn about the grey axis (Rodrigues' formula), then towards or away from the pixel's grey."""
    axis = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / np.sqrt(3)
    turn = cos(angle) * np.eye(3) + sin(angle) * cross + (1 - cos(angle)) * axis
    return (saturation * np.eye(3) + (1 - saturation) * axis) @ turn
