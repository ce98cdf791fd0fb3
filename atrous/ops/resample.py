"""Resampling of volumes onto another number of voxels: cubic splines for numbers, linear votes for labels.

The first and last voxels of both grids cover the same extent: voxel i of n lies at (i + 1/2) / n.
Axes are independent, so each is resampled on its own: four taps an axis instead of 64.
"""

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import spline_filter1d

from atrous.errors import DataError
from atrous.ops.compiling import njit
from atrous.ops.threads import Team

PAD = 12
"""Voxels by which an axis is continued before the spline is fitted: its influence has faded to 1e-7 there."""
ORDERS = (0, 1, 3)


def resample(array: np.ndarray, shape: Sequence[int], orders: Sequence[int] = (3, 3, 3)) -> np.ndarray:
    """Resample each channel of a volume; values stay within the channel's least and greatest.

    Equal to skimage's `resize(order, mode="edge", anti_aliasing=False)`, which nnU-Net uses, to
    rounding.

    Args:
        array: (C, D, H, W) real numbers without nan.
        shape: (d, h, w) of the result, in voxels.
        orders: Of the splines along D, H, W: 0 nearest, 1 linear, 3 cubic.

    Returns:
        (C, d, h, w) float32.

    Raises:
        DataError: The shapes or orders do not fit.

    Example:
        >>> resample(np.array([[[[0.0, 4.0]]]], np.float32), (1, 1, 4), (1, 1, 1)).tolist()
        [[[[0.0, 1.0, 3.0, 4.0]]]]
    """
    _check(array, 4, shape, orders)
    out = np.asarray(array, np.float32)
    low, high = out.min((1, 2, 3), keepdims=True), out.max((1, 2, 3), keepdims=True)
    # The axis that shrinks most comes first: what follows has less to do.
    for axis in sorted(range(3), key=lambda k: shape[k] / array.shape[k + 1]):
        if shape[axis] != array.shape[axis + 1]:
            out = _along(out, axis + 1, shape[axis], orders[axis])
    return np.clip(out, low, high) if 3 in orders else np.ascontiguousarray(out)


def _along(array: np.ndarray, axis: int, size: int, order: int) -> np.ndarray:
    """One axis resampled."""
    count = array.shape[axis]
    if order == 3 and count > 1:
        edges = [(PAD if k == axis else 0,) * 2 for k in range(array.ndim)]
        source = spline_filter1d(np.pad(array, edges, "edge"), 3, axis, np.float32, "mirror")
        shift = PAD
    else:
        source, shift = array, 0
    places, weights = taps(count, size, order if count > 1 else 0)
    places = np.clip(places, -shift, count - 1 + shift) + shift
    flat = np.ascontiguousarray(np.moveaxis(source, axis, 0)).reshape(source.shape[axis], -1)
    made = np.empty((size, flat.shape[1]), np.float32)
    with Team() as team:
        team.split(size, _mix, flat, places, weights, made)
    rest = [n for k, n in enumerate(array.shape) if k != axis]
    return np.moveaxis(made.reshape(size, *rest), 0, axis)


def taps(count: int, size: int, order: int) -> tuple[np.ndarray, np.ndarray]:
    """(places (size, t) int64, weights (size, t) float32) of the taps; places may lie outside of 0..count-1."""
    middle = (np.arange(size) + 0.5) * (count / size) - 0.5
    if order == 0:
        return np.floor(middle + 0.5).astype(np.int64)[:, None], np.ones((size, 1), np.float32)
    first = np.floor(middle).astype(np.int64)
    u = middle - first
    if order == 1:
        return first[:, None] + np.arange(2), np.stack([1 - u, u], 1).astype(np.float32)
    cubic = [(1 - u) ** 3, 4 - 6 * u**2 + 3 * u**3, 4 - 6 * (1 - u) ** 2 + 3 * (1 - u) ** 3, u**3]
    return first[:, None] + np.arange(-1, 3), (np.stack(cubic, 1) / 6).astype(np.float32)


