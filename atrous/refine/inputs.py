"""Checks of what refiners are given: probabilities (K, H, W) or (K, D, H, W), and a raw image."""

from collections.abc import Callable
from typing import Any
from warnings import warn

import numpy as np

from atrous.errors import DataError
from atrous.ops.tiles import MOST_CLASSES

SMALL = 10
"""Fractions up to this are no colours in 0..255: they are in 0..1, or normalised."""
MOST_STEPS = 50
"""If the colours of an image above 255 span more of its widths, the width was chosen for 0..255."""
LARGEST = 2**32
"""Values of an image are below: differences of larger ones have no meaning in float32."""
MOST_ENERGY = 1e30
"""Sums of a few larger energies overflow float32."""


def as_refiner(function: Callable[..., np.ndarray], **options: Any) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Turn a function of this package into a refiner(raw_image, probabilities).

    Args:
        function: called as function(probabilities, image, **options).
        options: of the function.

    Example:
        >>> import numpy as np
        >>> from atrous.refine import icm
        >>> refiner = as_refiner(icm, smoothness=2.0)
        >>> refiner(np.zeros((1, 2)), np.full((2, 1, 2), 0.5))
        array([[0, 0]], dtype=uint8)
    """

    def refiner(raw_image: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        return function(probabilities, raw_image, **options)

    return refiner


def checked_probabilities(probabilities: np.ndarray) -> np.ndarray:
    """(K, *shape) float32 in 0..1, two or three axes, K from 2 to 65,536; else a DataError."""
    array = np.asarray(probabilities)
    if array.ndim not in (3, 4):
        raise DataError(f"probabilities have shape {array.shape}; expected (K, H, W) or, of a volume, (K, D, H, W)")
    if 0 in array.shape[1:]:
        raise DataError(f"probabilities have shape {array.shape}: no pixel; expected at least one on every axis")
    if len(array) < 2:
        raise DataError(
            f"probabilities have shape {array.shape}: {len(array)} class; there is nothing to choose below 2"
        )
    if len(array) > MOST_CLASSES:
        raise DataError(f"probabilities are of {len(array):,} classes; expected {MOST_CLASSES:,} at most")
    if array.dtype.kind != "f":
        raise DataError(f"probabilities have type {array.dtype}; expected floats in 0..1, as a softmax gives them")
    array = array.astype(np.float32, copy=False)
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= 1 + 1e-3):  # nan fails both
        found = "nan among them" if np.isnan(low) else f"from {low:.4g} to {high:.4g}"
        raise DataError(f"probabilities are out of 0..1: {found}; logits need a softmax first")
    return array


def checked_image(image: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """(*shape, C) float32 of an image (*shape) or (*shape, C), any real type; else a DataError."""
    array = np.asarray(image)
    if array.ndim == len(shape):
        array = array[..., None]
    if array.ndim != len(shape) + 1 or array.shape[:-1] != shape:
        raise DataError(
            f"the image has shape {np.shape(image)} and the probabilities are of {_by(shape)} pixels; expected an "
            f"image of the same size, its channels last"
        )
    if array.shape[-1] == 0 or array.dtype.kind not in "fiub":
        raise DataError(
            f"the image has shape {np.shape(image)} and type {array.dtype}; expected numbers in 1 channel or more"
        )
    array = array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        raise DataError(
            "the image has values that are nan or infinite; set them to a number, to the smallest for instance"
        )
    if max(array.max(initial=0), -array.min(initial=0)) > LARGEST:
        raise DataError(f"the image has values beyond {LARGEST}; expected colours, mostly 0..255, divide them")
    return array


def checked_colours(image: np.ndarray, shape: tuple[int, ...], width: float) -> np.ndarray:
    """`checked_image` of colours that are compared in units of `width`; see `judge_colours`."""
    colours = checked_image(image, shape)
    judge_colours(np.asarray(image), width)
    return colours


def judge_colours(colours: np.ndarray, width: float) -> None:
    """Judge whether colours have the units of a width, which is mostly meant for 0..255.

    Args:
        colours: of any real type and shape.
        width: colours that differ by less are alike.

    Raises:
        DataError: they are bool, in 0..1 or normalised, and the width tells none of them apart; or NaN.

    Warns:
        UserWarning: they have more than 8 bits, and the width tells nearly all of them apart.
    """
    if colours.dtype == np.uint8 or not colours.size:
        return
    low, high = float(colours.min()), float(colours.max())
    if not np.isfinite([low, high]).all():
        raise DataError("the colours have values that are nan or infinite; expected numbers in 0..255")
    if 0 < high - low <= width and are_small(low, high, lambda: bool((colours == np.rint(colours)).all())):
        raise DataError(
            f"the colours lie in {low:.3g}..{high:.3g}, and a width of {width:g} tells none of them apart; colours are "
            "taken in 0..255: multiply them by 255, or give a width in their units"
        )
    if high > 255 and high - low > MOST_STEPS * width:
        warn(
            f"the colours reach {high:.6g}, and a width of {width:g} tells nearly all of them apart; colours are taken "
            "in 0..255: scale them, or give a width in their units",
            stacklevel=3,
        )


def are_small(low: float, high: float, whole: Callable[[], bool]) -> bool:
    """Whether colours from `low` to `high` are in 0..1, or normalised; whole: tells if all are whole numbers."""
    return low >= -SMALL and high <= SMALL and not (low >= 0 and high > 1 and whole())


def refuse_probabilities(values: np.ndarray, kind: str) -> None:
    """Raise a DataError if energies or logits (K, ...) are NaN, infinite, or in truth probabilities."""
    if not np.isfinite(values).all():
        raise DataError(f"{kind} have values that are nan or infinite; expected finite numbers")
    if values.size and max(values.max(), -values.min()) > MOST_ENERGY:
        raise DataError(
            f"{kind} have values beyond {MOST_ENERGY:g}; expected numbers of nature's logarithms, such as -50..50"
        )
    if values.size and values.min() >= 0 and values.max() <= 1 and np.abs(values.sum(0) - 1).max() < 1e-3:
        raise DataError(
            f"{kind} are in 0..1 with the sum 1 at every pixel: these are probabilities; take -log of them "
            "(unary_from_probabilities), or name them as probabilities"
        )


def checked_labels(labels: np.ndarray, axes: tuple[int, ...] = (2, 3)) -> np.ndarray:
    """Integer labels 0..65,535 with one of these numbers of axes; DataError for anything else."""
    array = np.asarray(labels)
    if array.ndim not in axes or 0 in array.shape:
        raise DataError(f"labels have shape {array.shape}; expected (H, W) or (D, H, W) with at least one pixel")
    if array.dtype.kind not in "iub":
        raise DataError(f"labels have type {array.dtype}; expected whole numbers, one for each class")
    low, high = array.min(), array.max()
    if low < 0 or high >= MOST_CLASSES:
        raise DataError(f"labels reach from {low} to {high}; expected 0..{MOST_CLASSES - 1}")
    return array


def checked_spacing(spacing: tuple[float, ...] | None, axes: int) -> np.ndarray:
    """(axes,) float64 distances between pixels along each axis; ones for None."""
    array = np.ones(axes) if spacing is None else np.asarray(spacing, float)
    if array.shape != (axes,) or not (np.isfinite(array) & (array > 0)).all():
        raise DataError(f"spacing is {spacing}; expected {axes} numbers above 0, in the order of the axes")
    return array


def in_range(name: str, value: float, low: float, high: float) -> float:
    """The value, if it is in low..high; else a DataError that names it."""
    if not low <= value <= high:
        raise DataError(f"{name} is {value}; expected {low:g} to {high:g}")
    return value


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
