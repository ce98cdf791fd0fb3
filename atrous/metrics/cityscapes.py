"""The Cityscapes benchmark's own scores besides IoU: iIoU and category IoU (Cordts et al., CVPR 2016, section 4.3)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from atrous.metrics.boundary import _mean, _same

AVERAGE_SIZE = {
    "bicycle": 4672.3249222261, "bus": 35732.1511111111, "car": 12794.0202738185, "motorcycle": 6298.7200839748,
    "person": 3462.4756337644, "rider": 3930.4788056518, "train": 67583.7075812274, "truck": 27855.1264367816,
}  # fmt: skip
"""Mean pixels of an instance in the training set, by the benchmark's script."""

CATEGORIES = {
    "flat": ("road", "sidewalk"), "construction": ("building", "wall", "fence"),
    "object": ("pole", "traffic light", "traffic sign"), "nature": ("vegetation", "terrain"), "sky": ("sky",),
    "human": ("person", "rider"), "vehicle": ("car", "truck", "bus", "train", "motorcycle", "bicycle"),
}  # fmt: skip


class InstanceIoU:
    """iIoU = iTP / (iTP + FP + iFN): true pixels weigh average size of the class / size of their instance.

    names: the K classes; sizes: mean instance size of those that have instances (default: Cityscapes'). The truth's
    instances are given as a map of ids, one per instance within a class, 0 where a pixel belongs to a group that was
    not told apart (Cityscapes: ids below 1000), which is neither hit nor missed; false positives weigh 1.
    """

    def __init__(self, names: Sequence[str], ignore: int = 255, sizes: Mapping[str, float] = AVERAGE_SIZE) -> None:
        self.names, self.ignore = tuple(names), ignore
        self.sizes = {self.names.index(name): size for name, size in sizes.items() if name in self.names}
        self.hit, self.missed = np.zeros(len(names)), np.zeros(len(names))
        self.invented = np.zeros(len(names), np.int64)

    def update(self, prediction: np.ndarray, target: np.ndarray, instances: np.ndarray) -> None:
        """Add one picture: class maps (H, W) and the ids (H, W) of the truth's instances."""
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
        """Add the sums of another one of the same settings."""
        _same(self, other, "names", "ignore", "sizes")
        self.hit, self.missed = self.hit + other.hit, self.missed + other.missed
        self.invented = self.invented + other.invented
        return self

    def compute(self) -> dict[str, Any]:
        """iiou (K,), nan for classes without instances or pixels, and mean_iiou over the others."""
        whole = self.hit + self.missed + self.invented
        iiou = np.where(whole > 0, self.hit / np.maximum(whole, 1e-12), np.nan)
        return {"iiou": iiou, "mean_iiou": _mean(iiou)}


def category_iou(
    matrix: np.ndarray, names: Sequence[str], categories: Mapping[str, Sequence[str]] = CATEGORIES
) -> dict[str, Any]:
    """IoU of groups of classes from a (K, K) or (K, K + 1) confusion matrix: mixing within a group is no error.

    Returns iou {category: 0..1 or nan} and mean_category_iou over the categories with pixels.
    """
    matrix = np.asarray(matrix)
    iou = {}
    for category, members in categories.items():
        of = [names.index(name) for name in members if name in names]
        hit = matrix[np.ix_(of, of)].sum()
        union = matrix[of].sum() + matrix[:, of].sum() - hit
        iou[category] = float(hit / union) if union else float("nan")
    return {"iou": iou, "mean_category_iou": _mean(np.array(list(iou.values())))}
