"""How good is it: one confusion matrix over a split, at the masks' own resolution, with an interval over images."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from atrous.datasets import Pairs
from atrous.errors import DataError
from atrous.io import read_mask
from atrous.labels import LabelSet
from atrous.metrics import ConfusionMatrix, scores
from atrous.ops import bootstrap_miou
from atrous.sample import Sample


@dataclass(frozen=True)
class Evaluation:
    """The result over one split.

    confusion: (K, K + 1) int64, rows = truth, last column = predictions that are no class.
    counts: (n, 3, K) int64 per image: true, predicted and hit pixels. names: the n image names.
    """

    labels: LabelSet
    split: str
    confusion: np.ndarray
    counts: np.ndarray
    names: list[str]
    seconds: float

    def image_scores(self) -> np.ndarray:
        """(n,) mIoU of each image over the classes in its truth or prediction; nan where nothing is labelled."""
        true, predicted, hit = self.counts.transpose(1, 0, 2)
        union = true + predicted - hit
        iou = np.where(union > 0, hit / np.maximum(union, 1), np.nan)
        present = (union > 0).sum(1)
        return np.where(present > 0, np.nansum(iou, axis=1) / np.maximum(present, 1), np.nan)

    def summary(self) -> dict[str, Any]:
        """Plain numbers for JSON: miou, per_class, pixel_accuracy, policy, interval, split, images, seconds."""
        result = scores(self.confusion)
        return {
            "miou": _number(result["miou"]),
            "per_class": {n: _number(v) for n, v in zip(self.labels.names, result["iou"], strict=True)},
            "pixel_accuracy": _number(result["pixel_accuracy"]),
            "mean_accuracy": _number(result["mean_accuracy"]),
            "mean_dice": _number(result["mean_dice"]),
            "frequency_weighted_iou": _number(result["frequency_weighted_iou"]),
            "policy": "mIoU over the data set; classes with neither true nor predicted pixels are skipped (union)",
            "interval": bootstrap_miou(self.counts),
            "interval_method": "95 % percentile bootstrap over images, 1000 resamples",
            "split": self.split,
            "images": len(self.names),
            "seconds": round(self.seconds, 3),
        }


def evaluate(
    predict: Callable[[Sample], np.ndarray],
    pairs: Sequence[Sample] | Pairs,
    labels: LabelSet,
    split: str,
    *,
    progress: Callable[[Iterable[int], int], Iterable[int]] | None = None,
) -> Evaluation:
    """Count `predict(sample) -> (H, W)` class indices against the samples' masks, one at a time."""
    start = time.perf_counter()
    matrix = ConfusionMatrix(len(labels), labels.ignore_index)
    counts, names = [], []
    indices = range(len(pairs))
    for index in progress(indices, len(pairs)) if progress else indices:
        sample = pairs[index]
        counts.append(matrix.update(predict(sample), sample.mask))
        names.append(sample.path.name if sample.path else str(index))
    stacked = np.stack(counts) if counts else np.zeros((0, 3, len(labels)), np.int64)
    confusion = np.concatenate([matrix.matrix, matrix.outside[:, None]], axis=1)
    return Evaluation(labels, split, confusion, stacked, names, time.perf_counter() - start)


def from_folder(folder: Path, labels: LabelSet) -> Callable[[Sample], np.ndarray]:
    """Reads the label maps `folder/<stem>.png` (.tif, .bmp, .npy) of any tool, in the values of the mask files."""
    maps = {
        path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in (".png", ".tif", ".bmp", ".npy")
    }
    if not maps:
        raise DataError(
            f"{folder}: holds no label maps (.png, .tif, .bmp, .npy); `atrous predict` writes such a folder"
        )
    table = np.full(65536, 65534, np.uint16)
    table[list(labels.values)] = np.arange(len(labels))

    def read(sample: Sample) -> np.ndarray:
        assert sample.path is not None
        assert sample.mask is not None
        if sample.path.stem not in maps:
            raise DataError(f"{folder}: no prediction for {sample.path.name}; expected {sample.path.stem}.png")
        path = maps[sample.path.stem]
        values = read_mask(path)
        if values.shape != sample.mask.shape:
            raise DataError(
                f"{path}: is {values.shape[1]}x{values.shape[0]} pixels, the mask of {sample.path.name} is "
                f"{sample.mask.shape[1]}x{sample.mask.shape[0]}; predictions must keep the image's size"
            )
        return table[values]

    return read


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 6)
