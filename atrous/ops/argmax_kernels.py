"""The kernels of `argmax.py`: labels, and their probabilities, of some rows of one picture.

Both lerp two rows of logits into a *band* first, one row that all classes share. Then they differ:

    by_phase   the width is a whole multiple of the logits': eight cells are one vector
    by_pixel   any other width, or aligned corners: eight classes are one vector

Labels are counted as float32 in the vectors: one comparison then selects value and name, and
float32 tells whole numbers apart up to 2^24.

Nothing here depends on values for an index, but rows and columns, and `argmax._taps` keeps these
within 0..h - 1 and 0..w - 1. Labels are classes because no logit is nan and none is below the
padding: `argmax.finite` has seen to it.
"""

from typing import NamedTuple

import numpy as np

from atrous.ops.compiling import njit, prange
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

SLOTS = 4
"""Phases that are worked on together: four labels fill one uint32, and 16 registers hold them."""


class Taps(NamedTuple):
    """Per output position along an axis: it lies `weight` of the way from index `low` to `high`."""

    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray


class Phases(NamedTuple):
    """What slots compute and which slot a phase is read from; `argmax._phases` makes them.

    starts: per slot 0 or 1, does it lerp from the cell before its own on, or from its own.
    weights: per slot, how far towards the next cell. places: per phase, its slot.
    """

    starts: np.ndarray
    weights: np.ndarray
    places: np.ndarray


@njit(nogil=True, cache=True, parallel=OPENMP)
def all_by_phase(logits, rows, phases, tile, left, labels, confidence, bounds):  # type: ignore[no-untyped-def]
    """`by_phase` of all rows, one thread for each of the parts bounds[i]..bounds[i + 1] - 1."""
    for part in prange(len(bounds) - 1):
        by_phase(logits, rows, phases, tile, left, labels, confidence, bounds[part], bounds[part + 1])


@njit(nogil=True, cache=True, parallel=OPENMP)
def all_by_pixel(logits, rows, columns, labels, confidence, bounds):  # type: ignore[no-untyped-def]
    """`by_pixel` of all rows, one thread for each of the parts bounds[i]..bounds[i + 1] - 1."""
    for part in prange(len(bounds) - 1):
        by_pixel(logits, rows, columns, labels, confidence, bounds[part], bounds[part + 1])


@njit(nogil=True, cache=True, fastmath={"contract"})
def by_phase(logits, rows, phases, tile, left, labels, confidence, first, last):  # type: ignore[no-untyped-def]
    """Rows first..last - 1 of the labels, as wide as the logits (K, h, w) times a whole scale.

    One row at scale 4. A pixel's phase is its place within its cell, x mod 4:

        cells       |    cell i-1   |     cell i    |    cell i+1   |
        centres             o               o               o
        pixels      | 0   1   2   3 | 0   1   2   3 | 0   1   2   3 |
        weights                     |5/8 7/8|1/8 3/8|
                                     i-1..i  i..i+1     the two cells that are lerped

    All pixels of one phase have the same weight. So eight cells that follow one another, taken at
    one phase, are one vector: two loads at neighbouring places and one multiply-add, no gather.
    The classes are walked once, with four phases (slots) at a time kept in registers.
    """
    # In bounds: cells <= tile, a multiple of eight, or tile reaches over the last cell by less. So vectors end at
    # cell tile + 1 of a band's row of tile + 16, and each slot has such a row in `words`, `names` and `sums`.
    # `whole`: a row of labels is 4 groups source bytes.
    classes, _, source = logits.shape
    width, groups, scale = labels.shape[1], len(phases.starts) // SLOTS, len(phases.places)
    # A vector may reach past the tile's end, and lerping needs a cell on either side.
    span = tile + 2 * WIDTH
    band = np.zeros(classes * span, np.float32)
    many = classes > 256  # a label needs more than the byte that `words` has for it
    words = np.zeros(groups * span, np.uint32)
    names = np.zeros(SLOTS * groups * span if many else 0, np.float32)
    sums = np.zeros(SLOTS * groups * span if confidence.size else 0, np.float32)
    # Four phases in order and no crop: a word is four neighbouring pixels as they lie in memory.
    whole = left == 0 and scale % SLOTS == 0 and width == source * scale and not many
    # Tiles are the outer loop: the band of one tile, all classes, has to stay in the second cache.
    for start in range(0, source, tile):
        cells = min(tile, source - start)
        for y in range(first, last):
            upper, lower = logits[:, rows.low[y]], logits[:, rows.high[y]]
            _lerp_rows(upper, lower, rows.weight[y], start, cells, span, band)
            for group in range(groups):
                _label_group(band, span, classes, cells, phases, group, words, names, sums)
            if whole:
                row = labels[y].view(np.uint32)
                for group in range(groups):
                    for i in range(cells):
                        row[(start + i) * groups + group] = words[group * span + i]
            else:
                _place_labels(words, names, span, start, cells, left, phases.places, labels[y])
            if confidence.size:
                _place_confidence(sums, span, start, cells, left, phases.places, confidence[y])


