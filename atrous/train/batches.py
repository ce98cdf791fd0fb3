"""Which pictures a step sees: a pure function of the seed and the step, so that a loader has no state to save or lose.

The epochs' permutations are laid end to end. Step s takes the samples s * batch ... (s + 1) * batch - 1
of that line. A sample's augmentation depends on (seed, epoch, index) only: any number of workers, and a
resumed run, see the same bytes.
"""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from functools import lru_cache
from types import FrameType
from typing import Any, NamedTuple, cast

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info
from torchvision import tv_tensors

from atrous.datasets import Pairs
from atrous.errors import DataError, ModelError
from atrous.sample import Sample
from atrous.train import processes
from atrous.train.cases import Cases
from atrous.train.patches import PatchSet, with_places
from atrous.train.recipe import Recipe
from atrous.train.signals import STOPPING
from atrous.transforms import Augment, Box, boxes, generator

Key = tuple[int, ...]
"""(epoch, index), and of volumes whether the crop is drawn about a labelled voxel"""
Transform = Callable[..., Any]
"""A transform of torchvision v2, or one like it: (tv_tensors.Image, tv_tensors.Mask) -> the same."""
MIX, THEN = 100, 101
"""Numbers of a sample's random streams for mixing and for a transform; the pictures in it have 0, 1, ..."""
MOST_TRIES = 100
"""How many pictures in a row may be unreadable before that is an error."""


class Replaced(NamedTuple):
    """A picture that cannot be read any more, the one that replaces it, and the reason."""

    picture: str
    instead: str
    why: str


class Batch(NamedTuple):
    """Images (B, C, h, w) in raw values, labels (B, h, w) int64, and which pictures were replaced."""

    images: torch.Tensor
    labels: torch.Tensor
    replaced: Sequence[Replaced] = ()


def keys_of_step(step: int, batch: int, images: int, seed: int) -> list[Key]:
    """The (epoch, index) of each sample of a step."""
    keys: list[Key] = []
    for position in range(step * batch, (step + 1) * batch):
        epoch, place = divmod(position, images)
        keys.append((epoch, int(_order(images, seed, epoch)[place])))
    return keys


@lru_cache(maxsize=4)
def _order(images: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=np.array([seed, epoch], np.uint64))).permutation(images)


class TrainingSet(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """(epoch, index) -> augmented image (C, h, w) in raw values, labels (h, w) int64; a list of keys -> a `Batch`.

    A picture that cannot be read any more is replaced by the next one of the data set that can. Which
    one that is depends on the files only.

    Args:
        mix: probabilities of cutmix and of mosaic (`transforms.boxes`).
        then: a transform for each augmented crop.
    """

    def __init__(
        self,
        pairs: Pairs,
        augment: Augment,
        seed: int,
        *,
        mix: tuple[float, float] = (0.0, 0.0),
        then: Transform | None = None,
    ) -> None:
        self.pairs, self.augment, self.seed, self.mix, self.then = pairs, augment, seed, mix, then
        self._replaced: list[Replaced] = []

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, key: Key) -> tuple[torch.Tensor, torch.Tensor]:
        batch = self.__getitems__([key])
        return batch.images[0], batch.labels[0]

    def __getitems__(self, keys: Sequence[Key]) -> Batch:
        """The batch of these keys. Each crop is copied once, into the batch's own memory."""
        self._replaced = []
        samples = [self._sample(*key) for key in keys]
        height, width, channels = samples[0].image.shape
        kind = samples[0].image.dtype if samples[0].image.dtype == np.uint8 else np.dtype(np.float32)
        images = np.empty((len(keys), channels, height, width), kind)
        labels = np.empty((len(keys), height, width), np.int64)
        for sample, image, truth in zip(samples, images, labels, strict=True):
            if sample.image.dtype == kind and channels <= 512:  # OpenCV's most
                cv2.split(sample.image, list(image))  # five times as fast as numpy's transposition
            else:
                image[...] = sample.image.transpose(2, 0, 1)
            assert sample.mask is not None
            truth[...] = sample.mask
        return Batch(torch.from_numpy(images), torch.from_numpy(labels), self._replaced)

    def _sample(self, epoch: int, index: int) -> Sample:
        """The crop of a sample, with what is mixed into it."""
        crop = self.augment.crop
        parts = [Box(0, 0, *crop)]
        if any(self.mix):
            parts = boxes(crop, generator(self.seed, epoch, index, MIX), cutmix=self.mix[0], mosaic=self.mix[1])
        whole: Sample | None = None
        for part, box in enumerate(parts):
            rng = generator(self.seed, epoch, index, part)
            source = int(rng.integers(len(self.pairs))) if part else index
            piece = self._readable(source, replace(self.augment, crop=(box.height, box.width)), rng)
            whole = piece if len(parts) == 1 else _paste(whole, piece, box, crop)
        assert whole is not None
        return whole if self.then is None else transformed(whole, self.then, generator(self.seed, epoch, index, THEN))

    def _readable(self, index: int, augment: Augment, rng: np.random.Generator) -> Sample:
        """The crop of a picture, or of the next one that can be read, with the same random numbers."""
        state, count, why = rng.bit_generator.state, len(self.pairs), ""
        for ahead in range(min(count, MOST_TRIES)):
            place = (index + ahead) % count
            try:
                crop = self._crop(place, augment, rng)
            except (DataError, OSError) as error:
                rng.bit_generator.state, problem = state, error
                why = why or str(error)
                continue
            if ahead:
                gone, instead = (self.pairs.pairs[i].image.name for i in (index, place))
                self._replaced.append(Replaced(gone, instead, why))
            return crop
        raise problem

    def _crop(self, index: int, augment: Augment, rng: np.random.Generator) -> Sample:
        """One picture, augmented. Where the crop zooms out, it is decoded at a reduced size."""
        if augment.scale[0] >= 0.5:
            return augment(self.pairs[index], rng)
        move, look = augment.draw(self.pairs.size(index), rng)
        sample, shrunk = self.pairs.reduced(index, move.reduction)
        return augment.apply(sample, move, look, rng, shrunk=shrunk)


