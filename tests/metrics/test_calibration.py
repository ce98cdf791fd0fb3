import numpy as np
import pytest

from atrous.metrics import Calibration


def by_hand(p: np.ndarray, hit: np.ndarray, bins: int) -> float:
    """ECE from its definition, a bin at a time."""
    total = 0.0
    for b in range(bins):
        inside = (p > b / bins) & (p <= (b + 1) / bins) | ((p == 0) & (b == 0))
        if inside.any():
            total += inside.sum() / len(p) * abs(hit[inside].mean() - p[inside].mean())
    return total


def draw(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet([0.5, 1, 0.2], (9, 8)).transpose(2, 0, 1)
    y = rng.integers(0, 3, (9, 8)).astype(np.uint8)
    y[0, :5] = 255
    return p, y


@pytest.mark.parametrize("bins", [5, 15])
def test_against_the_definitions(bins: int) -> None:
    metric, parts = Calibration(3, bins=bins), Calibration(3, bins=bins)
    data = [draw(seed) for seed in range(3)]
    metric.update(*data[0])
    for p, y in data[1:]:
        parts.update(p, y)
    found = metric.merge(parts).compute()
    p = np.concatenate([p[:, y != 255] for p, y in data], axis=1)
    y = np.concatenate([y[y != 255] for _, y in data])
    assert found["pixels"] == len(y)
    assert found["ece"] == pytest.approx(by_hand(p.max(0), p.argmax(0) == y, bins))
    np.testing.assert_allclose(found["classwise_ece"], [by_hand(p[k], y == k, bins) for k in range(3)])
    one_hot = np.eye(3)[y].T
    assert found["brier"] == pytest.approx(((p - one_hot) ** 2).sum(0).mean())
    assert found["nll"] == pytest.approx(-np.log(np.maximum(p[y, np.arange(len(y))], 1e-12)).mean())
    assert found["share"].sum() == pytest.approx(1)


def test_honest_and_overconfident() -> None:
    """Of pixels said to be 0.8 sure, 80 of 100 are right: ECE 0; with 60 right it is 0.2."""
    p = np.stack([np.full((10, 10), 0.8), np.full((10, 10), 0.2)])
    for right, ece in ((80, 0.0), (60, 0.2)):
        y = (np.arange(100) >= right).reshape(10, 10).astype(np.uint8)
        metric = Calibration(2)
        metric.update(p, y)
        assert metric.compute()["ece"] == pytest.approx(ece)


def test_nothing_counted_and_wrong_shape() -> None:
    with pytest.raises(ValueError, match="nothing was counted"):
        Calibration(2).compute()
    with pytest.raises(ValueError, match=r"must be \(2, \*target\)"):
        Calibration(2).update(np.zeros((3, 4, 4)), np.zeros((4, 4), np.uint8))
