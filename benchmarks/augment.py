"""Training batches: scale 1/2 to 2, flip, crop of 512 x 512, colour, normalise, collate by fours; one thread a side.

    python benchmarks/augment.py [--rounds 15] [--rows memory,png,jpeg] [--keep FOLDER]

Three rows: from pictures of 1024 x 2048 in memory, from PNG files of them, and from JPEG files of 375 x 500 with PNG
masks. Each against torchvision v2 (on tensors in memory; from files with Pillow, as its reference script does, and as
tensors) and albumentations 2.0.8 behind OpenCV. Every side enlarges a picture by the same factor and ends in float32
images and int64 masks. Ours is what training runs: batches of uint8 from `batches.TrainingSet`, normalised by
`objective.Normalise`. The peers resize the whole picture and cut the crop out, we resize what the crop shows.
torchvision filters when it shrinks a tensor or a Pillow picture, albumentations and we do not above one half.
"""

import argparse
import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", NO_ALBUMENTATIONS_UPDATE="1")

from collections.abc import Callable
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import torch
from parts.street import street
from parts.timing import interleaved, print_ratios, there
from PIL import Image
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from atrous.datasets import Pairs, open_dataset
from atrous.io import write_image, write_mask
from atrous.labels import CITYSCAPES19
from atrous.train.batches import TrainingSet
from atrous.train.objective import Normalise
from atrous.train.surroundings import keep_freed_memory
from atrous.transforms import Augment, generator

CROP, BATCH, BATCHES = 512, 4, 2
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
TARGETS = {
    "memory": {"torchvision v2": 4.0, "albumentations": 1.8},
    "png": {"Pillow + torchvision v2": 1.7},
    "jpeg": {"Pillow + torchvision v2": 2.5, "OpenCV + albumentations": 1.0},
}
Batch = tuple[torch.Tensor, torch.Tensor]


