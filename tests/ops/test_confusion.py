import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atrous.ops import count_pairs


def brute_force(truth: np.ndarray, prediction: np.ndarray, classes: int, ignore: int) -> np.ndarray:
    table = np.zeros((classes, classes + 1), np.int64)
    for t, p in zip(truth.flat, prediction.flat, strict=True):
        if t != ignore:
            table[t, p if 0 <= p < classes else classes] += 1
    return table


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), classes=st.integers(1, 9), dtype=st.sampled_from(["uint8", "uint16", "int64"]))
def test_equals_brute_force(seed: int, classes: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    truth = rng.choice([*range(classes), 255], size=(7, 5)).astype(dtype)
    prediction = rng.choice([*range(classes), 254, 255], size=(7, 5)).astype(dtype)
    np.testing.assert_array_equal(count_pairs(truth, prediction, classes), brute_force(truth, prediction, classes, 255))


@pytest.mark.parametrize("shape", [(19, 27), (301, 307)])
@pytest.mark.parametrize("kinds", [("uint8", "uint8"), ("uint8", "uint16"), ("uint16", "uint16"), ("bool", "uint8")])
def test_word_by_word_equals_brute_force(kinds: tuple[str, str], shape: tuple[int, int]) -> None:
    """Large enough to be read in words: flat parts, borders within a word, noise, a tail, an address off the grid."""
    rng = np.random.default_rng(0)
    truth = rng.choice([0, 1] if kinds[0] == "bool" else [0, 1, 2, 255], size=shape).astype(kinds[0])
    prediction = rng.choice([0, 1, 2, 3, 254, 255], size=shape).astype(kinds[1])
    truth[2:-5], prediction[3:-4] = truth[1, 0], 2
    truth[8:12, 7:16], prediction[9:11, 1:9] = truth[0, 0], 1
    expected = brute_force(truth.astype(int), prediction.astype(int), 3, 255)
    np.testing.assert_array_equal(count_pairs(truth, prediction, 3), expected)
    expected = brute_force(truth[1:].astype(int), prediction[1:].astype(int), 3, 255)
    np.testing.assert_array_equal(count_pairs(truth[1:], prediction[1:], 3), expected)
    row = truth.ravel()
    count_pairs(row, prediction.ravel(), 3)
    assert row.flags.writeable


def test_a_class_that_is_ignored_counts_nowhere() -> None:
    truth = np.arange(512, dtype=np.uint8).reshape(16, 32) % 4
    assert count_pairs(truth, truth, 4, ignore=1).diagonal().tolist() == [128, 0, 128, 128]


def test_more_pixels_than_float32_can_count() -> None:
    """The histograms of smp and mmsegmentation stop at 2^24 pixels of one class."""
    truth = np.zeros((5000, 5000), np.uint8)
    assert count_pairs(truth, truth, 2)[0, 0] == 25_000_000


def test_refuses_other_shapes_labels_and_floats() -> None:
    truth = np.zeros((2, 3), np.uint8)
    with pytest.raises(ValueError, match="shape"):
        count_pairs(truth, truth.T, 2)
    with pytest.raises(ValueError, match="true label 7"):
        count_pairs(truth + np.uint8(7), truth, 2)
    with pytest.raises(ValueError, match="dtype float64"):
        count_pairs(truth, truth.astype(float), 2)
    with pytest.raises(ValueError, match="true label -1"):
        count_pairs(truth.astype(np.int64) - 1, truth, 2)
    large = np.zeros((20, 20), np.uint8)
    large[11, 3] = 9
    with pytest.raises(ValueError, match="true label 9"):
        count_pairs(large, large, 2)


@pytest.mark.parametrize("ignore", [-1, -100, 2**40])
@pytest.mark.parametrize("dtype", ["int8", "int16", "int64"])
def test_labels_below_0_can_be_ignored(ignore: int, dtype: str) -> None:
    truth = np.arange(1200, dtype=np.int64).reshape(30, 40) % 4
    truth[truth == 3] = ignore if ignore < 0 or dtype == "int64" else 0
    prediction = np.arange(1200).reshape(30, 40) % 5
    expected = brute_force(truth, prediction, 3, ignore)
    np.testing.assert_array_equal(count_pairs(truth.astype(dtype), prediction, 3, ignore), expected)
    truth[0, 0] = -7
    with pytest.raises(ValueError, match=f"true label -7 is neither a class 0..2 nor the ignored {ignore}"):
        count_pairs(truth.astype(dtype), prediction, 3, ignore)


def test_a_prediction_of_the_ignored_label_is_a_mistake() -> None:
    assert count_pairs(np.array([0, -1, 1]), np.array([-1, 0, 1]), 2, -1).tolist() == [[0, 0, 1], [0, 1, 0]]
