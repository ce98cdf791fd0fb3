"""Graph cuts on the pixel grid: the energy of `atrous.refine.potts`, the graph of one move, the cut.

With two classes the cut is the optimum (Greig et al. 1989). With more, labels move until no move helps (Boykov, Veksler
& Zabih, PAMI 2001): in an *expansion* every pixel may take one label alpha, and the end is within twice the optimum; in
a *swap* the pixels of alpha and beta may exchange them, and there is no such bound.

Two things leave out work and change nothing of the result: a pixel whose label is better than alpha by more than all
its neighbours can pull is not in the graph; and a move is looked for only where, since the same move was last made, a
label has changed, and as far as pixels of the graph hang together from there.
"""

from itertools import combinations

import numpy as np
from numba import njit

from atrous.errors import DataError, nearest
from atrous.ops.maxflow import ARC, NODE, SOURCE, cut
from atrous.refine.iterated_modes import message_rounds
from atrous.refine.potts import Whole, potts, whole

METHODS = ("expansion", "swap")


def graph_cut(
    probabilities: np.ndarray,
    image: np.ndarray | None = None,
    *,
    smoothness: float = 1.0,
    neighbours: int | None = None,
    spacing: tuple[float, ...] | None = None,
    beta: float | None = None,
    clip: float = 1e-5,
    method: str = "expansion",
    rounds: int = 8,
    cycles: int | None = None,
) -> np.ndarray:
    """Labels (H, W) or (D, H, W) of low Potts energy, with two classes of the lowest; uint8 or uint16.

    probabilities (K, H, W) or (K, D, H, W), image and the options up to clip: as for `atrous.refine.potts.potts`.
    method: "expansion" or "swap". rounds: of TRW-S, from whose labels the moves start: they end lower, in no more time
    in all; 0: start from the greatest probability, as is usual, in less memory (see `trws`). cycles: at most so many
    times through all labels, or pairs of labels; None: until no move lowers the energy. Labels come in the order of
    their total unary cost, whatever their numbers.
    Raises DataError for what does not fit.
    """
    if method not in METHODS:
        raise DataError(f"method is {method!r}; {nearest(method, METHODS)}")
    if rounds < 0:
        raise DataError(f"rounds is {rounds}; expected 0 or more")
    if cycles is not None and cycles < 1:
        raise DataError(f"cycles is {cycles}; expected at least 1, or None for as many as it takes")
    model = potts(
        probabilities, image, smoothness=smoothness, neighbours=neighbours, spacing=spacing, beta=beta, clip=clip
    )
    grid = whole(model)
    labels = grid.first()
    if rounds and len(model.unary) > 2:
        labels = message_rounds(model, grid, rounds, gap=1e-6)[0]
    return grid.labels(_moved(labels, grid, method, cycles))


def _moved(labels: np.ndarray, grid: Whole, method: str, cycles: int | None) -> np.ndarray:
    """Labels (P,) int32 after all moves, from the given ones, which are changed."""
    order = np.argsort(grid.unary.sum(1, dtype=np.int64), kind="stable")
    moves = [(int(a), -1) for a in order]
    if method == "swap" or len(order) == 2:
        moves = [(int(a), int(b)) for a, b in combinations(order, 2)]
    own = np.take_along_axis(grid.unary, np.maximum(labels, 0)[None].astype(np.int64), 0)[0]
    changed_at = np.zeros(len(labels), np.int32)
    made_at = dict.fromkeys(moves, -1)
    place, queue = np.full(len(labels), -1, np.int32), np.empty(len(labels), np.int32)
    now, idle, made = 0, 0, 0
    most = len(moves) * cycles if cycles else None
    while idle < len(moves) and made != most:
        move = moves[made % len(moves)]
        now, made = now + 1, made + 1
        count = _candidates(
            *move, grid.unary, labels, own, grid.steps, grid.degree, changed_at, made_at[move], place, queue
        )
        changed = 0
        if count:
            changed = _move(
                *move, grid.unary, labels, own, grid.weights, grid.steps, changed_at, now, place, queue[:count]
            )
        made_at[move] = now
        idle = 0 if changed else idle + 1
    return labels


@njit(nogil=True, cache=True)
def _other(target, rival, label):  # type: ignore[no-untyped-def]
    """The label that a pixel may take in a move, -1 if none. rival -1: the expansion of target; else their swap."""
    if rival < 0:
        return -1 if label == target else target
    if label == target:
        return rival
    return target if label == rival else -1


@njit(nogil=True, cache=True)
def _candidates(target, rival, unary, labels, own, steps, degree, changed_at, made_at, place, queue):  # type: ignore[no-untyped-def]
    """How many pixels, now in `queue`, make the graph: those that a move could concern, from those that changed on.

    own: each pixel's unary of its label. place: -1 everywhere before, each candidate's number in the queue after.
    """
    count = 0
    for p in range(len(labels)):
        if changed_at[p] > made_at:
            other = _other(target, rival, labels[p])
            if other >= 0 and unary[other, p] - own[p] < degree[p]:
                place[p], queue[count] = count, p
                count += 1
    if made_at < 0:  # every pixel was looked at
        return count
    done = 0
    while done < count:
        for step in steps:
            q = queue[done] + step
            if place[q] < 0:
                other = _other(target, rival, labels[q])
                if other >= 0 and unary[other, q] - own[q] < degree[q]:
                    place[q], queue[count] = count, q
                    count += 1
        done += 1
    return count


@njit(nogil=True, cache=True)
def _move(target, rival, unary, labels, own, weights, steps, changed_at, now, place, queue):  # type: ignore[no-untyped-def]
    """Cut the graph of the candidates in `queue`, give those on the source's side `target`; how many labels changed.

    A candidate keeps its label (a swap's: `rival`) or takes the target. Two of one label: an edge of their weight w.
    Two of unlike labels pay w unless both take the target (Kolmogorov & Zabih 2004): w/2 for each that keeps its label,
    and an edge of w/2. A neighbour outside the graph pulls by w to its label. `place` is -1 everywhere again after.
    """
    half, count = weights.shape[1], len(queue)
    nodes, arcs = np.empty(count + 1, NODE), np.empty(2 * half * count, ARC)
    for i in range(count):
        p = queue[i]
        keeps = labels[p] if rival < 0 else rival
        term = unary[keeps, p] - unary[target, p]
        for k in range(2 * half):
            a, q = 2 * half * i + k, p + steps[k]
            weight = weights[p, k] if k < half else weights[q, k - half]
            arc = arcs[a]
            arc.head, arc.back, arc.residual = i, a, 0  # none
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
