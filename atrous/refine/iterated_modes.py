"""ICM and TRW-S: lower the energy of `atrous.refine.potts` by pixels, and bound it from below.

Iterated conditional modes (Besag 1986): each pixel in turn takes the label that is best beside its
neighbours'. Quick and weak.

Sequential tree-reweighted message passing (Kolmogorov, PAMI 2006): pixels send messages to their
later neighbours in the order of memory, then to their earlier ones on the way back. Each round trip
gives labels, and a lower bound: no labelling has less energy, and the bound never falls. Where
energy and bound meet, the labels are the optimum.
"""

from typing import NamedTuple, Unpack

import numpy as np

from atrous.errors import DataError
from atrous.ops.compiling import njit
from atrous.refine.potts import Potts, PottsOptions, Whole, potts, whole


class Bounded(NamedTuple):
    """What `trws` found: labels (H, W) or (D, H, W), uint8 or uint16, and their energy in nats.

    bounds: the lower bound after each round, never falling.
    """

    labels: np.ndarray
    energy: float
    bounds: list[float]

    @property
    def bound(self) -> float:
        """No labelling has a lower energy, but for rounding (1e-6 of it)."""
        return max(self.bounds)


def icm(
    probabilities: np.ndarray,
    image: np.ndarray | None = None,
    *,
    sweeps: int | None = None,
    **options: Unpack[PottsOptions],
) -> np.ndarray:
    """Labels that no change of a single pixel improves, starting from the greatest probability.

    Args:
        probabilities, image: as for `graph_cut`.
        sweeps: times over the image, at most; None: until nothing changes. That comes, since each
            change lowers the energy.
        options: smoothness, neighbours, spacing, beta, clip, as for `graph_cut`.

    Returns:
        (H, W) or (D, H, W) uint8, uint16 where there are more than 256 classes.

    Raises:
        DataError: an array or option does not fit.

    Example:
        >>> import numpy as np
        >>> p = np.array([0.9, 0.4, 0.8])
        >>> icm(np.stack([p, 1 - p])[:, None])
        array([[0, 0, 0]], dtype=uint8)
    """
    if sweeps is not None and sweeps < 1:
        raise DataError(f"sweeps is {sweeps}; expected at least 1, or None for as many as it takes")
    grid = whole(potts(probabilities, image, **options))
    labels = grid.first()
    done = 0
    while _sweep(grid.unary, grid.weights, grid.steps, labels) and done + 1 != sweeps:
        done += 1
    return grid.labels(labels)


@njit(nogil=True, cache=True)
def _sweep(unary, weights, steps, labels):  # type: ignore[no-untyped-def]
    """One time over all pixels in the order of memory; returns how many changed.

    A pixel keeps its label if another one is only as good: sweeps end.
    """
    # In bounds: p is a pixel, see `Whole`.
    classes, half = len(unary), weights.shape[1]
    pull = np.zeros(classes, np.int64)  # of the neighbours, towards each label
    changed = 0
    for p in range(len(labels)):
        if labels[p] < 0:
            continue
        for k in range(2 * half):
            q = p + steps[k]
            if labels[q] >= 0:
                pull[labels[q]] += weights[p, k] if k < half else weights[q, k - half]
        best = labels[p]
        least = unary[best, p] - pull[best]
        for label in range(classes):
            if unary[label, p] - pull[label] < least:
                best, least = label, unary[label, p] - pull[label]
        # Only the neighbours' labels are not zero: with many classes clearing all takes longer.
        for k in range(2 * half):
            if labels[p + steps[k]] >= 0:
                pull[labels[p + steps[k]]] = 0
        if best != labels[p]:
            labels[p] = best
            changed += 1
    return changed


def trws(
    probabilities: np.ndarray,
    image: np.ndarray | None = None,
    *,
    rounds: int = 30,
    gap: float = 1e-6,
    **options: Unpack[PottsOptions],
) -> Bounded:
    """The best labels of some rounds of TRW-S, with a bound that says how good they are.

    Memory: one float32 for each pixel, class and pair (500 x 500, 21 classes, 8 neighbours: 84 MB).

    Args:
        probabilities, image: as for `graph_cut`.
        rounds: at most; ends earlier where the bound rises no more.
        gap: ends where energy - bound <= gap * energy.
        options: smoothness, neighbours, spacing, beta, clip, as for `graph_cut`.

    Returns:
        labels, their energy, and the bound after each round.

    Raises:
        DataError: an array or option does not fit.

    Example:
        >>> import numpy as np
        >>> p = np.array([0.9, 0.4, 0.8])
        >>> found = trws(np.stack([p, 1 - p])[:, None])
        >>> found.labels, round(found.energy, 3), round(found.bound, 3)
        (array([[0, 0, 0]], dtype=uint8), 1.245, 1.245)
    """
    if rounds < 1:
        raise DataError(f"rounds is {rounds}; expected at least 1")
    model = potts(probabilities, image, **options)
    grid = whole(model)
    labels, energy, bounds = message_rounds(model, grid, rounds, gap)
    return Bounded(grid.labels(labels), energy, bounds)


