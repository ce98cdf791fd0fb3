"""Overlapping windows over an image of any height, blended row band by row band in bounded memory.

A large image is predicted window by window, and where windows overlap their scores are averaged
with weights that favour a window's middle. Summing into a map of the whole image would take 4 K H W
bytes. Windows come row by row, so that only as many rows as a window is high can still change:
these are kept, in a *ring* of rows (`tiles_kernels` says how it is written and read).

A weight is the product of one factor per row and one per column. The sum of all windows' weights at
a pixel is then such a product too, and no map of it is needed.

Axes: K classes, H x W the image, h x w a window.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import as_strided

from atrous.ops.openmp import split_rows
from atrous.ops.tiles_kernels import Place, Shift, Window, all_by_pixel, all_by_plane, by_pixel, by_plane

SIGMA = 1 / 8
"""Deviation of the Gaussian, in window lengths (nnU-Net, Isensee et al. 2021)."""
SPREAD = 16
"""Rows this far apart go to one thread: a window's upper rows are finished, which takes longer."""
Predict = Callable[[int, int, int, int], np.ndarray]
"""(top, left, height, width) of a window -> scores (K, height, width) float32, any strides."""


def positions(size: int, window: int, overlap: float = 0.25) -> list[int]:
    """Where windows begin that cover an axis evenly.

    Args:
        size: length of the axis in pixels.
        window: length of a window in pixels; one that is longer than the axis begins at 0.
        overlap: the least share of a window that neighbours have in common, in [0, 1).

    Returns:
        Ascending first pixels, the last window ending at the axis's end.

    Raises:
        ValueError: The overlap is out of range, or a length is below 1.

    Source:
        nnU-Net (Isensee et al. 2021): ceil((size - window) / (window (1 - overlap))) + 1 windows.

    Example:
        >>> positions(110, 64, 0.5)
        [0, 23, 46]
    """
    if not (0 <= overlap < 1 and size > 0 and window > 0):
        raise ValueError(
            f"size {size}, window {window}, overlap {overlap}: expected lengths from 1 on and an overlap in [0, 1)"
        )
    if size <= window:
        return [0]
    steps = int(min(np.ceil((size - window) / (window * (1 - overlap))), size - window)) + 1  # no two at one pixel
    return sorted({int(np.round(i * (size - window) / (steps - 1))) for i in range(steps)})


def gaussian(n: int, sigma: float = SIGMA) -> np.ndarray:
    """Weights along one axis of a window of n pixels: (n,) float32 in (0, 1], deviation sigma n."""
    return np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (sigma * n)) ** 2).astype(np.float32)


def uniform(n: int) -> np.ndarray:
    """Weights by which all pixels count the same: (n,) float32 ones."""
    return np.ones(n, np.float32)


WEIGHTS: dict[str, Callable[[int], np.ndarray]] = {"gaussian": gaussian, "uniform": uniform}


def blend(
    predict: Predict,
    size: tuple[int, int],
    window: tuple[int, int],
    overlap: float = 0.25,
    weights: str = "gaussian",
) -> Iterator[tuple[int, np.ndarray]]:
    """Mean scores of overlapping windows, in bands of finished rows from the top on.

    Memory: 4 K h W bytes and a band, whatever the image's height.

    Args:
        predict: called with (top, left, height, width) of each window; gives its scores,
            (K, height, width) float32 of any strides.
        size: (H, W) of the image in pixels.
        window: (h, w) of a window in pixels; cut down to the image where that is smaller.
        overlap: the least share of a window that neighbours have in common, in [0, 1).
        weights: "gaussian" (the middle of a window counts most) or "uniform".

    Yields:
        (top, scores (K, rows, W) float32), weighted means.

    Example:
        >>> import numpy as np
        >>> def predict(top, left, height, width):
        ...     return np.full((2, height, width), left, np.float32)
        >>> [(top, band.shape) for top, band in blend(predict, (6, 5), (4, 5))]
        [(0, (2, 2, 5)), (2, (2, 4, 5))]
    """
    for top, following, canvas, _ in _bands(predict, size, window, overlap, weights, None):
        yield top, canvas.means(top, following)


def blend_labels(
    predict: Predict,
    size: tuple[int, int],
    window: tuple[int, int],
    overlap: float = 0.25,
    weights: str = "gaussian",
    offsets: np.ndarray | None = None,
) -> Iterator[tuple[int, np.ndarray]]:
    """Labels of the mean scores of overlapping windows, in bands of finished rows from the top on.

    Quicker than the argmax of `blend`: means are never computed, since dividing by the sum of the
    weights changes no maximum.

    Args:
        predict, size, window, overlap, weights: as for `blend`.
        offsets: (K,), added to the mean scores before the largest is taken; None adds nothing.

    Yields:
        (top, labels (rows, W)), uint8, uint16 when K > 256; the lowest class of equal scores.

    Example:
        >>> import numpy as np
        >>> scores = np.eye(3, dtype=np.float32)[[0, 2, 1]].T[:, None].repeat(4, 1)
        >>> def predict(top, left, height, width):
        ...     return scores[:, top : top + height, left : left + width]
        >>> next(blend_labels(predict, (4, 3), (4, 2)))[1][0]
        array([0, 2, 1], dtype=uint8)
    """
    moved = np.zeros(0, np.float32) if offsets is None else np.asarray(offsets, np.float32)
    for top, _, _, labels in _bands(predict, size, window, overlap, weights, moved):
        yield top, labels


