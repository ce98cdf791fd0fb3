"""What other toolkits print for the same predictions, and why it differs from our number.

There is a function for each tool. It follows the tool's own defaults, quirks included, and is
tested against the real package where pip has one.

    tool          the number                                       how it differs from ours
    cityscapes    cityscapesscripts evalPixelLevelSemanticLabeling not at all
    torchmetrics  MulticlassJaccardIndex(average="macro")          not at all
    mmseg         IoUMetric mIoU, percent with two decimals        float32 counts stop at 2^24
    smp           get_stats + iou_score(reduction="macro")         absent classes score 1; float32
    monai         MeanIoU(), ignore_empty=True                     mean over images; true classes
    nnunet        foreground mean of summary.json                  Dice, mean over images, without 0
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from atrous.metrics.shared import column_means, known_mean
from atrous.ops.confusion import count_pairs

SATURATION = 2**24
"""A float32 counter that grows by one stops here, and so does torch.histc on one thread."""


class Foreign:
    """What another tool would print for the same label maps.

    Args:
        tool: A name of `TOOLS`.
        classes: K, the number of classes.
        ignore: Label of true pixels that count nowhere.

    Example:
        >>> import numpy as np
        >>> theirs = Foreign("smp", classes=3)  # class 2 is nowhere
        >>> theirs.update(np.array([[0, 0, 1]]), np.array([[0, 1, 1]]))
        >>> round(theirs.compute()["value"], 3)  # ours: 0.5
        0.667
    """

    def __init__(self, tool: str, classes: int, ignore: int = 255) -> None:
        self.tool, self.classes, self.ignore = tool, classes, ignore
        self.images: list[np.ndarray] = []

    def update(self, prediction: np.ndarray, target: np.ndarray) -> None:
        """Add one picture: label maps (H, W). Raises as `ConfusionMatrix.update` does."""
        table = count_pairs(target, prediction, self.classes, self.ignore)
        self.images.append(np.stack([table.sum(1), table[:, :-1].sum(0), np.diagonal(table)]))

    def compute(self) -> dict[str, Any]:
        """`tool`, the `value` that it prints, and the `reason` why it differs from ours, or not."""
        counts = np.stack(self.images) if self.images else np.zeros((0, 3, self.classes), np.int64)
        value, reason = TOOLS[self.tool](counts)
        return {"tool": self.tool, "value": value, "reason": reason}


def cityscapes(counts: np.ndarray) -> tuple[float, str]:
    """cityscapesscripts: IoU per class from one confusion matrix, nan-mean over classes."""
    return _union_miou(counts), "the same definition: one matrix; classes without any pixels are skipped"


def torchmetrics(counts: np.ndarray) -> tuple[float, str]:
    """torchmetrics: classification.MulticlassJaccardIndex(K, average="macro", ignore_index)."""
    return _union_miou(counts), "the same definition: classes without any pixels are skipped"


def mmseg(counts: np.ndarray) -> tuple[float, str]:
    """mmsegmentation's IoUMetric: torch.histc in float32 for each image, then the nan-mean of IoU.

    It prints percent with two decimals.
    """
    value = round(_union_miou(np.minimum(counts, SATURATION)) * 100, 2) / 100
    return value, "rounded to two decimals of a percent; its float32 histogram stops at 16,777,216 pixels per image"


def smp(counts: np.ndarray) -> tuple[float, str]:
    """smp.metrics: get_stats(mode="multiclass"), then iou_score(reduction="macro")."""
    true, predicted, hit = np.minimum(counts, SATURATION).sum(0)
    union = true + predicted - hit
    iou = np.where(union > 0, hit / np.maximum(union, 1), 1.0)
    return float(iou.mean()), (
        f"{(union == 0).sum()} of {len(union)} classes have no pixels and score 1 (zero_division=1.0); "
        "its float32 histogram stops at 16,777,216 pixels per image"
    )


def monai(counts: np.ndarray) -> tuple[float, str]:
    """monai.metrics.MeanIoU(): IoU of each image and class, nan where the truth lacks the class."""
    true, predicted, hit = np.moveaxis(counts, 1, 0)
    iou = np.where(true > 0, hit / np.maximum(true + predicted - hit, 1), np.nan)
    return known_mean(column_means(iou.T)), (
        "the mean over images of each image's mean over its true classes; predicting a class that is not "
        "there costs nothing"
    )


def nnunet(counts: np.ndarray) -> tuple[float, str]:
    """nnU-Net v2: Dice of each case and label but 0, nan-mean over cases, then mean over labels."""
    true, predicted, hit = np.moveaxis(counts, 1, 0)
    whole = true + predicted
    dice = np.where(whole > 0, 2 * hit / np.maximum(whole, 1), np.nan)
    return float(np.mean(column_means(dice)[1:])), (
        "foreground mean of Dice, not IoU, averaged over images; class 0 is left out as background; "
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
"""By the name for `--as`: counts (n, 3, K), true, predicted and hit pixels of each image -> (value,
reason)."""


def _union_miou(counts: np.ndarray) -> float:
    true, predicted, hit = counts.sum(0)
    union = true + predicted - hit
    return known_mean(np.where(union > 0, hit / np.maximum(union, 1), np.nan))
