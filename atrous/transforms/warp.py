"""Where a crop's pixels come from: zoom, place, mirror, rotation, shear, elastic deformation.

Pixel i of an image has its centre at i + 1/2. A crop that is neither rotated nor sheared nor
deformed is a resized part of the image. That is three times as fast as a warp of the same pixels,
and equal to it except for the last bit.
"""

from collections.abc import Callable, Sequence
from math import ceil, cos, floor, log, sin, tan
from typing import NamedTuple

import cv2
import numpy as np

from atrous.errors import ModelError
from atrous.transforms.elastic import pixel_grid


def check_crop(crop: Sequence[int], scale: tuple[float, float]) -> None:
    """Raise ModelError for a crop without pixels, or a `scale` that is not (from, to) above 0."""
    if min(crop) < 1:
        raise ModelError(f"crop {crop} is empty; expected at least 1 along each side")
    if not 0 < scale[0] <= scale[1]:
        raise ModelError(f"scale {scale} is not a range; expected two positive factors, the smaller one first")


def draw_zoom(scale: tuple[float, float], draw: float) -> float:
    """A zoom in `scale` (from, to), uniform in its logarithm; draw: 0..1."""
    low, top = log(scale[0]), log(scale[1])
    return float(np.exp(low + draw * (top - low)))


class Span(NamedTuple):
    """A crop's place along one axis: its pixel i is centred at start + (i + shift + 1/2) / zoom.

    start: the first pixel of the image that is read. shift: pixels of the crop from there to the
    crop's first pixel; if it is negative, the crop begins before the image.
    """

    start: int
    shift: int

    def at(self, place: float, zoom: float) -> float:
        """The place in the image of a place in the crop; both in pixels, 0 at the left edge."""
        return self.start + (place + self.shift) / zoom


def draw_span(size: int, crop: int, zoom: float, draw: float) -> Span:
    """A place for a crop along an axis of `size` pixels: inside where it fits, else around it.

    draw: 0..1. The possible places are whole pixels of the image apart. So at zoom 1 pixels are
    copied, not interpolated.
    """
    room = size * zoom - crop
    if room < 0:
        return Span(0, -int(draw * (int(-room) + 1)))
    margin = ceil(zoom)  # the pixel before the crop is read too, for interpolation at its edge
    choice = int(draw * (2 + max(-1, floor(size - (margin + crop) / zoom))))
    return Span(0, 0) if choice == 0 else Span(choice - 1, margin)


class Move(NamedTuple):
    """What was drawn for the place and the shape of one crop.

    crop: (height, width). mirror: (up-down, left-right). straight: there is only zoom, place and
    mirror. matrix: 2 x 3, from (x, y) of the crop to (x, y) of the image, in pixel indices. moved:
    displacements (height, width, 2), or None.
    """

    crop: tuple[int, int]
    zoom: float
    rows: Span
    columns: Span
    mirror: tuple[bool, bool]
    straight: bool
    matrix: np.ndarray
    moved: np.ndarray | None

    @property
    def reduction(self) -> int:
        """1, 2, 4 or 8: an image of 1 / this size has all the detail that the crop shows."""
        return next(factor for factor in (8, 4, 2, 1) if factor == 1 or self.zoom * factor <= 1)


def crop_matrix(
    crop: tuple[int, int],
    zoom: float,
    spans: tuple[Span, Span],
    mirror: tuple[bool, bool],
    turn: float,
    lean: tuple[float, float],
) -> np.ndarray:
    """The `matrix` of a `Move`.

    spans: (rows, columns). turn: in radians. lean: of verticals and of horizontals, in radians.
    """
    middle = np.array([crop[1] / 2, crop[0] / 2])
    centre = np.array([spans[1].at(middle[0], zoom), spans[0].at(middle[1], zoom)])
    rotation = np.array([[cos(turn), sin(turn)], [-sin(turn), cos(turn)]])
    shear = np.array([[1, tan(lean[0])], [tan(lean[1]), 1]])
    linear = rotation @ shear @ np.diag([-1 if mirror[1] else 1, -1 if mirror[0] else 1]) / zoom
    return np.column_stack([linear, centre + linear @ (0.5 - middle) - 0.5])


def move_image(image: np.ndarray, move: Move, shrunk: int = 1) -> np.ndarray:
    """Image (H, W, C) -> crop (h, w, C): bilinear, by reflection beyond the border.

    shrunk: the image was read at 1 / shrunk of its size. An image that becomes smaller than half is
    averaged, since bilinear interpolation would skip pixels.
    """
    if move.straight and shrunk == 1 and min(image.shape[:2]) * move.zoom >= 1:
        return by_fours(image, lambda part: _stretch(part, move))
    matrix, zoom = move.matrix, move.zoom * shrunk
    if shrunk > 1:
        matrix = _seen_from(matrix, np.full(2, 1 / shrunk))
    if zoom < 0.5:
        high, wide = image.shape[:2]
        size = max(1, round(wide * zoom)), max(1, round(high * zoom))
        image = by_fours(image, lambda part: cv2.resize(part, size, interpolation=cv2.INTER_AREA))
        matrix = _seen_from(matrix, np.array([size[0] / wide, size[1] / high]))
    return by_fours(image, lambda part: _warp(part, matrix, move, cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101, 0))


