"""Unary energies of a CRF, -log p, from probabilities, logits or labels: K first, then any axes."""

import numpy as np

from atrous.errors import DataError
from atrous.ops.threads import Team
from atrous.refine.inputs import refuse_probabilities

CLIP = 1e-5
"""Smaller probabilities count as this: a pixel may cost 11.5 nats at most."""


def unary_from_probabilities(
    probabilities: np.ndarray, *, certainty: float = 1.0, clip: float | None = CLIP, threads: int | None = None
) -> np.ndarray:
    """Energies of probabilities.

    Args:
        probabilities: (K, ...), 0..1.
        certainty: 0..1, how much they are believed: p becomes certainty p + (1 - certainty) / K.
        clip: the least p; None: as it is.
        threads: None takes all that are available.

    Returns:
        (K, ...) float32 -log p.

    Raises:
        DataError: numbers out of 0..1, such as logits, or nan.

    Example:
        >>> import numpy as np
        >>> print(unary_from_probabilities(np.array([0.5, 0.0])).round(2))
        [ 0.69 11.51]
    """
    p = np.asarray(probabilities, np.float32)
    if p.size and not (p.min() >= 0 and p.max() <= 1 + 1e-3):  # nan fails both
        raise DataError("probabilities are out of 0..1, or nan; logits need a softmax first")
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
    """Energies of logits.

    Args:
        logits: (K, ...), any real numbers.
        clip: the least probability; None: as it is.

    Returns:
        (K, ...) float32, -log softmax over the first axis.

    Raises:
        DataError: they are nan or infinite, or in truth probabilities.

    Example:
        >>> import numpy as np
        >>> np.exp(-unary_from_logits(np.zeros(4))).tolist()
        [0.25, 0.25, 0.25, 0.25]
    """
    z = np.asarray(logits, np.float32)
    refuse_probabilities(z, "logits")
    z = z - z.max(0)
    energy = np.log(np.exp(z).sum(0)) - z
    return energy if clip is None else np.minimum(energy, np.float32(-np.log(clip)))


def unary_from_labels(
    labels: np.ndarray, classes: int, certainty: float = 0.7, *, zero_unsure: bool = True
) -> np.ndarray:
    """Energies of labels that are right with some certainty.

    Args:
        labels: integers of any shape.
        classes: K, at least 2.
        certainty: in (0, 1), the probability of the label; the others share the rest equally.
        zero_unsure: label 0 is "unknown", all classes alike, and class k has the label k + 1;
            otherwise class k has the label k.

    Returns:
        (K, ...) float32 -log p.

    Raises:
        DataError: labels are not integers of a class, or an option does not fit.

    Example:
        >>> import numpy as np
        >>> print(np.exp(-unary_from_labels(np.array([0, 1, 2]), 2)).round(1))
        [[0.5 0.7 0.3]
         [0.5 0.3 0.7]]
    """
    array = np.asarray(labels)
    if array.dtype.kind not in "iub":
        raise DataError(f"labels have type {array.dtype}; expected whole numbers")
    if not 0 < certainty < 1 or classes < 2:
        raise DataError(
            f"certainty is {certainty} and classes is {classes}; expected a certainty above 0 and below 1, and at "
            "least 2 classes"
        )
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
