"""Overlapping windows over an image of any height, blended row band by row band in bounded memory.

The weighted scores of windows are summed up in a ring of rows, one window high. A window that is the first at a pixel
writes, later ones add, and the last one decides on the label without writing at all: no sum is cleared, divided or read
again. Weights are products of one factor per row and one per column, so that their sum is known without a map of it.

Axes: K classes, H x W the image, h x w a window. Scores lie class by class, (K, h, w), or pixel by pixel (torch's
channels_last); the ring is laid out as the first window is.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import as_strided

from atrous.ops.openmp import split_rows
from atrous.ops.tiles_kernels import _all_by_pixel, _all_by_plane, _by_pixel, _by_plane

SIGMA = 1 / 8
"""Of the Gaussian, in windows (nnU-Net's, Isensee et al. 2021)."""
SPREAD = 16
"""Rows this far apart go to one thread: the upper rows of a window, which are finished, take longer than the lower."""
Predict = Callable[[int, int, int, int], np.ndarray]
"""(top, left, height, width) of a window -> its scores, (K, height, width) float32 of any strides."""


def positions(size: int, window: int, overlap: float = 0.25) -> list[int]:
    """Origins of windows that cover 0..size-1 evenly, neighbours sharing at least `overlap` of a window.

    nnU-Net's rule (Isensee et al. 2021): steps = ceil((size - window) / (window * (1 - overlap))) + 1, spread evenly.
    """
    if size <= window:
        return [0]
    steps = int(np.ceil((size - window) / (window * (1 - overlap)))) + 1
    return sorted({int(np.round(i * (size - window) / (steps - 1))) for i in range(steps)})


def gaussian(n: int, sigma: float = SIGMA) -> np.ndarray:
    """Importance of the n pixels along one axis of a window, (n,) float32 in (0, 1]: a Gaussian of sigma * n."""
    return np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (sigma * n)) ** 2).astype(np.float32)


def uniform(n: int) -> np.ndarray:
    """All pixels count the same: (n,) ones."""
    return np.ones(n, np.float32)


WEIGHTS: dict[str, Callable[[int], np.ndarray]] = {"gaussian": gaussian, "uniform": uniform}


def blend(
    predict: Predict,
    size: tuple[int, int],
    window: tuple[int, int],
    overlap: float = 0.25,
    weights: str = "gaussian",
) -> Iterator[tuple[int, np.ndarray]]:
    """Run `predict` over all windows of an image of `size` (H, W), yield finished row bands from the top on.

    Yields (top, scores (K, rows, W) float32), weighted means by a name of WEIGHTS. Memory: 4 K h W bytes and a band,
    whatever the image's height.
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
    """The same, but yields (top, labels (rows, W)): the class of the largest mean score plus `offsets` (K,), if any.

    Labels are uint8, uint16 when K > 256; of equal scores the lowest class.
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
    """(top, end, canvas, labels) after each row of windows; the labels of rows top..end where offsets are given."""
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
            del scores  # its memory is the next window's
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
    """The ring: row y of the image is at y modulo the number of rows, which is a window's height.

    by_pixel: a row is W pixels of K classes, else K classes of W pixels. factors: of a window's rows and columns; sums:
    theirs over the image's. offsets: None where no labels are wanted, else (K,) or empty.
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

        touched: rows and columns of it that hold a sum already. finished: those that no later window reaches, of which
        the labels are written into `labels`, from the window's own first row on.
        """
        lines = scores.transpose((1, 2, 0) if self.by_pixel else (1, 0, 2))  # row; part of it; numbers side by side
        dense = lines.strides[2] == 4 and min(lines.strides) >= 0
        lines = lines if dense and not (self.by_pixel and lines.strides[1] != 4 * self.classes) else lines.copy("C")
        steps = [stride // 4 for stride in lines.strides]
        extent = 1 + sum((n - 1) * step for n, step in zip(lines.shape, steps, strict=True))
        flat, (rows, columns) = as_strided(lines, (extent,), (4,)), self.factors
        top, left = corner
        done = finished if self.offsets is not None else (0, 0)
        offsets = np.zeros(0, np.float32) if self.offsets is None else self.offsets
        sums = (self.sums[0][top : top + len(rows)], self.sums[1][left:])
        labels = labels[:, left:]
        if self.by_pixel:
            kernels, more = (_by_pixel, _all_by_pixel), (steps[0], self.repeated)
        else:
            kernels, more = (_by_plane, _all_by_plane), (steps[0], steps[1])  # type: ignore[assignment]
        split_rows(
            *kernels,
            flat,
            self.order,
            rows,
            columns,
            *more,
            self.classes,
            self.ring,
            *corner,
            *touched,
            *done,
            offsets,
            *sums,
            labels,
        )

    def means(self, top: int, bottom: int) -> np.ndarray:
        """(K, bottom - top, W) weighted means of these rows."""
        taken = self.ring[np.arange(top, bottom) % len(self.ring)]
        if self.by_pixel:
            taken = taken.reshape(len(taken), -1, self.classes).transpose(2, 0, 1)
        else:
            taken = taken.reshape(len(taken), self.classes, -1).transpose(1, 0, 2)
        return taken / (self.sums[0][top:bottom, None] * self.sums[1])


def gaussian_window(height: int, width: int) -> np.ndarray:
    """Importance of a window's pixels, (height, width) float32 in (0, 1]: the product of `gaussian` per axis."""
    return np.outer(gaussian(height), gaussian(width))