def _bands(
    predict: Predict,
    size: tuple[int, int],
    window: tuple[int, int],
    overlap: float,
    weights: str,
    offsets: np.ndarray | None,
) -> Iterator[tuple[int, int, "_Canvas", np.ndarray]]:
    """(top, end, canvas, labels) after each row of windows: rows top..end - 1 are finished.

    labels are of these rows; empty where `offsets` is None.
    """
    height, width = min(size[0], window[0]), min(size[1], window[1])
    tops, lefts = positions(size[0], height, overlap), positions(size[1], width, overlap)
    factors = [WEIGHTS[weights](n) for n in (height, width)]
    sums = [_summed(size[0], tops, factors[0]), _summed(size[1], lefts, factors[1])]
    canvas: _Canvas | None = None
    above = 0
    for top, following in pairwise([*tops, size[0]]):
        labels, beside = np.empty((0, 0), np.uint8), 0
        for left, right in pairwise([*lefts, size[1]]):
            scores = np.asarray(predict(top, left, height, width), np.float32)
            canvas = canvas or _Canvas(scores, factors, sums, offsets)
            if left == 0 and offsets is not None:
                labels = np.empty((following - top, size[1]), np.uint8 if canvas.classes <= 256 else np.uint16)
            canvas.add(scores, (top, left), (above - top, beside - left), (following - top, right - left), labels)
            del scores  # the next window's can use its memory
            beside = left + width
        above = top + height
        assert canvas is not None
        yield top, following, canvas, labels


def _summed(n: int, starts: Sequence[int], weights: np.ndarray) -> np.ndarray:
    """(n,) float32: what the weights of all windows along an axis add up to at each pixel."""
    total = np.zeros(n)
    for start in starts:
        total[start : start + len(weights)] += weights
    return total.astype(np.float32)


class _Canvas:
    """The ring of sums: row y of the image is row y modulo h of the ring.

    by_pixel: a row is W pixels of K classes (torch's channels_last), else K classes of W pixels, as
    the first window is laid out. factors: a window's weights per row and per column; sums: those of
    all windows over the image. offsets: None where labels are not wanted, else (K,) or empty.
    """

    def __init__(
        self, scores: np.ndarray, factors: list[np.ndarray], sums: list[np.ndarray], offsets: np.ndarray | None
    ) -> None:
        self.classes, rows = scores.shape[:2]
        self.factors, self.sums, self.offsets = factors, sums, offsets
        self.by_pixel = bool(scores.strides[2] != 4 and scores.strides[0] == 4)
        self.repeated = np.repeat(factors[1], self.classes)
        self.order = np.argsort(np.arange(rows) % SPREAD, kind="stable")
        self.ring = np.empty((rows, self.classes * len(sums[1])), np.float32)

    def add(
        self,
        scores: np.ndarray,
        corner: tuple[int, int],
        touched: tuple[int, int],
        finished: tuple[int, int],
        labels: np.ndarray,
    ) -> None:
        """Take in the scores (K, h, w) of the window at `corner`.

        touched: how many of its first rows and columns earlier windows have reached. finished: how
        many of them later windows do not reach; their labels are written into `labels`, whose first
        row is the window's.
        """
        lines = scores.transpose((1, 2, 0) if self.by_pixel else (1, 0, 2))
        # The kernels read scores where they lie, gaps between rows and classes included. They need
        # an innermost axis without gaps, pixels without gaps too (by pixel), and ascending axes.
        dense = lines.strides[2] == 4 and min(lines.strides) >= 0
        lines = lines if dense and not (self.by_pixel and lines.strides[1] != 4 * self.classes) else lines.copy("C")
        steps = [stride // 4 for stride in lines.strides]
        extent = 1 + sum((n - 1) * step for n, step in zip(lines.shape, steps, strict=True))
        (top, left), (rows, columns) = corner, self.factors
        flat = as_strided(lines, (extent,), (4,))
        window = Window(flat, steps[0], steps[1], rows, columns, self.repeated, self.order)
        place = Place(top, left, *touched, *(finished if self.offsets is not None else (0, 0)))
        offsets = np.zeros(0, np.float32) if self.offsets is None else self.offsets
        shift = Shift(offsets, self.sums[0][top : top + len(rows)], self.sums[1][left:])
        kernels = (by_pixel, all_by_pixel) if self.by_pixel else (by_plane, all_by_plane)
        split_rows(len(rows), *kernels, window, place, shift, self.classes, self.ring, labels[:, left:])

    def means(self, top: int, bottom: int) -> np.ndarray:
        """(K, bottom - top, W) weighted means of these rows."""
        taken = self.ring[np.arange(top, bottom) % len(self.ring)]
        if self.by_pixel:
            taken = taken.reshape(len(taken), -1, self.classes).transpose(2, 0, 1)
        else:
            taken = taken.reshape(len(taken), self.classes, -1).transpose(1, 0, 2)
        return taken / (self.sums[0][top:bottom, None] * self.sums[1])
