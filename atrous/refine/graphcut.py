"""Graph cuts on the pixel grid: they lower the energy of `atrous.refine.potts` move by move.

With two classes the cut is the optimum (Greig et al. 1989). With more, labels move until no move
helps (Boykov, Veksler & Zabih, PAMI 2001). In an *expansion* every pixel may take one label alpha,
and the end is within twice the optimum. In a *swap* the pixels of alpha and beta may exchange them;
it has no such bound.

Two things save work and change nothing of the result. A pixel whose label is better than alpha by
more than all its neighbours can pull is not in the graph. And a move is looked for only where a
label has changed since the same move was last made, and as far as pixels of the graph are connected
from there.
"""

from itertools import combinations
from typing import NamedTuple, Unpack

import numpy as np

from atrous.errors import DataError, nearest
from atrous.ops.compiling import njit
from atrous.ops.maxflow import ARC, NODE, SOURCE, cut
from atrous.refine.iterated_modes import message_rounds
from atrous.refine.potts import PottsOptions, Whole, potts, whole

METHODS = ("expansion", "swap")
MOST_ARCS = 2**31 - 1
"""Arcs are numbered in int32."""


class Grid(NamedTuple):
    """The energy, for kernels: see `Whole`."""

    unary: np.ndarray
    weights: np.ndarray
    steps: np.ndarray
    degree: np.ndarray


class State(NamedTuple):
    """What moves change, (P,) int32 each.

    labels; own: each place's unary of its label; changed_at: the number of the move that last
    changed a pixel or a neighbour of it. place, queue: of one move's candidates, the queue's
    entries and for each pixel its place in the queue, -1 if it is none.
    """

    labels: np.ndarray
    own: np.ndarray
    changed_at: np.ndarray
    place: np.ndarray
    queue: np.ndarray


def graph_cut(
    probabilities: np.ndarray,
    image: np.ndarray | None = None,
    *,
    method: str = "expansion",
    rounds: int = 8,
    cycles: int | None = None,
    **options: Unpack[PottsOptions],
) -> np.ndarray:
    """Labels of low Potts energy; with two classes, of the lowest.

    Args:
        probabilities: (K, H, W) or (K, D, H, W), 0..1.
        image: (H, W[, C]) or (D, H, W[, C]), any type and range; None: borders cost the same
            everywhere.
        method: "expansion" or "swap".
        rounds: of TRW-S, from whose labels the moves start: they end lower, in no more time in all.
            0 starts from the greatest probability, as is usual, in less memory (see `trws`).
        cycles: times through all labels, or pairs of labels, at most; None: until no move lowers
            the energy.
        options: smoothness=1.0 (what a border between equal-looking neighbours costs, in nats),
            neighbours=None (4 or 8 of pixels, 6 or 26 of voxels; default 8, 6), spacing=None
            (distance between pixels along each axis), beta=None (squared contrast in the image's
            units; default the image's mean), clip=1e-5 (the least probability); see `potts`.

    Returns:
        (H, W) or (D, H, W) uint8, uint16 where there are more than 256 classes. A permutation of
        the classes permutes the labels, and changes nothing else.

    Raises:
        DataError: an array or option does not fit, or pixels times neighbours are 2^31 or more.

    Example:
        >>> import numpy as np
        >>> p = np.array([0.9, 0.4, 0.8])
        >>> graph_cut(np.stack([p, 1 - p])[:, None])
        array([[0, 0, 0]], dtype=uint8)
    """
    if method not in METHODS:
        raise DataError(f"method is {method!r}; {nearest(method, METHODS)}")
    if rounds < 0:
        raise DataError(f"rounds is {rounds}; expected 0 or more")
    if cycles is not None and cycles < 1:
        raise DataError(f"cycles is {cycles}; expected at least 1, or None for as many as it takes")
    model = potts(probabilities, image, **options)
    arcs = model.weights.size * 2
    if arcs > MOST_ARCS:
        raise DataError(f"a graph of {arcs:,} arcs is too large; take fewer `neighbours`, or cut the image into parts")
    grid = whole(model)
    labels = grid.first()
    if rounds and len(model.unary) > 2:
        labels = message_rounds(model, grid, rounds, gap=1e-6)[0]
    return grid.labels(_moved(labels, grid, method, cycles))


def _moved(labels: np.ndarray, whole_: Whole, method: str, cycles: int | None) -> np.ndarray:
    """Labels (P,) int32 after all moves, from the given ones, which are changed."""
    # By total cost, so that the result does not depend on how classes are numbered.
    order = np.argsort(whole_.unary.sum(1, dtype=np.int64), kind="stable")
    moves = [(int(a), -1) for a in order]
    if method == "swap" or len(order) == 2:
        moves = [(int(a), int(b)) for a, b in combinations(order, 2)]
    grid = Grid(whole_.unary, whole_.weights, whole_.steps, whole_.degree)
    own = np.take_along_axis(grid.unary, np.maximum(labels, 0)[None].astype(np.int64), 0)[0]
    changed_at, place = np.zeros(len(labels), np.int32), np.full(len(labels), -1, np.int32)
    state = State(labels, own, changed_at, place, np.empty(len(labels), np.int32))
    made_at = dict.fromkeys(moves, -1)
    now, idle, made = 0, 0, 0
    most = len(moves) * cycles if cycles else None
    while idle < len(moves) and made != most:
        move = moves[made % len(moves)]
        now, made = now + 1, made + 1
        count = _candidates(*move, grid, state, made_at[move])
        changed = _move(*move, grid, state, count, now) if count else 0
        made_at[move] = now
        idle = 0 if changed else idle + 1
    return labels


