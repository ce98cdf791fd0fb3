"""The numbers of a confusion matrix as rows that the template prints."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

MOST_CLASSES = 30
"""Classes in the confusion table; of more, those with the fewest pixels are added up as one."""


@dataclass(frozen=True)
class Confusion:
    """Row-normalised counts: names of rows and columns, and cells 0..1 (nan where a class has no true pixel)."""

    rows: list[str]
    columns: list[str]
    cells: np.ndarray


@dataclass(frozen=True)
class Pair:
    """`count` pixels of class `truth` were taken for class `prediction`, `share` (0..1) of all that class has."""

    truth: str
    prediction: str
    count: int
    share: float


def confusion(matrix: np.ndarray, names: Sequence[str], most: int = MOST_CLASSES) -> Confusion:
    """Counts (K, K) or (K, K + 1), rows = truth, as shares of each row's sum.

    The last of K + 1 columns, predictions that are no class, is shown when it holds anything. Of more than `most`
    classes those with the most true pixels are shown; the rest is added up as one, so that rows still sum to 1.
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


def confused_pairs(matrix: np.ndarray, names: Sequence[str], most: int = 8) -> list[Pair]:
    """The pairs (truth, prediction) with the most wrong pixels, most first; pairs without any are left out."""
    wrong = _whole(matrix)
    columns, sums = [*names, "no class"], wrong.sum(1)
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    places = (np.unravel_index(place, wrong.shape) for place in order)
    return [Pair(names[t], columns[p], int(wrong[t, p]), wrong[t, p] / sums[t]) for t, p in places if wrong[t, p] > 0]


def _whole(matrix: np.ndarray) -> np.ndarray:
    """A copy with the column of predictions that are no class, (K, K + 1)."""
    missing = len(matrix) + 1 - matrix.shape[1]
    return np.pad(matrix, ((0, 0), (0, missing)))
