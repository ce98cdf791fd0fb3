"""Further measures of `atrous eval --metrics`: surfaces, regions, centrelines, categories.

Each is a metric over a split: `update(prediction, target)` with (H, W) class indices, then `compute()`. What lies under
the ignored label is in neither mask.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from atrous.errors import AtrousError, nearest
from atrous.labels import LabelSet
from atrous.metrics import ConfusionMatrix, category_iou, cl_dice, label_surface_scores, lesion_f1
from atrous.metrics.cityscapes import CATEGORIES

TOLERANCE = 2.0
"""Of the normalised surface distance, in pixels."""


class Surfaces:
    """Hausdorff distance, its 95th percentile, mean distance (pixels) and NSD of each class, as means over images.

    An image counts for a class that is in its truth or its prediction. Where it is in one of them only, the distances
    are the image's diagonal and the NSD is 0, so that a miss never improves a mean.
    """

    def __init__(self, labels: LabelSet) -> None:
        self._labels = labels
        self._found: list[list[tuple[float, ...]]] = [[] for _ in labels.names]

    def update(self, prediction: np.ndarray, target: np.ndarray) -> None:
        """Add one image."""
        classes, ignored = range(len(self._labels)), self._labels.ignore_index
        scores = label_surface_scores(prediction, target, classes, ignore_index=ignored, missed="diagonal")
        for k, found in scores.items():
            if not found.empty:
                self._found[k].append((found.hausdorff(), found.hd95(), found.assd(), found.nsd(TOLERANCE)))

    def compute(self) -> dict[str, Any]:
        """hausdorff, hd95, assd, nsd and images, each (K,); nan for a class that is nowhere."""
        means = np.array([np.mean(one, axis=0) if one else (np.nan,) * 4 for one in self._found]).T
        return {
            **dict(zip(("hausdorff", "hd95", "assd", "nsd"), means, strict=True)),
            "images": np.array([len(one) for one in self._found]),
            "tolerance": TOLERANCE,
        }


class Regions:
    """Connected regions that were found, missed and invented, and their F1, over all images (`lesion_f1`)."""

    def __init__(self, labels: LabelSet) -> None:
        self._labels = labels
        self._counts = np.zeros((3, len(labels)), np.int64)

    def update(self, prediction: np.ndarray, target: np.ndarray) -> None:
        """Add one image."""
        for k, guess, truth in _masks(self._labels, prediction, target):
            found = lesion_f1(guess, truth)
            self._counts[:, k] += [found["found"], found["missed"], found["invented"]]

    def compute(self) -> dict[str, Any]:
        """found, missed, invented and f1, each (K,); f1 is nan for a class that is nowhere."""
        found, missed, invented = self._counts
        whole = 2 * found + missed + invented
        f1 = np.where(whole > 0, 2 * found / np.maximum(whole, 1), np.nan)
        return {"found": found, "missed": missed, "invented": invented, "f1": f1}


class Centrelines:
    """clDice of each class, as a mean over the images where it is (`cl_dice`); for roads, vessels, cracks."""

    def __init__(self, labels: LabelSet) -> None:
        self._labels = labels
        self._found: list[list[float]] = [[] for _ in labels.names]

    def update(self, prediction: np.ndarray, target: np.ndarray) -> None:
        """Add one image."""
        for k, guess, truth in _masks(self._labels, prediction, target):
            self._found[k].append(cl_dice(guess, truth))

    def compute(self) -> dict[str, Any]:
        """cldice (K,), nan for a class that is nowhere, and images (K,)."""
        return {
            "cldice": np.array([np.mean(one) if one else np.nan for one in self._found]),
            "images": np.array([len(one) for one in self._found]),
        }


class Categories:
    """IoU of Cityscapes' seven categories (`category_iou`): confusing a car with a bus is no error there."""

    def __init__(self, labels: LabelSet) -> None:
        known = {name for members in CATEGORIES.values() for name in members}
        if not known & set(labels.names):
            raise AtrousError("--metrics categories: none of the classes is one of Cityscapes; leave it out")
        self._names, self._matrix = labels.names, ConfusionMatrix(len(labels), labels.ignore_index)

    def update(self, prediction: np.ndarray, target: np.ndarray) -> None:
        """Add one image."""
        self._matrix.update(prediction, target)

    def compute(self) -> dict[str, Any]:
        """iou {category: 0..1, or nan where it has no pixels} and mean_category_iou."""
        whole = np.concatenate([self._matrix.matrix, self._matrix.outside[:, None]], axis=1)
        return category_iou(whole, self._names)


MEASURES: dict[str, Callable[[LabelSet], Any]] = {
    "surface": Surfaces,
    "regions": Regions,
    "cldice": Centrelines,
    "categories": Categories,
}
"""Name of `--metrics` -> the metric of a data set's classes."""

COUNTS = {"found", "missed", "invented", "images"}
"""What of their results is counted, not measured."""


def make_measures(names: Sequence[str], labels: LabelSet) -> dict[str, Any]:
    """The metrics of these names; AtrousError for a name that does not exist."""
    if unknown := [name for name in names if name not in MEASURES]:
        raise AtrousError(f"--metrics {unknown[0]}: unknown; {nearest(unknown[0], list(MEASURES))}")
    return {name: MEASURES[name](labels) for name in names}


def _masks(labels: LabelSet, prediction: np.ndarray, target: np.ndarray) -> list[tuple[int, np.ndarray, np.ndarray]]:
    """(class, predicted mask, true mask) of the classes that are in one of the two, ignored pixels in neither."""
    known = target != labels.ignore_index
    masks = [(k, (prediction == k) & known, target == k) for k in range(len(labels))]
    return [(k, guess, truth) for k, guess, truth in masks if guess.any() or truth.any()]