@njit(nogil=True, cache=True)
def _other(target, rival, label):  # type: ignore[no-untyped-def]
    """The label that a pixel may take in a move, -1 if none.

    The move is the expansion of `target` if rival is -1, else the swap of both.
    """
    if rival < 0:
        return -1 if label == target else target
    if label == target:
        return rival
    return target if label == rival else -1


@njit(nogil=True, cache=True)
def _candidates(target, rival, grid, state, made_at):  # type: ignore[no-untyped-def]
    """Fill the queue with the pixels of the move's graph, and return how many they are.

    A pixel whose label is better than the other by more than `degree`, all that its neighbours can
    pull, keeps it in every minimum cut. It is not in the graph, and pulls as a constant.
    """
    # In bounds: every candidate is a pixel, see `Whole`: on the border unary and degree are 0, which is no candidate.
    # `place` lets each in once, so that the queue has room.
    labels, own, changed_at, place, queue = state
    count = 0
    for p in range(len(labels)):
        if changed_at[p] > made_at:
            other = _other(target, rival, labels[p])
            if other >= 0 and grid.unary[other, p] - own[p] < grid.degree[p]:
                place[p], queue[count] = count, p
                count += 1
    if made_at < 0:  # the move's first time: every pixel was looked at
        return count
    # Elsewhere the last cut still holds, unless a candidate reaches there through others: breadth
    # first, the queue is the list of what was found.
    done = 0
    while done < count:
        for step in grid.steps:
            q = queue[done] + step
            if place[q] < 0:
                other = _other(target, rival, labels[q])
                if other >= 0 and grid.unary[other, q] - own[q] < grid.degree[q]:
                    place[q], queue[count] = count, q
                    count += 1
        done += 1
    return count


@njit(nogil=True, cache=True)
def _move(target, rival, grid, state, count, now):  # type: ignore[no-untyped-def]
    """Cut the graph of the candidates, and give those on the source's side `target`.

    Returns how many labels changed. A candidate keeps its label (a swap's: `rival`) or takes the
    target; `term` is what keeping costs more. The pairs, with weight w (Kolmogorov & Zabih 2004):

        both keep the same label      an edge of w: they pay if one of them takes the target
        they keep unlike labels       they pay w unless both take the target: w / 2 for each that
                                      keeps its label, and an edge of w / 2
        one is outside the graph      it pulls by w towards its label

    Of all minimum cuts the one nearest to the source is taken: labels do not change without gain.
    """
    labels, own, changed_at, place, queue = state
    unary, weights, steps = grid.unary, grid.weights, grid.steps
    half = weights.shape[1]
    # In bounds: candidates are pixels, see `Whole`, and `graph_cut` has checked that all their arcs have int32 numbers.
    # Every node has room for all its pairs, whether there or not: places of arcs, and of their
    # reverses, are then known without a search.
    nodes, arcs = np.empty(count + 1, NODE), np.empty(2 * half * count, ARC)
    for i in range(count):
        p = queue[i]
        keeps = labels[p] if rival < 0 else rival
        term = unary[keeps, p] - unary[target, p]
        for k in range(2 * half):
            a, q = 2 * half * i + k, p + steps[k]
            weight = weights[p, k] if k < half else weights[q, k - half]
            arc = arcs[a]
            arc.head, arc.back, arc.residual = i, a, 0  # none, unless filled in below
            if weight == 0:
                continue
            if place[q] < 0:
                if labels[q] == target:
                    term += weight
                elif labels[q] == keeps:
                    term -= weight
                continue
            arc.head = place[q]
            arc.back = 2 * half * place[q] + (k + half if k < half else k - half)
            arc.residual = weight
            if rival < 0 and labels[q] != keeps:
                arc.residual = weight // 2
                term += weight // 2
        nodes[i].first, nodes[i].term, nodes[i].pixel = 2 * half * i, term, p
    nodes[count].first = 2 * half * count
    cut(nodes, arcs)
    changed = 0
    for i in range(count):
        p = nodes[i].pixel
        place[p] = -1
        label = target if nodes[i].tree == SOURCE else (labels[p] if rival < 0 else rival)
        if label != labels[p]:
            labels[p], own[p], changed_at[p] = label, unary[label, p], now
            changed += 1
            for step in steps:
                changed_at[p + step] = now
    return changed
