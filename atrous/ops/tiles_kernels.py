"""The kernels of `tiles.py`: scores of a window into the ring, labels out of it.

A window meets three kinds of pixels, on each row as runs in this order, of which any may be empty:

    done    no later window comes here: sum up, write the label, leave the ring alone
    old     earlier windows were here: add to the sum in the ring
    new     this window is the first: write over what the ring holds of rows long finished

So no sum is ever cleared, and one that is done is neither stored nor read again.

In bounds, all of it: `tiles._bands` has checked that scores are (K, h, w) of one K and lie within
the image, and `_Canvas.add` makes `scores` as long as its last number. Runs end at w at the latest,
and a row's runs in the ring at left + w <= W: windows are no farther apart than they are long, so
that `done` <= w too. `labels` has the done rows and begins at `left`. A vector of pixels ends with
its run, one of classes with the last class.
"""

from typing import NamedTuple

import numpy as np

from atrous.ops.compiling import njit, prange
from atrous.ops.openmp import OPENMP
from atrous.ops.vectors import WIDTH, choose, larger, load, multiply_add, spread, store, winner


class Window(NamedTuple):
    """A window's scores and what they are multiplied by.

    scores: flat. row_step: numbers from one row to the next. class_step: numbers from one class to
    the next, read by `by_plane` alone. rows, columns: the window's weights, one factor for each row
    and column. repeated: `columns` with each number K times, as a pixel's classes lie side by side.
    order: the order in which rows are handed out to threads.
    """

    scores: np.ndarray
    row_step: int
    class_step: int
    rows: np.ndarray
    columns: np.ndarray
    repeated: np.ndarray
    order: np.ndarray


class Place(NamedTuple):
    """Where a window lies in the image, and which of its rows and columns are old or done.

    Counted from the window's own corner. Windows above have reached the first `old_rows` rows,
    the window to the left the first `old_columns` columns; either is enough for a sum in the ring.
    Pixels in the first `done_rows` rows and also in the first `done_columns` columns are done.
    """

    top: int
    left: int
    old_rows: int
    old_columns: int
    done_rows: int
    done_columns: int


class Shift(NamedTuple):
    """What is added to the sums before the largest one is sought.

    offsets (K,), or empty: of mean scores. Sums are means times the sum of the weights, and so is
    their shift: offset * rows[y] * columns[x], with the sums of all windows' factors.
    """

    offsets: np.ndarray
    rows: np.ndarray
    columns: np.ndarray


@njit(nogil=True, cache=True, parallel=OPENMP)
def all_by_pixel(window, place, shift, classes, ring, labels, bounds):  # type: ignore[no-untyped-def]
    """`by_pixel` of all rows, one thread for each part of `window.order`."""
    for part in prange(len(bounds) - 1):
        by_pixel(window, place, shift, classes, ring, labels, bounds[part], bounds[part + 1])


@njit(nogil=True, cache=True, parallel=OPENMP)
def all_by_plane(window, place, shift, classes, ring, labels, bounds):  # type: ignore[no-untyped-def]
    """`by_plane` of all rows, one thread for each part of `window.order`."""
    for part in prange(len(bounds) - 1):
        by_plane(window, place, shift, classes, ring, labels, bounds[part], bounds[part + 1])


