"""The pairs of an image and its mask as samples, decoded once and checked when they are asked for."""

from collections.abc import Hashable, Sequence
from threading import Lock
from typing import Any, overload

import cv2
import numpy as np

from atrous.datasets.classes import histogram
from atrous.datasets.folder import FILES, Pair, Readers, image_file
from atrous.datasets.geotiff import REPLACE, misplaced
from atrous.errors import DataError
from atrous.io import read_valid, valid_pixels
from atrous.io.images import read_reduced
from atrous.labels import LabelSet
from atrous.sample import Sample


class Cache:
    """Keeps decoded samples up to a number of bytes, and small facts of all pairs that were decoded.

    What is kept stands under the pair, as one image can have two label files. counts: of the pixels
    of each class. facts: what others keep, see `Pairs.facts`. Masks that were read to find the
    classes are kept until their pair is decoded.

    The first samples stay, as each epoch visits all samples: a cache that drops old ones would
    never hit.
    """

    def __init__(self, megabytes: float) -> None:
        self.megabytes = megabytes
        self._left = int(megabytes * 2**20)
        self._samples: dict[Hashable, Sample] = {}
        self.counts: dict[Hashable, np.ndarray] = {}
        self.facts: dict[Hashable, Any] = {}
        self._masks: dict[Hashable, np.ndarray] = {}
        self._lock = Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return Cache, (self.megabytes,)  # the copy for a worker process starts empty

    def share(self, processes: int) -> None:
        """Leave each of this many processes, which have a copy each, an equal part of the room."""
        self._left //= processes

    def keep_mask(self, key: Hashable, values: np.ndarray) -> np.ndarray:
        """Keep the values of a mask if there is room, and return them."""
        with self._lock:
            if values.nbytes <= self._left:
                self._left -= values.nbytes
                self._masks[key] = values
        return values

    def take_mask(self, key: Hashable) -> np.ndarray | None:
        """Give the values of a mask out of the cache; None if it holds none."""
        with self._lock:
            values = self._masks.pop(key, None)
            self._left += 0 if values is None else values.nbytes
        return values

    def get(self, key: Hashable) -> Sample | None:
        """Return the sample under this key, or None."""
        return self._samples.get(key)

    def put(self, key: Hashable, sample: Sample) -> None:
        """Keep a sample if there is room; masks that wait for their pair give way."""
        size = sample.image.nbytes + (0 if sample.mask is None else sample.mask.nbytes)
        with self._lock:
            while size > self._left and self._masks:
                self._left += self._masks.popitem()[1].nbytes
            if key not in self._samples and size <= self._left:
                self._left -= size
                self._samples[key] = sample


