"""One confusion matrix over the whole data set, and every score that follows from it.

Rows are the truth, columns the prediction. A class may be absent. What its undefined IoU does to
the mean is a policy, and every result names its policy:

    union    skip classes with neither true nor predicted pixels (FCN, Cityscapes, mmsegmentation);
             the default
    truth    skip classes without true pixels
    one      count 0/0 as 1 (smp's default)
"""

from typing import Any, Literal

import numpy as np
import torch

from atrous.ops.confusion import count_pairs

Policy = Literal["union", "truth", "one"]


class ConfusionMatrix:
    """Counts how many pixels of each true class were predicted as each class, over a data set.

    Add one picture (or batch) after the other with `update`, add the matrices of other processes
    with `merge`, and ask for the scores at any time with `compute`. The counts are exact int64
    numbers. So neither the order of the pictures nor the number of processes changes a score.

    Args:
        classes: K, the number of classes. Class indices are 0..K-1.
        ignore: Pixels with this label in the truth count nowhere. The truth alone decides: on any
            other pixel, a prediction of `ignore` is a mistake like each value that is no class.

    Example:
        >>> import numpy as np
        >>> target = np.array([[0, 0, 1], [1, 1, 255]])  # the last pixel has no true class
        >>> prediction = np.array([[0, 1, 1], [1, 255, 0]])  # one 1 was predicted as no class
        >>> counts = ConfusionMatrix(classes=2)
        >>> true, predicted, hit = counts.update(prediction, target)
        >>> counts.matrix  # rows = truth, columns = prediction
        array([[1, 1],
               [0, 2]])
        >>> counts.outside
        array([0, 1])
        >>> found = counts.compute()
        >>> found["iou"]  # hit / (true + predicted - hit)
        array([0.5, 0.5])
        >>> found["miou"], found["pixel_accuracy"], found["policy"]
        (0.5, 0.6, 'union')
    """

    def __init__(self, classes: int, ignore: int = 255) -> None:
        self.classes, self.ignore = classes, ignore
        self._table = np.zeros((classes, classes + 1), np.int64)

    @property
    def matrix(self) -> np.ndarray:
        """(K, K) int64 pixels: rows = truth, columns = prediction. A copy.

        Predictions that are no class are not in it: see `outside`.
        """
        return self._table[:, :-1].copy()

    @property
    def outside(self) -> np.ndarray:
        """(K,) int64: for each true class, the pixels that were predicted as no class. A copy.

        They are misses: every score of `compute` counts them among the true pixels of their class.
        """
        return self._table[:, -1].copy()

    def update(self, prediction: Any, target: Any) -> np.ndarray:
        """Add one picture or batch.

        Args:
            prediction: Class indices, integers of any shape; a NumPy array or a tensor on any
                device.
            target: The true class indices, of the same shape.

        Returns:
            (3, K) int64: this picture's true, predicted and hit pixels of each class. They are all
            that IoU needs: keep them for each picture to draw intervals.

        Raises:
            ValueError: The shapes differ, an array does not hold integers, or a true label is
                neither a class nor `ignore`.
        """
        table = count_pairs(_array(target), _array(prediction), self.classes, self.ignore)
        self._table += table
        return np.stack([table.sum(1), table[:, :-1].sum(0), np.diagonal(table)])

    def merge(self, other: "ConfusionMatrix") -> "ConfusionMatrix":
        """Add the counts of another matrix, as of another process, and return this one.

        Raises:
            ValueError: The other one has other classes or ignores another label.
        """
        if (self.classes, self.ignore) != (other.classes, other.ignore):
            raise ValueError(
                f"cannot merge {other.classes} classes with ignore {other.ignore} into "
                f"{self.classes} classes with ignore {self.ignore}"
            )
        self._table += other._table
        return self

    def compute(self, policy: Policy = "union") -> dict[str, Any]:
        """All scores of what was counted so far: see `scores` for the keys and the policies."""
        return scores(self._table, policy)


def scores(matrix: np.ndarray, policy: Policy = "union") -> dict[str, Any]:
    """Every score that follows from a confusion matrix.

    Args:
        matrix: Pixel counts (K, K), rows = truth; or (K, K + 1), where the last column holds
            predictions that are no class.
        policy: What an absent class does to `miou` and `mean_dice`. `union` skips classes with
            neither true nor predicted pixels, `truth` skips classes without true pixels, `one`
            counts them as 1.

    Returns:
        A dictionary. Shares are in 0..1, and nan where they are undefined:

        - miou, mean_dice: means over the classes, by the policy
        - mean_accuracy: mean recall of the classes that have true pixels
        - pixel_accuracy: share of the pixels that are right
        - frequency_weighted_iou: IoU weighted by the true pixels of each class
        - kappa: -1..1, agreement beyond the chance agreement of the margins
        - iou, dice, precision, recall: (K,) arrays
        - pixels: (K,) true pixels
        - policy: the policy's name

    Raises:
        ValueError: The policy is unknown.

    Source:
        Long et al., CVPR 2015, section 5 (accuracies and IoU); Cohen 1960 (kappa).

    Example:
        >>> import numpy as np
        >>> found = scores(np.array([[8, 2], [1, 9]]))
        >>> found["iou"].round(3), round(found["miou"], 3)
        (array([0.727, 0.75 ]), 0.739)
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