@njit(nogil=True, cache=True, fastmath={"contract"})
def _lerp_rows(upper, lower, weight, start, cells, span, band):  # type: ignore[no-untyped-def]
    """band[k, 1 + i] = cell start + i of the lerped row of class k, i = -1..cells.

    The picture's first and last cell are repeated outwards: pixels beyond the outermost centres
    then need no case of their own.
    """
    # In bounds: cells begin - 1..end of the logits go to places 0..cells + 1 of the row; a vector ends before `end`.
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
def _label_group(band, span, classes, cells, phases, group, words, names, sums):  # type: ignore[no-untyped-def]
    """The labels of a group's four slots at all cells of a tile, and their sums of e^(x - max).

    Labels go to `names` where it has room (more than 256 classes), else to `words`, a byte each.
    """
    one, nothing, step = spread(np.float32(1)), spread(np.float32(0)), np.uint64(span)
    slot = SLOTS * group
    # Slots come in pairs that start at the same cell: four slots read two places, not four.
    near, far = phases.starts[slot], phases.starts[slot + 2]
    weights = (
        spread(phases.weights[slot]),
        spread(phases.weights[slot + 1]),
        spread(phases.weights[slot + 2]),
        spread(phases.weights[slot + 3]),
    )
    for i in range(0, cells, WIDTH):
        at, name = np.uint64(i), nothing
        best0, best1, best2, best3 = _four(band, at, near, far, weights)
        label0, label1, label2, label3 = nothing, nothing, nothing, nothing
        for _ in range(1, classes):
            at += step
            name = name + one
            x0, x1, x2, x3 = _four(band, at, near, far, weights)
            # `choose` asks for more, not as much: of equal logits the lowest class stays.
            label0, best0 = choose(x0, best0, name, label0), larger(x0, best0)
            label1, best1 = choose(x1, best1, name, label1), larger(x1, best1)
            label2, best2 = choose(x2, best2, name, label2), larger(x2, best2)
            label3, best3 = choose(x3, best3, name, label3), larger(x3, best3)
        if len(names):
            _store_four(names, np.uint64(slot * span + i), step, label0, label1, label2, label3)
        else:
            store_bytes(words, np.uint64(group * span + i), label0, label1, label2, label3)
        if len(sums):
            # The maximum must be known before the exponentials, or they overflow: a second walk.
            at, sum0, sum1, sum2, sum3 = np.uint64(i), nothing, nothing, nothing, nothing
            for _ in range(classes):
                x0, x1, x2, x3 = _four(band, at, near, far, weights)
                sum0, sum1 = sum0 + exp(x0 - best0), sum1 + exp(x1 - best1)
                sum2, sum3 = sum2 + exp(x2 - best2), sum3 + exp(x3 - best3)
                at += step
            _store_four(sums, np.uint64(slot * span + i), step, sum0, sum1, sum2, sum3)


@njit(nogil=True, cache=True, fastmath={"contract"})
def _four(band, at, near, far, weights):  # type: ignore[no-untyped-def]
    """Eight cells' logits in each of four slots, two that start at `near` and two at `far`."""
    following = np.uint64(1)
    a, b = load(band, at + near), load(band, at + far)
    rise, climb = load(band, at + near + following) - a, load(band, at + far + following) - b
    return (
        multiply_add(weights[0], rise, a),
        multiply_add(weights[1], rise, a),
        multiply_add(weights[2], climb, b),
        multiply_add(weights[3], climb, b),
    )


