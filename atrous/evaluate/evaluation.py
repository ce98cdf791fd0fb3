"""How good is a network: one confusion matrix over a split, at the masks' resolution, with an interval over images."""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from atrous.datasets import Pairs
from atrous.errors import DataError
from atrous.io import read_mask
from atrous.io.partners import partners, results_below
from atrous.labels import LabelSet
from atrous.metrics import ConfusionMatrix, scores
from atrous.ops.stats import bootstrap, by_cluster, interval, iou_intervals
from atrous.sample import Sample

BY_PLACE = {"widths", "miou", "share", "confidence", "accuracy"}
"""Names of arrays over widths or bins, which may be as long as there are classes. All others are over classes."""


@dataclass(frozen=True)
class Evaluation:
    """The result over one split.

    Attributes:
        labels: the classes.
        split: the split's name.
        confusion: (K, K + 1) int64; rows are the truth, the last column counts predictions of no class.
        counts: (n, 3, K) int64, for each image its true, predicted and hit pixels.
        names: the n image names.
        seconds: how long all of it took.
        clusters: for each image its video or patient; None where images are independent.
        block: for frames in order, how many neighbours the bootstrap draws together.
        extras: the results of further metrics, by name.
        predict_seconds: for each image the seconds of the prediction only.
        sizes: for each image its height and width.
        left_out: how many images of the split were not judged, as the network was trained on them.
        trained_on: on how many of the judged images the network was trained; None where that is not known.
        remark: a sentence on this, "" where there is nothing to say.
    """

    labels: LabelSet
    split: str
    confusion: np.ndarray
    counts: np.ndarray
    names: list[str]
    seconds: float
    clusters: list[str] | None = None
    block: int = 1
    extras: dict[str, dict[str, Any]] = field(default_factory=dict)
    predict_seconds: list[float] = field(default_factory=list)
    sizes: list[tuple[int, int]] = field(default_factory=list)
    left_out: int = 0
    trained_on: int | None = 0
    remark: str = ""

    @property
    def miou(self) -> float | None:
        """The mIoU, as in `summary`, but without drawing intervals; None where nothing is labelled."""
        return _number(scores(self.confusion)["miou"])

    def image_scores(self) -> np.ndarray:
        """(n,) mIoU of each image over the classes in its truth or prediction; nan where nothing is labelled."""
        true, predicted, hit = self.counts.transpose(1, 0, 2)
        union = true + predicted - hit
        iou = np.where(union > 0, hit / np.maximum(union, 1), np.nan)
        present = (union > 0).sum(1)
        return np.where(present > 0, np.nansum(iou, axis=1) / np.maximum(present, 1), np.nan)

    def summary(self) -> dict[str, Any]:
        """Plain values for JSON: miou, interval, per_class, pixel_accuracy, policy, split, images, warnings, ..."""
        result = scores(self.confusion)
        means, per_class, method, warnings = self.intervals()
        summary = {
            "miou": _number(result["miou"]),
            "interval": means,
            "per_class": self._named(result["iou"]),
            "per_class_interval": per_class,
            "pixel_accuracy": _number(result["pixel_accuracy"]),
            "mean_accuracy": _number(result["mean_accuracy"]),
            "mean_dice": _number(result["mean_dice"]),
            "frequency_weighted_iou": _number(result["frequency_weighted_iou"]),
            "kappa": _number(result["kappa"]),
            "image_miou": _number(_nanmean(self.image_scores())),
            "policy": "mIoU over the data set; classes with neither true nor predicted pixels are skipped (union)",
            "interval_method": method,
            "warnings": [*warnings, self.remark] if self.remark else warnings,
            "split": self.split,
            "images": len(self.names),
            "left_out": self.left_out,
            "trained_on": self.trained_on,
            "seconds": round(self.seconds, 3),
        }
        return summary | {name: self._plain(values) for name, values in self.extras.items()}

    def intervals(
        self, resamples: int = 2000
    ) -> tuple[tuple[float, float] | None, dict[str, tuple[float, float] | None], str, list[str]]:
        """95 % intervals of the mIoU and of each class's IoU, how they were made, and warnings.

        Those of the classes need no draws (`atrous.ops.stats.iou_intervals`); with `block`, each run of
        that many images counts as one there.
        """
        counts = self.counts if self.clusters is None else by_cluster(self.counts, self.clusters)
        unit = "images" if self.clusters is None else f"{len(counts)} clusters"
        if self.block > 1:
            unit = f"runs of {self.block} neighbouring images"
        method = f"95 % percentile bootstrap over {unit}, {resamples} resamples; classes: Student's t of the logit"
        groups = len(counts) // self.block
        warnings = [f"the interval rests on {groups} independent groups; under 10 it is too narrow"] * (groups < 10)
        if len(counts) < 2 or self.block > len(counts):
            return None, dict.fromkeys(self.labels.names), method, warnings

        draws = bootstrap(counts, resamples=resamples, block=self.block)
        mean = None if np.isnan(draws).all() else interval(draws)
        runs = by_cluster(counts, [place // self.block for place in range(len(counts))])
        rounded = [
            None if pair is None or np.isnan(pair[0]) else (round(float(pair[0]), 6), round(float(pair[1]), 6))
            for pair in (mean, *iou_intervals(runs))
        ]
        return rounded[0], dict(zip(self.labels.names, rounded[1:], strict=True)), method, warnings

    def _named(self, values: np.ndarray) -> dict[str, float | None]:
        return {name: _number(value) for name, value in zip(self.labels.names, values, strict=True)}

    def _plain(self, value: Any, named: bool = True) -> Any:
        """A value for JSON: arrays over classes by class name, other arrays as lists, nan as None."""
        if isinstance(value, Mapping):
            return {str(key): self._plain(one, named=key not in BY_PLACE) for key, one in value.items()}
        if isinstance(value, np.ndarray):
            if named and value.shape == (len(self.labels),):
                return self._named(value)
            return [self._plain(one) for one in value]
        if isinstance(value, np.generic):
            value = value.item()  # numpy's scalars are not JSON's
        return _number(value) if isinstance(value, float) else value


def evaluate(
    predict: Callable[[Sample], np.ndarray],
    pairs: Sequence[Sample] | Pairs,
    labels: LabelSet,
    split: str,
    *,
    progress: Callable[[Iterable[int], int], Iterable[int]] | None = None,
    metrics: Mapping[str, Any] | None = None,
    cluster: Callable[[str], str] | None = None,
    block: int = 1,
) -> Evaluation:
    """Count predictions against the masks of labelled samples, one sample at a time.

    Args:
        predict: sample -> (H, W) class indices.
        pairs: the samples, with masks of class indices.
        labels: the classes.
        split: the split's name, for the result.
        progress: see `atrous.progress.Over`.
        metrics: name -> a further metric, whose `update(prediction, mask)` is called for each sample. An
            empty result is left out.
        cluster: image name -> its video or patient.
        block: see `Evaluation`.
    """
    start = time.perf_counter()
    matrix = ConfusionMatrix(len(labels), labels.ignore_index)
    counts, names, seconds, sizes = [], [], [], []
    indices = range(len(pairs))
    for index in progress(indices, len(pairs)) if progress else indices:
        sample = pairs[index]
        began = time.perf_counter()
        prediction = predict(sample)
        seconds.append(time.perf_counter() - began)
        sizes.append((sample.image.shape[0], sample.image.shape[1]))
        counts.append(matrix.update(prediction, sample.mask))
        for metric in (metrics or {}).values():
            metric.update(prediction, sample.mask)
        names.append(sample.path.name if sample.path else str(index))
    stacked = np.stack(counts) if counts else np.zeros((0, 3, len(labels)), np.int64)
    confusion = np.concatenate([matrix.matrix, matrix.outside[:, None]], axis=1)
    return Evaluation(
        labels,
        split,
        confusion,
        stacked,
        names,
        time.perf_counter() - start,
        clusters=[cluster(name) for name in names] if cluster else None,
        block=block,
        extras={name: found for name, metric in (metrics or {}).items() if (found := metric.compute())},
        predict_seconds=seconds,
        sizes=sizes,
    )


def pooled(results: Sequence[Evaluation]) -> Evaluation:
    """Join evaluations over different images, such as those of a cross-validation's folds, into one.

    Clusters, blocks and further metrics are left out.
    """
    first = results[0]
    return Evaluation(
        first.labels,
        first.split,
        np.sum([result.confusion for result in results], axis=0),
        np.concatenate([result.counts for result in results]),
        [name for result in results for name in result.names],
        sum(result.seconds for result in results),
        predict_seconds=[second for result in results for second in result.predict_seconds],
        sizes=[size for result in results for size in result.sizes],
    )


MAPS = (".png", ".tif", ".tiff", ".bmp", ".npy")
"""The files that are label maps."""


def from_folder(
    folder: Path, labels: LabelSet, pairs: Pairs, others: Sequence[Path] = ()
) -> tuple[Callable[[Sample], np.ndarray], list[Path]]:
    """A function that reads label maps `folder/<stem>.png` (.tif, .bmp, .npy) of any tool, in mask files' values.

    Images of one stem in several folders have their maps in folders of these names (`atrous.io.partners`).

    Args:
        folder: the label maps.
        labels: the classes.
        pairs: the images that are judged.
        others: images that may have label maps too, as those of other splits.

    Returns:
        The function, and the label maps of no image.

    Raises:
        DataError: an image has no label map, or one that may belong to another image.
    """
    images = [pair.image for pair in pairs.pairs]
    maps = [path for path in results_below(folder, MAPS) if path not in {*images, *others}]
    found = {image: path for path, image in partners(maps, folder, images).items()}
    if not found:
        raise DataError(
            f"{folder}: holds no label maps (.png, .tif, .bmp, .npy) with the names of the judged images, as "
            f"{images[0].stem}.png should be; `atrous predict` writes such a folder"
        )
    if missing := [image for image in images if image not in found]:
        root = os.path.commonpath([image.parent for image in images])
        names = ", ".join(os.path.relpath(image, root) for image in missing[:3]) + " ..." * (len(missing) > 3)
        raise DataError(
            f"{folder}: no prediction for {names} ({len(missing)} of {len(images)} images); add the label maps, or "
            "choose another split"
        )
    spare = set(maps) - set(found.values())
    elsewhere = {path.stem for path in others}
    surplus = [path for path in maps if path in spare and path.stem not in elsewhere]

    def read(sample: Sample) -> np.ndarray:
        assert sample.path is not None
        assert sample.mask is not None
        path = found[sample.path]
        values = read_mask(path)
        if values.shape != sample.mask.shape:
            raise DataError(
                f"{path}: has {values.shape[1]}x{values.shape[0]} pixels, but the mask of {sample.path.name} has "
                f"{sample.mask.shape[1]}x{sample.mask.shape[0]}; predictions must keep the image's size"
            )
        return labels.to_classes(values)

    return read, surplus


def _number(value: float) -> float | None:
    return round(float(value), 6) if np.isfinite(value) else None


def _nanmean(values: np.ndarray) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