@njit(nogil=True, cache=True)
def _mix(source, places, weights, made, first, last):  # type: ignore[no-untyped-def]
    """Fill rows first..last-1 of made (size, P) with weighted sums of rows of source (count, P)."""
    # In bounds: `_along` clips places to the rows of `source`; made has its columns, and a row for each of places.
    columns = made.shape[1]
    for row in range(first, last):
        for p in range(columns):
            made[row, p] = 0.0
        for t in range(places.shape[1]):
            weight, place = weights[row, t], places[row, t]
            for p in range(columns):
                made[row, p] += weight * source[place, p]


def resample_labels(labels: np.ndarray, shape: Sequence[int], orders: Sequence[int] = (1, 1, 1)) -> np.ndarray:
    """Resample a label map: the label with the greatest weight among the neighbours that linear resampling reads.

    That is the argmax of each label's mask, resampled linearly; of equal weights the lower label wins.

    Args:
        labels: (D, H, W) uint8 or uint16.
        shape: (d, h, w) of the result, in voxels.
        orders: Along D, H, W: 0 nearest, 1 linear.

    Returns:
        (d, h, w) of the type of `labels`.

    Raises:
        DataError: The shapes, orders or type do not fit.

    Example:
        >>> resample_labels(np.array([[[0, 7]]], np.uint8), (1, 1, 4)).tolist()
        [[[0, 0, 7, 7]]]
    """
    _check(labels, 3, shape, orders, (0, 1))
    if labels.dtype not in (np.uint8, np.uint16):
        raise DataError(f"labels of type {labels.dtype}; expected uint8 or uint16")
    if labels.shape == tuple(shape):
        return labels
    each = [taps(n, size, order if n > 1 else 0) for n, size, order in zip(labels.shape, shape, orders, strict=True)]
    each = [(np.clip(places, 0, n - 1), weights) for (places, weights), n in zip(each, labels.shape, strict=True)]
    made = np.empty(tuple(shape), labels.dtype)
    parts = [part for pair in each for part in pair]
    with Team() as team:
        team.split(made.shape[0] * made.shape[1], _vote, np.ascontiguousarray(labels), *parts, made)
    return made


@njit(nogil=True, cache=True)
def _vote(  # type: ignore[no-untyped-def]
    labels, places_d, weights_d, places_h, weights_h, places_w, weights_w, made, first, last
):
    """Fill rows first..last-1 of made (d * h rows of w) with the label of the greatest weight around each voxel."""
    # In bounds: `resample_labels` clips places to the sides of labels; at most two taps an axis give eight neighbours.
    height, width = made.shape[1:]
    found, weight = np.empty(8, np.int64), np.empty(8, np.float32)
    for row in range(first, last):
        d, h = row // height, row % height
        for w in range(width):
            count = 0
            for i in range(places_d.shape[1]):
                for j in range(places_h.shape[1]):
                    across = weights_d[d, i] * weights_h[h, j]
                    for k in range(places_w.shape[1]):
                        label = np.int64(labels[places_d[d, i], places_h[h, j], places_w[w, k]])
                        share = across * weights_w[w, k]
                        place = 0
                        while place < count and found[place] != label:
                            place += 1
                        if place == count:
                            found[place], weight[place] = label, np.float32(0)
                            count += 1
                        weight[place] += share
            best = 0
            for place in range(1, count):
                ahead = weight[place] - weight[best]
                if ahead > 1e-6 or (ahead > -1e-6 and found[place] < found[best]):
                    best = place
            made[d, h, w] = found[best]


def _check(
    array: np.ndarray, axes: int, shape: Sequence[int], orders: Sequence[int], known: Sequence[int] = ORDERS
) -> None:
    if array.ndim != axes or 0 in array.shape or array.dtype.kind not in "buif":
        raise DataError(f"an array of shape {array.shape} and type {array.dtype}; expected {axes} axes of numbers")
    if len(shape) != 3 or not all(isinstance(n, int) and 1 <= n <= 2**16 for n in shape):
        raise DataError(f"shape {tuple(shape)}; expected three sides of 1..{2**16} voxels")
    if len(orders) != 3 or not set(orders) <= set(known):
        raise DataError(f"orders {tuple(orders)}; expected three of {', '.join(map(str, known))}")
