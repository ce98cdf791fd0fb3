"""Draws docs/pictures/augmentation.jpg: one tile of the land cover data under each option of augmentation alone.

python docs/pictures/augmentation.py
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from atrous.datasets import open_dataset
from atrous.demo import landcover
from atrous.io import write_image
from atrous.train.batches import TrainingSet
from atrous.transforms import Augment

SIDE, COLUMNS = 132, 8
STILL = {"scale": (1.0, 1.0), "flip": 0.0, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0}
SHOWN: list[tuple[str, dict[str, Any]]] = [
    ("nothing", {}), ("scale [0.5,2]", {"scale": (0.5, 2.0)}), ("rotate 45", {"rotate": 45.0}),
    ("shear 30", {"shear": 30.0}), ("flip 1", {"flip": 1.0}), ("vflip 1", {"vflip": 1.0}),
    ("elastic 10", {"elastic": 10.0}), ("brightness 0.5", {"brightness": 0.5}), ("contrast 0.6", {"contrast": 0.6}),
    ("saturation 1", {"saturation": 1.0}), ("hue 60", {"hue": 60.0}), ("gamma 1.5", {"gamma": 1.5}),
    ("blur 4", {"blur": 4.0}), ("noise 0.2", {"noise": 0.2}), ("jpeg 5", {"jpeg": 5}), ("mosaic 1", {"mosaic": 1.0}),
]  # fmt: skip


def main() -> None:
    data = open_dataset(landcover.prepare())
    pairs = data.splits["train"]
    index = max(range(0, len(pairs), 3), key=lambda i: len(np.unique(pairs[i].mask)) + pairs[i].image.std() / 100)
    cells = []
    for name, options in SHOWN:
        mix = 0.0, options.get("mosaic", 0.0)
        augment = Augment((SIDE, SIDE), **{**STILL, **{k: v for k, v in options.items() if k != "mosaic"}})
        image, labels = TrainingSet(pairs, augment, 3, mix=mix)[1, index]
        cell = np.full((2 * SIDE + 22, SIDE + 4, 3), 255, np.uint8)
        cell[20 : 20 + SIDE, :SIDE] = image.numpy().transpose(1, 2, 0)
        cell[20 + SIDE : 20 + 2 * SIDE, :SIDE] = data.labels.to_colours(labels.numpy().astype(np.uint8))
        cells.append(cv2.putText(cell, name, (2, 14), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (0, 0, 0), 1, cv2.LINE_AA))
    rows = [np.hstack(cells[first : first + COLUMNS]) for first in range(0, len(cells), COLUMNS)]
    write_image(Path(__file__).with_suffix(".jpg"), np.vstack(rows))


if __name__ == "__main__":
    main()
