"""Boundary metrics against brute force on small maps."""

import itertools
import math

import numpy as np
import pytest

from atrous.metrics import BoundaryF, BoundaryIoU, ConfusionMatrix, ErrorKinds, TrimapCurve

IGNORE = 255


def blobs(seed: int, classes: int = 3, size: tuple[int, int] = (14, 17), ignored: float = 0.1) -> np.ndarray:
    """A blocky random label map, a share of its blocks ignored."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, classes, (5, 6))
    coarse[rng.random(coarse.shape) < ignored] = IGNORE
    return coarse.repeat(3, 0).repeat(3, 1)[: size[0], : size[1]].astype(np.uint8)


def band_by_hand(mask: np.ndarray, width: int) -> np.ndarray:
    """Pixels of the mask with one outside mask or image at most `width` rows and columns away."""
    height, wide = mask.shape
    band = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        window = itertools.product(range(y - width, y + width + 1), range(x - width, x + width + 1))
        band[y, x] = any(not (0 <= v < height and 0 <= u < wide) or not mask[v, u] for v, u in window)
    return band


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("ratio", [0.02, 0.1])
def test_boundary_iou_against_brute_force(seed: int, ratio: float) -> None:
    metric, expected = BoundaryIoU(3, ratio=ratio), np.zeros((3, 3), np.int64)
    for target, guess in ((blobs(seed), blobs(seed + 9, ignored=0)), (blobs(seed + 3), blobs(seed + 3, ignored=0))):
        width = max(1, round(ratio * math.hypot(14, 17)))
        for k in range(3):
            true, pred = ((labels == k) & (target != IGNORE) for labels in (target, guess))
            bands = band_by_hand(true, width), band_by_hand(pred, width)
            expected[:, k] += bands[0].sum(), bands[1].sum(), (bands[0] & bands[1]).sum()
        metric.update(guess, target)
    np.testing.assert_array_equal(metric.counts, expected)
    union = expected[0] + expected[1] - expected[2]
    assert metric.compute()["mean_boundary_iou"] == pytest.approx((expected[2] / union).mean())


def edges_by_hand(mask: np.ndarray) -> list[tuple[int, int]]:
    height, width = mask.shape
    found = []
    for y, x in itertools.product(range(height), range(width)):
        others = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
        if any(v < height and u < width and mask[v, u] != mask[y, x] for v, u in others):
            found.append((y, x))
    return found


def matching_by_hand(ones: list[tuple[int, int]], others: list[tuple[int, int]], reach: float) -> int:
    """Kuhn's augmenting paths."""
    partner: dict[int, int] = {}

    def place(i: int, seen: set[int]) -> bool:
        for j, other in enumerate(others):
            if j not in seen and math.dist(ones[i], other) <= reach:
                seen.add(j)
                if j not in partner or place(partner[j], seen):
                    partner[j] = i
                    return True
        return False

    return sum(place(i, set()) for i in range(len(ones)))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("match", ["one_to_one", "distance"])
def test_boundary_f_against_brute_force(seed: int, match: str) -> None:
    target, guess = blobs(seed), blobs(seed + 20, ignored=0)
    guess[:7] = np.where(target[:7] == IGNORE, 0, target[:7])
    tolerance = 0.06
    found = BoundaryF(4, tolerance=tolerance, match=match).update(guess, target)
    reach, valid = tolerance * math.hypot(*target.shape), target != IGNORE
    for k in range(3):
        sets = [[p for p in edges_by_hand((labels == k) & valid) if valid[p]] for labels in (guess, target)]
        if match == "one_to_one":
            hits = [matching_by_hand(*sets, reach)] * 2
        else:
            hits = [
                sum(any(math.dist(p, q) <= reach for q in there) for p in here) for here, there in (sets, sets[::-1])
            ]
        precision, recall = hits[0] / len(sets[0]), hits[1] / len(sets[1])
        np.testing.assert_allclose(found[:, k], [precision, recall, 2 * precision * recall / (precision + recall)])
    assert np.isnan(found[:, 3]).all(), "a class in neither map is skipped"


def test_boundary_f_averages_and_cases() -> None:
    metric = BoundaryF(3)
    left = np.zeros((8, 8), np.uint8)
    left[:, 4:] = 1
    metric.update(left, left)
    metric.update(np.zeros_like(left), left)
    result = metric.compute()
    np.testing.assert_allclose(result["boundary_f"], [0.5, 0.5, np.nan])
    assert result["mean_boundary_f"] == 0.5
    assert result["image_boundary_f"] == 0.5
    whole = BoundaryF(2)
    assert whole.update(np.zeros_like(left), np.zeros_like(left))[2, 0] == 1, "no boundary to miss"
    assert BoundaryF(3).merge(metric).compute()["mean_boundary_f"] == 0.5
    with pytest.raises(ValueError, match=r"tolerance is 0\.01 here and 0\.0075 there"):
        BoundaryF(3, tolerance=0.01).merge(metric)
    with pytest.raises(ValueError, match="unknown match 'nearest'"):
        BoundaryF(3, match="nearest")  # type: ignore[arg-type]


def test_one_to_one_is_stricter_than_distance() -> None:
    """Many predicted boundaries near a true one: all are near it, but only one has a partner."""
    target = np.zeros((20, 20), np.uint8)
    target[:, 10:] = 1
    stripes = target.copy()
    stripes[:, 6:14:2] = 1
    stripes[:, 7:14:2] = 0
    strict = BoundaryF(2, tolerance=0.15).update(stripes, target)
    lenient = BoundaryF(2, tolerance=0.15, match="distance").update(stripes, target)
    assert strict[0, 0] < 0.5
    assert lenient[0, 0] == 1


@pytest.mark.parametrize("seed", range(3))
def test_trimap_against_brute_force(seed: int) -> None:
    target, guess = blobs(seed), blobs(seed + 5, ignored=0)
    metric = TrimapCurve(3, widths=(1, 1.5, 4))
    tables = metric.update(guess, target)
    places = list(np.ndindex(target.shape))
    for table, width in zip(tables, metric.widths, strict=True):
        near = np.full(target.shape, IGNORE, np.uint8)
        for p in places:
            if any(target[q] != target[p] and math.dist(p, q) <= width for q in places):
                near[p] = target[p]
        matrix = ConfusionMatrix(3)
        matrix.update(guess, near)
        np.testing.assert_array_equal(table[:, :3], matrix.matrix)
    curve = metric.merge(TrimapCurve(3, widths=(1, 1.5, 4))).compute()
    assert curve["miou"].shape == (3,)
    with pytest.raises(ValueError, match="must be positive and grow"):
        TrimapCurve(3, widths=(3, 2))


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"prediction \(3, 3\) and target \(3, 4\)"):
        BoundaryIoU(2).update(np.zeros((3, 3), np.uint8), np.zeros((3, 4), np.uint8))


@pytest.mark.parametrize("metric", [BoundaryIoU, BoundaryF, ErrorKinds])
def test_a_label_below_0_is_no_class(metric: type) -> None:
    """It once counted as the last class, or one from the end."""
    target = np.zeros((20, 20), np.int64)
    target[:, 10:] = 1
    prediction = target.copy()
    prediction[5:9, 5:9] = -1
    other = prediction.copy()
    other[other == -1] = 77
    below, above = metric(3), metric(3)
    below.update(prediction, target)
    above.update(other, target)
    assert str(below.compute()) == str(above.compute())
