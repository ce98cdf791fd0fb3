import numpy as np
import pytest

from atrous.metrics import InstanceIoU, category_iou

NAMES = ("road", "car", "person")


def test_instances_weigh_the_same_whatever_their_size() -> None:
    target = np.zeros((10, 20), np.uint8)
    instances = np.zeros((10, 20), np.int32)
    target[:8, :10], instances[:8, :10] = 1, 1  # 80 pixels
    target[0, 15:19], instances[0, 15:19] = 1, 2  # 4 pixels
    target[9, 10:20] = 1  # a group
    target[5, 15] = 255
    guess = target.copy()
    guess[0, 15:19] = 0  # the small one is lost
    guess[4, 12:15] = 1  # three pixels too much
    guess[5, 15] = 1  # on ignored ground
    guess[9, 10:20] = 0
    metric = InstanceIoU(NAMES, sizes={"car": 40.0, "person": 1.0})
    metric.update(guess, target, instances)
    result = metric.compute()
    assert result["iiou"][1] == pytest.approx(40 / (40 + 40 + 3))
    assert np.isnan(result["iiou"][[0, 2]]).all()
    assert (
        InstanceIoU(NAMES, sizes={"car": 40.0, "person": 1.0}).merge(metric).compute()["mean_iiou"]
        == result["mean_iiou"]
    )
    assert set(InstanceIoU(NAMES).sizes) == {1, 2}


def test_mixing_within_a_category_is_no_error() -> None:
    matrix = np.array([[10, 0, 0, 0], [1, 5, 2, 1], [0, 3, 4, 0]])
    groups = {"flat": ("road",), "vehicle": ("car", "person"), "sky": ("sky",)}
    result = category_iou(matrix, NAMES, groups)
    assert result["iou"]["flat"] == pytest.approx(10 / 11)
    assert result["iou"]["vehicle"] == pytest.approx(14 / 16)
    assert np.isnan(result["iou"]["sky"])
    assert result["mean_category_iou"] == pytest.approx((10 / 11 + 14 / 16) / 2)
