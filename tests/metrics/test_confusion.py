import numpy as np
import pytest
import torch

from atrous.metrics import ConfusionMatrix, scores

GOLDEN = np.array([[50, 3, 2], [4, 30, 6], [0, 0, 0]])


def test_golden_table() -> None:
    result = scores(GOLDEN)
    assert result["pixel_accuracy"] == pytest.approx(0.842105, abs=1e-6)
    assert result["mean_accuracy"] == pytest.approx(0.829545, abs=1e-6)
    np.testing.assert_allclose(result["recall"], [0.909091, 0.75, np.nan], atol=1e-6)
    np.testing.assert_allclose(result["iou"], [0.847458, 0.697674, 0], atol=1e-6)
    np.testing.assert_allclose(result["dice"], [0.917431, 0.821918, 0], atol=1e-6)
    assert result["frequency_weighted_iou"] == pytest.approx(0.784391, abs=1e-6)
    assert result["miou"] == pytest.approx(0.515044, abs=1e-6)
    assert scores(GOLDEN, "truth")["miou"] == pytest.approx(0.772566, abs=1e-6)


def test_absent_class_policies() -> None:
    """Two of 21 classes are there, IoU 2/3 and 1/2: the mean is 0.583, or 0.960 with 0/0 as 1."""
    matrix = np.zeros((21, 21), np.int64)
    matrix[:2, :2] = [[4, 1], [1, 1]]
    matrix[0, 0], matrix[0, 1], matrix[1, 0], matrix[1, 1] = 4, 1, 1, 2
    assert scores(matrix)["miou"] == pytest.approx((4 / 6 + 2 / 4) / 2)
    assert scores(matrix, "one")["miou"] == pytest.approx((4 / 6 + 2 / 4 + 19) / 21)
    with pytest.raises(ValueError, match="policy 'zero'"):
        scores(matrix, "zero")


def test_update_merge_and_tensors() -> None:
    truth = np.array([[0, 1], [255, 1]], np.uint8)
    prediction = np.array([[0, 0], [1, 9]], np.uint8)
    one, two = ConfusionMatrix(2), ConfusionMatrix(2)
    counts = one.update(torch.from_numpy(prediction), torch.from_numpy(truth))
    np.testing.assert_array_equal(counts, [[1, 2], [2, 0], [1, 0]])
    np.testing.assert_array_equal(one.matrix, [[1, 0], [1, 0]])
    np.testing.assert_array_equal(one.outside, [0, 1])
    two.update(truth[:1], truth[:1])
    one.merge(two)
    np.testing.assert_array_equal(one.matrix, [[2, 0], [1, 1]])
    assert one.compute()["pixel_accuracy"] == pytest.approx(3 / 5)  # the 9 on a true 1 is a miss, not dropped
    with pytest.raises(ValueError, match="merge"):
        one.merge(ConfusionMatrix(3))


def test_nothing_counted_is_nan() -> None:
    result = ConfusionMatrix(3).compute()
    assert np.isnan(result["miou"])
    assert np.isnan(result["pixel_accuracy"])
