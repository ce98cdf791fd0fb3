"""A folder as a data set: splits of samples, decoded once and verified before anything is trained."""

from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from threading import Lock
from typing import Any, overload

import cv2
import numpy as np

from atrous.datasets.classes import Progress, find_classes
from atrous.datasets.folder import FILES, Pair, Readers, image_file
from atrous.datasets.layouts import read_folder
from atrous.errors import DataError
from atrous.io.images import read_reduced
from atrous.labels import LabelSet
from atrous.sample import Sample


class Cache:
    """Decoded samples, as they are in the files, up to a number of bytes; the first ones stay, since epochs visit all
    in turn."""

    def __init__(self, megabytes: float) -> None:
        self.megabytes = megabytes
        self._left = int(megabytes * 2**20)
        self._samples: dict[Hashable, Sample] = {}
        self._lock = Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Cache, (self.megabytes,)  # a worker process that gets a copy starts with an empty cache

    def share(self, processes: int) -> None:
        """Of this many processes with a copy of this cache, each may fill an equal share of what is left."""
        self._left //= processes

    def get(self, key: Hashable) -> Sample | None:
        """The sample kept under this key."""
        return self._samples.get(key)

    def put(self, key: Hashable, sample: Sample) -> None:
        """Keep a sample, while there is room."""
        size = sample.image.nbytes + (0 if sample.mask is None else sample.mask.nbytes)
        with self._lock:
            if key not in self._samples and size <= self._left:
                self._left -= size
                self._samples[key] = sample


