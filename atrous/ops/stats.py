"""How far a score would move with other images: intervals and tests for ratios of sums.

Everything works on counts (n, 3, K) int64: true, predicted and hit pixels per image and class. A
score is computed from their sums over images. So a resample of the images is a weight for each, and
the whole bootstrap is one matrix product.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import expit, logit, stdtrit

from atrous.errors import DataError
from atrous.ops.compiling import njit

Score = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""(hit, union), each (..., K) sums -> score (...)."""

CHUNK = 500
"""Resamples whose weights exist at once, to bound the memory."""


def miou_of_sums(hit: np.ndarray, union: np.ndarray) -> np.ndarray:
    """Mean IoU from sums over images.

    Args:
        hit: (..., K) pixels that are right, per class.
        union: (..., K) pixels that are of the class in truth or prediction.

    Returns:
        (...) mean of hit / union over the classes whose union is not empty; nan if all are.

    Example:
        >>> float(miou_of_sums(np.array([6, 1, 0]), np.array([8, 4, 0])))
        0.5
    """
    present = union > 0
    iou = np.where(present, hit / np.maximum(union, 1), 0)
    count = present.sum(-1)
    return np.where(count > 0, iou.sum(-1) / np.maximum(count, 1), np.nan)


def iou_of_sums(hit: np.ndarray, union: np.ndarray) -> np.ndarray:
    """(..., K) sums -> (..., K) hit / union; nan where the union is empty."""
    return np.where(union > 0, hit / np.maximum(union, 1), np.nan)


def by_cluster(counts: np.ndarray, clusters: Sequence[Any]) -> np.ndarray:
    """Sum counts over clusters, such as videos or patients, which are resampled as a whole.

    Args:
        counts: (n, ...) per image.
        clusters: n names.

    Returns:
        (m, ...) per cluster, in the order in which the names first appear.

    Raises:
        ValueError: there is not one name for each image.

    Example:
        >>> by_cluster(np.array([[1], [2], [3]]), ["a", "b", "a"]).tolist()
        [[4], [2]]
    """
    if len(clusters) != len(counts):
        raise ValueError(f"{len(clusters)} cluster names for {len(counts)} images; give one for each")
    place = {name: index for index, name in enumerate(dict.fromkeys(clusters))}
    sums = np.zeros((len(place), *counts.shape[1:]), counts.dtype)
    np.add.at(sums, [place[name] for name in clusters], counts)
    return sums


