"""A straight crop equals the warp it replaces; shear leans; an image read small gives the same."""

from dataclasses import replace
from math import radians, tan

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from atrous.sample import Sample
from atrous.transforms import Augment, generator
from atrous.transforms.warp import draw_span, move_image, move_mask

COLOURLESS = {"brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}


def smooth(height: int, width: int, channels: int = 3) -> np.ndarray:
    rng = np.random.default_rng(5)
    noise = cv2.GaussianBlur(rng.normal(0, 1, (height, width, channels)).astype(np.float32), (0, 0), 3)
    return np.clip(128 + 300 * noise.reshape(height, width, channels), 0, 255).astype(np.uint8)


@settings(max_examples=40, deadline=None)
@example(size=(30, 30), crop=(16, 16), zoom=0.984375, seed=0)  # a resize to the same number of pixels
@given(
    size=st.tuples(st.integers(30, 120), st.integers(30, 120)),
    crop=st.tuples(st.integers(16, 90), st.integers(16, 90)),
    zoom=st.floats(0.5, 3.0),
    seed=st.integers(0, 10**6),
)
def test_a_straight_crop_is_the_warp_that_it_replaces(
    size: tuple[int, int], crop: tuple[int, int], zoom: float, seed: int
) -> None:
    """Away from the border, where a resize repeats the outer pixels and a warp reflects them."""
    augment = Augment(crop, (zoom, zoom), vflip=0.5, **COLOURLESS)
    move, _ = augment.draw(size, generator(seed, 0, 0))
    assert move.straight
    image = smooth(*size)
    y, x = np.mgrid[: size[0], : size[1]]
    inner = ((y > 2) & (y < size[0] - 3) & (x > 2) & (x < size[1] - 3)).astype(np.uint8)
    numbers = np.arange(size[0] * size[1]).reshape(size).astype(np.uint16)
    quick, slow = (move_image(image, m).astype(int) for m in (move, move._replace(straight=False)))
    inside = move_mask(inner, move) == 1
    assert np.abs(quick - slow)[inside].max(initial=0) <= 1
    masks = np.array([move_mask(numbers, m) for m in (move, move._replace(straight=False))], int)
    for places in (masks // size[1], masks % size[1]):  # where a pixel's centre lies between two, either may be taken
        assert np.abs(places[0] - places[1])[inside].max(initial=0) <= 1


@settings(max_examples=200, deadline=None)
@given(size=st.integers(1, 200), crop=st.integers(1, 150), zoom=st.floats(0.05, 8.0), draw=st.floats(0, 1 - 1e-9))
def test_a_crop_lies_inside_where_it_fits_and_around_where_not(size: int, crop: int, zoom: float, draw: float) -> None:
    span = draw_span(size, crop, zoom, draw)
    left, right = span.at(0, zoom), span.at(crop, zoom)
    if size * zoom >= crop:
        assert left >= -1e-6
        assert right <= size + 1e-6
    else:
        assert left <= 1e-6
        assert right >= size - 1 / zoom - 1e-6


def test_places_reach_both_ends() -> None:
    for zoom in (0.5, 1.0, 1.3, 2.0):
        ends = [draw_span(100, 40, zoom, draw) for draw in np.linspace(0, 1 - 1e-9, 500)]
        assert min(span.at(0, zoom) for span in ends) == 0
        assert max(span.at(40, zoom) for span in ends) > 98.9


def test_shear_makes_verticals_lean() -> None:
    """A vertical line through the crop's middle is 100 pixels high and leans by the drawn angle."""
    stripe = np.zeros((101, 101, 1), np.float32)
    stripe[:, 50] = 1
    augment = Augment((101, 101), (1, 1), flip=0.0, shear=20.0, **COLOURLESS)
    for index in range(6):
        u = generator(3, 0, index).random(16)
        lean, slope = tan(radians(20 * (2 * u[10] - 1))), tan(radians(20 * (2 * u[11] - 1)))
        sheared = augment(Sample(stripe), generator(3, 0, index)).image[..., 0]
        for row in (20, 50, 80):  # of the crop: x + lean * y = 0 about the middle
            expected = 50 - lean * (row - 50)
            assert np.average(np.arange(101), weights=sheared[row]) == pytest.approx(expected, abs=0.1)
        assert abs(slope) <= tan(radians(20))
    level = np.swapaxes(stripe, 0, 1)
    sheared = augment(Sample(level), generator(3, 0, 5)).image[..., 0]
    assert np.average(np.arange(101), weights=sheared[:, 80]) == pytest.approx(50 - slope * 30, abs=0.1)


@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("more", [{}, {"rotate": 30.0, "shear": 10.0}, {"elastic": 3.0}])
def test_a_picture_read_small_stays_aligned_with_its_mask(factor: int, more: dict[str, float]) -> None:
    """The image holds its coordinates, averaged as JPEG is read small; the mask is whole."""
    y, x = np.mgrid[:613, :811]
    zoom = 0.9 / factor
    augment = Augment((40, 60), (zoom, zoom), vflip=0.5, **COLOURLESS, **more)
    differences = []
    for index in range(6):
        for axis in (x, y):
            rng = generator(9, 0, index)
            move, look = augment.draw((613, 811), rng)
            assert move.reduction == factor
            padded = np.pad(axis, ((0, -613 % factor), (0, -811 % factor)), mode="edge").astype(np.float32)
            blocks = padded.reshape(padded.shape[0] // factor, factor, -1, factor).mean((1, 3))
            small = Sample(blocks[..., None], axis.astype(np.uint16))
            crop = augment.apply(small, move, look, rng, shrunk=factor)
            whole = augment.apply(replace(small, image=axis[..., None].astype(np.float32)), move, look, rng)
            np.testing.assert_array_equal(crop.mask, whole.mask)
            inside = (crop.mask > 3 * factor) & (crop.mask < axis.max() - 3 * factor)
            differences.append((crop.image[..., 0] - crop.mask)[inside] * zoom)
    difference = np.concatenate(differences)  # in pixels of the crop
    assert np.abs(difference).max() < 1.0
    assert abs(difference.mean()) < 0.05


def test_what_a_zoom_lets_a_picture_be_read_at() -> None:
    def reduction(zoom: float) -> int:
        return Augment((8, 8), (zoom, zoom)).draw((9, 9), generator(0, 0, 0))[0].reduction

    assert [reduction(zoom) for zoom in (2, 0.51, 0.5, 0.26, 0.25, 0.13, 0.12, 0.01)] == [1, 1, 2, 2, 4, 4, 8, 8]
