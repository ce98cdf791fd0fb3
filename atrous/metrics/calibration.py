"""Do probabilities mean what they say: ECE, class-wise ECE, Brier score, likelihood, reliability.

Streaming: only counts and sums are kept, whatever the number of pictures. Pixels whose truth is `ignore` count nowhere.
For a band along the boundaries, set the target to `ignore` elsewhere (`atrous.ops.distance.distance_to_other`).
"""

from typing import Any

import numpy as np

from atrous.metrics.boundary import _same


class Calibration:
    """Reliability of K class probabilities, in `bins` bins of equal width.

    ece (Guo et al. 2017): sum over bins of n_b / n |accuracy - mean confidence| of the winning class.
    classwise_ece (Nixon et al. 2019, static): the same per class over that class's own probability, (K,).
    brier: mean over pixels of sum_k (p_k - y_k)^2, 0..2. nll: mean -log p of the true class, in nats, p floored at
    1e-12.
    """

    def __init__(self, classes: int, ignore: int = 255, bins: int = 15) -> None:
        self.classes, self.ignore, self.bins = classes, ignore, bins
        self.top = np.zeros((3, bins))
        self.each = np.zeros((classes, 3, bins))
        self.brier, self.likelihood, self.pixels = 0.0, 0.0, 0

    def update(self, probabilities: np.ndarray, target: np.ndarray) -> None:
        """Add one picture: probabilities (K, *), target (*) class indices."""
        if probabilities.shape != (self.classes, *target.shape):
            raise ValueError(
                f"probabilities {probabilities.shape} must be ({self.classes}, *target), target is {target.shape}"
            )
        valid = target != self.ignore
        p, y = probabilities[:, valid].astype(np.float64), target[valid].astype(np.int64)
        if not len(y):
            return
        winner = p.argmax(0)
        self.top += self._binned(p[winner, np.arange(len(y))], winner == y)
        for k in range(self.classes):
            self.each[k] += self._binned(p[k], y == k)
        true = p[y, np.arange(len(y))]
        self.brier += float((p**2).sum() - 2 * true.sum() + len(y))
        self.likelihood += float(-np.log(np.maximum(true, 1e-12)).sum())
        self.pixels += len(y)

    def _binned(self, confidence: np.ndarray, hit: np.ndarray) -> np.ndarray:
        """(3, bins): pixels, sum of confidences, hits; the bins are (0, 1/B], (1/B, 2/B], ..., with 0 in the first."""
        place = np.clip(np.ceil(confidence * self.bins).astype(int) - 1, 0, self.bins - 1)
        return np.stack([np.bincount(place, weights, self.bins) for weights in (np.ones(len(place)), confidence, hit)])

    def merge(self, other: "Calibration") -> "Calibration":
        """Add the sums of another one of the same settings."""
        _same(self, other, "classes", "ignore", "bins")
        for name in ("top", "each", "brier", "likelihood", "pixels"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    def compute(self) -> dict[str, Any]:
        """ece, classwise_ece (K,), mean_classwise_ece, brier, nll, pixels and the reliability curve: share of pixels,
        mean confidence and accuracy per bin, nan in an empty one."""
        if not self.pixels:
            raise ValueError("nothing was counted: every pixel is ignored")
        classwise = np.array([_ece(table) for table in self.each])
        count, confidence, hits = self.top
        with np.errstate(invalid="ignore", divide="ignore"):
            mean, accuracy = confidence / count, hits / count
        return {
            "ece": _ece(self.top),
            "classwise_ece": classwise,
            "mean_classwise_ece": float(classwise.mean()),
            "brier": self.brier / self.pixels,
            "nll": self.likelihood / self.pixels,
            "pixels": self.pixels,
            "share": count / count.sum(),
            "confidence": mean,
            "accuracy": accuracy,
        }


def _ece(table: np.ndarray) -> float:
    count, confidence, hits = table
    return float(np.abs(hits - confidence).sum() / count.sum())