class Pairs(Sequence[Sample]):
    """The samples of one split, a sequence; `open_dataset` makes it.

    A sample has an image (H, W, C) in the file's units and a mask (H, W) of class indices, both
    read-only. It is decoded and checked when it is asked for: a DataError names the bad file.

    Args:
        pairs: The files.
        labels: The classes.
        channels: The number of channels that every image must have.
        dtype: The type that every image must have.
        cache: Keeps decoded samples.
        readers: How the files of a pair are read.
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
        sample = self._cache.get(pair)
        if sample is None:
            sample = self._checked(pair, *self._image(pair))
            self._cache.put(pair, sample)
        return sample

    def _image(self, pair: Pair) -> tuple[np.ndarray, np.ndarray | None]:
        """The image of a pair, and which of its pixels hold a value, None if all do."""
        return read_valid(pair.image) if self.readers.image is image_file else (self.readers.image(pair), None)

    def size(self, index: int) -> tuple[int, int]:
        """Tell (height, width) of an image, from the cache or the file's header."""
        pair = self.pairs[index]
        sample = self._cache.get(pair)
        return self.readers.size(pair)[:2] if sample is None else (sample.image.shape[0], sample.image.shape[1])

    def reduced(self, index: int, factor: int) -> tuple[Sample, int]:
        """Read a sample, its image at 1/2, 1/4 or 1/8 of its size if the file allows that (JPEG).

        Any other image is whole, and the mask always is. The file alone decides, never the cache.

        Args:
            index: Of the sample.
            factor: 1, 2, 4 or 8.

        Returns:
            The sample, and the factor by which its image is reduced: `factor` or 1.
        """
        pair = self.pairs[index]
        sample = self._cache.get((pair, factor))
        if sample is None:
            image = read_reduced(pair.image, factor) if factor > 1 and self.readers.image is image_file else None
            if image is None:
                return self[index], 1
            sample = self._checked(pair, image, factor=factor)
            self._cache.put((pair, factor), sample)
        return sample, factor

    @property
    def held(self) -> float:
        """The share of the samples, in [0, 1], that the cache holds."""
        return sum(self._cache.get(pair) is not None for pair in self.pairs) / max(len(self.pairs), 1)

    @property
    def facts(self) -> dict[Hashable, Any]:
        """What was found out about pairs when they were decoded, so that they need not be decoded for it again."""
        return self._cache.facts

    def share_cache(self, processes: int) -> None:
        """See `Cache.share`."""
        self._cache.share(processes)

    def choose(self, indices: Sequence[int]) -> "Pairs":
        """Take the samples with these indices; the cache is shared."""
        return self._of([self.pairs[index] for index in indices])

    def _of(self, pairs: Sequence[Pair]) -> "Pairs":
        return Pairs(pairs, self.labels, self.channels, self.dtype, self._cache, self.readers)

    @property
    def names(self) -> list[str]:
        """The stems of the image files, in the order of the samples."""
        return [pair.image.stem for pair in self.pairs]

    def frequencies(self) -> np.ndarray:
        """Count the pixels of each class in all masks, without decoding an image.

        Returns:
            (K,) int64; ignored pixels do not count.
        """
        total = np.zeros(len(self.labels), np.int64)
        for pair in self.pairs:
            counts = self._cache.counts.get(pair)  # of a mask that was decoded before
            if counts is None:
                valid = self._and_area(pair, valid_pixels(pair.image) if self.readers.image is image_file else None)
                counts = self._counted(self._indices(pair, self._values(pair), valid))
            total += counts
        return total

    def _values(self, pair: Pair) -> np.ndarray:
        """The values of a pair's mask, read once where the cache has room."""
        values = self._cache.take_mask(pair)
        return self.readers.values(pair) if values is None else values

    def _counted(self, indices: np.ndarray) -> np.ndarray:
        """Count the pixels of each class in one mask."""
        found = histogram(indices)
        return np.array([found.get(index, 0) for index in range(len(self.labels))], np.int64)

    def _indices(self, pair: Pair, values: np.ndarray, valid: np.ndarray | None) -> np.ndarray:
        """The class indices of a mask; pixels of the image that hold nothing are ignored."""
        mask = self.labels.to_indices(values, pair.where)
        if valid is not None and valid.shape == mask.shape:
            mask[~valid] = self.labels.ignore_index
        return mask

    def _and_area(self, pair: Pair, valid: np.ndarray | None) -> np.ndarray | None:
        """The valid pixels that lie in the pair's field of view too, if there is one."""
        if self.readers.area is None:
            return valid
        area = self.readers.area(pair)
        return area if valid is None else valid & area

    def _checked(self, pair: Pair, image: np.ndarray, valid: np.ndarray | None = None, factor: int = 1) -> Sample:
        """Read the mask of an image that was read at 1 / factor of its size, and check both."""
        values = self._values(pair)
        if image.shape[:2] != tuple(-(-side // factor) for side in values.shape):
            if factor > 1:
                image = self.readers.image(pair)
            raise DataError(
                f"{pair.where}: the mask is {values.shape[0]}x{values.shape[1]} pixels (H x W), "
                f"its image {pair.image.name} is {image.shape[0]}x{image.shape[1]}; "
                "expected equal sizes, resize the mask with nearest neighbour"
            )
        if image.shape[2] != self.channels or image.dtype != self.dtype:
            raise DataError(
                f"{pair.image}: {image.shape[2]} channels of {image.dtype}, but the data set's first image has "
                f"{self.channels} of {self.dtype}; expected one kind of image, convert the others"
            )
        first = pair not in self._cache.counts  # later it would be the same again
        if first and (elsewhere := misplaced(pair)):
            raise DataError(f"{pair.where}: {elsewhere}; {REPLACE}")
        counting = self._and_area(pair, valid)
        mask = self._indices(pair, values, counting)
        if first:
            self._cache.counts[pair] = self._counted(mask)
        image.flags.writeable = mask.flags.writeable = False
        return Sample(image, mask, path=pair.image, valid=counting if factor == 1 else None)


def channel_statistics(pairs: Sequence[Sample], limit: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Measure mean and standard deviation of each channel.

    Args:
        pairs: The samples.
        limit: How many images are read at most; they are evenly spaced.

    Returns:
        Mean and standard deviation, float64 (C,) each, in the units of the files. Pixels that hold
        nothing (`Sample.valid`) do not count.

    Example:
        >>> import numpy as np
        >>> from atrous.sample import Sample
        >>> mean, deviation = channel_statistics([Sample(np.array([[[1.0], [3.0]]]))])
        >>> mean.tolist(), deviation.tolist()
        ([2.0], [1.0])
    """
    chosen = np.unique(np.linspace(0, len(pairs) - 1, min(limit, len(pairs))).round().astype(int))
    sizes, means, deviations = [], [], []
    for index in chosen:
        image, valid = pairs[int(index)].image, pairs[int(index)].valid
        counted = None if valid is None else valid.view(np.uint8)
        # OpenCV takes at most four channels
        fours = [image[..., start : start + 4] for start in range(0, image.shape[2], 4)]
        mean, deviation = np.concatenate(
            [cv2.meanStdDev(np.ascontiguousarray(four), mask=counted) for four in fours], axis=1
        )[..., 0]
        sizes.append(image.shape[0] * image.shape[1] if valid is None else int(valid.sum()))
        means.append(mean)
        deviations.append(deviation)
    if not sum(sizes):
        raise DataError("no pixel of the training images holds a value, all are nodata or NaN; give other images")
    mean = np.average(means, axis=0, weights=sizes)
    variance = np.average(np.array(deviations) ** 2 + (np.array(means) - mean) ** 2, axis=0, weights=sizes)
    return mean, np.sqrt(variance)
