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
from numba import njit, prange
from numpy.lib.stride_tricks import as_strided

from atrous.ops.argmax import OPENMP, _split
from atrous.ops.vectors import WIDTH, choose, larger, load, multiply_add, spread, store, winner

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
        _split(
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


@njit(nogil=True, cache=True, fastmath={"contract"})
def _take(scores, source, factors, begin, weight, ring, target, length, fresh):  # type: ignore[no-untyped-def]
    """ring[target + i] = scores[source + i] weight factors[begin + i] (+ what is there, unless fresh), i < length."""
    i, eight = 0, spread(weight)
    while i + WIDTH <= length:
        factor = load(factors, np.uint64(begin + i)) * eight
        at, value = np.uint64(target + i), load(scores, np.uint64(source + i))
        store(ring, at, value * factor if fresh else multiply_add(value, factor, load(ring, at)))
        i += WIDTH
    while i < length:
        value = scores[source + i] * (weight * factors[begin + i])
        ring[target + i] = value if fresh else ring[target + i] + value
        i += 1


@njit(nogil=True, cache=True, fastmath={"contract"})
def _by_pixel(  # type: ignore[no-untyped-def]
    scores, order, rows, columns, step, repeated, classes, ring, top, left, old_rows, old_columns, done_rows,
    done_columns, offsets, row_sums, column_sums, labels, first, last,
):  # fmt: skip
    """Rows order[first:last] of a window whose pixels have their classes side by side.

    Eight classes are one vector; the last one begins earlier where K is no multiple of eight, which changes no maximum.
    """
    flat, moves = ring.reshape(-1), len(offsets) > 0
    names = np.arange(max(classes, WIDTH)).astype(np.float32)
    first_names = load(names, np.uint64(0))
    for y in order[first:last]:
        at, source = (top + y) % len(ring) * ring.shape[1] + left * classes, y * step
        done = done_columns if y < done_rows else 0
        old = len(columns) if y < old_rows else max(old_columns, 0)
        for x in range(done):
            weight, place, here = rows[y] * columns[x], at + x * classes, source + x * classes
            shift = row_sums[y] * column_sums[x]
            if classes >= WIDTH:
                eight, far, index = spread(weight), spread(shift), first_names
                best = load(scores, np.uint64(here)) * eight
                if x < old:
                    best = best + load(flat, np.uint64(place))
                if moves:
                    best = multiply_add(load(offsets, np.uint64(0)), far, best)
                for k in range(WIDTH, classes, WIDTH):
                    begin = np.uint64(min(k, classes - WIDTH))
                    value = load(scores, np.uint64(here) + begin) * eight
                    if x < old:
                        value = value + load(flat, np.uint64(place) + begin)
                    if moves:
                        value = multiply_add(load(offsets, begin), far, value)
                    index, best = choose(value, best, load(names, begin), index), larger(value, best)
                labels[y, x] = winner(best, index)[1]
            else:
                most, label = np.float32(0), 0
                for k in range(classes):
                    number = scores[here + k] * weight
                    if x < old:
                        number += flat[place + k]
                    if moves:
                        number += offsets[k] * shift
                    if k == 0 or number > most:
                        most, label = number, k
                labels[y, x] = label
        middle = max(done, min(old, len(columns)))
        a, b, c = done * classes, middle * classes, len(columns) * classes
        _take(scores, source + a, repeated, a, rows[y], flat, at + a, b - a, False)
        _take(scores, source + b, repeated, b, rows[y], flat, at + b, c - b, True)


@njit(nogil=True, cache=True, fastmath={"contract"})
def _by_plane(  # type: ignore[no-untyped-def]
    scores, order, rows, columns, step, part, classes, ring, top, left, old_rows, old_columns, done_rows,
    done_columns, offsets, row_sums, column_sums, labels, first, last,
):  # fmt: skip
    """The same for windows whose classes lie one after the other, eight pixels as one vector."""
    flat, moves, width = ring.reshape(-1), len(offsets) > 0, ring.shape[1] // classes
    one, nothing, winners = spread(np.float32(1)), spread(np.float32(0)), np.zeros(WIDTH, np.float32)
    for y in order[first:last]:
        at, source = (top + y) % len(ring) * ring.shape[1] + left, y * step
        done = done_columns if y < done_rows else 0
        old = len(columns) if y < old_rows else min(max(old_columns, 0), len(columns))
        x = 0
        while x < done:
            vector = x + WIDTH <= done and (x + WIDTH <= old or x >= old)
            if vector:
                factor = load(columns, np.uint64(x)) * spread(rows[y])
                far = load(column_sums, np.uint64(x)) * spread(row_sums[y])
                best, label, name = nothing, nothing, nothing
                for k in range(classes):
                    value = load(scores, np.uint64(source + k * part + x)) * factor
                    if x < old:
                        value = value + load(flat, np.uint64(at + k * width + x))
                    if moves:
                        value = multiply_add(spread(offsets[k]), far, value)
                    if k == 0:
                        best = value
                    else:
                        name = name + one
                        label, best = choose(value, best, name, label), larger(value, best)
                store(winners, np.uint64(0), label)
                for i in range(WIDTH):
                    labels[y, x + i] = winners[i]
                x += WIDTH
            else:
                most, index = np.float32(0), 0
                for k in range(classes):
                    number = scores[source + k * part + x] * (rows[y] * columns[x])
                    if x < old:
                        number += flat[at + k * width + x]
                    if moves:
                        number += offsets[k] * (row_sums[y] * column_sums[x])
                    if k == 0 or number > most:
                        most, index = number, k
                labels[y, x] = index
                x += 1
        middle = max(done, old)
        for k in range(classes):
            here, there = source + k * part, at + k * width
            _take(scores, here + done, columns, done, rows[y], flat, there + done, middle - done, False)
            _take(scores, here + middle, columns, middle, rows[y], flat, there + middle, len(columns) - middle, True)


@njit(nogil=True, cache=True, parallel=OPENMP)
def _all_by_pixel(  # type: ignore[no-untyped-def]
    scores, order, rows, columns, step, repeated, classes, ring, top, left, old_rows, old_columns, done_rows,
    done_columns, offsets, row_sums, column_sums, labels, bounds,
):  # fmt: skip
    for part in prange(len(bounds) - 1):
        _by_pixel(
            scores, order, rows, columns, step, repeated, classes, ring, top, left, old_rows, old_columns, done_rows,
            done_columns, offsets, row_sums, column_sums, labels, bounds[part], bounds[part + 1],
        )  # fmt: skip


@njit(nogil=True, cache=True, parallel=OPENMP)
def _all_by_plane(  # type: ignore[no-untyped-def]
    scores, order, rows, columns, step, plane, classes, ring, top, left, old_rows, old_columns, done_rows,
    done_columns, offsets, row_sums, column_sums, labels, bounds,
):  # fmt: skip
    for part in prange(len(bounds) - 1):
        _by_plane(
            scores, order, rows, columns, step, plane, classes, ring, top, left, old_rows, old_columns, done_rows,
            done_columns, offsets, row_sums, column_sums, labels, bounds[part], bounds[part + 1],
        )  # fmt: skip


def gaussian_window(height: int, width: int) -> np.ndarray:
    """Importance of a window's pixels, (height, width) float32 in (0, 1]: the product of `gaussian` per axis."""
    return np.outer(gaussian(height), gaussian(width))