class Pairs(Sequence[Sample]):
    """Samples of one split: image (H, W, C) in the file's units, mask (H, W) of class indices; both read-only, copy
    to change.

    channels, dtype: what every image must have. A sample is checked when it is decoded: DataError names the file.
    readers: how a pair's files are read.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        labels: LabelSet,
        channels: int,
        dtype: np.dtype[Any],
        cache: Cache,
        readers: Readers = FILES,
    ) -> None:
        self.pairs, self.labels, self.channels, self.dtype, self._cache = list(pairs), labels, channels, dtype, cache
        self.readers = readers

    def __len__(self) -> int:
        return len(self.pairs)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> "Pairs": ...
    def __getitem__(self, index: int | slice) -> "Sample | Pairs":
        if isinstance(index, slice):
            return self._of(self.pairs[index])
        pair = self.pairs[index]
        sample = self._cache.get(pair.image)
        if sample is None:
            sample = self._checked(pair, self.readers.image(pair))
            self._cache.put(pair.image, sample)
        return sample

    def size(self, index: int) -> tuple[int, int]:
        """(height, width) of an image, from the cache or the file's header."""
        pair = self.pairs[index]
        sample = self._cache.get(pair.image)
        return self.readers.size(pair)[:2] if sample is None else (sample.image.shape[0], sample.image.shape[1])

    def reduced(self, index: int, factor: int) -> tuple[Sample, int]:
        """A sample with its image at 1/2, 1/4 or 1/8 (factor) of its size where the file can be read so (JPEG), else
        the whole one; the mask is whole. And the factor that it is.

        Which one it is depends on the file alone, never on what the cache happens to hold.
        """
        pair = self.pairs[index]
        sample = self._cache.get((pair.image, factor))
        if sample is None:
            image = read_reduced(pair.image, factor) if factor > 1 and self.readers.image is image_file else None
            if image is None:
                return self[index], 1
            sample = self._checked(pair, image, factor)
            self._cache.put((pair.image, factor), sample)
        return sample, factor

    @property
    def held(self) -> float:
        """The share of the samples that the cache holds."""
        return sum(self._cache.get(pair.image) is not None for pair in self.pairs) / max(len(self.pairs), 1)

    def share_cache(self, processes: int) -> None:
        """See `Cache.share`."""
        self._cache.share(processes)

    def choose(self, indices: Sequence[int]) -> "Pairs":
        """The samples of these indices, with the same cache."""
        return self._of([self.pairs[index] for index in indices])

    def _of(self, pairs: Sequence[Pair]) -> "Pairs":
        return Pairs(pairs, self.labels, self.channels, self.dtype, self._cache, self.readers)

    @property
    def names(self) -> list[str]:
        """The stems of the image files, in order."""
        return [pair.image.stem for pair in self.pairs]

    def frequencies(self) -> np.ndarray:
        """Pixels of each class in all masks, int64 (K,); ignored pixels do not count. No image is decoded."""
        total = np.zeros(self.labels.ignore_index + 1, np.int64)
        for indices in self._masks():
            total += np.bincount(indices.ravel(), minlength=len(total))
        return total[: len(self.labels)]

    def _masks(self) -> Iterator[np.ndarray]:
        for pair in self.pairs:
            sample = self._cache.get(pair.image)
            if sample is None or sample.mask is None:
                yield self.labels.to_indices(self.readers.mask(pair), pair.where)
            else:
                yield sample.mask

    def _checked(self, pair: Pair, image: np.ndarray, factor: int = 1) -> Sample:
        """The sample of an image that was read at 1 / factor of its size; its mask is read here."""
        values = self.readers.mask(pair)
        if image.shape[:2] != tuple(-(-side // factor) for side in values.shape):
            if factor > 1:
                image = self.readers.image(pair)
            raise DataError(
                f"{pair.where}: the mask is {values.shape[0]}x{values.shape[1]} pixels (H x W), "
                f"its image {pair.image.name} is {image.shape[0]}x{image.shape[1]}; "
                "expected equal sizes, resize the mask by nearest neighbour"
            )
        if image.shape[2] != self.channels or image.dtype != self.dtype:
            raise DataError(
                f"{pair.image}: {image.shape[2]} channels of {image.dtype}, but the data set's first image has "
                f"{self.channels} of {self.dtype}; expected one kind of image, convert the odd ones"
            )
        mask = self.labels.to_indices(values, pair.where)
        image.flags.writeable = mask.flags.writeable = False
        return Sample(image, mask, path=pair.image)


@dataclass(frozen=True)
class DataSet:
    """The splits of a data folder (`train`, `val`, `test`, or `all`), with one label set, cache and kind of image.

    notes: sentences to print, such as how the classes were found. held_out: `val` is a share taken out of the
    training pairs.
    """

    root: Path
    labels: LabelSet
    splits: dict[str, Pairs]
    channels: int
    dtype: np.dtype[Any]
    notes: list[str] = field(default_factory=list)
    held_out: bool = False

    def verify(
        self,
        splits: Sequence[str] | None = None,
        progress: Progress | None = None,
        visit: Callable[[str, Pair, Sample], object] | None = None,
    ) -> None:
        """Decode and check every pair of the splits (default: all) in threads, which also fills the cache.

        visit: called with (split, pair, sample) for each sound one, in these threads. Raises the DataError of the first
        bad file in the order of splits and names, with the number of further bad ones.
        """
        samples = [(name, i) for name in splits or self.splits for i in range(len(self.splits[name]))]

        def problem(place: tuple[str, int]) -> DataError | None:
            pairs, i = self.splits[place[0]], place[1]
            try:
                sample = pairs[i]
            except DataError as error:
                return error
            if visit:
                visit(place[0], pairs.pairs[i], sample)
            return None

        problems = []
        with ThreadPoolExecutor() as pool:
            for done, error in enumerate(pool.map(problem, samples), start=1):
                if error:
                    problems.append(error)
                if progress:
                    progress(done, len(samples))
        if len(problems) > 1:
            raise DataError(
                f"{problems[0]} ({len(problems) - 1} more of {len(samples)} pairs are unusable)"
            ) from problems[0]
        if problems:
            raise problems[0]


def open_dataset(
    root: Path | str,
    *,
    classes: Path | None = None,
    labels: LabelSet | None = None,
    ignore: Sequence[int] = (),
    holdout: float = 0.2,
    progress: Progress | None = None,
    cache_mb: float = 1024,
) -> DataSet:
    """Open a folder of one of the layouts (`datasets.layouts`; `find_classes` has how its classes are found).

    labels: the classes, where they are known (those of a trained model); nothing is looked for then.
    holdout: where there is no `val`, this share of the training pairs becomes it: those whose stems have the smallest
    SHA-256, at least one and never all; 0 leaves the splits as they are.
    progress: called with (done, total) where every mask must be read. cache_mb: memory for decoded samples, in MiB.
    Raises DataError for a folder or classes that cannot be used.
    """
    root = Path(root)
    folder = read_folder(root)
    folder.refuse_incomplete()
    if folder.dimensions > 2:
        raise DataError(
            f"{root}: volumes ({folder.why}); training takes two-dimensional images as yet, export slices as PNG"
        )
    found = dict(folder.splits)
    notes = list(folder.notes)
    if labels is None:
        labels, more = find_classes(folder, classes=classes, ignore=ignore, progress=progress)
        notes += more
    held_out = False
    training = "train" if "train" in found else "all"
    if holdout > 0 and "val" not in found and len(found.get(training, ())) > 1:
        train, val = hold_out(found.pop(training), holdout)
        found = {"train": train, "val": val, **found}
        held_out = True
        notes.append(
            f"no val folder: {len(val)} of {len(train) + len(val)} training pairs are held out as val, "
            "by hash of their names"
        )
    first = folder.read_image(folder.pairs[0])
    channels, dtype = first.shape[2], first.dtype
    cache = Cache(cache_mb)
    splits = {split: Pairs(pairs, labels, channels, dtype, cache, folder.readers) for split, pairs in found.items()}
    return DataSet(root, labels, splits, channels, dtype, notes, held_out)


def hold_out(pairs: Sequence[Pair], share: float) -> tuple[list[Pair], list[Pair]]:
    """Split pairs (two or more) into (kept, held out), each in the old order; which ones depends on the stems alone."""
    size = min(max(1, round(len(pairs) * share)), len(pairs) - 1)
    ranked = sorted(pairs, key=lambda pair: sha256(pair.image.stem.encode()).digest())
    taken = {pair.image for pair in ranked[:size]}
    return [pair for pair in pairs if pair.image not in taken], [pair for pair in pairs if pair.image in taken]


def channel_statistics(pairs: Sequence[Sample], limit: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation per channel over at most `limit` evenly spaced images, raw units, float64 (C,)."""
    chosen = np.unique(np.linspace(0, len(pairs) - 1, min(limit, len(pairs))).round().astype(int))
    sizes, means, deviations = [], [], []
    for index in chosen:
        image = pairs[int(index)].image
        fours = [image[..., start : start + 4] for start in range(0, image.shape[2], 4)]  # the most that OpenCV takes
        mean, deviation = np.concatenate([cv2.meanStdDev(np.ascontiguousarray(four)) for four in fours], axis=1)[..., 0]
        sizes.append(image.shape[0] * image.shape[1])
        means.append(mean)
        deviations.append(deviation)
    mean = np.average(means, axis=0, weights=sizes)
    variance = np.average(np.array(deviations) ** 2 + (np.array(means) - mean) ** 2, axis=0, weights=sizes)
    return mean, np.sqrt(variance)
