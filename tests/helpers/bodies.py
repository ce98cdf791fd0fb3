"""Tiny volumes that tests train on: a bright ball and a dim bar in noise, learnable in a few steps."""

from pathlib import Path

import numpy as np

from atrous.io.geometry import Geometry
from atrous.io.volumes import write_volume

CLASSES = """ignore = [255]
[[class]]
name = "background"
value = 0
[[class]]
name = "ball"
value = 1
[[class]]
name = "bar"
value = 2
"""
GRID = Geometry((3.0, 2.0, 2.0), (-20.0, 10.0, 300.0))


def body(seed: int, shape: tuple[int, int, int] = (14, 24, 28)) -> tuple[np.ndarray, np.ndarray]:
    """Numbers like Hounsfield units, int16, and their labels."""
    rng = np.random.default_rng(seed)
    where = np.stack(np.meshgrid(*(np.arange(n) for n in shape), indexing="ij"))
    labels = np.zeros(shape, np.uint8)
    w = int(rng.integers(2, shape[2] - 8))
    labels[:, :, w : w + 5] = 2
    middle = np.array([rng.integers(4, n - 4) for n in shape])[:, None, None, None]
    labels[(((where - middle) * np.array([1.5, 1, 1])[:, None, None, None]) ** 2).sum(0) < 36] = 1
    numbers = np.array([-400, 300, 60])[labels] + rng.normal(0, 40, shape)
    return numbers.astype(np.int16), labels


def make_bodies(root: Path, *, train: int = 3, val: int = 1, test: int = 1) -> Path:
    """Write root/{train,val,test}/{images,labels} and classes.toml."""
    for number, (split, count) in enumerate((("train", train), ("val", val), ("test", test))):
        for index in range(count):
            numbers, labels = body(100 * number + index)
            for part, array in (("images", numbers), ("labels", labels)):
                write_volume(root / split / part / f"case{index}.nii.gz", array, GRID)
    (root / "classes.toml").write_text(CLASSES)
    return root


SMALL = {
    "model": "nnunet3d", "crop": (8, 16, 16), "batch": 2, "ema": 0.8, "precision": "fp32", "channels_last": False,
    "fused": False, "lr": 0.01,
    "options": {"features": [8, 16], "kernels": [[3, 3, 3]] * 2, "strides": [[1, 1, 1], [2, 2, 2]], "aux": False},
}  # fmt: skip
"""Wishes of a training that takes seconds."""