def resample_weights(
    n: int, resamples: int, rng: np.random.Generator, block: int = 1, chunk: int = CHUNK
) -> Iterator[np.ndarray]:
    """How often each image is drawn, for each resample.

    Args:
        n: number of images.
        resamples: how many.
        rng: what draws them.
        block: 1 draws images. L draws runs of L neighbours until there are n images: for frames in
            order, whose neighbours look alike.
        chunk: resamples that are yielded at once, at most.

    Yields:
        (at most `chunk`, n) float32; each row sums to n.

    Raises:
        ValueError: `block` is not in 1..n, or there is nothing to draw.

    Source:
        Efron 1979; with blocks the moving-block bootstrap, Kuensch 1989.
    """
    if not 1 <= block <= n:
        raise ValueError(f"block is {block}; expected 1 to the number of images, {n}")
    if min(resamples, chunk) < 1:
        raise ValueError(f"resamples is {resamples}, {chunk} at once; expected at least 1 of both")
    for first in range(0, resamples, chunk):
        size = min(chunk, resamples - first)
        starts = rng.integers(0, n - block + 1, (size, -(-n // block)), dtype=np.uint32)
        weights = np.zeros((size, n), np.float32)
        _tally(starts, block, weights)
        yield weights


@njit(nogil=True, cache=True)
def _tally(starts, block, weights):  # type: ignore[no-untyped-def]
    """Count the images of the runs that begin at starts (B, ceil(n / block)).

    The last run of a resample is cut, so that it has n images like the others.
    """
    n = weights.shape[1]
    # In bounds: starts are at most n - block, and block <= n. Before the last run left > 0, so that none is negative.
    for row in range(len(starts)):
        left = n
        for start in starts[row]:
            for image in range(start, start + min(block, left)):
                weights[row, image] += 1
            left -= block


def bootstrap(
    counts: np.ndarray, *, score: Score = miou_of_sums, resamples: int = 2000, seed: int = 0, block: int = 1
) -> np.ndarray:
    """Scores of resampled sets of images.

    Args:
        counts: (n, 3, K) true, predicted and hit pixels per image and class.
        score: from (hit, union), each (..., K) sums, to (...).
        resamples: how many.
        seed: of the draws.
        block: see `resample_weights`.

    Returns:
        (resamples, ...). Sums are exact up to 2^24 pixels of a class, beyond to 1e-7 of them.

    Raises:
        ValueError: counts have another shape, or as `resample_weights`.

    Example:
        >>> counts = np.array([[[10, 10], [10, 10], [9, 9]], [[10, 10], [10, 10], [5, 5]]])
        >>> low, high = interval(bootstrap(counts))
        >>> round(low, 2), round(high, 2)
        (0.33, 0.82)
    """
    n = len(counts)
    sums = _hit_and_union(counts).astype(np.float32).reshape(n, -1)
    results = []
    for weights in resample_weights(n, resamples, np.random.default_rng(seed), block):
        totals = (weights @ sums).astype(np.float64).reshape(len(weights), 2, -1)
        results.append(score(totals[:, 0], totals[:, 1]))
    return np.concatenate(results)


def interval(draws: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The central `level` (0..1) of draws, by percentiles; draws that are nan are left out, nan if all are."""
    if np.isnan(draws).all():
        return float("nan"), float("nan")
    low, high = np.nanquantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def iou_intervals(counts: np.ndarray, level: float = 0.95) -> np.ndarray:
    """An interval for each class's IoU over the data set.

    Student's t on the logit of a ratio of sums. The standard error is the delta method's, over the
    images that show the class in truth or prediction. The degrees of freedom are one less than the
    effective number of these images, since a few large ones tell little. An IoU of 0 or 1 has no
    spread; its interval ends where Clopper and Pearson's would for the share of images that are
    hit, or missed. For a class in few images the bootstrap's percentiles are too narrow
    (docs/evaluation.md has the coverage of both).

    Args:
        counts: (n, 3, K) true, predicted and hit pixels per image (or cluster) and class.
        level: 0..1, how often the interval should hold the true IoU.

    Returns:
        (K, 2) low and high; nan for a class that fewer than two images show.

    Raises:
        DataError: counts have another shape.

    Source:
        Kish 1965 (effective number); Clopper & Pearson 1934.
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
    """What `compare` found: two scores, their difference A - B with its interval, and a p-value.

    more: about how many more images would tell them apart; 0 if they are told apart, None if they
    are equal.
    """

    a: float
    b: float
    difference: float
    interval: tuple[float, float]
    p: float
    more: int | None

    @property
    def told_apart(self) -> bool:
        """Whether the interval of the difference excludes 0."""
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
    """Whether A and B differ by more than other images, and other seeds, would change.

    Paired by image. The interval resamples images and, where a side has several seeds, seeds. The
    permutation test swaps A and B image by image (with blocks: run by run); p is the share of
    swaps, the true one included, whose difference is as large.

    Args:
        a, b: for each trained seed counts (n, 3, K), all on the same images in the same order. The
            score of a side is the mean over its seeds.
        resamples: of the bootstrap and of the permutation test.
        level: 0..1, of the interval.
        seed: of the draws.
        block: see `resample_weights`.

    Raises:
        ValueError: the counts' shapes differ, or there are fewer than two images.

    Example:
        >>> good = np.tile([[100, 100], [100, 100], [90, 90]], (20, 1, 1))
        >>> found = compare([good], [good - np.array([[0], [0], [9]])])
        >>> round(found.difference, 3), found.told_apart
        (0.138, True)
    """
    n = len(a[0])
    if any(one.shape != a[0].shape for one in (*a, *b)):
        raise DataError("all runs must be counted on the same images and classes")
    if n < 2:
        raise DataError("one image; a comparison needs at least two, give a split that has more")
    rng = np.random.default_rng(seed)
    sides = [[_hit_and_union(one).astype(np.float64) for one in side] for side in (a, b)]

    def score(runs: Sequence[np.ndarray], weights: np.ndarray) -> np.ndarray:
        """(seeds, resamples) scores."""
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
    """Two-sided p-value of swapping the sides' counts (means over seeds), run by run of images."""
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
    if counts.ndim != 3 or counts.shape[1] != 3 or not counts.size:
        raise DataError(f"counts have shape {counts.shape}; expected (images, 3, classes), at least one of both")
    true, predicted, hit = np.moveaxis(counts, 1, 0)
    return np.stack([hit, true + predicted - hit], axis=1)
