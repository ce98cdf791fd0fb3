"""GrabCut: one object cut out of an image, by a box or by scribbles.

Rother, Kolmogorov & Blake, SIGGRAPH 2004: two Gaussian mixtures, of the colours of object and
background, and a binary cut, in turn. The implementation is OpenCV's, for 8 bits and three
channels. Here the image is brought to that form, and what cannot work is refused with a reason.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from atrous.errors import DataError
from atrous.refine.inputs import checked_image

BACKGROUND, OBJECT = 1, 2
"""In scribbles; 0 where nothing is drawn."""

MIXTURES = 5
"""Gaussians of each side in OpenCV, which needs as many pixels of it."""


def grabcut(
    image: np.ndarray,
    *,
    box: Sequence[int] | None = None,
    scribbles: np.ndarray | None = None,
    iterations: int = 5,
) -> np.ndarray:
    """The pixels of one object, which a box or scribbles point to; give one of them or both.

    Args:
        image: (H, W) or (H, W, C) with 1 or 3 channels. Types other than uint8 are stretched from
            their least and greatest value to 0..255.
        box: (top, left, height, width) in pixels, the object is inside it.
        scribbles: (H, W), 1 where it is surely background, 2 where it is surely the object, else 0.
        iterations: how often mixtures and cut alternate.

    Returns:
        (H, W) bool.

    Raises:
        DataError: an array or option does not fit, or one side has fewer than 5 pixels to learn its
            colours from.

    Source:
        Rother, Kolmogorov & Blake, SIGGRAPH 2004.

    Example:
        >>> import numpy as np
        >>> image = np.zeros((20, 20), np.uint8)
        >>> image[5:12, 6:15] = 200
        >>> int(grabcut(image, box=(3, 3, 14, 14)).sum())
        63
    """
    shape = np.shape(image)[:2]
    if len(shape) != 2 or 0 in shape:
        raise DataError(f"the image has shape {np.shape(image)}; expected (H, W) or (H, W, C) with a pixel at least")
    if box is None and scribbles is None:
        raise DataError(
            "neither a box nor scribbles; give the object's box (top, left, height, width) or scribbles (H, W)"
        )
    if iterations < 1:
        raise DataError(f"iterations is {iterations}; expected at least 1")
    colours = _as_bytes(np.asarray(image), shape)
    sides = np.full(shape, cv2.GC_PR_FGD if box is None else cv2.GC_BGD, np.uint8)
    if box is not None:
        sides[_inside(box, shape)] = cv2.GC_PR_FGD
    if scribbles is not None:
        sides = _with_scribbles(sides, np.asarray(scribbles), box is None)
    for name, members in (("background", (cv2.GC_BGD, cv2.GC_PR_BGD)), ("object", (cv2.GC_FGD, cv2.GC_PR_FGD))):
        count = int(np.isin(sides, members).sum())
        if count < MIXTURES:
            raise DataError(
                f"{count} pixels are {name} at first; expected at least {MIXTURES}: draw a smaller or larger box, or "
                "scribbles of both kinds"
            )
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(colours, sides, (0, 0, 1, 1), *models, iterations, cv2.GC_INIT_WITH_MASK)
    return (sides == cv2.GC_FGD) | (sides == cv2.GC_PR_FGD)


def _as_bytes(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(H, W, 3) uint8, as OpenCV takes it."""
    values = checked_image(image, shape)
    if values.shape[-1] not in (1, 3):
        raise DataError(f"the image has {values.shape[-1]} channels; GrabCut takes 1 or 3: choose or combine some")
    if image.dtype != np.uint8:
        low, high = float(values.min()), float(values.max())
        values = (values - low) * (255 / (high - low) if high > low else 0.0)
    return np.ascontiguousarray(np.broadcast_to(np.rint(values), (*shape, 3)), np.uint8)


def _inside(box: Sequence[int], shape: tuple[int, ...]) -> tuple[slice, slice]:
    top, left, height, width = box if len(box) == 4 else (0, 0, 0, 0)
    if not (
        top >= 0 and left >= 0 and height > 0 and width > 0 and top + height <= shape[0] and left + width <= shape[1]
    ):
        raise DataError(
            f"box is {tuple(box)}; expected (top, left, height, width) within an image of {shape[0]} x {shape[1]}"
        )
    return slice(top, top + height), slice(left, left + width)


def _with_scribbles(sides: np.ndarray, scribbles: np.ndarray, alone: bool) -> np.ndarray:
    """OpenCV's sides with what is sure drawn in; alone: whether there is no box."""
    if scribbles.shape != sides.shape or not np.isin(scribbles, (0, BACKGROUND, OBJECT)).all():
        raise DataError(
            f"scribbles have shape {scribbles.shape} and values {np.unique(scribbles)[:5].tolist()}; expected "
            f"{sides.shape}, 0 for nothing, {BACKGROUND} for background, {OBJECT} for the object"
        )
    if alone and not ((scribbles == BACKGROUND).any() and (scribbles == OBJECT).any()):
        raise DataError(
            "scribbles are of one kind; without a box GrabCut needs some of background (1) and of the object (2)"
        )
    sides[scribbles == BACKGROUND], sides[scribbles == OBJECT] = cv2.GC_BGD, cv2.GC_FGD
    return sides
