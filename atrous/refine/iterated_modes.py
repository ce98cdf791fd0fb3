"""ICM and TRW-S: the energy of `atrous.refine.potts` lowered pixel by pixel, and bounded from below.

Iterated conditional modes (Besag 1986): each pixel in turn takes the label that is best beside its neighbours'. Quick
and weak. Sequential tree-reweighted message passing (Kolmogorov, PAMI 2006): messages in the order of memory and back;
each round trip gives labels and a lower bound that no labelling's energy can be under and that never falls. Where
energy and bound meet, the labels are the optimum.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from atrous.errors import DataError
from atrous.refine.potts import Potts, Whole, potts, whole


class Bounded(NamedTuple):
    """labels (H, W) or (D, H, W), uint8 or uint16; energy: theirs in nats; bounds: after each round, never falling."""

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
    smoothness: float = 1.0,
    neighbours: int | None = None,
    spacing: tuple[float, ...] | None = None,
    beta: float | None = None,
    clip: float = 1e-5,
    sweeps: int | None = None,
) -> np.ndarray:
    """Labels (H, W) or (D, H, W) that no change of one pixel improves, from those of the greatest probability.

    Arguments as for `atrous.refine.potts.potts`. sweeps: at most so many times over the image; None: until nothing
    changes, which comes, since each change lowers the energy. Of equal labels a pixel keeps its own.
    """
    if sweeps is not None and sweeps < 1:
        raise DataError(f"sweeps is {sweeps}; expected at least 1, or None for as many as it takes")
    grid = whole(
        potts(probabilities, image, smoothness=smoothness, neighbours=neighbours, spacing=spacing, beta=beta, clip=clip)
    )
    labels = grid.first()
    done = 0
    while _sweep(grid.unary, grid.weights, grid.steps, labels) and done + 1 != sweeps:
        done += 1
    return grid.labels(labels)


@njit(nogil=True, cache=True)
def _sweep(unary, weights, steps, labels):  # type: ignore[no-untyped-def]
    """One time over all pixels in the order of memory; how many changed."""
    classes, half = len(unary), weights.shape[1]
    pull = np.zeros(classes, np.int64)  # of the neighbours, to each label
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
    smoothness: float = 1.0,
    neighbours: int | None = None,
    spacing: tuple[float, ...] | None = None,
    beta: float | None = None,
    clip: float = 1e-5,
    rounds: int = 30,
    gap: float = 1e-6,
) -> Bounded:
    """The best labels of so many rounds of TRW-S, their energy and the lower bounds.

    Arguments as for `atrous.refine.potts.potts`. Ends early where energy - bound <= gap * energy, or where the
    bound rises no more. Memory: one float32 a pixel, class and pair (500 x 500, 21 classes, 8 neighbours: 84 MB).
    """
    if rounds < 1:
        raise DataError(f"rounds is {rounds}; expected at least 1")
    model = potts(
        probabilities, image, smoothness=smoothness, neighbours=neighbours, spacing=spacing, beta=beta, clip=clip
    )
    grid = whole(model)
    labels, energy, bounds = message_rounds(model, grid, rounds, gap)
    return Bounded(grid.labels(labels), energy, bounds)


def message_rounds(model: Potts, grid: Whole, rounds: int, gap: float) -> tuple[np.ndarray, float, list[float]]:
    """The best labels (P,) of so many rounds, their energy, the bound after each; `trws` says when it ends early."""
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
    """(P,) float32: 1 / the greater number of a pixel's pairs forward and backward, gamma in the paper."""
    half = grid.weights.shape[1]
    forward = (grid.weights > 0).sum(1)
    backward = np.zeros_like(forward)
    for k in range(half):
        step = grid.steps[k]
        backward[step:] += (grid.weights[: len(backward) - step, k] > 0).astype(int)
    return (1 / np.maximum(np.maximum(forward, backward), 1)).astype(np.float32)


@njit(nogil=True, cache=True)
def _gather(p, unary, weights, steps, messages, belief):  # type: ignore[no-untyped-def]
    """belief = unary + all messages into p. messages[p, k]: the one message of the pair, to its end or to its start."""
    half = weights.shape[1]
    for label in range(len(belief)):
        belief[label] = unary[p, label]
    for k in range(half):
        if weights[p, k] > 0:
            for label in range(len(belief)):
                belief[label] += messages[p, k, label]
        q = p - steps[k]
        if q >= 0 and weights[q, k] > 0:
            for label in range(len(belief)):
                belief[label] += messages[q, k, label]


@njit(nogil=True, cache=True)
def _send(belief, share, weight, message):  # type: ignore[no-untyped-def]
    """Turn the message into p to that from p: min over l' of share * belief - message + weight [l != l'], its least 0.

    Returns the least that was taken off."""
    least = np.float32(np.inf)
    for label in range(len(belief)):
        message[label] = share * belief[label] - message[label]
        least = min(least, message[label])
    for label in range(len(belief)):
        message[label] = min(message[label] - least, weight)
    return least


@njit(nogil=True, cache=True)
def _forward(unary, weights, steps, share, inner, messages, labels):  # type: ignore[no-untyped-def]
    """Messages to later pixels; beside it labels, each the best with those before it and the messages from behind."""
    half, classes = weights.shape[1], unary.shape[1]
    belief, choice = np.empty(classes, np.float32), np.empty(classes, np.float32)
    for p in range(len(unary)):
        if not inner[p]:
            continue
        _gather(p, unary, weights, steps, messages, belief)
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
    """Messages to earlier pixels; returns the lower bound, what was taken off on the way."""
    half, classes = weights.shape[1], unary.shape[1]
    belief = np.empty(classes, np.float32)
    bound = 0.0
    for p in range(len(unary) - 1, -1, -1):
        if not inner[p]:
            continue
        _gather(p, unary, weights, steps, messages, belief)
        least = belief.min()
        bound += least
        belief -= least
        for k in range(half):
            q = p - steps[k]
            if weights[q, k] > 0:
                bound += _send(belief, share[p], weights[q, k], messages[q, k])
    return bound
