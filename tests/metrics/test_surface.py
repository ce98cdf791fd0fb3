"""Surface distances against all pairs, and the conventions by hand."""

import itertools
import math

import numpy as np
import pytest

from atrous.metrics import SurfaceScores, label_surface_scores


def surface_by_hand(mask: np.ndarray) -> list[tuple[int, ...]]:
    found = []
    for place in map(tuple, np.argwhere(mask)):
        for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
            there = tuple(p + step * (a == axis) for a, p in enumerate(place))
            if not all(0 <= p < n for p, n in zip(there, mask.shape, strict=True)) or not mask[there]:
                found.append(place)
                break
    return found


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.7, 3.0)])
@pytest.mark.parametrize("seed", range(3))
def test_against_all_pairs_in_three_dimensions(seed: int, spacing: tuple[float, ...]) -> None:
    rng = np.random.default_rng(seed)
    one, other = (rng.random((5, 6, 4)) < share for share in (0.3, 0.5))
    ours = SurfaceScores(one, other, spacing)
    points = [[np.multiply(p, spacing) for p in surface_by_hand(mask)] for mask in (one, other)]
    forth, back = (
        np.array([min(math.dist(p, q) for q in there) for p in here]) for here, there in (points, points[::-1])
    )
    both = np.concatenate([forth, back])
    assert ours.hausdorff() == pytest.approx(both.max())
    assert ours.hd95() == pytest.approx(max(np.percentile(forth, 95), np.percentile(back, 95)))
    assert ours.hd95("pooled") == pytest.approx(np.percentile(both, 95))
    assert ours.assd() == pytest.approx(both.mean())
    assert ours.assd("directed") == pytest.approx((forth.mean() + back.mean()) / 2)
    assert ours.nsd(0.75) == pytest.approx((both <= 0.75).mean())


def test_a_total_miss_is_never_dropped() -> None:
    """MONAI 1.6.1 gives nan for HD95 here, and drops it from the mean."""
    truth, nothing = np.zeros((30, 40), bool), np.zeros((30, 40), bool)
    truth[5:9, 5:9] = True
    for one, other in ((nothing, truth), (truth, nothing)):
        miss = SurfaceScores(one, other)
        assert miss.hd95() == miss.hausdorff() == miss.assd() == math.inf
        assert miss.nsd(100) == 0
    assert SurfaceScores(nothing, truth, (2, 2), missed="diagonal").hd95() == 100
    assert SurfaceScores(nothing, truth, missed=7.0).assd() == 7
    assert math.isnan(SurfaceScores(nothing, nothing).hd95())
    assert math.isnan(SurfaceScores(nothing, nothing).nsd(1))


def test_four_axes() -> None:
    """Beyond a volume's axes, where the kernels do not reach."""
    one, other = np.zeros((3, 4, 3, 4), bool), np.zeros((3, 4, 3, 4), bool)
    one[1, 1, 1, 1] = other[1, 2, 1, 3] = True
    assert SurfaceScores(one, other, (1, 3, 1, 2)).hausdorff() == 5


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("ignore", [None, 255, 2])
def test_all_classes_at_once_are_as_one_by_one(rank: int, ignore: int | None) -> None:
    rng = np.random.default_rng(rank)
    target, prediction = (rng.integers(0, 4, (9, 8, 7)[:rank]).astype(np.uint8) for _ in range(2))
    target[:2], prediction[0] = 255, 255
    spacing, classes = (3.0, 0.8, 0.5)[:rank], [3, 0, 2, 7]
    found = label_surface_scores(prediction, target, classes, spacing, ignore_index=ignore, missed="diagonal")
    assert list(found) == classes
    known = target != ignore
    for label, ours in found.items():
        one = SurfaceScores((prediction == label) & known, (target == label) & known, spacing, missed="diagonal")
        np.testing.assert_array_equal(ours.forth, one.forth)
        np.testing.assert_array_equal(ours.back, one.back)
        assert (ours.empty, ours.total_miss, ours.missed) == (one.empty, one.total_miss, one.missed)
    assert found[7].empty
    everything = label_surface_scores(prediction, target, range(256), spacing, ignore_index=ignore)
    for label in (3, 255):  # no label is left to hide what is ignored
        one = SurfaceScores((prediction == label) & known, (target == label) & known, spacing)
        np.testing.assert_equal(everything[label].hd95(), one.hd95())


def test_a_distance_of_the_tolerance_is_within_it() -> None:
    """In floats 3 * 0.8 is above 2.4."""
    one, other = np.zeros(9, bool), np.zeros(9, bool)
    one[2] = other[5] = True
    assert 3 * 0.8 > 2.4
    assert SurfaceScores(one, other, (0.8,)).nsd(2.4) == 1
    assert SurfaceScores(one, other, (0.8,)).nsd(2.39) == 0


def test_wrong_arguments() -> None:
    mask = np.ones((3, 3), bool)
    for spacing in ((1.0,), (1.0, 0.0), (1.0, -1.0), (1.0, math.nan)):
        with pytest.raises(ValueError, match="spacing"):
            SurfaceScores(mask, mask, spacing)
        with pytest.raises(ValueError, match="spacing"):
            label_surface_scores(mask, mask, [1], spacing)
    for missed in ("diagonals", -1, math.nan):
        with pytest.raises(ValueError, match="missed is"):
            SurfaceScores(mask, mask, missed=missed)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one shape"):
        label_surface_scores(mask, mask[:2], [1])
    with pytest.raises(ValueError, match="whole numbers"):
        label_surface_scores(mask * 0.5, mask, [1])
    with pytest.raises(ValueError, match="spacing"):
        SurfaceScores(mask, mask, (1.0, 1.0, 1.0))
    with pytest.raises(ValueError, match="unknown convention 'medpy'"):
        SurfaceScores(mask, mask).hd95("medpy")  # type: ignore[arg-type]