def move_mask(mask: np.ndarray, move: Move) -> np.ndarray:
    """Mask (H, W) -> (h, w): nearest neighbour; the type's greatest value beyond the border."""
    ignored = int(np.iinfo(mask.dtype).max)
    if not move.straight:
        return _warp(mask, move.matrix, move, cv2.INTER_NEAREST, cv2.BORDER_CONSTANT, ignored)
    (top, ys), (left, xs) = (
        _sources(span, side, size, move.zoom)
        for span, side, size in zip((move.rows, move.columns), move.crop, mask.shape, strict=True)
    )
    whole = len(ys) == move.crop[0] and len(xs) == move.crop[1]
    moved = np.empty(0, mask.dtype)
    if len(ys) and len(xs):
        part = mask[ys[0] : ys[-1] + 1, xs[0] : xs[-1] + 1]
        first, second = ((xs - xs[0], 1), (ys - ys[0], 0)) if move.zoom > 1 else ((ys - ys[0], 0), (xs - xs[0], 1))
        moved = part.take(*first, mode="clip").take(*second, mode="clip")
    if not whole:
        padded = np.full(move.crop, ignored, mask.dtype)
        if moved.size:
            padded[top : top + len(ys), left : left + len(xs)] = moved
        moved = padded
    return _mirror(moved, move.mirror)


def by_fours(image: np.ndarray, change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Change an image (H, W, C) four channels at a time, OpenCV's most, and keep its third axis."""
    parts = [change(np.ascontiguousarray(image[..., start : start + 4])) for start in range(0, image.shape[2], 4)]
    parts = [part[..., None] if part.ndim == 2 else part for part in parts]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)


def _stretch(pixels: np.ndarray, move: Move) -> np.ndarray:
    """A straight move: take the part that is needed, resize it, cut, continue and mirror it."""
    (top, bottom), (left, right) = (
        (span.start, min(size, span.start + ceil((span.shift + side) / move.zoom) + 1))
        for span, side, size in zip((move.rows, move.columns), move.crop, pixels.shape, strict=False)
    )
    part = pixels[top:bottom, left:right]
    if move.zoom != 1:
        # OpenCV would copy a part that keeps its size, whatever the zoom
        if all(round(side * move.zoom) == side for side in part.shape[:2]):
            return _warp(pixels, move.matrix, move, cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101, 0)
        method = cv2.INTER_AREA if move.zoom < 0.5 else cv2.INTER_LINEAR
        # by the factors, not by a size: the zoom must be exact
        part = cv2.resize(part, None, fx=move.zoom, fy=move.zoom, interpolation=method)
    (above, upper), (before, first) = ((max(-span.shift, 0), max(span.shift, 0)) for span in (move.rows, move.columns))
    part = part[upper : upper + move.crop[0] - above, first : first + move.crop[1] - before]
    below, behind = move.crop[0] - above - part.shape[0], move.crop[1] - before - part.shape[1]
    if above or below or before or behind:
        part = cv2.copyMakeBorder(part, above, below, before, behind, cv2.BORDER_REFLECT_101)
    return _mirror(part, move.mirror)


def _sources(span: Span, side: int, size: int, zoom: float) -> tuple[int, np.ndarray]:
    """The crop's first pixel inside the image, and the image's pixel for it and each later one."""
    first = max(-span.shift, 0)
    places = span.start + ((np.arange(first, side) + (span.shift + 0.5)) / zoom).astype(np.intp)
    return first, places[: np.searchsorted(places, size)]


def _mirror(pixels: np.ndarray, mirror: tuple[bool, bool]) -> np.ndarray:
    if not any(mirror):
        return np.ascontiguousarray(pixels)
    return cv2.flip(pixels, -1 if all(mirror) else int(mirror[1]))


def _seen_from(matrix: np.ndarray, shrink: np.ndarray) -> np.ndarray:
    """The matrix into the same image, resized by `shrink` (x, y)."""
    matrix = matrix * shrink[:, None]
    matrix[:, 2] += (shrink - 1) / 2  # index i has its centre at i + 1/2
    return matrix


def _warp(pixels: np.ndarray, matrix: np.ndarray, move: Move, method: int, border: int, value: int) -> np.ndarray:
    values = (value,) * 4
    if move.moved is None:
        flags = method | cv2.WARP_INVERSE_MAP
        return cv2.warpAffine(pixels, matrix, move.crop[::-1], flags=flags, borderMode=border, borderValue=values)
    x, y = cv2.split(cv2.transform(pixel_grid(move.crop) + move.moved, matrix))  # into the image
    return cv2.remap(pixels, x, y, method, borderMode=border, borderValue=values)
