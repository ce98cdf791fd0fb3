"""The rows of the page's tables: confusion, classes, kinds of errors, boundary scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from atrous.labels import LabelSet

MOST_TABLE_CLASSES = 30
"""Classes in the confusion table; of more, those with the fewest pixels become one row."""


@dataclass(frozen=True)
class Confusion:
    """A confusion table. cells: shares of a row's sum, 0..1; nan in a row without true pixels."""

    rows: list[str]
    columns: list[str]
    cells: np.ndarray


@dataclass(frozen=True)
class ConfusedPair:
    """Pixels of class `truth` predicted as `prediction`; share: of all that `truth` has, 0..1."""

    truth: str
    prediction: str
    count: int
    share: float


class ClassRow(NamedTuple):
    """One class. Scores and shares: 0..1, nan where undefined. interval: of its IoU, or None."""

    name: str
    colour: str
    iou: float
    interval: tuple[float, float] | None
    precision: float
    recall: float
    pixels: int
    share: float
    baseline: float


class ClassValues(NamedTuple):
    """One class and its values in the order of the table's columns; nan where undefined."""

    name: str
    colour: str
    values: list[float]


def class_rows(
    labels: LabelSet,
    own: Mapping[str, Any],
    intervals: Mapping[str, tuple[float, float] | None],
    baseline: Mapping[str, Any] | None,
) -> list[ClassRow]:
    """A row for each class.

    own, baseline: as `atrous.metrics.scores` returns them. intervals: of the IoU, by class name.
    """
    total = max(int(own["pixels"].sum()), 1)
    return [
        ClassRow(
            name,
            colour,
            float(own["iou"][k]),
            intervals.get(name),
            float(own["precision"][k]),
            float(own["recall"][k]),
            int(own["pixels"][k]),
            float(own["pixels"][k]) / total,
            float(baseline["iou"][k]) if baseline else float("nan"),
        )
        for k, (name, colour) in enumerate(zip(labels.names, css_colours(labels), strict=True))
    ]


def rows(labels: LabelSet, columns: Sequence[np.ndarray]) -> list[ClassValues]:
    """A row for each class that has a number in any of the columns (K,)."""
    table = np.stack(columns, axis=1)
    named = zip(labels.names, css_colours(labels), table, strict=True)
    return [ClassValues(name, colour, values.tolist()) for name, colour, values in named if not np.isnan(values).all()]


def css_colours(labels: LabelSet) -> list[str]:
    """The class colours as CSS writes them."""
    return ["rgb({}, {}, {})".format(*colour) for colour in labels.colours]


def confusion(matrix: np.ndarray, names: Sequence[str], most: int = MOST_TABLE_CLASSES) -> Confusion:
    """Counts (K, K) or (K, K + 1), rows = truth, as shares of each row's sum.

    The last of K + 1 columns, predictions that are no class, is left out if it is empty. Of more
    than `most` classes, those with the most true pixels are shown. The others are added up as one
    class, so that rows still sum to 1.
    """
    counts, rows = _whole(matrix).astype(np.float64), list(names)
    classes = len(rows)
    if classes > most:
        kept = np.sort(np.argsort(-counts.sum(1), kind="stable")[: most - 1])
        group = np.full(classes + 1, len(kept))
        group[kept] = np.arange(len(kept))
        group[-1] = len(kept) + 1
        folded = np.zeros((len(kept) + 1, len(kept) + 2))
        np.add.at(folded, (group[:-1, None], group[None, :]), counts)
        counts, rows = folded, [*(rows[k] for k in kept), f"the other {classes - len(kept)}"]
    columns = [*rows, "no class"]
    if not counts[:, -1].any():
        counts, columns = counts[:, :-1], columns[:-1]
    sums = counts.sum(1, keepdims=True)
    cells = np.divide(counts, sums, out=np.full_like(counts, np.nan), where=sums > 0)
    return Confusion(rows, columns, cells)


def confused_pairs(matrix: np.ndarray, names: Sequence[str], most: int = 8) -> list[ConfusedPair]:
    """The pairs (truth, prediction) with the most wrong pixels, the most first."""
    wrong = _whole(matrix)
    columns, sums = [*names, "no class"], wrong.sum(1)
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    places = (np.unravel_index(place, wrong.shape) for place in order)
    return [
        ConfusedPair(names[t], columns[p], int(wrong[t, p]), wrong[t, p] / sums[t])
        for t, p in places
        if wrong[t, p] > 0
    ]


def _whole(matrix: np.ndarray) -> np.ndarray:
    """A copy of the counts as (K, K + 1): with the column of predictions that are no class."""
    missing = len(matrix) + 1 - matrix.shape[1]
    return np.pad(matrix, ((0, 0), (0, missing)))
