"""A batch on a device is what OpenCV makes of each of its images, but for rounding."""

import cv2
import numpy as np
import pytest
import torch

from atrous.errors import DataError, ModelError
from atrous.sample import Sample
from atrous.transforms import Augment, generator
from atrous.transforms.ondevice import augment_batch

STILL = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
OPTIONS = [
    {},
    STILL,
    {**STILL, "rotate": 30.0, "shear": 15.0},
    {**STILL, "elastic": 4.0, "vflip": 0.5},
    {**STILL, "gamma": 1.0},
    {**STILL, "blur": 3.0},
    {**STILL, "noise": 0.1},
    {"rotate": 20.0, "gamma": 0.5, "blur": 1.0, "noise": 0.05},
]


def smooth(count: int, size: tuple[int, int], channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(5)
    noise = [cv2.GaussianBlur(rng.normal(0, 1, (*size, channels)).astype(np.float32), (0, 0), 3) for _ in range(count)]
    return np.clip(128 + 300 * np.stack(noise).reshape(count, *size, channels), 0, 255)


@pytest.mark.parametrize(
    "options", OPTIONS, ids=lambda options: "-".join(sorted(set(options) - set(STILL))) or str(len(options))
)
@pytest.mark.parametrize("dtype, channels", [("uint8", 3), ("float32", 2)])
def test_it_is_the_same_as_one_by_one(options: dict[str, float], dtype: str, channels: int) -> None:
    images = smooth(4, (90, 110), channels).astype(dtype)
    masks = np.random.default_rng(1).integers(0, 9, (4, 18, 22)).repeat(5, 1).repeat(5, 2).astype(np.uint8)
    augment = Augment((64, 80), (0.6, 2.0), **options)
    expected = [augment(Sample(i, m), generator(3, 0, k)) for k, (i, m) in enumerate(zip(images, masks, strict=True))]
    batch = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    found, labels = augment_batch(augment, batch, torch.from_numpy(masks), [generator(3, 0, k) for k in range(4)])
    assert (found.dtype, labels.dtype, tuple(found.shape)) == (batch.dtype, torch.uint8, (4, channels, 64, 80))
    truth = np.stack([sample.mask for sample in expected])
    assert (labels.numpy() != truth).mean() < 0.02  # beside edges, where a place lies between two pixels
    inside = (
        np.stack([cv2.erode((mask != 255).astype(np.uint8), np.ones((9, 9)), borderValue=1) for mask in truth]) == 1
    )
    difference = found.numpy().transpose(0, 2, 3, 1).astype(float) - np.stack([s.image for s in expected])
    assert np.abs(difference[inside]).mean() < 0.5
    assert np.quantile(np.abs(difference[inside]), 0.999) <= 3
    assert abs(difference[inside].mean()) < 0.2


def test_zooming_far_out_averages() -> None:
    stripes = torch.zeros(2, 3, 96, 96, dtype=torch.uint8)
    stripes[..., ::2] = 200
    augment = Augment((12, 12), (0.125, 0.125), **STILL)
    labels = torch.zeros(2, 96, 96, dtype=torch.uint8)
    found, _ = augment_batch(augment, stripes, labels, [generator(0, 0, k) for k in range(2)])
    assert (found.float() - 100).abs().max() <= 26  # one tap in eight at most lies elsewhere


def test_equal_generators_give_equal_batches() -> None:
    images, labels = torch.from_numpy(smooth(2, (40, 40)).transpose(0, 3, 1, 2)).byte(), torch.zeros(2, 40, 40).byte()
    augment = Augment((32, 32), rotate=30, noise=0.1)
    one, same, other = (
        augment_batch(augment, images, labels, [generator(seed, 0, k) for k in range(2)])[0] for seed in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_what_it_cannot_do_is_refused() -> None:
    images, labels = torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2, 8, 8, dtype=torch.uint8)
    with pytest.raises(ModelError, match="jpeg=50"):
        augment_batch(Augment((4, 4), jpeg=50), images, labels, [generator(0, 0, 0)] * 2)
    with pytest.raises(DataError, match="1 generators"):
        augment_batch(Augment((4, 4)), images, labels, [generator(0, 0, 0)])