@njit(nogil=True, cache=True, fastmath={"contract"})
def _store_four(array, at, step, a, b, c, d):  # type: ignore[no-untyped-def]
    """One vector for each of four slots, whose rows lie `step` apart."""
    store(array, at, a)
    store(array, at + step, b)
    store(array, at + step + step, c)
    store(array, at + step + step + step, d)


@njit(nogil=True, cache=True)
def _place_labels(words, names, span, start, cells, left, places, row):  # type: ignore[no-untyped-def]
    """Scatter a tile's labels into a row of the picture: phase by phase, `scale` pixels apart.

    A crop may begin and end anywhere in the row, so that each x is tested.
    """
    scale, labels = len(places), words.view(np.uint8)
    for phase in range(scale):
        slot = places[phase]
        for i in range(cells):
            x = (start + i) * scale + phase - left
            if 0 <= x < len(row):
                if len(names):
                    row[x] = names[slot * span + i]
                else:  # byte `slot % 4` of a word, on machines that put the lowest byte first
                    row[x] = labels[SLOTS * (slot // SLOTS * span + i) + slot % SLOTS]


@njit(nogil=True, cache=True)
def _place_confidence(sums, span, start, cells, left, places, row):  # type: ignore[no-untyped-def]
    """The same of probabilities: the best class's share of the softmax is 1 / sum e^(x - max)."""
    scale = len(places)
    for phase in range(scale):
        slot = places[phase]
        for i in range(cells):
            x = (start + i) * scale + phase - left
            if 0 <= x < len(row):
                row[x] = np.float32(1) / sums[slot * span + i]


@njit(nogil=True, cache=True, fastmath={"contract"})
def by_pixel(logits, rows, columns, labels, confidence, first, last):  # type: ignore[no-untyped-def]
    """Rows first..last - 1 of the labels, from logits (h, w, K), K padded to whole vectors.

    Neighbouring pixels have weights of their own here, so that the vector runs over classes. The
    padding is the least float32: it never wins, and its e^(x - max) is 0.
    """
    # In bounds: K is padded, so that a pixel is whole vectors, and a row of pixels too.
    _, source, classes = logits.shape
    band, flat = np.empty(source * classes, np.float32), logits.reshape(-1)
    eight, first_names = spread(np.float32(WIDTH)), np.arange(WIDTH).astype(np.float32)
    for y in range(first, last):
        # All pixels of a row share its two rows of logits: lerp these once, not once a pixel.
        a, b, t = rows.low[y] * source * classes, rows.high[y] * source * classes, spread(rows.weight[y])
        for i in range(0, source * classes, WIDTH):
            x = load(flat, np.uint64(a + i))
            store(band, np.uint64(i), multiply_add(t, load(flat, np.uint64(b + i)) - x, x))
        for column in range(labels.shape[1]):
            a, b, t = columns.low[column] * classes, columns.high[column] * classes, spread(columns.weight[column])
            x = load(band, np.uint64(a))
            best = multiply_add(t, load(band, np.uint64(b)) - x, x)
            names = load(first_names, np.uint64(0))
            chosen = names
            for k in range(WIDTH, classes, WIDTH):
                x = load(band, np.uint64(a + k))
                x = multiply_add(t, load(band, np.uint64(b + k)) - x, x)
                names = names + eight
                chosen, best = choose(x, best, names, chosen), larger(x, best)
            # Eight lanes hold the best of every eighth class: only now are they compared.
            most, label = winner(best, chosen)
            labels[y, column] = label
            if confidence.size:
                lanes, total = spread(most), spread(np.float32(0))
                for k in range(0, classes, WIDTH):
                    x = load(band, np.uint64(a + k))
                    total = total + exp(multiply_add(t, load(band, np.uint64(b + k)) - x, x) - lanes)
                confidence[y, column] = np.float32(1) / sum_of(total)
