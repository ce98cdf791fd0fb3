"""Training volumes, prepared once and kept in files that are mapped into memory: a crop reads what it needs only.

RUN/prepared/NAME.npy          (C, d, h, w) float32, as the network sees it
RUN/prepared/NAME-labels.npy   (d, h, w) class indices
RUN/prepared/NAME-places.npy   (n, 4) int32: a class, and where a voxel of it lies; some of each, sorted

NAME is a hash of the volume's files and of the form in which it is seen: what fits is used again, by
folds too. The files are removed when the run is finished.
"""

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from atrous.datasets import DataSet, Pairs
from atrous.datasets.folder import Pair
from atrous.datasets.volumes import Volumes
from atrous.files import make_folder, scratch
from atrous.progress import At
from atrous.volumes import VolumeForm, prepare

PREPARED = "prepared"
MOST_PLACES = 10_000
"""Voxels of each class whose places are kept, drawn at random: crops are drawn about them."""


class Case(NamedTuple):
    """One prepared volume.

    image: (C, d, h, w) float32 and labels: (d, h, w), mapped. places: class -> (n, 3) voxels of it.
    """

    image: np.ndarray
    labels: np.ndarray
    places: dict[int, np.ndarray]


class Cases(Volumes):
    """The volumes of a split with their prepared files; `pairs`, `names` and samples as those of `Volumes`."""

    def __init__(self, volumes: Volumes, form: VolumeForm, folder: Path) -> None:
        super().__init__(
            volumes.pairs, volumes.labels, volumes.channels, volumes.dtype, volumes._cache, volumes.readers
        )
        self.form, self.folder = form, folder

    def _of(self, pairs: Sequence[Pair]) -> "Cases":
        return Cases(Volumes(pairs, self.labels, self.channels, self.dtype, self._cache, self.readers), self.form,
                     self.folder)  # fmt: skip

    def file(self, index: int) -> Path:
        """The prepared image of a case."""
        pair = self.pairs[index]
        told = [f"{path}:{os.stat(path).st_size}:{os.stat(path).st_mtime_ns}" for path in (pair.image, pair.mask)]
        words = (*told, self.form.model_dump_json(), str(self.labels.to_dict()), str(self.channels))
        return self.folder / f"{sha256(' '.join(words).encode('utf-8', 'surrogateescape')).hexdigest()[:20]}.npy"

    def prepare(self, progress: At | None = None) -> None:
        """Prepare what is not there yet. progress: called with (cases done, all cases)."""
        make_folder(self.folder)
        for index in range(len(self)):
            if not _beside(self.file(index), "places").exists():
                self._prepare(index)
            if progress:
                progress(index + 1, len(self))

    def _prepare(self, index: int) -> None:
        sample, target = self[index], self.file(index)
        image, labels, _ = prepare(
            sample.image, sample.geometry["grid"], self.form, sample.mask, str(self.pairs[index].image)
        )
        assert labels is not None
        labels = labels if labels.dtype == np.uint8 else labels.astype(np.int32)  # torch cannot choose among uint16
        rng = np.random.default_rng(int(target.stem[:8], 16))
        places = [_some(labels, k, rng) for k in range(len(self.labels)) if k != self.labels.background]
        parts = {target: image, _beside(target, "labels"): labels, _beside(target, "places"): np.concatenate(places)}
        with scratch(target) as folder:
            for path, array in parts.items():  # the places last: they say that all is there
                np.save(folder / path.name, array)
                (folder / path.name).replace(path)

    def case(self, index: int) -> Case:
        """A prepared case, mapped into memory."""
        return _mapped(self.file(index))


def _beside(file: Path, what: str) -> Path:
    return file.with_name(f"{file.stem}-{what}.npy")


@lru_cache(maxsize=256)
def _mapped(file: Path) -> Case:
    image, labels, table = (
        np.load(one, mmap_mode="c") for one in (file, _beside(file, "labels"), _beside(file, "places"))
    )
    classes, first = np.unique(table[:, 0], return_index=True)
    ends = [*first[1:], len(table)][: len(classes)]
    return Case(image, labels, {int(k): table[a:b, 1:] for k, a, b in zip(classes, first, ends, strict=True)})


def _some(labels: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    """(n, 4) int32: the class, and where some of its voxels lie."""
    places = np.argwhere(labels == k)
    if len(places) > MOST_PLACES:
        places = places[rng.choice(len(places), MOST_PLACES, replace=False)]
    return np.insert(places, 0, k, axis=1).astype(np.int32)


def with_cases(data: DataSet, form: VolumeForm | None, folder: Path, progress: At | None = None) -> DataSet:
    """The data set whose training volumes are prepared; one of images as it is.

    Args:
        data: the data set.
        form: what the network sees, of a recipe for volumes.
        folder: of the run.
        progress: called with (cases done, all cases).
    """
    if form is None:
        return data
    name = next(name for name, pairs in data.splits.items() if pairs is data.training)
    volumes: Any = data.training
    cases = Cases(volumes, form, folder / PREPARED)
    cases.prepare(progress)
    splits: dict[str, Pairs] = {**data.splits, name: cases}
    return replace(data, splits=splits)


def forget_cases(folder: Path) -> None:
    """Remove the prepared files of a run."""
    shutil.rmtree(folder / PREPARED, ignore_errors=True)
