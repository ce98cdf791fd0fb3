"""Volumes: places against formulas in mm, values against scipy, image and labels aligned."""

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from atrous.errors import DataError, ModelError
from atrous.transforms import generator
from atrous.transforms.volume import SELDOM, Chances, VolumeAugment

STILL = {"scale": (1.0, 1.0), "rotate": (0.0, 0.0, 0.0), "flip": (0.0, 0.0, 0.0), "brightness": 0.0, "contrast": 0.0}


def coordinates(depth: int, height: int, width: int) -> tuple[torch.Tensor, torch.Tensor]:
    """An image that says where each of its voxels lies (D, H, W), and labels that number them."""
    axes = torch.meshgrid(*(torch.arange(n, dtype=torch.float32) for n in (depth, height, width)), indexing="ij")
    return torch.stack(axes), torch.arange(depth * height * width).reshape(depth, height, width)


def augmented(volume: VolumeAugment, size: tuple[int, int, int], index: int = 0, **more: object) -> tuple:
    image, labels = coordinates(*size)
    return volume(image, labels, generator(1, 2, index), **more)


def test_nothing_to_change_is_the_volume_itself() -> None:
    image, labels = coordinates(5, 6, 7)
    same, kept = VolumeAugment((5, 6, 7), **STILL)(image, labels, generator(0, 0, 0))
    torch.testing.assert_close(same, image, rtol=0, atol=1e-5)
    assert torch.equal(kept, labels)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_flip_mirrors_one_axis(axis: int) -> None:
    image, labels = coordinates(5, 6, 7)
    chance = tuple(float(a == axis) for a in range(3))
    turned, kept = VolumeAugment((5, 6, 7), **STILL | {"flip": chance})(image, labels, generator(0, 0, 0))
    torch.testing.assert_close(turned, image.flip(axis + 1), rtol=0, atol=1e-5)
    assert torch.equal(kept, labels.flip(axis))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_rotation_turns_the_body_and_not_the_grid(axis: int) -> None:
    """In mm, points keep their distance to the middle and to the axis, and turn as was drawn."""
    spacing = np.array([4.0, 1.0, 2.0])
    volume = VolumeAugment((9, 11, 13), **STILL | {"rotate": tuple(40.0 * (a == axis) for a in range(3))})
    places = augmented(volume, (64, 64, 64), spacing=tuple(spacing))[0].numpy()
    middle = places[:, 4, 5, 6]
    index = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in (9, 11, 13)), indexing="ij"))
    before = index * spacing[:, None, None, None]
    after = (places - middle[:, None, None, None]) * spacing[:, None, None, None]
    np.testing.assert_allclose(np.linalg.norm(after, axis=0), np.linalg.norm(before, axis=0), atol=1e-3)
    np.testing.assert_allclose(after[axis], before[axis], atol=1e-3)
    first, second = [a for a in range(3) if a != axis]
    turned = np.angle((after[first] + 1j * after[second]) / (before[first] + 1j * before[second] + 1e-9))
    far = np.linalg.norm(before, axis=0) > 1
    far &= np.hypot(before[first], before[second]) > 0.5
    angle = 40 * (2 * generator(1, 2, 0).random(20)[1 + axis] - 1)
    np.testing.assert_allclose(np.abs(np.degrees(turned[far])), abs(angle), atol=0.1)


def test_zoom_is_the_same_along_every_axis() -> None:
    volume = VolumeAugment((8, 8, 8), **STILL | {"scale": (2.0, 2.0)})
    places = augmented(volume, (40, 40, 40), spacing=(5.0, 1.0, 1.0))[0]
    for axis in range(3):
        steps = places[axis].diff(dim=axis)
        torch.testing.assert_close(steps, torch.full_like(steps, 0.5), rtol=0, atol=1e-4)


