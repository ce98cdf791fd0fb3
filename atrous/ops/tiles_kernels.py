"""The kernels of `tiles.py`: one window's scores into the ring, labels of its finished pixels out of it."""

import numpy as np
from numba import njit, prange

from atrous.ops.openmp import OPENMP
from atrous.ops.vectors import WIDTH, choose, larger, load, multiply_add, spread, store, winner


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
