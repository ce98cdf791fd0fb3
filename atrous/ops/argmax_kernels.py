"""The kernels of `argmax.py`: labels, and their probabilities, of some rows of one picture."""

import numpy as np
from numba import njit, prange

from atrous.ops.openmp import OPENMP
from atrous.ops.vectors import (
    WIDTH,
    choose,
    exp,
    larger,
    load,
    multiply_add,
    spread,
    store,
    store_bytes,
    winner,
)
from atrous.ops.vectors import (
    total as sum_of,
)


@njit(nogil=True, cache=True, fastmath={"contract"})
def _by_phase(  # type: ignore[no-untyped-def]
    logits, row0, row1, rweight, offsets, weights, places, tile, left, labels, confidence, first, last
):
    """Rows first..last - 1. A band's row is `span` long: the cell before the tile, the tile, and the one behind."""
    classes, _, source = logits.shape
    width, groups, scale = labels.shape[1], len(offsets) // 4, len(places)
    span = tile + 2 * WIDTH
    band, words = np.zeros(classes * span, np.float32), np.zeros(groups * span, np.uint32)
    many = classes > 256
    winners = np.zeros(4 * groups * span if many else 0, np.float32)
    sure = np.zeros(4 * groups * span if confidence.size else 0, np.float32)
    bytes_of = words.view(np.uint8)
    one, nothing, step = spread(np.float32(1)), spread(np.float32(0)), np.uint64(span)
    whole = left == 0 and scale % 4 == 0 and width == source * scale and not many
    for start in range(0, source, tile):
        cells = min(tile, source - start)
        for y in range(first, last):
            _lerp_rows(logits[:, row0[y]], logits[:, row1[y]], rweight[y], start, cells, span, band)
            for group in range(groups):
                o, p = offsets[4 * group], offsets[4 * group + 2]
                t0, t1 = spread(weights[4 * group]), spread(weights[4 * group + 1])
                t2, t3 = spread(weights[4 * group + 2]), spread(weights[4 * group + 3])
                for i in range(0, cells, WIDTH):
                    at = np.uint64(i)
                    a, b = load(band, at + o), load(band, at + p)
                    d, e = load(band, at + o + np.uint64(1)) - a, load(band, at + p + np.uint64(1)) - b
                    m0, m1 = multiply_add(t0, d, a), multiply_add(t1, d, a)
                    m2, m3 = multiply_add(t2, e, b), multiply_add(t3, e, b)
                    w0, w1, w2, w3, k = nothing, nothing, nothing, nothing, nothing
                    for _ in range(1, classes):
                        at += step
                        k = k + one
                        a = load(band, at + o)
                        d = load(band, at + o + np.uint64(1)) - a
                        x = multiply_add(t0, d, a)
                        w0, m0 = choose(x, m0, k, w0), larger(x, m0)
                        x = multiply_add(t1, d, a)
                        w1, m1 = choose(x, m1, k, w1), larger(x, m1)
                        b = load(band, at + p)
                        e = load(band, at + p + np.uint64(1)) - b
                        x = multiply_add(t2, e, b)
                        w2, m2 = choose(x, m2, k, w2), larger(x, m2)
                        x = multiply_add(t3, e, b)
                        w3, m3 = choose(x, m3, k, w3), larger(x, m3)
                    slot = np.uint64(group * span + i)
                    if many:
                        slot = np.uint64(4 * group * span + i)
                        store(winners, slot, w0)
                        store(winners, slot + step, w1)
                        store(winners, slot + step + step, w2)
                        store(winners, slot + step + step + step, w3)
                    else:
                        store_bytes(words, slot, w0, w1, w2, w3)
                    if confidence.size:
                        at, s0, s1, s2, s3 = np.uint64(i), nothing, nothing, nothing, nothing
                        for _ in range(classes):
                            a, b = load(band, at + o), load(band, at + p)
                            d, e = load(band, at + o + np.uint64(1)) - a, load(band, at + p + np.uint64(1)) - b
                            s0, s1 = s0 + exp(multiply_add(t0, d, a) - m0), s1 + exp(multiply_add(t1, d, a) - m1)
                            s2, s3 = s2 + exp(multiply_add(t2, e, b) - m2), s3 + exp(multiply_add(t3, e, b) - m3)
                            at += step
                        slot = np.uint64(4 * group * span + i)
                        store(sure, slot, s0)
                        store(sure, slot + step, s1)
                        store(sure, slot + step + step, s2)
                        store(sure, slot + step + step + step, s3)
            if whole:
                row = labels[y].view(np.uint32)
                for group in range(groups):
                    for i in range(cells):
                        row[(start + i) * groups + group] = words[group * span + i]
            for phase in range(scale):
                slot = places[phase]
                for i in range(cells):
                    x = (start + i) * scale + phase - left
                    if 0 <= x < width:
                        if many:
                            labels[y, x] = winners[slot * span + i]
                        elif not whole:
                            labels[y, x] = bytes_of[4 * (slot // 4 * span + i) + slot % 4]
                        if confidence.size:
                            confidence[y, x] = np.float32(1) / sure[slot * span + i]


@njit(nogil=True, cache=True, fastmath={"contract"})
def _lerp_rows(upper, lower, weight, start, cells, span, band):  # type: ignore[no-untyped-def]
    """band[k, 1 + i] = cell start + i of the lerped row of class k, i = -1..cells; the image's edge is repeated."""
    classes, source = upper.shape
    begin, end, t = max(start - 1, 0), min(start + cells + 1, source), spread(weight)
    for k in range(classes):
        a, b, to = upper[k], lower[k], k * span + 1 - start
        i = begin
        while i + WIDTH <= end:
            x = load(a, np.uint64(i))
            store(band, np.uint64(to + i), multiply_add(t, load(b, np.uint64(i)) - x, x))
            i += WIDTH
        while i < end:
            band[to + i] = a[i] + weight * (b[i] - a[i])
            i += 1
        if begin == start:
            band[to + begin - 1] = band[to + begin]
        if end == source:
            band[to + end] = band[to + end - 1]


@njit(nogil=True, cache=True, fastmath={"contract"})
def _by_pixel(logits, row0, row1, rweight, col0, col1, cweight, labels, confidence, first, last):  # type: ignore[no-untyped-def]
    """Rows first..last - 1 from logits (h, w, classes padded to whole vectors)."""
    _, source, classes = logits.shape
    band, flat = np.empty(source * classes, np.float32), logits.reshape(-1)
    eight, start = spread(np.float32(WIDTH)), np.arange(WIDTH).astype(np.float32)
    for y in range(first, last):
        a, b, t = row0[y] * source * classes, row1[y] * source * classes, spread(rweight[y])
        for i in range(0, source * classes, WIDTH):
            x = load(flat, np.uint64(a + i))
            store(band, np.uint64(i), multiply_add(t, load(flat, np.uint64(b + i)) - x, x))
        for column in range(labels.shape[1]):
            a, b, t = col0[column] * classes, col1[column] * classes, spread(cweight[column])
            x = load(band, np.uint64(a))
            best = multiply_add(t, load(band, np.uint64(b)) - x, x)
            index = load(start, np.uint64(0))
            chosen = index
            for k in range(WIDTH, classes, WIDTH):
                x = load(band, np.uint64(a + k))
                x = multiply_add(t, load(band, np.uint64(b + k)) - x, x)
                index = index + eight
                chosen, best = choose(x, best, index, chosen), larger(x, best)
            most, label = winner(best, chosen)
            labels[y, column] = label
            if confidence.size:
                lanes, total = spread(most), spread(np.float32(0))
                for k in range(0, classes, WIDTH):
                    x = load(band, np.uint64(a + k))
                    total = total + exp(multiply_add(t, load(band, np.uint64(b + k)) - x, x) - lanes)
                confidence[y, column] = np.float32(1) / sum_of(total)


@njit(nogil=True, cache=True, parallel=OPENMP)
def _all_by_phase(logits, row0, row1, rweight, offsets, weights, places, tile, left, labels, confidence, bounds):  # type: ignore[no-untyped-def]
    for part in prange(len(bounds) - 1):
        a, b = bounds[part], bounds[part + 1]
        _by_phase(logits, row0, row1, rweight, offsets, weights, places, tile, left, labels, confidence, a, b)


@njit(nogil=True, cache=True, parallel=OPENMP)
def _all_by_pixel(logits, row0, row1, rweight, col0, col1, cweight, labels, confidence, bounds):  # type: ignore[no-untyped-def]
    for part in prange(len(bounds) - 1):
        a, b = bounds[part], bounds[part + 1]
        _by_pixel(logits, row0, row1, rweight, col0, col1, cweight, labels, confidence, a, b)
