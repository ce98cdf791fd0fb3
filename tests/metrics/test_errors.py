import numpy as np
import pytest

from atrous.metrics import ConfusionMatrix, ErrorKinds, scores
from atrous.metrics.errors import BOUNDARY, CONFUSION, IGNORED, INVENTED, MISSED, RIGHT


def scene() -> tuple[np.ndarray, np.ndarray]:
    """(prediction, target) 40 x 60: a square whose edge is shifted, one missed, one invented, and a
    rectangle of which half is given to another class."""
    target = np.zeros((40, 60), np.uint8)
    target[5:15, 5:15] = 1
    target[25:35, 5:15] = 1
    target[5:25, 35:55] = 2
    guess = np.zeros_like(target)
    guess[5:15, 6:16] = 1  # one column late
    guess[28:36, 40:50] = 1  # nothing there
    guess[5:25, 35:55] = 2
    guess[5:25, 45:55] = 1  # half of the region is called 1
    target[0] = 255
    return guess, target


def test_kinds_by_hand() -> None:
    guess, target = scene()
    kinds = ErrorKinds(3, width=2).update(guess, target)
    assert (kinds[0] == IGNORED).all()
    assert (kinds[5:15, 5] == BOUNDARY).all()
    assert (kinds[5:15, 15] == BOUNDARY).all()
    assert kinds[30, 10] == MISSED
    assert kinds[25, 10] == BOUNDARY, "the boundary comes first, where the region was missed too"
    assert kinds[31, 45] == INVENTED
    assert kinds[15, 50] == INVENTED, "the region called 1 is nowhere 1"
    assert kinds[15, 40] == RIGHT
    part = guess.copy()
    part[28:32, 7:10] = 1  # more than a tenth of the missed box is found
    assert ErrorKinds(3, width=2).update(part, target)[32, 12] == CONFUSION


@pytest.mark.parametrize("seed", range(5))
def test_shares_and_iou_add_up_to_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    metric, matrix = ErrorKinds(5), ConfusionMatrix(5)
    for _ in range(2):
        target = rng.integers(0, 4, (6, 8)).repeat(6, 0).repeat(6, 1).astype(np.uint8)
        target[:3, :9] = 255
        guess = np.roll(target, rng.integers(-3, 4, 2), (0, 1))
        guess[20:30, 10:30] = rng.integers(0, 4)
        guess[guess == 255] = 9  # no class at all
        metric.merge(_one(guess, target))
        matrix.update(guess, target)
    found, exact = metric.compute(), scores(np.concatenate([matrix.matrix, matrix.outside[:, None]], axis=1))
    np.testing.assert_allclose(found["iou"], exact["iou"])
    total = found["iou"] + sum(found["share"].values())
    np.testing.assert_allclose(total[:4], 1)
    assert np.isnan(total[4])
    assert found["miou"] + sum(found["loss"].values()) == pytest.approx(1)


def _one(guess: np.ndarray, target: np.ndarray) -> ErrorKinds:
    metric = ErrorKinds(5)
    metric.update(guess, target)
    return metric


def test_an_oracle_is_the_score_with_one_kind_mended() -> None:
    guess, target = scene()
    metric = ErrorKinds(3, width=2)
    kinds = metric.update(guess, target)
    mended = np.where(kinds == BOUNDARY, target, guess)
    matrix = ConfusionMatrix(3)
    matrix.update(mended, target)
    assert metric.compute()["oracle"]["boundary"] == pytest.approx(matrix.compute()["miou"])
    assert all(value >= metric.compute()["miou"] for value in metric.compute()["oracle"].values())
