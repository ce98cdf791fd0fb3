"""Mean and deviation of the training images: channels that hardly change must not poison the others."""

import numpy as np
import pytest

from atrous.plan.statistics import normalisation
from atrous.sample import Sample

RANDOM = np.random.default_rng(3)


def measured(image: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...], list[str]]:
    said: list[str] = []
    mean, std = normalisation([Sample(image)], str(image.dtype), said.append)
    return mean, std, said


@pytest.mark.parametrize(
    ("dtype", "constant", "other", "deviation"),
    [("uint8", 0, 1, 255), ("uint8", 255, 0, 255), ("uint16", 7, 3000, 65535), ("float32", -9999, 0, 2000),
     ("float32", 0.3, 0.31, 1)],
)  # fmt: skip
def test_a_constant_channel_stays_small_whatever_comes_later(
    dtype: str, constant: float, other: float, deviation: float
) -> None:
    top = {"float32": 1.0 if deviation == 1 else 8000.0}.get(dtype, 250.0)
    image = (top * RANDOM.random((40, 40, 4))).astype(dtype)
    image[..., 3] = constant
    mean, std, said = measured(image)
    assert mean[3] == pytest.approx(constant, rel=1e-6)
    assert std[3] == pytest.approx(deviation, rel=0.2)
    assert abs(other - mean[3]) / std[3] < 6
    assert said == [f"channel 4 is {constant} everywhere in the training images: it tells the network nothing"]
    assert std[:3] == pytest.approx(image[..., :3].std(axis=(0, 1)), rel=1e-4)  # the others are as they were


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_integers_that_hardly_change_are_measured_in_steps(dtype: str) -> None:
    image = RANDOM.integers(0, 200, (50, 50, 3)).astype(dtype)
    image[..., 0] = 0
    image[0, 0, 0] = 1
    _, std, said = measured(image)
    assert std[0] == 1
    assert said == ["channel 1 (red) hardly changes in the training images: 0.0004, give or take 0.02"]


def test_rounding_is_no_deviation() -> None:
    image = RANDOM.random((50, 50, 2)).astype(np.float32)
    image[..., 1] = 0.1
    image[::2, :, 1] = np.nextafter(np.float32(0.1), np.float32(1))
    _, std, said = measured(image)
    assert std[1] == 1
    assert len(said) == 1


def test_small_units_are_no_constants() -> None:
    image = (1e-3 * RANDOM.random((50, 50, 3))).astype(np.float32)
    _, std, said = measured(image)
    assert max(std) < 1e-3
    assert said == []


def test_images_of_one_value() -> None:
    _, std, said = measured(np.zeros((8, 8, 3), np.float32))
    assert std == (1, 1, 1)
    assert [line.split(" is ")[0] for line in said] == ["channel 1 (red)", "channel 2 (green)", "channel 3 (blue)"]
