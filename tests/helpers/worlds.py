"""Tiny data sets that tests train on: seeded, drawn, learnable in a few steps."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

CLASSES = """ignore = [255]
[[class]]
name = "ground"
value = 0
color = [90, 60, 30]
[[class]]
name = "disc"
value = 1
color = [220, 40, 40]
[[class]]
name = "bar"
value = 2
color = [40, 90, 220]
"""


def picture(rng: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A red disc and a blue bar on brown noise, and their mask."""
    mask = np.zeros((height, width), np.uint8)
    cv2.circle(mask, (int(rng.integers(width)), int(rng.integers(height))), int(rng.integers(6, 14)), 1, -1)
    x = int(rng.integers(width))
    mask[:, x : x + 8] = 2
    image = np.array([[90, 60, 30], [220, 40, 40], [40, 90, 220]])[mask] + rng.normal(0, 12, (height, width, 3))
    return np.clip(image, 0, 255).astype(np.uint8), mask


def make_world(root: Path, *, train: int = 6, val: int = 2, test: int = 2, size: tuple[int, int] = (48, 64)) -> Path:
    """Write `root/{train,val,test}/{images,masks}` and classes.toml."""
    rng = np.random.default_rng(7)
    for split, count in (("train", train), ("val", val), ("test", test)):
        for index in range(count):
            image, mask = picture(rng, *size)
            for kind, array in (("images", image), ("masks", mask)):
                folder = root / split / kind
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(folder / f"{split}{index}.png")
    (root / "classes.toml").write_text(CLASSES)
    return root