def message_rounds(model: Potts, grid: Whole, rounds: int, gap: float) -> tuple[np.ndarray, float, list[float]]:
    """(labels (P,) of the best round, their energy, the bound after each round): see `trws`."""
    unary = np.ascontiguousarray(grid.unary.T / np.float32(grid.scale))
    weights = grid.weights / np.float32(grid.scale)
    share, inner = _shares(grid), grid.inner()
    messages = np.zeros((*weights.shape, unary.shape[1]), np.float32)
    labels, best, least = grid.first(), grid.first(), np.inf
    bounds: list[float] = []
    for _ in range(rounds):
        _forward(unary, weights, grid.steps, share, inner, messages, labels)
        bounds.append(_backward(unary, weights, grid.steps, share, inner, messages))
        energy = model.energy(grid.labels(labels))
        if energy < least:
            least, best = energy, labels.copy()
        if least - max(bounds) <= gap * least or (len(bounds) > 1 and bounds[-1] - bounds[-2] <= 1e-9 * bounds[-1]):
            break
    return best, least, bounds


def _shares(grid: Whole) -> np.ndarray:
    """(P,) float32, gamma in the paper: 1 / max(a pixel's pairs forward, its pairs backward).

    So many chains of the grid pass through a pixel; each has that share of its unary.
    """
    half = grid.weights.shape[1]
    forward = (grid.weights > 0).sum(1)
    backward = np.zeros_like(forward)
    for k in range(half):
        step = grid.steps[k]
        backward[step:] += (grid.weights[: len(backward) - step, k] > 0).astype(int)
    return (1 / np.maximum(np.maximum(forward, backward), 1)).astype(np.float32)


@njit(nogil=True, cache=True)
def _gather(p, unary, weights, steps, messages, belief):  # type: ignore[no-untyped-def]
    """belief = unary + all messages into p.

    messages[p, k] is the only message of its pair. It points to the pair's end on the way forward
    and to its start on the way back: at each pixel all of them point to it when they are needed.
    """
    # In bounds: p is a pixel, see `Whole`; `message_rounds` makes all tables for its places, pairs and classes.
    half = weights.shape[1]
    for label in range(len(belief)):
        belief[label] = unary[p, label]
    for k in range(half):
        # A weight of 0 is a pair that is not there, or that says nothing: its message stays 0.
        if weights[p, k] > 0:
            for label in range(len(belief)):
                belief[label] += messages[p, k, label]
        q = p - steps[k]
        if q >= 0 and weights[q, k] > 0:
            for label in range(len(belief)):
                belief[label] += messages[q, k, label]


@njit(nogil=True, cache=True)
def _send(belief, share, weight, message):  # type: ignore[no-untyped-def]
    """Turn the message into p to the one from p, and return the least number that was taken off it.

    m(l) = min over l' of share * belief(l') - message(l') + weight [l != l']. For Potts that is the
    smaller of the own number and the least one + weight: linear in K, not quadratic.
    """
    # The message into p is taken off: what the receiver said shall not come back to it.
    least = np.float32(np.inf)
    for label in range(len(belief)):
        message[label] = share * belief[label] - message[label]
        least = min(least, message[label])
    for label in range(len(belief)):
        message[label] = min(message[label] - least, weight)
    return least


@njit(nogil=True, cache=True)
def _forward(unary, weights, steps, share, inner, messages, labels):  # type: ignore[no-untyped-def]
    """Send messages to later pixels, and choose labels on the way.

    A pixel's label is the best one beside the labels before it and the messages from behind it
    and so choices agree where messages alone leave a tie.
    """
    # In bounds: p is a pixel, see `Whole`; a weight above 0 tells that q is one too, and it has a label, an argmin.
    half, classes = weights.shape[1], unary.shape[1]
    belief, choice = np.empty(classes, np.float32), np.empty(classes, np.float32)
    for p in range(len(unary)):
        if not inner[p]:
            continue
        _gather(p, unary, weights, steps, messages, belief)
        # Before p labels are fixed, and pull as Potts does; behind it only messages are known.
        choice[:] = unary[p]
        for k in range(half):
            q = p - steps[k]
            if weights[q, k] > 0:
                choice[labels[q]] -= weights[q, k]
            if weights[p, k] > 0:
                for label in range(classes):
                    choice[label] += messages[p, k, label]
        labels[p] = np.argmin(choice)
        for k in range(half):
            if weights[p, k] > 0:
                _send(belief, share[p], weights[p, k], messages[p, k])


@njit(nogil=True, cache=True)
def _backward(unary, weights, steps, share, inner, messages):  # type: ignore[no-untyped-def]
    """Send messages to earlier pixels; return the bound: all that was taken off on the way."""
    # In bounds: p is a pixel, see `Whole`.
    half, classes = weights.shape[1], unary.shape[1]
    belief = np.empty(classes, np.float32)
    bound = 0.0
    for p in range(len(unary) - 1, -1, -1):
        if not inner[p]:
            continue
        _gather(p, unary, weights, steps, messages, belief)
        # Constants go from beliefs and messages into the bound: what is left has a least of 0 at
        # every pixel and pair, so that no labelling costs less than their sum.
        least = belief.min()
        bound += least
        belief -= least
        for k in range(half):
            q = p - steps[k]
            if weights[q, k] > 0:
                bound += _send(belief, share[p], weights[q, k], messages[q, k])
    return bound
