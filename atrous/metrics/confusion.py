"""One confusion matrix over the whole set, and every number that follows from it.

Rows are the truth, columns the prediction. Policies for a class that is absent, named beside every mean:

    union    skip classes with neither true nor predicted pixels (FCN, Cityscapes, mmsegmentation); the default
    truth    skip classes without true pixels
    one      count 0/0 as 1 (smp's default)
"""

from typing import Any, Literal

import numpy as np
import torch

from atrous.ops.confusion import count_pairs

Policy = Literal["union", "truth", "one"]


class ConfusionMatrix:
    """Exact pixel counts of K classes, updated picture by picture, merged across processes.

    classes: K; ignore: label of pixels that count nowhere, in truth only (a prediction of it is a miss).
    """

    def __init__(self, classes: int, ignore: int = 255) -> None:
        self.classes, self.ignore = classes, ignore
        self._table = np.zeros((classes, classes + 1), np.int64)

    @property
    def matrix(self) -> np.ndarray:
        """(K, K) int64, rows = truth, columns = prediction; predictions that are no class are in `outside`."""
        return self._table[:, :-1].copy()

    @property
    def outside(self) -> np.ndarray:
        """(K,) int64: pixels per true class whose prediction was no class at all; they count as misses."""
        return self._table[:, -1].copy()

    def update(self, prediction: Any, target: Any) -> np.ndarray:
        """Add one picture or batch of label maps of equal shape; returns its (3, K) true, predicted and hit pixels."""
        table = count_pairs(_array(target), _array(prediction), self.classes, self.ignore)
        self._table += table
        return np.stack([table.sum(1), table[:, :-1].sum(0), np.diagonal(table)])

    def merge(self, other: "ConfusionMatrix") -> "ConfusionMatrix":
        """Add the counts of another matrix over the same classes."""
        if (self.classes, self.ignore) != (other.classes, other.ignore):
            raise ValueError(
                f"cannot merge {other.classes} classes with ignore {other.ignore} into "
                f"{self.classes} classes with ignore {self.ignore}"
            )
        self._table += other._table
        return self

    def compute(self, policy: Policy = "union") -> dict[str, Any]:
        """All numbers of `scores` for what was counted so far."""
        return scores(self._table, policy)


def scores(matrix: np.ndarray, policy: Policy = "union") -> dict[str, Any]:
    """IoU, accuracies, Dice of a (K, K) or (K, K + 1) count matrix (last column: predictions that are no class).

    Returns miou, mean_dice, mean_accuracy, pixel_accuracy, frequency_weighted_iou (floats 0..1, nan when nothing was
    counted), kappa (-1..1), iou, dice, precision, recall (arrays (K,), nan where undefined), pixels (true pixels (K,)),
    policy. Definitions: Long et al. 2015, section 5; kappa: Cohen 1960, agreement beyond that of the margins.
    """
    matrix = np.asarray(matrix)
    classes = len(matrix)
    true, predicted, hit = matrix.sum(1), matrix[:, :classes].sum(0), np.diagonal(matrix)
    union = true + predicted - hit
    with np.errstate(invalid="ignore", divide="ignore"):
        iou = np.where(union > 0, hit / union, np.nan)
        dice = np.where(union > 0, 2 * hit / (true + predicted), np.nan)
        precision = np.where(predicted > 0, hit / predicted, np.nan)
        recall = np.where(true > 0, hit / true, np.nan)
        total = true.sum()
        pixel_accuracy = float(hit.sum() / total) if total else float("nan")
        chance = float((true * (predicted / total)).sum() / total) if total else float("nan")
        weighted = float(np.nansum(true / total * np.where(true > 0, iou, 0))) if total else float("nan")
    return {
        "miou": _mean(iou, true, policy),
        "mean_dice": _mean(dice, true, policy),
        "mean_accuracy": _mean(recall, true, "truth"),
        "pixel_accuracy": pixel_accuracy,
        "frequency_weighted_iou": weighted,
        "kappa": (pixel_accuracy - chance) / (1 - chance) if chance < 1 else float("nan"),
        "iou": iou,
        "dice": dice,
        "precision": precision,
        "recall": recall,
        "pixels": true,
        "policy": policy,
    }


def _mean(values: np.ndarray, true: np.ndarray, policy: Policy) -> float:
    if policy == "truth":
        values = values[true > 0]
    elif policy == "one":
        values = np.nan_to_num(values, nan=1.0)
    elif policy != "union":
        raise ValueError(f"unknown absent-class policy {policy!r}; expected 'union', 'truth' or 'one'")
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else float("nan")


def _array(labels: Any) -> np.ndarray:
    return labels.detach().cpu().numpy() if isinstance(labels, torch.Tensor) else np.asarray(labels)