@pytest.mark.parametrize("more", [{}, {"elastic": 3.0}])
def test_values_are_those_of_scipy_at_the_same_places(more: dict[str, float]) -> None:
    places, labels = augmented(VolumeAugment((10, 12, 14), **STILL | {"rotate": (30.0,) * 3}, **more), (30, 32, 34))
    rng = np.random.default_rng(0)
    values = rng.normal(size=(1, 30, 32, 34)).astype(np.float32)
    classes = rng.integers(0, 5, (30, 32, 34)).astype(np.uint8)
    volume = VolumeAugment((10, 12, 14), **STILL | {"rotate": (30.0,) * 3}, **more)
    read, found = volume(torch.from_numpy(values), torch.from_numpy(classes), generator(1, 2, 0))
    expected = map_coordinates(values[0], places.numpy(), order=1, mode="mirror")
    np.testing.assert_allclose(read[0], expected, atol=2e-3)
    inside = labels.numpy() != 255
    whole = np.floor(places.numpy() + 0.5).astype(int)
    near_tie = (np.abs(places.numpy() - np.floor(places.numpy()) - 0.5) < 1e-3).any(0)
    check = inside & ~near_tie
    np.testing.assert_array_equal(found.numpy()[check], classes[tuple(whole[:, check])])
    assert found.dtype == torch.uint8


