"""From outlines to pixels, by COCO's rule.

A pixel is inside if its centre is, by the even-odd rule; the first pixel covers the coordinates
0..1. COCO's API rounds to a grid that is five times as fine: a point moves to the nearest grid
line, an edge becomes one point for each step along its longer side, and an edge crosses a column of
pixels where it passes the middle of it (between the grid lines 5 x + 2 and 5 x + 3). Here this is
done for all edges at once. The masks equal those of COCO's `frPyObjects`
(tests/datasets/test_shapes.py).
"""

from collections.abc import Iterable, Sequence

import numpy as np

FINE = 5
"""Grid lines in a pixel."""
FAR = 8
"""How far a point may lie outside, in sizes of the image."""


def points_of(numbers: Sequence[float] | np.ndarray) -> np.ndarray:
    """Turn x, y, x, y, ... or [[x, y], ...] into float64 (n, 2).

    Raises ValueError for fewer than three points and for anything but finite numbers.
    """
    try:
        points = np.asarray(numbers, np.float64)
    except (TypeError, ValueError):
        raise ValueError("an outline with something other than numbers; expected x, y pairs") from None
    if points.ndim == 1 and len(points) % 2:
        raise ValueError(f"an outline of {len(points)} numbers; expected an even number, x, y pairs")
    points = points.reshape(-1, 2) if points.ndim == 1 else points
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
        raise ValueError(f"an outline of shape {points.shape}; expected at least 3 points (x, y)")
    if not np.isfinite(points).all():
        raise ValueError("an outline with a point that is NaN or infinite")
    return points


def area(points: np.ndarray) -> float:
    """The area of a polygon (n, 2), by Gauss's trapezoid formula."""
    x, y = points.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def is_outside(points: np.ndarray, height: int, width: int) -> bool:
    """Tell whether the box around the points (n, 2) lies outside the image."""
    low, high = points.min(axis=0), points.max(axis=0)
    return bool((high < 0).any() or low[0] > width or low[1] > height)


def fill(outlines: Iterable[np.ndarray], height: int, width: int) -> np.ndarray:
    """Fill polygons (n, 2) of x, y in pixels: bool (H, W), their union, cut off at the border.

    Raises ValueError for a point that lies more than FAR image sizes away.
    """
    mask = np.zeros((width, height), bool)
    for points in outlines:
        if not np.abs(points).max() <= FAR * max(height, width):  # NaN is far, too
            far = points[np.abs(points).max(axis=1).argmax()]
            raise ValueError(f"a point at x {far[0]:g}, y {far[1]:g}, far outside of its image, {width} wide")
        columns, rows = _crossings(points, height, width)
        if len(columns):
            first = columns.min()
            count = int(columns.max() - first + 1)
            flips = np.bincount((columns - first) * height + rows, minlength=count * height)[: count * height]
            inside = np.bitwise_xor.accumulate((flips & 1).astype(np.uint8)).astype(bool)
            mask[first : first + count] |= inside.reshape(count, height)
    return mask.T


def _crossings(points: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Find where an outline crosses the middle of a column of pixels.

    Returns the columns, 0..W-1, and for each the first row below the crossing, 0..H.
    """
    grid = np.trunc(FINE * points + 0.5).astype(np.int64)
    start, end = grid, np.roll(grid, -1, axis=0)
    long = np.abs(end - start).argmax(axis=1)  # the axis with more steps; x if they are equal
    edge = np.arange(len(grid))
    steps = np.abs(end - start)[edge, long]
    backwards = start[edge, long] > end[edge, long]
    low, high = np.where(backwards[:, None], end, start), np.where(backwards[:, None], start, end)
    slope = (high - low)[edge, 1 - long] / np.maximum(steps, 1)

    along = np.repeat(edge, steps + 1)  # the edge of each point, in the order of the outline
    step = np.arange(len(along)) - np.repeat(np.cumsum(steps + 1) - steps - 1, steps + 1)
    step = np.where(backwards[along], steps[along] - step, step)
    major = low[along, long[along]] + step
    minor = np.trunc(low[along, 1 - long[along]] + slope[along] * step + 0.5).astype(np.int64)
    u, v = np.where(long[along] == 0, major, minor), np.where(long[along] == 0, minor, major)

    crosses = np.flatnonzero(u[1:] != u[:-1])
    column, rest = np.divmod(np.minimum(u[1:], u[:-1])[crosses] - FINE // 2, FINE)
    row = -(-(np.minimum(v[1:], v[:-1])[crosses] - FINE // 2) // FINE)  # rounded up
    kept = (rest == 0) & (column >= 0) & (column < width)
    return column[kept], row[kept].clip(0, height)