@njit(nogil=True, cache=True, fastmath={"contract"})
def by_pixel(window, place, shift, classes, ring, labels, first, last):  # type: ignore[no-untyped-def]
    """Rows order[first:last] of a window whose pixels have their classes side by side.

    Eight classes are one vector. The last vector begins earlier where K is not a multiple of eight:
    it meets some classes twice, which changes no maximum, and needs no padding of the scores.
    """
    scores, rows, columns = window.scores, window.rows, window.columns
    flat, moves = ring.reshape(-1), len(shift.offsets) > 0
    names = np.arange(max(classes, WIDTH)).astype(np.float32)
    first_names = load(names, np.uint64(0))
    for y in window.order[first:last]:
        at, source = (place.top + y) % len(ring) * ring.shape[1] + place.left * classes, y * window.row_step
        # Windows above reached a row over its whole width, the one to the left its first columns.
        done = place.done_columns if y < place.done_rows else 0
        old = len(columns) if y < place.old_rows else max(place.old_columns, 0)
        for x in range(done):
            weight, there, here = rows[y] * columns[x], at + x * classes, source + x * classes
            total = shift.rows[y] * shift.columns[x]
            if classes >= WIDTH:
                eight, far, index = spread(weight), spread(total), first_names
                best = load(scores, np.uint64(here)) * eight
                # Both tests have one outcome for a whole run of pixels, which a processor predicts.
                if x < old:
                    best = best + load(flat, np.uint64(there))
                if moves:
                    best = multiply_add(load(shift.offsets, np.uint64(0)), far, best)
                for k in range(WIDTH, classes, WIDTH):
                    begin = np.uint64(min(k, classes - WIDTH))
                    value = load(scores, np.uint64(here) + begin) * eight
                    if x < old:
                        value = value + load(flat, np.uint64(there) + begin)
                    if moves:
                        value = multiply_add(load(shift.offsets, begin), far, value)
                    index, best = choose(value, best, load(names, begin), index), larger(value, best)
                labels[y, x] = winner(best, index)[1]
            else:
                # Too few classes for a vector: a load of eight would read the next pixel's.
                most, label = np.float32(0), 0
                for k in range(classes):
                    number = scores[here + k] * weight
                    if x < old:
                        number += flat[there + k]
                    if moves:
                        number += shift.offsets[k] * total
                    if k == 0 or number > most:
                        most, label = number, k
                labels[y, x] = label
        # The rest of the row goes to the ring, all classes of all pixels as one run of numbers.
        middle = max(done, min(old, len(columns)))
        a, b, c = done * classes, middle * classes, len(columns) * classes
        _take(scores, source + a, window.repeated, a, rows[y], flat, at + a, b - a, False)
        _take(scores, source + b, window.repeated, b, rows[y], flat, at + b, c - b, True)


@njit(nogil=True, cache=True, fastmath={"contract"})
def by_plane(window, place, shift, classes, ring, labels, first, last):  # type: ignore[no-untyped-def]
    """The same for windows whose classes lie one after the other: eight pixels are one vector."""
    scores, rows, columns, part = window.scores, window.rows, window.columns, window.class_step
    flat, moves, width = ring.reshape(-1), len(shift.offsets) > 0, ring.shape[1] // classes
    one, nothing, winners = spread(np.float32(1)), spread(np.float32(0)), np.zeros(WIDTH, np.float32)
    for y in window.order[first:last]:
        at, source = (place.top + y) % len(ring) * ring.shape[1] + place.left, y * window.row_step
        done = place.done_columns if y < place.done_rows else 0
        old = len(columns) if y < place.old_rows else min(max(place.old_columns, 0), len(columns))
        x = 0
        while x < done:
            # Eight pixels together, unless they reach past the run or are partly old.
            vector = x + WIDTH <= done and (x + WIDTH <= old or x >= old)
            if vector:
                factor = load(columns, np.uint64(x)) * spread(rows[y])
                far = load(shift.columns, np.uint64(x)) * spread(shift.rows[y])
                best, label, name = nothing, nothing, nothing
                for k in range(classes):
                    value = load(scores, np.uint64(source + k * part + x)) * factor
                    if x < old:
                        value = value + load(flat, np.uint64(at + k * width + x))
                    if moves:
                        value = multiply_add(spread(shift.offsets[k]), far, value)
                    if k == 0:
                        best = value
                    else:
                        name = name + one
                        label, best = choose(value, best, name, label), larger(value, best)
                # Labels are counted as float32, and kept as bytes or words.
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
                        number += shift.offsets[k] * (shift.rows[y] * shift.columns[x])
                    if k == 0 or number > most:
                        most, index = number, k
                labels[y, x] = index
                x += 1
        # The rest of the row goes to the ring, where each class has a run of its own.
        middle = max(done, old)
        for k in range(classes):
            here, there = source + k * part, at + k * width
            _take(scores, here + done, columns, done, rows[y], flat, there + done, middle - done, False)
            _take(scores, here + middle, columns, middle, rows[y], flat, there + middle, len(columns) - middle, True)


@njit(nogil=True, cache=True, fastmath={"contract"})
def _take(scores, source, factors, begin, weight, ring, target, length, fresh):  # type: ignore[no-untyped-def]
    """ring[target + i] = scores[source + i] weight factors[begin + i], i < length.

    The ring's own numbers are added, unless `fresh`: these are of rows that have left the ring.
    """
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
