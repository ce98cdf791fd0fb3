import math

import numpy as np
import pytest
from scipy.stats import t as student

from atrous.ops.stats import bootstrap, by_cluster, compare, interval, iou_intervals, iou_of_sums, resample_weights


def counts(n: int, hit: float, rng: np.random.Generator) -> np.ndarray:
    true = np.full((n, 2), 1000)
    hits = rng.binomial(1000, hit, size=(n, 2))
    predicted = hits + (1000 - hits[:, ::-1])
    return np.stack([true, predicted, hits], axis=1)


def miou_interval(data: np.ndarray, **options: int) -> tuple[float, float]:
    return interval(bootstrap(data, **options))


def test_interval_holds_the_estimate_and_shrinks_with_images() -> None:
    rng = np.random.default_rng(0)
    few, many = counts(10, 0.8, rng), counts(1000, 0.8, rng)
    low, high = miou_interval(few)
    assert low < 0.8 / 1.2 < high
    narrow = miou_interval(many)
    assert narrow[1] - narrow[0] < 0.3 * (high - low)


def test_equal_images_have_no_spread_and_absent_classes_are_skipped() -> None:
    one = np.array([[10, 0], [10, 0], [5, 0]])
    low, high = miou_interval(np.stack([one] * 4))
    assert low == high == pytest.approx(5 / 15)


def test_same_seed_same_interval() -> None:
    data = counts(20, 0.7, np.random.default_rng(1))
    assert miou_interval(data) == miou_interval(data)
    assert miou_interval(data, seed=1) != miou_interval(data)


def test_resamples_are_sets_of_n_images() -> None:
    for block in (1, 4):
        weights = np.concatenate(list(resample_weights(10, 1200, np.random.default_rng(0), block, chunk=500)))
        assert weights.shape == (1200, 10)
        assert (weights.sum(1) == 10).all()
    assert np.abs(weights[:, 3:7].mean(0) - weights[:, 3:7].mean()).max() < 0.1
    neighbours = np.corrcoef(weights[:, 4], weights[:, 5])[0, 1]
    assert neighbours > 0.3, "neighbours come together"
    with pytest.raises(ValueError, match="block is 11"):
        next(resample_weights(10, 5, np.random.default_rng(0), 11))


def test_bootstrap_against_one_image_at_a_time() -> None:
    data = counts(7, 0.6, np.random.default_rng(2))
    weights = np.concatenate(list(resample_weights(7, 30, np.random.default_rng(5))))
    for draw, w in zip(bootstrap(data, resamples=30, seed=5), weights, strict=True):
        images = [i for i in range(7) for _ in range(int(w[i]))]
        true, predicted, hit = data[images].sum(0)
        assert draw == pytest.approx((hit / (true + predicted - hit)).mean())
    per_class = bootstrap(data, score=iou_of_sums, resamples=30, seed=5)
    assert per_class.shape == (30, 2)
    np.testing.assert_allclose(per_class.mean(1), bootstrap(data, resamples=30, seed=5))


def test_clusters_are_summed_and_widen_the_interval() -> None:
    rng = np.random.default_rng(3)
    video = np.repeat(np.arange(10), 20)
    level = rng.uniform(0.5, 0.9, 10)
    data = np.concatenate([counts(20, hit, rng) for hit in level])
    sums = by_cluster(data, [f"v{k}" for k in video])
    assert sums.shape == (10, 3, 2)
    np.testing.assert_array_equal(sums[3], data[60:80].sum(0))
    narrow, wide = miou_interval(data), miou_interval(sums)
    assert wide[1] - wide[0] > 2 * (narrow[1] - narrow[0])
    blocks = miou_interval(data, block=20)
    assert blocks[1] - blocks[0] > 2 * (narrow[1] - narrow[0])
    with pytest.raises(ValueError, match="2 cluster names for 200 images"):
        by_cluster(data, ["a", "b"])


