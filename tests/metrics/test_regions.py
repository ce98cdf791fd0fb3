import itertools
import math

import numpy as np
import pytest

from atrous.metrics import cl_dice, lesion_f1, partition_scores


def test_lesions_by_hand() -> None:
    truth, guess = np.zeros((10, 10), bool), np.zeros((10, 10), bool)
    truth[0:2, 0:2] = truth[5:9, 5:9] = truth[0:2, 8:10] = True
    guess[1, 1] = guess[5:9, 5:7] = guess[9, 0] = True
    assert lesion_f1(guess, truth) == {"found": 2, "missed": 1, "invented": 1, "f1": pytest.approx(4 / 6)}
    half = lesion_f1(guess, truth, overlap=0.4)
    assert (half["found"], half["missed"], half["invented"]) == (1, 2, 1)
    assert math.isnan(lesion_f1(truth & False, truth & False)["f1"])
    assert lesion_f1(truth & False, truth)["f1"] == 0
    with pytest.raises(ValueError, match="overlap is 1"):
        lesion_f1(guess, truth, overlap=1)


def test_connectivity() -> None:
    diagonal = np.eye(4, dtype=bool)
    assert lesion_f1(diagonal, diagonal)["found"] == 1
    assert lesion_f1(diagonal, diagonal, connectivity=1)["found"] == 4


@pytest.mark.parametrize("seed", range(4))
def test_rand_against_all_pairs_of_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, guess = rng.integers(0, 4, (6, 7)), rng.integers(0, 5, (6, 7))
    inside = truth > 0
    t, s = truth[inside], guess[inside].copy()
    s[s == 0] = 100 + np.arange((s == 0).sum())
    pairs = list(itertools.product(range(len(t)), repeat=2))  # ordered pairs, a pixel with itself too
    in_t, in_s = (np.array([labels[a] == labels[b] for a, b in pairs]) for labels in (t, s))
    found = partition_scores(guess, truth)
    assert found["rand_split"] == pytest.approx((in_t & in_s).sum() / in_t.sum())
    assert found["rand_merge"] == pytest.approx((in_t & in_s).sum() / in_s.sum())
    assert found["rand_f"] == pytest.approx(2 * (in_t & in_s).sum() / (in_t.sum() + in_s.sum()))

    def entropy(*labels: np.ndarray) -> float:
        _, counts = np.unique(np.stack(labels), axis=1, return_counts=True)
        return float(-(counts / len(t) * np.log2(counts / len(t))).sum())

    mutual = entropy(s) + entropy(t) - entropy(s, t)
    assert found["info_f"] == pytest.approx(2 * mutual / (entropy(s) + entropy(t)))
    assert found["info_split"] == pytest.approx(mutual / entropy(s))
    assert found["variation_of_information"] == pytest.approx(entropy(s) + entropy(t) - 2 * mutual)


def test_equal_partitions_are_perfect_whatever_the_labels() -> None:
    truth = np.array([[1, 1, 0, 2], [1, 1, 0, 2]])
    found = partition_scores(np.array([[7, 7, 3, 4], [7, 7, 0, 4]]), truth)
    assert found["rand_f"] == found["info_f"] == 1
    assert found["variation_of_information"] == pytest.approx(0)
    with pytest.raises(ValueError, match="no region"):
        partition_scores(truth, truth * 0)


def test_centreline_dice() -> None:
    pytest.importorskip("skimage")
    truth, short = np.zeros((11, 40), bool), np.zeros((11, 40), bool)
    truth[4:7, 2:38] = True
    short[4:7, 2:20] = True
    assert cl_dice(truth, truth) == 1
    assert cl_dice(short, truth) == pytest.approx(2 * 0.5 / 1.5, abs=0.05), "half of the line is found, none invented"
    thin = np.zeros_like(truth)
    thin[5, 2:38] = True
    assert cl_dice(thin, truth) > 0.95, "length counts, not area"
    uneven = np.zeros((21, 60), bool)
    uneven[5:16, 2:30] = uneven[10, 30:58] = True
    vessel = uneven.copy()
    vessel[:, 30:] = False
    found = cl_dice(vessel, uneven)
    assert 0.55 < found < 0.7, "the thin half is as long as the wide one, though it has a twelfth of the pixels"
    assert cl_dice(short & False, truth) == 0
    assert math.isnan(cl_dice(short & False, truth & False))
