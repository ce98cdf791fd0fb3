"""From scores to decisions: calibrated probabilities, labels of high IoU, sets that keep a promise.

Everything here is fitted on pictures that the network was not trained on, from n pixels with K
scores (logits) each.

    temperature   softmax(z / T)                 Guo et al., ICML 2017, section 4.2
    vector        softmax(a z + b), per class    Guo et al., ICML 2017, section 4.2
    offsets       argmax(z + o), per class       after Lipton et al., ECML 2014: the best rule for
                                                 F1 is a threshold; exp(-o_k) is the threshold of
                                                 p_k against the others'
    thresholds    {k: p_k >= t_k}                conformal risk control, Angelopoulos et al., ICLR
                                                 2024
"""

from typing import Literal

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import logsumexp, softmax

Score = Literal["iou", "dice"]


def fit_temperature(scores: np.ndarray, truth: np.ndarray) -> float:
    """The T > 0 for which softmax(scores / T) has the least cross-entropy.

    Args:
        scores: (n, K) logits.
        truth: (n,) class indices.

    Raises:
        ValueError: shapes do not fit, or there are no pixels.

    Example:
        >>> scores = np.array([[4.0, 0], [4, 0], [4, 0], [4, 0]])
        >>> round(fit_temperature(scores, np.array([0, 0, 0, 1])), 2)  # sure of 0.75, not of 0.98
        3.64
    """
    scores = _checked(scores, truth)

    def loss(log_t: float) -> float:
        return _cross_entropy(scores * np.exp(-log_t), truth)

    return float(np.exp(minimize_scalar(loss, bounds=(-4, 4), method="bounded", options={"xatol": 1e-4}).x))


def fit_vector(scores: np.ndarray, truth: np.ndarray, strength: float = 1e-3) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift for which softmax(scale z + shift) has the least cross-entropy.

    Args:
        scores: (n, K) logits z.
        truth: (n,) class indices.
        strength: of the pull of log scale and shift towards the best temperature alone. Without it
            a class without pixels would be shifted to minus infinity.

    Returns:
        (scale (K,), shift (K,)), the mean shift 0.

    Raises:
        ValueError: shapes do not fit, or there are no pixels.
    """
    scores = _checked(scores, truth)
    n, classes = scores.shape
    start = np.concatenate([np.full(classes, -np.log(fit_temperature(scores, truth))), np.zeros(classes)])
    rows = np.arange(n)

    def loss(x: np.ndarray) -> tuple[float, np.ndarray]:
        scale = np.exp(x[:classes])
        z = scores * scale + x[classes:]
        slope = softmax(z, axis=1)
        slope[rows, truth] -= 1
        pull = x - start
        value = _cross_entropy(z, truth) + strength * float(pull @ pull)
        gradient = np.concatenate([(slope * scores).mean(0) * scale, slope.mean(0)]) + 2 * strength * pull
        return value, gradient

    best = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 200}).x
    return np.exp(best[:classes]), best[classes:] - best[classes:].mean()


def fit_offsets(scores: np.ndarray, truth: np.ndarray, score: Score = "iou", sweeps: int = 10) -> np.ndarray:
    """Offsets o for which argmax(scores + o) has a high mean IoU, or Dice, over these pixels.

    Coordinate ascent, each step exact. With the other offsets held, a pixel turns to class k where
    o_k passes its margin max_j (z_j + o_j) - z_k. So one sort of the margins gives the score at
    every o_k. On these pixels the result is never worse than no offsets.

    Args:
        scores: (n, K) logits z.
        truth: (n,) class indices.
        score: "iou" or "dice".
        sweeps: times over all classes, at most; ends earlier when a sweep gains less than 1e-6.

    Returns:
        (K,), with a mean of 0 over the classes that have true pixels; 0 for the others, which are
        left out of the score.

    Raises:
        ValueError: shapes do not fit, or there are no pixels.
    """
    scores = _checked(scores, truth)
    classes = scores.shape[1]
    present = np.bincount(truth, minlength=classes) > 0
    offsets, best = np.zeros(classes), -1.0
    for _ in range(sweeps):
        before = best
        for k in map(int, np.flatnonzero(present)):
            offsets[k], best = _line(scores + offsets, truth, k, offsets[k], score, present)
        if best - before < 1e-6:
            break
    return np.where(present, offsets - offsets[present].mean(), 0.0)


def risk_threshold(lost: np.ndarray, edges: np.ndarray, risk: float) -> float | None:
    """The highest threshold at which a class loses, in the mean of a new picture, `risk` at most.

    Conformal risk control: this holds where (sum of losses + 1) / (n + 1) <= risk.

    Args:
        lost: (n, B), for each of n pictures that show the class the share (0..1) of its true pixels
            whose probability is below edges[b]; rising along B.
        edges: (B,) thresholds, rising; the first is 0 or below, where nothing is lost.
        risk: 0..1, the expected share of lost pixels.

    Returns:
        One of `edges`, or None where n is too small for any promise: n + 1 < 1 / risk.

    Source:
        Angelopoulos et al., ICLR 2024.

    Example:
        >>> lost = np.tile([0.0, 0.04, 0.3], (50, 1))
        >>> risk_threshold(lost, np.array([0.0, 0.4, 0.8]), 0.1)
        0.4
    """
    within = (lost.sum(0) + 1) / (len(lost) + 1) <= risk + 1e-12
    return float(edges[np.flatnonzero(within)[-1]]) if within.any() else None


def _line(
    moved: np.ndarray, truth: np.ndarray, k: int, now: float, score: Score, present: np.ndarray
) -> tuple[float, float]:
    """The best offset of class k with the others held, and its score; moved: scores + offsets."""
    n, classes = moved.shape
    others = moved.copy()
    others[:, k] = -np.inf
    rival = others.argmax(1)
    margin = others[np.arange(n), rival] - (moved[:, k] - now)
    order = np.argsort(margin, kind="stable")
    margin, rival, true = margin[order], rival[order], truth[order]
    # The first m pixels of that order are given to k: hits and predictions of every class, for each
    # m = 0 ... n, as running sums.
    total = np.bincount(truth, minlength=classes)
    best = np.zeros(n + 1)
    taken = np.arange(n + 1)
    for j in np.flatnonzero(present):
        if j == k:
            hit, predicted = _running(true == k), taken
        else:
            mine = rival == j
            right = mine & (true == j)
            hit, predicted = right.sum() - _running(right), mine.sum() - _running(mine)
        union = total[j] + predicted - hit
        best += hit / union if score == "iou" else 2 * hit / (total[j] + predicted)
    best /= present.sum()
    # Pixels with equal margins turn together: an m between them cannot be had.
    best[1:-1][np.diff(margin) < 1e-9] = -1.0
    m = int(best.argmax())
    low = margin[m - 1] if m else margin[0] - 2.0
    high = margin[m] if m < n else margin[-1] + 2.0
    return float(np.clip(now, low, high) if low < now < high else (low + high) / 2), float(best[m])


def _running(flags: np.ndarray) -> np.ndarray:
    """(n + 1,): how many of the first 0 ... n flags are set."""
    return np.concatenate([[0], np.cumsum(flags)])


def _cross_entropy(z: np.ndarray, truth: np.ndarray) -> float:
    return float((logsumexp(z, axis=1) - z[np.arange(len(z)), truth]).mean())


def _checked(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 2 or truth.shape != scores.shape[:1] or not len(truth):
        raise ValueError(f"scores {scores.shape} and truth {truth.shape}; expected (n, K) and (n,) with n >= 1")
    return scores