def test_image_and_labels_stay_aligned_with_everything_on() -> None:
    size = (40, 50, 60)
    volume = VolumeAugment((24, 24, 24), rotate=(30.0, 20.0, 20.0), elastic=2.0, brightness=0.0, contrast=0.0)
    for index in range(6):
        places, labels = augmented(volume, size, index, spacing=(2.0, 1.0, 1.0), ignore=-1)
        inside = labels >= 0
        read = torch.stack([labels // (50 * 60), labels // 60 % 50, labels % 60]).float()
        difference = (places - read)[:, inside]
        away = ((places > 1) & (places < torch.tensor(size).view(3, 1, 1, 1) - 2)).all(0)[inside]
        assert difference[:, away].abs().max() <= 0.51
        assert difference[:, away].mean(1).abs().max() < 0.05


def test_beyond_the_volume_labels_are_ignored_and_the_image_goes_on() -> None:
    image, labels = torch.full((2, 4, 4, 4), 7, dtype=torch.int16), torch.ones(4, 4, 4, dtype=torch.int16)
    read, found = VolumeAugment((8, 8, 8), **STILL)(image, labels, generator(0, 0, 0), ignore=99)
    assert (found == 1).sum() == 64
    assert (found == 99).sum() == 512 - 64
    torch.testing.assert_close(read, torch.full_like(read, 7))
    assert (read.dtype, found.dtype) == (torch.float32, torch.int16)


def test_a_crop_lies_inside_or_about_its_centre() -> None:
    volume = VolumeAugment((8, 8, 8), **STILL)
    for index in range(30):
        assert (augmented(volume, (20, 8, 30), index, ignore=-1)[1] >= 0).all()
    places = augmented(volume, (20, 20, 20), centre=(2, 10, 19))[0]
    np.testing.assert_allclose(places[1].mean(), 10.5, atol=1e-4)  # an even crop has no voxel in its middle
    np.testing.assert_allclose(places[0].max(), 6, atol=1e-4)


def test_equal_numbers_give_equal_values_and_colour_leaves_the_places() -> None:
    image, labels = coordinates(20, 20, 20)
    volume = VolumeAugment((12, 12, 12), gamma=0.5, noise=0.3, elastic=1.0)
    first, again, other = (volume(image, labels, generator(0, 0, index)) for index in (4, 4, 5))
    assert torch.equal(first[0], again[0])
    assert torch.equal(first[1], again[1])
    assert not torch.equal(first[1], other[1])
    plain = VolumeAugment((12, 12, 12), brightness=0.0, contrast=0.0, elastic=1.0)(image, labels, generator(0, 0, 4))
    assert torch.equal(plain[1], first[1])


def test_colour_is_what_it_says() -> None:
    image = torch.rand(2, 30, 30, 30)
    u = generator(0, 0, 3).random(20)
    either = 2 * u - 1
    volume = VolumeAugment((30, 30, 30), **STILL | {"brightness": 0.4, "contrast": 0.5})
    read, _ = volume(image, None, generator(0, 0, 3))
    mean = image.mean((1, 2, 3), keepdim=True)
    expected = ((image - mean) * (1 + 0.5 * either[11]) + mean) * (1 + 0.4 * either[10])
    torch.testing.assert_close(read, expected.float(), rtol=0, atol=1e-4)
    noisy, _ = VolumeAugment((30, 30, 30), **STILL, noise=0.5)(image, None, generator(0, 0, 3))
    assert float((noisy - image).std() / image.std()) == pytest.approx(0.5 * u[13], rel=0.05)
    bent, _ = VolumeAugment((30, 30, 30), **STILL, gamma=1.0)(image, None, generator(0, 0, 3))
    low, high = image.min(), image.max()
    power = low + (high - low) * ((image - low) / (high - low)) ** (2 ** either[12])
    torch.testing.assert_close(bent, power.float(), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    "wrong", [{"crop": (0, 5, 5)}, {"scale": (0.0, 1.0)}, {"flip": (0.5, 1.5, 0.5)}, {"rotate": (-1.0, 0.0, 0.0)}]
)
def test_impossible_options_are_refused(wrong: dict) -> None:
    with pytest.raises(ModelError, match="expected"):
        VolumeAugment(**({"crop": (5, 5, 5)} | wrong))


def test_other_shapes_are_refused() -> None:
    volume = VolumeAugment((4, 4, 4))
    with pytest.raises(DataError, match=r"expected \(C, D, H, W\)"):
        volume(torch.zeros(5, 5, 5), None, generator(0, 0, 0))
    with pytest.raises(DataError, match="whole numbers"):
        volume(torch.zeros(1, 5, 5, 5), torch.zeros(5, 5, 5), generator(0, 0, 0))


def test_a_plain_crop_is_cut_out_of_the_volume() -> None:
    """The same voxels as those that are read; beyond the border they are ignored."""
    image, labels = torch.arange(2 * 20 * 22 * 24.0).view(2, 20, 22, 24), torch.arange(20 * 22 * 24).view(20, 22, 24)
    for index in range(20):
        volume = VolumeAugment((6, 7, 8), **STILL | {"flip": (0.5, 0.5, 0.5)})
        crop, found = volume(image, labels, generator(0, 0, index))
        np.testing.assert_array_equal(crop[0], found)  # every voxel has its own number
        np.testing.assert_array_equal(crop[1], found + labels.numel())
        bent = VolumeAugment((6, 7, 8), **STILL | {"flip": (0.5, 0.5, 0.5), "rotate": (1e-6, 0.0, 0.0)})
        np.testing.assert_array_equal(bent(image, labels, generator(0, 0, index))[1].shape, found.shape)
    edge, outside = VolumeAugment((6, 7, 8), **STILL)(image, labels, generator(0, 0, 0), centre=(0, 10, 10))
    assert (outside[:3] == 255).sum() > 0
    inside = outside != 255
    np.testing.assert_allclose(edge[0][inside], outside[inside], rtol=1e-4)  # read by interpolation


def test_changes_happen_as_often_as_asked() -> None:
    image = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 12, 12, 12)).astype(np.float32))
    every = {"gamma": 0.5, "noise": 0.3, "blur": 1.0, "lowres": 0.5, "brightness": 0.3, "contrast": 0.3}
    still = {"rotate": (0.0,) * 3, "scale": (1.0, 1.0), "flip": (0.0,) * 3}
    for name in every:
        own = still | {"brightness": 0.0, "contrast": 0.0} | {name: every[name]}
        never = VolumeAugment((12, 12, 12), **own, chances=Chances(**{name: 0.0}))
        np.testing.assert_array_equal(never(image, None, generator(0, 0, 1))[0], image)
        always = VolumeAugment((12, 12, 12), **own)
        assert not torch.equal(always(image, None, generator(0, 0, 1))[0], image), name
        some = VolumeAugment((12, 12, 12), **own, chances=SELDOM)
        changed = sum(not torch.equal(some(image, None, generator(0, 0, k))[0], image) for k in range(200))
        assert abs(changed - 200 * getattr(SELDOM, name)) < 30, (name, changed)


def test_blur_and_coarse_scans() -> None:
    point = torch.zeros(1, 9, 9, 9)
    point[0, 4, 4, 4] = 1
    blurred, _ = VolumeAugment((9, 9, 9), **STILL, blur=1.0)(point, None, generator(0, 0, 3), centre=(4, 4, 4))
    assert blurred.sum() == pytest.approx(1, abs=1e-5)
    assert 0 < blurred[0, 4, 4, 3] < blurred[0, 4, 4, 4] < 1
    ramp = torch.arange(16.0).expand(1, 16, 16, 16)
    coarse, _ = VolumeAugment((16, 16, 16), **STILL, lowres=0.5)(ramp, None, generator(0, 0, 3), centre=(7.5,) * 3)
    assert not torch.equal(coarse, ramp)
    assert (coarse - ramp).abs().max() < 1.01