def _paste(whole: Sample | None, piece: Sample, box: Box, crop: tuple[int, int]) -> Sample:
    """Paste a piece into the crop; the first piece makes the crop."""
    assert piece.mask is not None
    if whole is None:
        image = np.empty((*crop, piece.image.shape[2]), piece.image.dtype)
        whole = replace(piece, image=image, mask=np.empty(crop, piece.mask.dtype))
    assert whole.mask is not None
    place = np.s_[box.top : box.top + box.height, box.left : box.left + box.width]
    whole.image[place], whole.mask[place] = piece.image, piece.mask
    return whole


def transformed(sample: Sample, then: Transform, rng: np.random.Generator) -> Sample:
    """Apply a transform of torchvision v2 to a sample.

    Torch's random numbers depend on `rng` only, and its global generator is left as it was.

    Raises:
        ModelError: the transform changes size or type. Normalisation comes after it.
    """
    assert sample.mask is not None
    image = tv_tensors.Image(np.ascontiguousarray(sample.image.transpose(2, 0, 1)))
    mask = tv_tensors.Mask(sample.mask)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**63)))
        given = then(image, mask)
    before, after = _form((image, mask)), _form(given)
    if before != after:
        raise ModelError(
            f"the transform turned {before} into {after}; expected an image and a mask of the same size and type: "
            "leave resizing, casting and normalising to the recipe"
        )
    return replace(sample, image=given[0].numpy().transpose(1, 2, 0), mask=given[1].numpy())


def _form(given: Any) -> str:
    parts = given if isinstance(given, (tuple, list)) else (given,)
    tensors = [f"{tuple(part.shape)} {part.dtype}" if torch.is_tensor(part) else type(part).__name__ for part in parts]
    return " and ".join(tensors)


def transform_name(transform: Transform) -> str:
    """What a recipe records of a transform: its class and settings, or a function's name."""
    if isinstance(transform, torch.nn.Module):
        return " ".join(repr(transform).split())
    return f"{transform.__module__}.{getattr(transform, '__qualname__', type(transform).__name__)}"


def augmentation(recipe: Recipe) -> Augment:
    """The recipe's augmentation."""
    return Augment(**{field.name: getattr(recipe, field.name) for field in fields(Augment)})


def batches(
    pairs: Pairs, recipe: Recipe, start: int, stop: int, *, workers: int = 0, then: Transform | None = None
) -> Iterator[Batch]:
    """The batches of steps start..stop-1; of several processes, this one's share of each.

    Args:
        workers: loader processes. The batches do not depend on their number.
        then: a transform for each augmented crop (`transformed`).
    """
    keys = (keys_of_step(step, recipe.batch, len(pairs), recipe.seed) for step in range(start, stop))
    samples: Any
    if isinstance(pairs, Cases):
        if then is not None:
            raise ModelError("a transform of torchvision is for images; leave it out, or train on images")
        samples, keys = PatchSet(pairs, recipe), (with_places(of_step, recipe.foreground) for of_step in keys)
    else:
        mix = recipe.cutmix, recipe.mosaic
        samples = TrainingSet(pairs, augmentation(recipe), recipe.seed, mix=mix, then=then)
    loader = DataLoader(
        samples,
        batch_sampler=_Steps(map(processes.mine, keys), stop - start),
        num_workers=workers,
        collate_fn=_as_batch,
        generator=torch.Generator().manual_seed(0),  # without one the loader draws from the global generator
        worker_init_fn=_settle_worker if workers else None,
        prefetch_factor=4 if workers else None,
    )
    return iter(loader)


class _Steps:
    """The keys of each step, with a length: what DataLoader takes as a batch sampler."""

    def __init__(self, keys: Iterator[list[Key]], count: int) -> None:
        self.keys, self.count = keys, count

    def __iter__(self) -> Iterator[list[Key]]:
        return self.keys

    def __len__(self) -> int:
        return self.count


def _as_batch(samples: Any) -> Batch:
    if isinstance(samples, Batch):
        return samples
    images, labels = zip(*samples, strict=True)
    return Batch(torch.stack(images), torch.stack(labels))


def _settle_worker(_: int) -> None:
    """Set a loader worker up: one thread, its share of the cache, and stop signals ignored (`_Deaf`)."""
    for number in STOPPING:
        signal.signal(number, _Deaf())
    cv2.setNumThreads(0)
    info = get_worker_info()
    assert info is not None
    cast(TrainingSet, info.dataset).pairs.share_cache(info.num_workers)


class _Deaf:
    """Signal handler of loader workers: ignore stop signals; the main process ends them after saving.

    A second SIGTERM comes from the main process, and is obeyed.
    """

    def __init__(self) -> None:
        self.heard = 0

    def __call__(self, number: int, _: FrameType | None) -> None:
        self.heard += 1
        if number == signal.SIGTERM and self.heard > 1:
            os._exit(0)
