"""From scores to decisions: calibration of probabilities, labels that maximise IoU or Dice, sets that keep a promise.

Everything here is fitted on pictures that the network was not trained on, from n pixels with K scores each.

    temperature   softmax(z / T)                  Guo et al., ICML 2017, section 4.2
    vector        softmax(a z + b), per class     Guo et al., ICML 2017, section 4.2
    offsets       argmax(z + o), per class        after Lipton et al., ECML 2014: the best rule for F1 is a threshold;
                                                  exp(-o_k) is the threshold of p_k against the others'
    thresholds    {k: p_k >= t_k}                 conformal risk control, Angelopoulos et al., ICLR 2024
"""

from typing import Literal

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import logsumexp, softmax

Score = Literal["iou", "dice"]


def fit_temperature(scores: np.ndarray, truth: np.ndarray) -> float:
    """The T > 0 that gives softmax(scores / T) the least cross-entropy; scores (n, K), truth (n,) class indices."""
    scores = _checked(scores, truth)

    def loss(log_t: float) -> float:
        return _cross_entropy(scores * np.exp(-log_t), truth)

    return float(np.exp(minimize_scalar(loss, bounds=(-4, 4), method="bounded", options={"xatol": 1e-4}).x))


def fit_vector(scores: np.ndarray, truth: np.ndarray, strength: float = 1e-3) -> tuple[np.ndarray, np.ndarray]:
    """Scale and shift, (K,) each, that give softmax(scale z + shift) the least cross-entropy.

    scores (n, K), truth (n,). strength: of a pull of log scale and shift towards the best temperature alone, without
    which a class that the pixels do not hold would be shifted to minus infinity.
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
    """(K,) offsets o whose argmax(scores + o) has the largest mean IoU, or Dice, over these pixels; their mean is 0.

    Coordinate ascent, each step exact: with the other offsets held, a pixel turns to class k where o_k passes its
    margin max_j (z_j + o_j) - z_k, so that one sort of the margins gives the score at every o_k. A class without
    true pixels keeps its offset of 0 and is left out of the mean. Never worse than no offsets, on these pixels.
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
    """The highest threshold t at which a class keeps its promise: an expected share of at most `risk` is lost.

    lost: (n, B) for each of n pictures that hold the class, the share of its true pixels whose probability is below
    edges[b], rising along B. edges: (B,) thresholds, rising, the first of 0 or below, where nothing is lost.
    Conformal risk control: the mean over a new picture too is at most `risk` when
    (sum of losses + 1) / (n + 1) <= risk. None where n is too small for any promise: n + 1 < 1 / risk.
    """
    within = (lost.sum(0) + 1) / (len(lost) + 1) <= risk + 1e-12
    return float(edges[np.flatnonzero(within)[-1]]) if within.any() else None


def _line(
    moved: np.ndarray, truth: np.ndarray, k: int, now: float, score: Score, present: np.ndarray
) -> tuple[float, float]:
    """The best offset of class k, the others held, and its score. moved: (n, K) scores with all offsets in."""
    n, classes = moved.shape
    others = moved.copy()
    others[:, k] = -np.inf
    rival = others.argmax(1)
    margin = others[np.arange(n), rival] - (moved[:, k] - now)
    order = np.argsort(margin, kind="stable")
    margin, rival, true = margin[order], rival[order], truth[order]
    # With the first m pixels of that order given to k: hits and predictions of every class, for m = 0 ... n.
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
    best[1:-1][np.diff(margin) < 1e-9] = -1.0  # equal margins turn together
    m = int(best.argmax())
    low = margin[m - 1] if m else margin[0] - 2.0
    high = margin[m] if m < n else margin[-1] + 2.0
    return float(np.clip(now, low, high) if low < now < high else (low + high) / 2), float(best[m])


def _running(flags: np.ndarray) -> np.ndarray:
    """(n + 1,) counts of the first 0 ... n flags."""
    return np.concatenate([[0], np.cumsum(flags)])


def _cross_entropy(z: np.ndarray, truth: np.ndarray) -> float:
    return float((logsumexp(z, axis=1) - z[np.arange(len(z)), truth]).mean())


def _checked(scores: np.ndarray, truth: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 2 or truth.shape != scores.shape[:1] or not len(truth):
        raise ValueError(f"scores {scores.shape} and truth {truth.shape}; expected (n, K) and (n,) with n >= 1")
    return scores
