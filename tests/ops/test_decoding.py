"""Fitted decoding: against known answers, against all answers, and the promise of the sets in simulation."""

import itertools

import numpy as np
import pytest

from atrous.ops.decoding import fit_offsets, fit_temperature, fit_vector, risk_threshold


def drawn(n: int, classes: int, rng: np.random.Generator, spread: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Scores whose softmax is the true law of the labels."""
    z = rng.normal(0, spread, (n, classes))
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    return z, (p.cumsum(1) > rng.random((n, 1))).argmax(1)


def test_temperature_of_overconfident_scores() -> None:
    z, y = drawn(20_000, 4, np.random.default_rng(0))
    assert fit_temperature(z, y) == pytest.approx(1, abs=0.03)
    assert fit_temperature(3 * z, y) == pytest.approx(3, abs=0.1)
    assert fit_temperature(3 * z + 5, y) == pytest.approx(fit_temperature(3 * z, y)), "scores have no zero"


def test_vector_undoes_scales_and_shifts() -> None:
    z, y = drawn(40_000, 3, np.random.default_rng(1))
    a, b = np.array([0.5, 1.0, 2.0]), np.array([1.0, 0.0, -1.0])
    scale, shift = fit_vector((z - b) / a, y, strength=0)
    np.testing.assert_allclose(scale, a, atol=0.06)
    np.testing.assert_allclose(shift - shift.mean(), b - b.mean(), atol=0.06)


def test_vector_of_an_unseen_class_stays_finite() -> None:
    z, y = drawn(2000, 3, np.random.default_rng(2))
    seen = y < 2
    scale, shift = fit_vector(z[seen], y[seen])
    assert np.isfinite(scale).all()
    assert abs(shift).max() < 20


def mean_score(pred: np.ndarray, y: np.ndarray, classes: int, score: str) -> float:
    values = []
    for k in np.unique(y):
        hit, total = ((pred == k) & (y == k)).sum(), (pred == k).sum() + (y == k).sum()
        values.append(hit / (total - hit) if score == "iou" else 2 * hit / total)
    return float(np.mean(values))


@pytest.mark.parametrize("score", ["iou", "dice"])
def test_two_classes_get_the_best_threshold_of_all(score: str) -> None:
    rng = np.random.default_rng(3)
    z, y = rng.normal(size=(60, 2)), (rng.random(60) < 0.15).astype(int)
    found = mean_score((z + fit_offsets(z, y, score)).argmax(1), y, 2, score)  # type: ignore[arg-type]
    margin = np.sort(z[:, 0] - z[:, 1])
    cuts = [margin[0] - 1, *(margin[1:] + margin[:-1]) / 2, margin[-1] + 1]
    best = max(mean_score((z[:, 0] - z[:, 1] < cut).astype(int), y, 2, score) for cut in cuts)
    assert found == pytest.approx(best, abs=1e-12)


@pytest.mark.parametrize("score", ["iou", "dice"])
@pytest.mark.parametrize("seed", range(12))
def test_offsets_never_harm_and_no_single_one_can_be_bettered(seed: int, score: str) -> None:
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 5))
    z, y = rng.normal(size=(40, classes)).round(1), rng.integers(0, classes, 40)
    offsets = fit_offsets(z, y, score, sweeps=50)  # type: ignore[arg-type]
    found = mean_score((z + offsets).argmax(1), y, classes, score)
    assert found >= mean_score(z.argmax(1), y, classes, score) - 1e-12
    for k, step in itertools.product(range(classes), np.linspace(-3, 3, 25)):
        moved = offsets.copy()
        moved[k] += step + 1e-4
        assert mean_score((z + moved).argmax(1), y, classes, score) <= found + 1e-6


def test_a_class_without_truth_is_left_alone() -> None:
    z, y = np.random.default_rng(4).normal(size=(50, 3)), np.random.default_rng(5).integers(0, 2, 50)
    assert fit_offsets(z, y)[2] == 0


def test_thresholds_by_hand() -> None:
    edges = np.array([0.0, 0.25, 0.5, 0.75])
    lost = np.array([[0, 0, 0.2, 1.0]] * 9)
    assert risk_threshold(lost, edges, 0.1) == 0.25, "(0 + 1) / 10 = 0.1, (1.8 + 1) / 10 = 0.28"
    assert risk_threshold(lost, edges, 0.28) == 0.5
    assert risk_threshold(lost[:8], edges, 0.1) is None, "eight pictures cannot promise a tenth"


def test_the_promise_holds_on_new_pictures() -> None:
    """The mean loss of a new picture is at most the risk, over many draws of the pictures fitted on."""
    rng, edges, risk = np.random.default_rng(6), np.arange(100) / 100, 0.1
    means = []
    for _ in range(300):
        level = rng.beta(4, 2, 41)  # pictures differ: within one the probabilities are about its own level
        p = np.clip(level[:, None] + rng.normal(0, 0.1, (41, 50)), 0, 1)
        lost = (p[:, None, :] < edges[:, None]).mean(2)
        t = risk_threshold(lost[:-1], edges, risk)
        means.append((p[-1] < t).mean())
    error = np.std(means) / np.sqrt(len(means))
    assert np.mean(means) < risk + 2 * error
    assert np.mean(means) > risk / 3, "a threshold of 0 would keep any promise"


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"scores \(3, 2\) and truth \(2,\)"):
        fit_temperature(np.zeros((3, 2)), np.zeros(2, int))
