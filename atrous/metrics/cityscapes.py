"""What the Cityscapes benchmark reports besides IoU: instance-weighted IoU and category IoU.

Source: Cordts et al., CVPR 2016, section 4.3.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from atrous.metrics.shared import check_same_settings, known_mean

AVERAGE_SIZE = {
    "bicycle": 4672.3249222261, "bus": 35732.1511111111, "car": 12794.0202738185, "motorcycle": 6298.7200839748,
    "person": 3462.4756337644, "rider": 3930.4788056518, "train": 67583.7075812274, "truck": 27855.1264367816,
}  # fmt: skip
"""Pixels of an instance in the training set, on average: the numbers of the benchmark's script."""

CATEGORIES = {
    "flat": ("road", "sidewalk"), "construction": ("building", "wall", "fence"),
    "object": ("pole", "traffic light", "traffic sign"), "nature": ("vegetation", "terrain"), "sky": ("sky",),
    "human": ("person", "rider"), "vehicle": ("car", "truck", "bus", "train", "motorcycle", "bicycle"),
}  # fmt: skip
"""The benchmark's categories and the classes in each."""


class InstanceIoU:
    """iIoU: an IoU in which every instance of a class weighs the same, whatever its size.

    iIoU = iTP / (iTP + FP + iFN). A true pixel weighs (average instance size of its class) /
    (size of its own instance); a false positive weighs 1.

    Args:
        names: The names of the K classes, in the order of their indices.
        ignore: Label of true pixels that count nowhere.
        sizes: Average instance size in pixels, by the name of the class, for the classes that have
            instances. Names that are not among `names` are left out. Default: Cityscapes' sizes.

    Source:
        Cordts et al., "The Cityscapes dataset", CVPR 2016, section 4.3.

    Example:
        >>> import numpy as np
        >>> target = np.array([[1, 1, 1, 1, 1, 1, 1, 1, 0, 1]])  # two cars: 8 pixels and 1 pixel
        >>> instances = np.array([[1, 1, 1, 1, 1, 1, 1, 1, 0, 2]])
        >>> prediction = np.array([[1, 1, 1, 1, 1, 1, 1, 1, 0, 0]])  # the small one is missed
        >>> metric = InstanceIoU(["road", "car"], sizes={"car": 4.5})
        >>> metric.update(prediction, target, instances)
        >>> metric.compute()["iiou"]  # IoU of the car would be 8 / 9
        array([nan, 0.5])
    """

    def __init__(self, names: Sequence[str], ignore: int = 255, sizes: Mapping[str, float] = AVERAGE_SIZE) -> None:
        self.names, self.ignore = tuple(names), ignore
        self.sizes = {self.names.index(name): size for name, size in sizes.items() if name in self.names}
        self.hit, self.missed = np.zeros(len(names)), np.zeros(len(names))
        self.invented = np.zeros(len(names), np.int64)

    def update(self, prediction: np.ndarray, target: np.ndarray, instances: np.ndarray) -> None:
        """Add one picture.

        Args:
            prediction: Class indices (H, W).
            target: True class indices (H, W).
            instances: (H, W) instance ids of the truth, unique within a class. 0 marks a group
                whose members were not told apart (ids below 1000 in Cityscapes' files): its
                pixels are neither hit nor missed.

        Raises:
            ValueError: The shapes differ.
        """
        if not prediction.shape == target.shape == instances.shape:
            raise ValueError(f"shapes {prediction.shape}, {target.shape} and {instances.shape} must be equal")
        for k, average in self.sizes.items():
            true, guess = target == k, prediction == k
            self.invented[k] += int((guess & ~true & (target != self.ignore)).sum())
            true &= instances != 0
            if true.any():
                _, place, counts = np.unique(instances[true], return_inverse=True, return_counts=True)
                hits = np.bincount(place.ravel(), weights=guess[true], minlength=len(counts))
                self.hit[k] += float((hits * average / counts).sum())
                self.missed[k] += float(((counts - hits) * average / counts).sum())

    def merge(self, other: "InstanceIoU") -> "InstanceIoU":
        """Add the sums of another one; ValueError where its settings differ."""
        check_same_settings(self, other, "names", "ignore", "sizes")
        self.hit, self.missed = self.hit + other.hit, self.missed + other.missed
        self.invented = self.invented + other.invented
        return self

    def compute(self) -> dict[str, Any]:
        """The scores so far.

        Returns:
            `iiou`, (K,) in 0..1, nan for classes without instances or without pixels; `mean_iiou`,
            their mean without the nans.
        """
        whole = self.hit + self.missed + self.invented
        iiou = np.where(whole > 0, self.hit / np.maximum(whole, 1e-12), np.nan)
        return {"iiou": iiou, "mean_iiou": known_mean(iiou)}


def category_iou(
    matrix: np.ndarray, names: Sequence[str], categories: Mapping[str, Sequence[str]] = CATEGORIES
) -> dict[str, Any]:
    """IoU of groups of classes: to take a class for another one of its group is no error.

    Args:
        matrix: Pixel counts (K, K), rows = truth; or (K, K + 1), where the last column holds
            predictions that are no class.
        names: The names of the K classes, in the order of their indices.
        categories: The class names in each category. Names that are not among `names` are left out.
            Default: Cityscapes' seven categories.

    Returns:
        `iou`: for each category a float in 0..1, nan where it has no pixels; `mean_category_iou`:
        their mean without the nans.

    Example:
        >>> import numpy as np
        >>> matrix = np.array([[9, 1, 0], [2, 8, 0], [0, 0, 5]])
        >>> found = category_iou(matrix, ["car", "truck", "sky"])
        >>> found["iou"]["vehicle"], found["iou"]["sky"], found["mean_category_iou"]
        (1.0, 1.0, 1.0)
    """
    matrix = np.asarray(matrix)
    iou = {}
    for category, members in categories.items():
        of = [names.index(name) for name in members if name in names]
        hit = matrix[np.ix_(of, of)].sum()
        union = matrix[of].sum() + matrix[:, of].sum() - hit
        iou[category] = float(hit / union) if union else float("nan")
    return {"iou": iou, "mean_category_iou": known_mean(np.array(list(iou.values())))}
