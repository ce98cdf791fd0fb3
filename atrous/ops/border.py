"""Weights that make a network learn the narrow gaps between cells (U-Net, Ronneberger et al. 2015, section 3)."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from atrous.errors import DataError
from atrous.ops.distance import distance_to

REACH = 6.0
"""Farther from a cell than so many sigma, what it adds is below 2e-8 of the border's weight, and is left out."""


def border_weights(
    instances: np.ndarray,
    *,
    weight: float = 10.0,
    sigma: float = 5.0,
    spacing: Sequence[float] | None = None,
    balance: bool = True,
) -> np.ndarray:
    """(H, W) or (D, H, W) integers, 0 background and a number per cell -> weights, float32 of the same shape.

    w(x) = w_c(x) + w0 exp(-(d1(x) + d2(x))^2 / (2 sigma^2)) on the background, w_c(x) inside cells (equation 2); d1 and
    d2 are the Euclidean distances to the nearest and second nearest cell, in units of `spacing` (pixels without it), as
    is sigma; weight is w0. With fewer than two cells there is no second term.
    w_c: with `balance` cells and background weigh the same in all, 1 a pixel on average; else it is 1.
    Cells that touch need a gap of background first: `separate_touching`. Raises DataError on what is not integer.
    """
    cells = _numbered(instances)
    steps = np.ones(cells.ndim) if spacing is None else np.asarray(spacing, float)
    nearest = np.full((2, *cells.shape), np.inf)  # d1 and d2
    margin = np.ceil(REACH * sigma / steps).astype(int)
    for number, box in enumerate(ndimage.find_objects(cells), start=1):
        around = tuple(slice(max(0, s.start - m), s.stop + m) for s, m in zip(box, margin, strict=True))
        distance = distance_to(cells[around] == number, spacing)
        first, second = nearest[0][around], nearest[1][around]
        np.minimum(second, np.maximum(first, distance), out=second)
        np.minimum(first, distance, out=first)
    border = weight * np.exp(-(nearest.sum(0) ** 2) / (2 * sigma**2))
    return (_balanced(cells > 0, balance) + np.where(cells > 0, 0, border)).astype(np.float32)


def separate_touching(instances: np.ndarray) -> np.ndarray:
    """The same map with background, one pixel wide, between cells that touch, diagonally too; any number of axes.

    Of two cells that touch, the one with the higher number gives up the pixels that touch.
    """
    cells = _numbered(instances)
    others = np.where(cells == 0, np.iinfo(cells.dtype).max, cells)
    touches = ndimage.minimum_filter(others, size=3, mode="nearest") < cells
    return np.where(touches, np.zeros((), instances.dtype), instances)


def _numbered(instances: np.ndarray) -> np.ndarray:
    """Background 0 and the cells as 1, 2, ... in the order of their numbers."""
    if instances.dtype.kind not in "iu" or (instances.size and instances.min() < 0):
        raise DataError(
            f"an instance map holds {instances.dtype} values"
            f"{' below 0' if instances.dtype.kind == 'i' else ''}; give integers, 0 for background, a number per cell"
        )
    cells = np.unique(np.append(instances.ravel(), instances.dtype.type(0)), return_inverse=True)[1]
    return cells[:-1].reshape(instances.shape).astype(np.int32)


def _balanced(inside: np.ndarray, balance: bool) -> np.ndarray:
    share = inside.mean() if inside.size else 0.0
    if not balance or share in (0.0, 1.0):
        return np.ones(inside.shape)
    return np.where(inside, 0.5 / share, 0.5 / (1 - share))
