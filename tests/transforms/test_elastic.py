"""Elastic deformation: smooth, of the right size, one warp for image and mask, reproducible."""

import numpy as np
import pytest

from atrous.errors import ModelError
from atrous.sample import Sample
from atrous.transforms import Augment, deform, displacements, generator
from atrous.transforms.augment import DRAWS

STILL = {"scale": (1.0, 1.0), "flip": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}


def ramp(height: int, width: int) -> Sample:
    """An image that says where each of its pixels lies (x, y), and a mask of its quarters."""
    rows, columns = np.mgrid[:height, :width]
    quarters = (2 * (rows >= height // 2) + (columns >= width // 2)).astype(np.uint8)
    return Sample(np.stack([columns, rows], 2).astype(np.float32), quarters)


def test_displacements_are_keys_cubic_between_the_middles_of_the_cells() -> None:
    """Equation 4 of Keys 1981, a = -0.75 as in OpenCV; nodes at (i + 1/2) / 3 of the image."""
    nodes = generator(0, 0, 0).normal(0, 10, (3, 3, 2))

    def kernel(x: np.ndarray, a: float = -0.75) -> np.ndarray:
        x = abs(x)
        near, far = (a + 2) * x**3 - (a + 3) * x**2 + 1, a * (x**3 - 5 * x**2 + 8 * x - 4)
        return np.where(x <= 1, near, np.where(x < 2, far, 0))

    def along(size: int) -> np.ndarray:
        place = (np.arange(size) + 0.5) * 3 / size - 0.5
        weights = np.zeros((size, 3))
        for tap in range(-2, 5):
            weights[:, min(max(tap, 0), 2)] += kernel(place - tap)
        return weights

    expected = np.einsum("hi,wj,ijc->hwc", along(45), along(32), nodes)
    np.testing.assert_allclose(displacements((45, 32), generator(0, 0, 0)), expected, atol=1e-3)


def test_displacements_have_the_papers_size() -> None:
    nodes = np.stack([displacements((3, 3), generator(0, 0, index)) for index in range(2000)])
    assert nodes.std() == pytest.approx(10, rel=0.03)
    assert abs(nodes.mean()) < 0.3
    assert not displacements((50, 60), generator(0, 0, 0), sigma=0).any()
    with pytest.raises(ModelError, match="sigma=-1"):
        displacements((5, 5), generator(0, 0, 0), sigma=-1)


def test_the_image_says_where_it_was_taken_and_the_mask_agrees() -> None:
    sample = ramp(90, 70)
    moved = deform(sample, generator(1, 2, 3))
    shift = displacements((90, 70), generator(1, 2, 3))
    source = ramp(90, 70).image + shift
    inside = ((source >= 0) & (source <= (69, 89))).all(2)
    assert 0.5 < inside.mean() < 1
    np.testing.assert_allclose(moved.image[inside], source[inside], atol=0.05)  # OpenCV rounds places to 1/32 pixel
    away = inside & (abs(source - (34.5, 44.5)) > 0.6).all(2)  # not on an edge of the mask
    quarters = 2 * (source[..., 1] >= 44.5) + (source[..., 0] >= 34.5)
    np.testing.assert_array_equal(moved.mask[away], quarters[away])
    outside = ((source < -1) | (source > (70, 90))).any(2)
    assert (moved.mask[outside] == 255).all()


@pytest.mark.parametrize("channels, dtype", [(1, "uint8"), (3, "uint16"), (6, "float32")])
def test_equal_numbers_give_equal_bytes(channels: int, dtype: str) -> None:
    image = np.random.default_rng(0).integers(0, 250, (40, 50, channels)).astype(dtype)
    image.flags.writeable = False
    one, same, other = (deform(Sample(image), generator(5, 0, index)) for index in (0, 0, 1))
    assert one.image.shape == image.shape
    assert one.image.dtype == image.dtype
    assert one.mask is None
    np.testing.assert_array_equal(one.image, same.image)
    assert (one.image != other.image).any()
    np.testing.assert_array_equal(deform(Sample(image), generator(5, 0, 0), sigma=0).image, image)


def test_augment_deforms_within_its_own_warp() -> None:
    sample = ramp(90, 70)
    alone = Augment((90, 70), **STILL, elastic=10)(sample, generator(1, 2, 3))
    rng = generator(1, 2, 3)
    rng.random(DRAWS)
    expected = deform(sample, rng)
    np.testing.assert_allclose(alone.image, expected.image, atol=0.05)
    assert (alone.mask == expected.mask).mean() > 0.99
    turned = {"scale": (2.0, 2.0), "flip": 1.0, "rotate": 90.0}
    whole = Augment((60, 60), **{**STILL, **turned})(sample, generator(1, 2, 3))
    moved = Augment((60, 60), **{**STILL, **turned}, elastic=3)(sample, generator(1, 2, 3))
    rng = generator(1, 2, 3)
    rng.random(DRAWS)
    shift = displacements((60, 60), rng, sigma=3)
    for row, column in ((30, 30), (20, 41), (37, 25)):  # the image is a ramp: the map of a place is a straight line
        dx, dy = shift[row, column]
        at = whole.image[row, column]
        step_x, step_y = whole.image[row, column + 1] - at, whole.image[row + 1, column] - at
        np.testing.assert_allclose(moved.image[row, column], at + dx * step_x + dy * step_y, atol=0.2)