def photo(rng: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Something as hard to pack as a photo: the classes' colours under texture of several sizes and sensor noise."""
    colours = np.array(CITYSCAPES19.colours, np.float32)
    image = cv2.GaussianBlur(colours[np.minimum(labels, 18)], (0, 0), 1.5)
    for size, strength in ((1, 3), (3, 20), (12, 60), (40, 150)):
        texture = rng.standard_normal((labels.shape[0] // size + 2, labels.shape[1] // size + 2), np.float32)
        image += strength * 0.25 * cv2.resize(texture, labels.shape[::-1], interpolation=cv2.INTER_CUBIC)[..., None]
    return np.clip(image, 0, 255).astype(np.uint8)


def write_pairs(folder: Path, size: tuple[int, int], suffix: str, pictures: int) -> Path:
    for index in range(pictures):
        rng = np.random.default_rng(index)
        labels = street(rng, *size)[1]
        write_image(folder / "images" / f"{index:02}{suffix}", photo(rng, labels))
        write_mask(folder / "masks" / f"{index:02}.png", labels, CITYSCAPES19)
    for path in (folder / "masks").iterdir():  # grey, so that OpenCV reads them as they are
        Image.fromarray(np.asarray(Image.open(path))).save(path)
    return folder


class Ours:
    """What training does, from files or from the cache."""

    def __init__(self, pairs: Pairs) -> None:
        self.augment = Augment((CROP, CROP))
        self.set, self.normalise, self.turn = TrainingSet(pairs, self.augment, 0), Normalise(MEAN, STD), count()

    def __call__(self) -> Batch:
        turns = [next(self.turn) for _ in range(BATCH)]
        images, labels = self.set.__getitems__([(turn, turn % len(self.set)) for turn in turns])[:2]
        return self.normalise(images), labels

    def zoom(self, turn: int, size: tuple[int, int]) -> float:
        """By how much picture `turn` is enlarged: the peers do the same."""
        return self.augment.draw(size, generator(0, turn, turn % len(self.set)))[0].zoom


class Peer:
    """read: index -> image, mask; change: (image, mask, zoom) -> float32 (3, h, w), int64 (h, w)."""

    def __init__(
        self, ours: Ours, read: Callable[[int], Any], change: Callable[..., Batch], size: tuple[int, int]
    ) -> None:
        self.ours, self.read, self.change, self.size, self.turn = ours, read, change, size, count()

    def __call__(self) -> Batch:
        done = []
        for _ in range(BATCH):
            turn = next(self.turn)
            image, mask = self.read(turn % len(self.ours.set))
            done.append(self.change(image, mask, self.ours.zoom(turn, self.size)))
        images, masks = zip(*done, strict=True)
        return torch.stack(images), torch.stack(masks)


def torchvision() -> Callable[..., Batch]:
    """The reference script's order; colour comes after the crop, where it costs least."""
    rest = v2.Compose([
        v2.RandomHorizontalFlip(0.5),
        v2.RandomCrop(CROP, pad_if_needed=True, fill={tv_tensors.Image: 0, Image.Image: 0, tv_tensors.Mask: 255}),
        v2.ColorJitter(0.2, 0.2, 0.2, 5 / 360),
        v2.ToImage(),
        v2.ToDtype({tv_tensors.Image: torch.float32, tv_tensors.Mask: torch.int64, "others": None}, scale=True),
        v2.Normalize([m / 255 for m in MEAN], [s / 255 for s in STD]),
    ])  # fmt: skip

    def change(image: Any, mask: Any, zoom: float) -> Batch:
        height, width = mask.shape[-2:]
        size = [round(height * zoom), round(width * zoom)]
        mask = functional.resize(mask, size, interpolation=v2.InterpolationMode.NEAREST)
        return rest(functional.resize(image, size, antialias=True), mask)

    return change


def albumentations() -> Callable[..., Batch]:
    import albumentations as A

    rest = A.Compose([
        A.HorizontalFlip(p=0.5),
        A.RandomCrop(CROP, CROP, pad_if_needed=True, fill=0, fill_mask=255, pad_position="random"),
        A.ColorJitter((0.8, 1.2), (0.8, 1.2), (0.8, 1.2), (-5 / 360, 5 / 360), p=1),
        A.Normalize([m / 255 for m in MEAN], [s / 255 for s in STD]),
    ])  # fmt: skip

    def change(image: np.ndarray, mask: np.ndarray, zoom: float) -> Batch:
        image = cv2.resize(image, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_LINEAR)
        mask = cv2.resize(mask, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_NEAREST)
        done = rest(image=image, mask=mask)
        pixels = np.ascontiguousarray(done["image"].transpose(2, 0, 1))
        return torch.from_numpy(pixels), torch.from_numpy(done["mask"].astype(np.int64))

    return change


def ways(folder: Path, row: str) -> dict[str, Callable[[], Batch]]:
    decoded = row == "memory"
    data = open_dataset(folder, holdout=0, cache_mb=1024 if decoded else 0, ignore=[255])
    pairs = data.splits["all"]
    data.verify()
    files = [(str(pair.image), str(pair.mask)) for pair in pairs.pairs]
    samples = [pairs[index] for index in range(len(pairs))] if decoded else []
    size, ours = pairs.size(0), Ours(pairs)

    def opencv(index: int) -> Any:
        image, mask = files[index]
        return cv2.imread(image, cv2.IMREAD_COLOR_RGB), cv2.imread(mask, cv2.IMREAD_GRAYSCALE)

    def pillow(index: int) -> Any:
        image, mask = (Image.open(path) for path in files[index])
        return image.convert("RGB"), tv_tensors.Mask(functional.pil_to_tensor(mask)[0])

    def pillow_to_tensor(index: int) -> Any:
        image, mask = pillow(index)
        return tv_tensors.Image(functional.pil_to_tensor(image)), mask

    vision = torchvision()
    found: dict[str, Callable[[], Batch]] = {"atrous": ours}
    if decoded:
        planes = [np.ascontiguousarray(sample.image.transpose(2, 0, 1)) for sample in samples]
        tensors = [(tv_tensors.Image(p), tv_tensors.Mask(s.mask.copy())) for p, s in zip(planes, samples, strict=True)]
        found["torchvision v2"] = Peer(ours, tensors.__getitem__, vision, size)
    else:
        found["Pillow + torchvision v2"] = Peer(ours, pillow, vision, size)
        found["the same on tensors"] = Peer(ours, pillow_to_tensor, vision, size)
    if there("albumentations", "albumentations==2.0.8"):
        read = (lambda index: (samples[index].image, samples[index].mask)) if decoded else opencv
        found["albumentations" if decoded else "OpenCV + albumentations"] = Peer(ours, read, albumentations(), size)
    return found


def check(row: dict[str, Callable[[], Batch]]) -> None:
    """Everybody gives the same shapes and types, in units of one standard deviation."""
    for name, way in row.items():
        images, masks = way()
        assert (tuple(images.shape), tuple(masks.shape)) == ((BATCH, 3, CROP, CROP), (BATCH, CROP, CROP)), name
        assert (images.dtype, masks.dtype, images.is_contiguous()) == (torch.float32, torch.int64, True), name
        assert abs(float(images.mean())) + abs(float(images.std()) - 1) < 3, name
        assert set(masks.unique().tolist()) <= {*range(19), 255}, name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--rows", default="memory,png,jpeg")
    parser.add_argument("--keep", type=Path, help="folder for the pictures, which stay there for a next time")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    keep_freed_memory()  # as training does, for every side
    forms = {"memory": ((1024, 2048), ".png", 8), "png": ((1024, 2048), ".png", 8), "jpeg": ((375, 500), ".jpg", 48)}
    with TemporaryDirectory() as temporary:
        for name in asked.rows.split(","):
            size, suffix, pictures = forms[name]
            folder = (asked.keep or Path(temporary)) / suffix[1:]
            if not folder.exists():
                write_pairs(folder, size, suffix, pictures)
            row = ways(folder, name)
            check(row)
            print(f"{name}: {size[0]} x {size[1]}, {BATCHES} batches of {BATCH} crops of {CROP} x {CROP}")
            seconds = interleaved(
                {key: lambda way=way: [way() for _ in range(BATCHES)] for key, way in row.items()}, asked.rounds
            )
            print_ratios(seconds, TARGETS[name])
            print("  " + ", ".join(f"{key} {BATCH * BATCHES / taken:.0f} img/s" for key, taken in seconds.items()))


if __name__ == "__main__":
    main()
