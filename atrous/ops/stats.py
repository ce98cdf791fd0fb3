"""Intervals and tests for scores that are ratios of sums: how far a number would move with other images.

Everything works on counts (n, 3, K) int64: true, predicted and hit pixels per image and class. A score is computed from
their sums, so that a resample is a weight per image and the whole bootstrap is one matrix product.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from scipy.special import expit, logit, stdtrit

Score = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(hit, union), each (..., K) sums -> score (...)"""

CHUNK = 500
"""Resamples whose weights exist at once."""


def miou_of_sums(hit: np.ndarray, union: np.ndarray) -> np.ndarray:
    """(..., K) sums -> (...) mean of hit / union over classes whose union is not empty, nan where all are."""
    present = union > 0
    iou = np.where(present, hit / np.maximum(union, 1), 0)
    count = present.sum(-1)
    return np.where(count > 0, iou.sum(-1) / np.maximum(count, 1), np.nan)


def iou_of_sums(hit: np.ndarray, union: np.ndarray) -> np.ndarray:
    """(..., K) sums -> (..., K) hit / union, nan where the union is empty."""
    return np.where(union > 0, hit / np.maximum(union, 1), np.nan)


def by_cluster(counts: np.ndarray, clusters: Sequence[Any]) -> np.ndarray:
    """(n, ...) per image -> (m, ...) sums per cluster (video, patient), in the order of first appearance."""
    if len(clusters) != len(counts):
        raise ValueError(f"{len(clusters)} cluster names for {len(counts)} images; give one for each")
    place = {name: index for index, name in enumerate(dict.fromkeys(clusters))}
    sums = np.zeros((len(place), *counts.shape[1:]), counts.dtype)
    np.add.at(sums, [place[name] for name in clusters], counts)
    return sums


