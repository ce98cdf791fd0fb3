"""Tiny data sets of plain pairs: seeded, made in milliseconds, learnable by their colours."""

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = np.array([[40, 90, 160], [180, 60, 50], [70, 160, 60], [200, 190, 80], [120, 40, 140]], np.uint8)


def make_pair(seed: int, size: tuple[int, int] = (24, 32), classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Make an image (H, W, 3) and its mask (H, W), uint8: class 0 and a rectangle of each other."""
    rng = np.random.default_rng(seed)
    height, width = size
    mask = np.zeros(size, np.uint8)
    for index in range(1, classes):
        left = (index - 1) * width // (classes - 1)
        top = int(rng.integers(0, height // 2))
        mask[top : top + height // 2, left : left + width // (classes - 1) - 1] = index
    noise = rng.integers(-20, 21, (*size, 3))
    return np.clip(COLOURS[mask].astype(int) + noise, 0, 255).astype(np.uint8), mask


def make_pairs(
    folder: Path, count: int = 4, *, seed: int = 0, size: tuple[int, int] = (24, 32), classes: int = 3, first: int = 0
) -> Path:
    """Write `count` pairs to folder/images/pNN.png and folder/masks/pNN.png; returns the folder."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    (folder / "masks").mkdir(parents=True, exist_ok=True)
    for number in range(first, first + count):
        image, mask = make_pair(seed * 1000 + number, size, classes)
        Image.fromarray(image).save(folder / "images" / f"p{number:02}.png")
        Image.fromarray(mask).save(folder / "masks" / f"p{number:02}.png")
    return folder
