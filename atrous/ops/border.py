"""Weights by which a network learns the narrow gaps between cells, as the U-Net of 2015 does."""

from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from atrous.errors import DataError
from atrous.ops.distance import distance_to

REACH = 6.0
"""A cell farther away than so many sigma is left out: its share of the weight is below 2e-8."""


def border_weights(
    instances: np.ndarray,
    *,
    weight: float = 10.0,
    sigma: float = 5.0,
    spacing: Sequence[float] | None = None,
    balance: bool = True,
) -> np.ndarray:
    """Pixel weights that are high in narrow gaps between cells: the U-Net's.

        w(x) = w_c(x) + w0 exp(-(d1(x) + d2(x))^2 / (2 sigma^2))

    d1 and d2 are the Euclidean distances to the nearest and the second nearest cell. The second
    term is on the background only, and needs two cells. Cells that touch have no gap: give them one
    by `separate_touching` first.

    Args:
        instances: (H, W) or (D, H, W) integers, 0 for background, a number per cell.
        weight: w0, at a place between two cells that touch.
        sigma: width of the border, in pixels or units of `spacing`.
        spacing: distance between pixels along each axis; None: pixels.
        balance: w_c is such that cells and background weigh the same in all, with a mean of 1 over
            the pixels; else w_c is 1.

    Returns:
        float32 of the same shape.

    Raises:
        DataError: instances are not integers >= 0.

    Source:
        Ronneberger, Fischer & Brox, MICCAI 2015, equation 2.

    Example:
        >>> border_weights(np.array([[1, 0, 2]]), balance=False).round(1)
        array([[ 1. , 10.2,  1. ]], dtype=float32)
    """
    cells = _numbered(instances)
    steps = np.ones(cells.ndim) if spacing is None else np.asarray(spacing, float)
    # Each cell's distances are needed only where the border's weight is not negligible: cells are
    # looked at in boxes, since a whole map for each of some hundred cells takes too long.
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
    """Put background, one pixel wide, between cells that touch, diagonally too.

    Args:
        instances: integers, 0 for background, a number per cell; any number of axes.

    Returns:
        The same map, without the pixels of a cell that touch one of a lower number.

    Raises:
        DataError: instances are not integers >= 0.

    Example:
        >>> separate_touching(np.array([[1, 1, 2, 2]]))
        array([[1, 1, 0, 2]])
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
    """w_c: half of the weight on either side, or ones."""
    share = inside.mean() if inside.size else 0.0
    if not balance or share in (0.0, 1.0):
        return np.ones(inside.shape)
    return np.where(inside, 0.5 / share, 0.5 / (1 - share))
