"""Masks whose edges hold values between the levels are told from sound masks of many classes."""

from io import BytesIO

import numpy as np
import pytest
from faults import scene
from PIL import Image

from atrous.datasets.levels import find_smeared, tally

SHAPES = [scene(seed)[1] for seed in range(6)]
WAYS = {name: Image.Resampling[name.upper()] for name in ("bilinear", "bicubic", "box", "lanczos")}


def scaled(mask: np.ndarray, factor: float, way: Image.Resampling) -> np.ndarray:
    height, width = mask.shape[:2]
    return np.asarray(Image.fromarray(mask).resize((int(width * factor), int(height * factor)), way))


def jpeg(mask: np.ndarray, quality: int) -> np.ndarray:
    stream = BytesIO()
    Image.fromarray(mask).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


@pytest.mark.parametrize("levels", [[0, 255, 255, 255], [0, 128, 255, 255], [0, 85, 170, 255], [0, 10, 20, 20]])
@pytest.mark.parametrize(
    "way, factor", [("bilinear", 2), ("bilinear", 0.7), ("bicubic", 3), ("box", 0.7), ("lanczos", 0.7)]
)
def test_the_levels_of_scaled_masks_are_found(levels: list[int], way: str, factor: float) -> None:
    table = np.array(levels, np.uint8)
    found = find_smeared([tally(scaled(table[mask], factor, WAYS[way])) for mask in SHAPES])
    assert found is not None
    assert found.far_apart
    assert found.levels == [(level,) for level in sorted(set(levels))]
    assert found.places == list(range(len(SHAPES)))


@pytest.mark.parametrize("quality", [50, 75, 95])
@pytest.mark.parametrize("levels", [[0, 255, 255, 255], [0, 128, 255, 255], [50, 200, 100, 200]])
def test_the_levels_of_masks_that_were_jpeg_are_found(levels: list[int], quality: int) -> None:
    table = np.array(levels, np.uint8)
    found = find_smeared([tally(jpeg(table[mask], quality)) for mask in SHAPES])
    assert found is not None
    assert found.levels == [(level,) for level in sorted(set(levels))]


def test_class_numbers_close_together_are_told_but_have_no_nearest() -> None:
    found = find_smeared([tally(scaled(np.uint8(6) * (mask > 0), 3, WAYS["bilinear"])) for mask in SHAPES])
    assert found is not None
    assert found.levels == [(0,), (6,)]
    assert not found.far_apart


def test_sixteen_bits_and_colours() -> None:
    wide = [np.repeat(np.repeat((mask > 0) * np.uint16(60000), 2, 0), 2, 1) for mask in SHAPES]
    wide = [np.asarray((mask[:-1].astype(int) + mask[1:]) // 2, np.uint16) for mask in wide]
    wide = [np.asarray((mask[:, :-1].astype(int) + mask[:, 1:]) // 2, np.uint16) for mask in wide]
    found = find_smeared([tally(mask) for mask in wide])
    assert found is not None
    assert found.levels == [(0,), (60000,)]
    paint = np.array([[0, 0, 0], [220, 20, 60], [0, 130, 180], [250, 170, 30]], np.uint8)
    found = find_smeared([tally(scaled(paint[mask], 2, WAYS["bilinear"])) for mask in SHAPES])
    assert found is not None
    assert len(found.levels) == 4


@pytest.mark.parametrize("classes", [5, 20, 60])
@pytest.mark.parametrize("side", [2, 3, 6])
def test_many_classes_are_sound(classes: int, side: int) -> None:
    cells = [np.random.default_rng(seed).integers(0, classes, (96 // side, 128 // side)) for seed in range(3)]
    masks = [np.kron(cell, np.ones((side, side))).astype(np.uint8) for cell in cells]
    assert find_smeared([tally(mask) for mask in masks]) is None


def test_outlines_lines_numbers_of_objects_and_noise_are_sound() -> None:
    rng = np.random.default_rng(0)
    outlined = [np.where((np.roll(mask, 1, 1) != mask) | (np.roll(mask, 1, 0) != mask), 255, mask) for mask in SHAPES]
    lines = np.zeros((60, 60), np.uint8)
    for place in range(1, 20):
        lines[place * 3] = place
    objects = np.zeros((96, 128), np.uint8)
    for number in range(1, 31):
        y, x = rng.integers(0, 90), rng.integers(0, 120)
        objects[y : y + rng.integers(1, 7), x : x + rng.integers(1, 7)] = number
    for masks in (SHAPES, outlined, [lines], [objects], [rng.integers(0, 9, (60, 60), np.uint8)]):
        assert find_smeared([tally(mask.astype(np.uint8)) for mask in masks]) is None