def resample_weights(
    n: int, resamples: int, rng: np.random.Generator, block: int = 1, chunk: int = CHUNK
) -> Iterator[np.ndarray]:
    """How often each of n images is drawn in each resample: chunks (at most `chunk`, n) float32.

    block: 1 draws images (Efron 1979); L draws runs of L neighbours until n are drawn, for frames in order whose
    neighbours look alike (the moving-block bootstrap, Kuensch 1989).
    """
    if not 1 <= block <= n:
        raise ValueError(f"block is {block}; expected 1 to the number of images, {n}")
    for first in range(0, resamples, chunk):
        size = min(chunk, resamples - first)
        starts = rng.integers(0, n - block + 1, (size, -(-n // block)), dtype=np.uint32)
        weights = np.zeros((size, n), np.float32)
        _tally(starts, block, weights)
        yield weights


@njit(nogil=True, cache=True)
def _tally(starts, block, weights):  # type: ignore[no-untyped-def]
    """Adds one for every image of the runs that begin at starts (B, ceil(n / block)), the last run cut at n images."""
    n = weights.shape[1]
    for row in range(len(starts)):
        left = n
        for start in starts[row]:
            for image in range(start, start + min(block, left)):
                weights[row, image] += 1
            left -= block


def bootstrap(
    counts: np.ndarray, *, score: Score = miou_of_sums, resamples: int = 2000, seed: int = 0, block: int = 1
) -> np.ndarray:
    """(resamples, ...) scores of resampled image sets. Sums are exact up to 2^24 pixels a class, else to 1e-7."""
    n = len(counts)
    sums = _hit_and_union(counts).astype(np.float32).reshape(n, -1)
    results = []
    for weights in resample_weights(n, resamples, np.random.default_rng(seed), block):
        totals = (weights @ sums).astype(np.float64).reshape(len(weights), 2, -1)
        results.append(score(totals[:, 0], totals[:, 1]))
    return np.concatenate(results)


def interval(draws: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The central `level` of the draws, by percentiles; nan draws (nothing to score) are left out."""
    low, high = np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def iou_intervals(counts: np.ndarray, level: float = 0.95) -> np.ndarray:
    """(n, 3, K) -> (K, 2): an interval of each class's IoU over the data set, nan where fewer than two rows show it.

    Student's t for the logit of a ratio of sums: the standard error by the delta method over the rows that show the
    class (in truth or prediction), one degree of freedom less than their effective number (Kish 1965), since a few
    large rows tell little. Percentiles of the bootstrap are too narrow for a class that few rows show
    (docs/evaluation.md has the coverage of both). An IoU of 0 or 1 has no spread: its interval ends where Clopper and
    Pearson's (1934) would for the share of rows that are hit, or missed.
    """
    hit, union = np.moveaxis(_hit_and_union(counts).astype(np.float64), 1, 0)
    whole = union.sum(0)
    iou = iou_of_sums(hit.sum(0), whole)
    shown = (union > 0).sum(0)
    with np.errstate(divide="ignore", invalid="ignore"):
        effective = whole**2 / (union**2).sum(0)
        error = np.sqrt(shown / (shown - 1) * ((hit - iou * union) ** 2).sum(0)) / whole
        reach = stdtrit(np.maximum(effective - 1, 0.5), (1 + level) / 2) * error / (iou * (1 - iou))
        low, high = expit(logit(iou) - reach), expit(logit(iou) + reach)
        bound = ((1 - level) / 2) ** (1 / shown)
    low = np.select([iou == 0, iou == 1], [0, bound], low)
    high = np.select([iou == 0, iou == 1], [1 - bound, 1], high)
    return np.where(shown[:, None] >= 2, np.stack([low, high], axis=1), np.nan)


class Comparison(NamedTuple):
    """What `compare` found: scores of both, their difference A - B with its interval, and the permutation p-value.

    more: about how many more images would tell them apart, 0 when they are told apart, None when they are equal.
    """

    a: float
    b: float
    difference: float
    interval: tuple[float, float]
    p: float
    more: int | None

    @property
    def told_apart(self) -> bool:
        """Whether the interval of the difference leaves out 0."""
        return not self.interval[0] <= 0 <= self.interval[1]


def compare(
    a: Sequence[np.ndarray],
    b: Sequence[np.ndarray],
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    block: int = 1,
) -> Comparison:
    """Are A and B different beyond what other images, and other seeds, would do? Paired by image.

    a, b: per trained seed (n, 3, K) counts on the same images, in one order; a side's score is the mean over its seeds.
    The interval resamples images and, where a side has several, its seeds. The permutation test swaps A and B image by
    image (with blocks: run by run); p is the share of swaps, the true one included, with a difference as large.
    """
    n = len(a[0])
    if any(one.shape != a[0].shape for one in (*a, *b)):
        raise ValueError("all runs must be counted on the same images and classes")
    if n < 2:
        raise ValueError("a comparison needs two images at least")
    rng = np.random.default_rng(seed)
    sides = [[_hit_and_union(one).astype(np.float64) for one in side] for side in (a, b)]

    def score(runs: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
        """(seeds, resamples)"""
        totals = [(weights @ run.reshape(n, -1)).reshape(len(weights), 2, -1) for run in runs]
        return np.stack([miou_of_sums(total[:, 0], total[:, 1]) for total in totals])

    whole = [float(score(side, np.ones((1, n))).mean()) for side in sides]
    draws = []
    for weights in resample_weights(n, resamples, rng, block):
        means = []
        for side in sides:
            chosen = rng.integers(0, len(side), (len(side), len(weights)))
            means.append(np.take_along_axis(score(side, weights), chosen, 0).mean(0))
        draws.append(means[0] - means[1])
    low, high = interval(np.concatenate(draws), level)
    difference = whole[0] - whole[1]
    half = (high - low) / 2
    if not low <= 0 <= high:
        more: int | None = 0
    else:
        more = int(np.ceil(n * (half / abs(difference)) ** 2)) - n if abs(difference) > 1e-12 else None
    p = _permutation(sides, resamples, rng, block)
    return Comparison(whole[0], whole[1], difference, (low, high), p, None if more is None else max(more, 0))


def _permutation(sides: Sequence[Sequence[np.ndarray]], resamples: int, rng: np.random.Generator, block: int) -> float:
    """Two-sided p-value of swapping the sides' counts, means over seeds, within images, in runs of `block`."""
    one, other = (np.mean(side, axis=0) for side in sides)
    n = len(one)
    observed = miou_of_sums(*one.sum(0)) - miou_of_sums(*other.sum(0))
    swaps = rng.integers(0, 2, (resamples, -(-n // block))).repeat(block, axis=1)[:, :n].astype(np.float64)
    moved = (swaps @ (other - one).reshape(n, -1)).reshape(resamples, 2, -1)
    a, b = one.sum(0) + moved, other.sum(0) - moved
    found = miou_of_sums(a[:, 0], a[:, 1]) - miou_of_sums(b[:, 0], b[:, 1])
    return float((1 + (np.abs(found) >= abs(observed) - 1e-12).sum()) / (1 + resamples))


def _hit_and_union(counts: np.ndarray) -> np.ndarray:
    """(n, 3, K) true, predicted, hit -> (n, 2, K) hit and union."""
    true, predicted, hit = np.moveaxis(counts, 1, 0)
    return np.stack([hit, true + predicted - hit], axis=1)
