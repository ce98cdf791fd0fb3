"""Do probabilities mean what they say: ECE, class-wise ECE, Brier score, likelihood, reliability.

Only counts and sums are kept, however many pictures there are. To judge a band along the boundaries
alone, set the target to `ignore` outside it (`atrous.ops.distance.distance_to_other`).
"""

from typing import Any

import numpy as np

from atrous.metrics.shared import check_same_settings


class Calibration:
    """How well the probabilities of K classes are calibrated, over a data set.

    - ece: expected calibration error of the winning class, the sum over bins b of
      n_b / n * |accuracy_b - mean confidence_b|; in 0..1, best at 0.
    - classwise_ece: the same for each class k, with p_k as the confidence and "the truth is k" as
      the hit.
    - brier: mean over pixels of sum_k (p_k - y_k)^2, where y is 1 at the true class; in 0..2.
    - nll: mean of -log p of the true class, in nats; p is at least 1e-12.

    Args:
        classes: K, the number of classes.
        ignore: Label of true pixels that count nowhere.
        bins: Number of bins of equal width, (0, 1/bins], (1/bins, 2/bins], ...; 0 is in the first.

    Source:
        Guo et al., ICML 2017 (ece); Nixon et al., CVPR Workshops 2019, static calibration error
        (classwise_ece); Brier 1950.

    Example:
        >>> import numpy as np
        >>> probabilities = np.full((2, 10, 10), 0.2)
        >>> probabilities[0] = 0.8  # 80 % sure of class 0 at every pixel
        >>> target = np.zeros((10, 10), np.uint8)
        >>> target[6:] = 1  # but only 60 % of the pixels are of class 0
        >>> metric = Calibration(classes=2)
        >>> metric.update(probabilities, target)
        >>> round(metric.compute()["ece"], 3)
        0.2
    """

    def __init__(self, classes: int, ignore: int = 255, bins: int = 15) -> None:
        self.classes, self.ignore, self.bins = classes, ignore, bins
        self.top = np.zeros((3, bins))
        self.each = np.zeros((classes, 3, bins))
        self.brier, self.likelihood, self.pixels = 0.0, 0.0, 0

    def update(self, probabilities: np.ndarray, target: np.ndarray) -> None:
        """Add one picture.

        Args:
            probabilities: (K, ...), which sum to 1 over the classes.
            target: The true class indices, of the shape that remains.

        Raises:
            ValueError: The shapes do not fit each other.
        """
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
        """(3, bins): pixels, sum of confidences and hits in each bin."""
        place = np.clip(np.ceil(confidence * self.bins).astype(int) - 1, 0, self.bins - 1)
        return np.stack([np.bincount(place, weights, self.bins) for weights in (np.ones(len(place)), confidence, hit)])

    def merge(self, other: "Calibration") -> "Calibration":
        """Add the sums of another one; ValueError where its settings differ."""
        check_same_settings(self, other, "classes", "ignore", "bins")
        for name in ("top", "each", "brier", "likelihood", "pixels"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self

    def compute(self) -> dict[str, Any]:
        """The scores so far.

        Returns:
            `ece`, `classwise_ece` (K,), `mean_classwise_ece`, `brier`, `nll`, `pixels` (the number
            of counted pixels), and the reliability curve of the winning class: `share` of the
            pixels, `confidence` (mean) and `accuracy`, each (bins,). The last two are nan in an
            empty bin.

        Raises:
            ValueError: Nothing was counted, since every pixel is ignored.
        """
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
