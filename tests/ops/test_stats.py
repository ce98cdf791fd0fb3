import numpy as np
import pytest

from atrous.ops import bootstrap_miou


def counts(n: int, hit: float, rng: np.random.Generator) -> np.ndarray:
    true = np.full((n, 2), 1000)
    hits = rng.binomial(1000, hit, size=(n, 2))
    predicted = hits + (1000 - hits[:, ::-1])
    return np.stack([true, predicted, hits], axis=1)


def test_interval_holds_the_estimate_and_shrinks_with_images() -> None:
    rng = np.random.default_rng(0)
    few, many = counts(10, 0.8, rng), counts(1000, 0.8, rng)
    low, high = bootstrap_miou(few)
    assert low < 0.8 / 1.2 < high
    narrow = bootstrap_miou(many)
    assert narrow[1] - narrow[0] < 0.3 * (high - low)


def test_equal_images_have_no_spread_and_absent_classes_are_skipped() -> None:
    one = np.array([[10, 0], [10, 0], [5, 0]])
    low, high = bootstrap_miou(np.stack([one] * 4))
    assert low == high == pytest.approx(5 / 15)


def test_one_image_has_no_interval() -> None:
    assert bootstrap_miou(np.ones((1, 3, 2), np.int64)) is None


def test_same_seed_same_interval() -> None:
    data = counts(20, 0.7, np.random.default_rng(1))
    assert bootstrap_miou(data) == bootstrap_miou(data)
    assert bootstrap_miou(data, seed=1) != bootstrap_miou(data)
