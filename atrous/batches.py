"""Which pictures step s sees: a pure function of (seed, s), so that there is no loader state to save or to lose.

The epochs' permutations are laid end to end; step s takes samples s * batch ... (s + 1) * batch - 1 of that line. Each
sample's augmentation depends on (seed, epoch, index) alone: 0, 1 or 2 workers and a resumed run see the same bytes.
"""

from collections.abc import Iterator
from functools import lru_cache

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from atrous.datasets import Pairs
from atrous.recipe import Recipe
from atrous.transforms import Augment, generator

Key = tuple[int, int]
"""(epoch, index)"""


def keys_of_step(step: int, batch: int, images: int, seed: int) -> list[Key]:
    """The (epoch, index) of each sample of a step."""
    keys = []
    for position in range(step * batch, (step + 1) * batch):
        epoch, place = divmod(position, images)
        keys.append((epoch, int(_order(images, seed, epoch)[place])))
    return keys


@lru_cache(maxsize=4)
def _order(images: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=np.array([seed, epoch], np.uint64))).permutation(images)


class TrainingSet(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """(epoch, index) -> augmented image (C, h, w) in the raw dtype's values, labels (h, w) int64."""

    def __init__(self, pairs: Pairs, augment: Augment, seed: int) -> None:
        self.pairs, self.augment, self.seed = pairs, augment, seed

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, torch.Tensor]:
        epoch, index = key
        sample = self.augment(self.pairs[index], generator(self.seed, epoch, index))
        assert sample.mask is not None
        image = np.ascontiguousarray(sample.image.transpose(2, 0, 1))
        if image.dtype not in (np.uint8, np.float32):
            image = image.astype(np.float32)
        return torch.from_numpy(image), torch.from_numpy(sample.mask.astype(np.int64))


def augmentation(recipe: Recipe) -> Augment:
    """The recipe's augmentation."""
    return Augment(
        crop=recipe.crop,
        scale=recipe.scale,
        rotate=recipe.rotate,
        flip=recipe.flip,
        vflip=recipe.vflip,
        brightness=recipe.brightness,
        contrast=recipe.contrast,
        saturation=recipe.saturation,
        hue=recipe.hue,
    )


def batches(
    pairs: Pairs, recipe: Recipe, start: int, stop: int, *, workers: int = 0
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The batches of steps start..stop-1: images (B, C, h, w), labels (B, h, w)."""
    steps = (keys_of_step(s, recipe.batch, len(pairs), recipe.seed) for s in range(start, stop))
    loader = DataLoader(
        TrainingSet(pairs, augmentation(recipe), recipe.seed),
        batch_sampler=_Steps(steps, stop - start),
        num_workers=workers,
        generator=torch.Generator().manual_seed(0),  # else the loader draws from, and so moves, the global generator
        worker_init_fn=_one_thread if workers else None,
        prefetch_factor=4 if workers else None,
    )
    return iter(loader)


class _Steps:
    """A sized iterable of key lists, as DataLoader wants its batch sampler."""

    def __init__(self, keys: Iterator[list[Key]], count: int) -> None:
        self.keys, self.count = keys, count

    def __iter__(self) -> Iterator[list[Key]]:
        return self.keys

    def __len__(self) -> int:
        return self.count


def _one_thread(_: int) -> None:
    cv2.setNumThreads(0)
