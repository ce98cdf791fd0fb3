"""What other toolkits print for the same predictions, and why it differs: one function each, of the counts per image.

Each follows the tool's own defaults, quirks included, and is tested against the real package where pip has one.

    tool          the number                                                    how it differs from ours
    cityscapes    cityscapesscripts, evalPixelLevelSemanticLabeling             not at all
    torchmetrics  MulticlassJaccardIndex(average="macro")                       not at all
    mmseg         IoUMetric mIoU, in percent with two decimals                  counts in float32: saturate at 2^24
    smp           get_stats + iou_score(reduction="macro")                      absent classes score 1; float32 counts
    monai         MeanIoU(), ignore_empty=True                                  mean over images; true classes only
    nnunet        foreground mean of summary.json, Dice                         Dice, mean over images, without class 0
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from atrous.metrics.boundary import _column_means, _mean
from atrous.ops.confusion import count_pairs

SATURATION = 2**24
"""A float32 counter that grows by one stops here; torch.histc counts so, per call and thread (told for one thread)."""


class Foreign:
    """What `tool`, a name of TOOLS, prints for K classes: updated with label maps (H, W), prediction first."""

    def __init__(self, tool: str, classes: int, ignore: int = 255) -> None:
        self.tool, self.classes, self.ignore = tool, classes, ignore
        self.images: list[np.ndarray] = []

    def update(self, prediction: np.ndarray, target: np.ndarray) -> None:
        """Add one picture; its pixels of ignored truth count nowhere."""
        table = count_pairs(target, prediction, self.classes, self.ignore)
        self.images.append(np.stack([table.sum(1), table[:, :-1].sum(0), np.diagonal(table)]))

    def compute(self) -> dict[str, Any]:
        """tool; value: the number it prints; reason: why that differs from ours, or that it does not."""
        counts = np.stack(self.images) if self.images else np.zeros((0, 3, self.classes), np.int64)
        value, reason = TOOLS[self.tool](counts)
        return {"tool": self.tool, "value": value, "reason": reason}


def cityscapes(counts: np.ndarray) -> tuple[float, str]:
    """cityscapesscripts: IoU per class from one confusion matrix, nan-mean over classes."""
    return _union_miou(counts), "the same definition: one matrix, classes without any pixels skipped"


def torchmetrics(counts: np.ndarray) -> tuple[float, str]:
    """torchmetrics.classification.MulticlassJaccardIndex(num_classes, average="macro", ignore_index)."""
    return _union_miou(counts), "the same definition: classes without any pixels weigh nothing"


def mmseg(counts: np.ndarray) -> tuple[float, str]:
    """mmsegmentation's IoUMetric: torch.histc in float32 per image, then intersect / union, nan-mean, in percent."""
    value = round(_union_miou(np.minimum(counts, SATURATION)) * 100, 2) / 100
    return value, "rounded to two decimals of a percent; its float32 histogram stops at 16,777,216 pixels an image"


def smp(counts: np.ndarray) -> tuple[float, str]:
    """segmentation_models_pytorch.metrics: get_stats(mode="multiclass"), then iou_score(reduction="macro")."""
    true, predicted, hit = np.minimum(counts, SATURATION).sum(0)
    union = true + predicted - hit
    iou = np.where(union > 0, hit / np.maximum(union, 1), 1.0)
    return float(iou.mean()), (
        f"{(union == 0).sum()} of {len(union)} classes have no pixels and score 1 (zero_division=1.0); "
        "its float32 histogram stops at 16,777,216 pixels an image"
    )


def monai(counts: np.ndarray) -> tuple[float, str]:
    """monai.metrics.MeanIoU(): IoU per image and class of one-hot maps, nan where the truth has no such pixel."""
    true, predicted, hit = np.moveaxis(counts, 1, 0)
    iou = np.where(true > 0, hit / np.maximum(true + predicted - hit, 1), np.nan)
    return _mean(_column_means(iou.T)), (
        "the mean over images of the mean over the classes true in an image; what is predicted of a class that "
        "is not there costs nothing"
    )


def nnunet(counts: np.ndarray) -> tuple[float, str]:
    """nnU-Net v2's evaluation: Dice per case and label except 0, nan-means over cases, then the mean over labels."""
    true, predicted, hit = np.moveaxis(counts, 1, 0)
    whole = true + predicted
    dice = np.where(whole > 0, 2 * hit / np.maximum(whole, 1), np.nan)
    return float(np.mean(_column_means(dice)[1:])), (
        "foreground mean of Dice, not IoU, averaged over images; class 0 counts as background, "
        "a class that no image has makes it nan"
    )


TOOLS: dict[str, Callable[[np.ndarray], tuple[float, str]]] = {
    "cityscapes": cityscapes,
    "mmseg": mmseg,
    "monai": monai,
    "nnunet": nnunet,
    "smp": smp,
    "torchmetrics": torchmetrics,
}
"""Name for `--as` -> counts (n, 3, K) of true, predicted and hit pixels per image -> (value, reason)."""


def _union_miou(counts: np.ndarray) -> float:
    true, predicted, hit = counts.sum(0)
    union = true + predicted - hit
    return _mean(np.where(union > 0, hit / np.maximum(union, 1), np.nan))