def test_class_intervals_by_hand() -> None:
    """Two classes in four images of one, and three of unequal size: the residuals h - R u and t on the logit."""
    hit, union = np.array([[6, 1], [8, 9], [5, 0], [9, 2]]), np.array([[10, 4], [10, 12], [10, 0], [10, 4]])
    data = np.stack([union, hit, hit], axis=1)  # all of the prediction is right
    found = iou_intervals(data)
    for k, (shown, freedom) in enumerate([(4, 3), (3, 400 / 176 - 1)]):
        r = hit[:, k].sum() / union[:, k].sum()
        squares = sum((h - r * u) ** 2 for h, u in zip(hit[:, k], union[:, k], strict=True))
        error = math.sqrt(squares * shown / (shown - 1)) / union[:, k].sum()
        centre, reach = math.log(r / (1 - r)), student.ppf(0.975, freedom) * error / (r * (1 - r))
        expected = [1 / (1 + math.exp(-(centre + sign * reach))) for sign in (-1, 1)]
        np.testing.assert_allclose(found[k], expected)
    assert (iou_intervals(data, level=0.5)[:, 0] > found[:, 0]).all()


def test_class_intervals_at_the_ends() -> None:
    """Never hit, never missed, in one image only, nowhere, the same everywhere."""
    hit = np.array([[0, 7, 3, 0, 2], [0, 7, 0, 0, 2], [0, 0, 0, 0, 2]])
    union = np.array([[5, 7, 3, 0, 8], [5, 7, 0, 0, 8], [5, 0, 0, 0, 8]])
    found = iou_intervals(np.stack([union, hit, hit], axis=1))
    np.testing.assert_allclose(found[0], [0, 1 - 0.025 ** (1 / 3)])
    np.testing.assert_allclose(found[1], [0.025 ** (1 / 2), 1])
    assert np.isnan(found[2:4]).all()
    np.testing.assert_allclose(found[4], [0.25, 0.25])


def test_coverage_for_a_class_in_five_images() -> None:
    """Hits that agree within an image: the interval holds the truth 95 times in a hundred, percentiles do not."""
    rng = np.random.default_rng(9)
    size = rng.lognormal(6, 0.8, 200_000).astype(int) + 1
    hit = rng.binomial(size, rng.beta(2, 1.2, len(size)))
    truth = hit.sum() / size.sum()
    repeats, held, drawn = 400, 0, 0
    for _ in range(repeats):
        chosen = rng.integers(0, len(size), 5)
        data = np.stack([size[chosen], hit[chosen], hit[chosen]], axis=1)[..., None]
        low, high = iou_intervals(data)[0]
        held += low <= truth <= high
        low, high = miou_interval(data, resamples=200)
        drawn += low <= truth <= high
    assert 0.92 < held / repeats < 0.98
    assert drawn / repeats < 0.9


def test_equal_runs_are_not_told_apart_and_unequal_ones_are() -> None:
    rng = np.random.default_rng(4)
    a = counts(60, 0.80, rng)
    same = compare([a], [a])
    assert same.difference == 0
    assert same.p == 1
    assert same.more is None
    assert not same.told_apart
    worse = a.copy()
    worse[:, 2] -= 40
    clear = compare([a], [worse])
    assert clear.told_apart
    assert clear.more == 0
    assert clear.p < 0.01
    assert clear.interval[0] < clear.difference < clear.interval[1]
    assert compare([worse], [a]).difference == pytest.approx(-clear.difference)


def test_how_many_more_images() -> None:
    """Noise of a tenth of an image's score and a small difference: the estimate is right within a factor of two."""
    rng = np.random.default_rng(6)

    def pair(n: int) -> tuple[np.ndarray, np.ndarray]:
        return counts(n, 0.800, rng), counts(n, 0.803, rng)

    estimates = []
    for _ in range(20):
        found = compare(*([side] for side in pair(20)), resamples=500)
        if found.more:
            estimates.append(20 + found.more)
    enough = int(4 * np.median(estimates))
    told = [compare(*([side] for side in pair(enough)), resamples=500).told_apart for _ in range(20)]
    assert np.mean(told) > 0.5


def test_seeds_widen_the_interval() -> None:
    rng = np.random.default_rng(7)
    seeds = [counts(100, hit, rng) for hit in (0.75, 0.80, 0.85)]
    other = [counts(100, 0.8, rng)]
    one, many = compare(seeds[1:2], other), compare(seeds, other)
    assert many.interval[1] - many.interval[0] > 2 * (one.interval[1] - one.interval[0])
    with pytest.raises(ValueError, match="same images"):
        compare(seeds, [counts(99, 0.8, rng)])


@pytest.mark.slow
def test_null_p_values_are_uniform() -> None:
    rng = np.random.default_rng(8)
    p = [compare([counts(30, 0.7, rng)], [counts(30, 0.7, rng)], resamples=200).p for _ in range(300)]
    assert 0.02 < np.mean(np.array(p) <= 0.05) < 0.09
