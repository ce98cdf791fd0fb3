"""Outlines as pixels, by COCO's rule.

A pixel is inside when its centre is, in coordinates where the first pixel covers 0..1; inside is even-odd. COCO's API
rounds to a grid five times as fine: points to its nearest line, edges to one point per step along their longer side,
and a column of pixels is crossed where the edge passes its middle (grid 5 x + 2 | 5 x + 3). Done here for all edges at
once; the masks equal those of its `frPyObjects` (tests/datasets/test_shapes.py).
"""

from collections.abc import Iterable, Sequence

import numpy as np

FINE = 5
"""Grid lines per pixel."""
FAR = 8
"""Points may lie this many times the image's size away from it."""


def points_of(numbers: Sequence[float] | np.ndarray) -> np.ndarray:
    """x, y, x, y, ... or [[x, y], ...] -> float64 (n, 2); ValueError for fewer than three points or no numbers."""
    try:
        points = np.asarray(numbers, np.float64)
    except (TypeError, ValueError):
        raise ValueError("an outline with something else than numbers") from None
    if points.ndim == 1 and len(points) % 2:
        raise ValueError(f"an outline of {len(points)} numbers; expected x, y pairs")
    points = points.reshape(-1, 2) if points.ndim == 1 else points
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
        raise ValueError(f"an outline of shape {points.shape}; expected at least 3 points (x, y)")
    if not np.isfinite(points).all():
        raise ValueError("an outline with a point that is NaN or infinite")
    return points


def area(points: np.ndarray) -> float:
    """Of a polygon (n, 2), by Gauss's trapezoids."""
    x, y = points.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def is_outside(points: np.ndarray, height: int, width: int) -> bool:
    """Whether no part of the box around the points (n, 2) lies in the image."""
    low, high = points.min(axis=0), points.max(axis=0)
    return bool((high < 0).any() or low[0] > width or low[1] > height)


def fill(outlines: Iterable[np.ndarray], height: int, width: int) -> np.ndarray:
    """Polygons (n, 2) of x, y in pixels -> bool (H, W): their union. What lies outside the image is cut off.

    Raises ValueError for a point more than `FAR` image sizes away.
    """
    mask = np.zeros((width, height), bool)
    for points in outlines:
        if np.abs(points).max() > FAR * max(height, width):
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
    """Where the outline crosses the middle of a column of pixels: (columns 0..W-1, first rows 0..H below it)."""
    grid = np.trunc(FINE * points + 0.5).astype(np.int64)
    start, end = grid, np.roll(grid, -1, axis=0)
    long = np.abs(end - start).argmax(axis=1)  # the axis of more steps; x where they are equal
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
