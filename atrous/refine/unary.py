"""Unary energies, -log p, of a CRF: from probabilities, logits or labels. K first, other axes as they come."""

import numpy as np

from atrous.errors import DataError
from atrous.ops.threads import Team

CLIP = 1e-5
"""The least probability that is told from 0."""


def unary_from_probabilities(
    probabilities: np.ndarray, *, certainty: float = 1.0, clip: float | None = CLIP, threads: int | None = None
) -> np.ndarray:
    """(K, ...) 0..1 -> float32 -log p, p clipped from below. certainty: 0..1, how far they are from uniform ones."""
    p = np.asarray(probabilities, np.float32)
    energy = np.empty(p.shape, np.float32)

    def some(first: int, last: int) -> None:
        out = energy[first:last]
        out[:] = p[first:last]
        if certainty != 1:
            out *= np.float32(certainty)
            out += np.float32((1 - certainty) / len(p))
        if clip is not None:
            np.clip(out, np.float32(clip), np.float32(1), out=out)
        np.negative(np.log(out, out=out), out=out)

    with Team(threads) as team:
        team.split(len(p), some)
    return energy


def unary_from_logits(logits: np.ndarray, *, clip: float | None = CLIP) -> np.ndarray:
    """(K, ...) real -> float32 -log softmax, over the first axis."""
    z = np.asarray(logits, np.float32)
    z = z - z.max(0)
    energy = np.log(np.exp(z).sum(0)) - z
    return energy if clip is None else np.minimum(energy, np.float32(-np.log(clip)))


def unary_from_labels(
    labels: np.ndarray, classes: int, certainty: float = 0.7, *, zero_unsure: bool = True
) -> np.ndarray:
    """Labels (...) -> (K, ...) float32: -log of `certainty` for the label, of an equal part of the rest for others.

    zero_unsure: 0 stands for "unknown" (all classes alike) and class k has the label k + 1; else class k has label k.
    certainty: over 0, below 1. DataError for a label that no class has.
    """
    array = np.asarray(labels)
    if array.dtype.kind not in "iub":
        raise DataError(f"labels have type {array.dtype}; expected whole numbers")
    if not 0 < certainty < 1 or classes < 2:
        raise DataError(f"certainty {certainty} of {classes} classes; expected over 0, below 1, and 2 classes or more")
    flat = array.reshape(-1).astype(np.int64)
    most = classes if zero_unsure else classes - 1
    if flat.size and not (flat.min() >= 0 and flat.max() <= most):
        raise DataError(f"labels reach from {flat.min()} to {flat.max()}; expected 0..{most} of {classes} classes")
    energy = np.full((classes, flat.size), -np.log((1 - certainty) / (classes - 1)), np.float32)
    known = np.flatnonzero(flat) if zero_unsure else np.arange(flat.size)
    energy[flat[known] - int(zero_unsure), known] = -np.log(certainty)
    if zero_unsure:
        energy[:, flat == 0] = np.log(classes)
    return energy.reshape(classes, *array.shape)
