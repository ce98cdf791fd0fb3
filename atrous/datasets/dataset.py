"""A folder as a data set: its splits, its classes, what is held out; all verified before training starts."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from atrous.datasets.classes import find_classes, nothing_to_learn
from atrous.datasets.folder import Pair
from atrous.datasets.geotiff import nodata_values, without_nodata
from atrous.datasets.layouts import read_folder
from atrous.datasets.pairs import Cache, Pairs
from atrous.datasets.plain_pairs import area_name
from atrous.datasets.volumes import Volumes
from atrous.errors import DataError
from atrous.io.paths import nfc
from atrous.labels import LabelSet
from atrous.progress import At
from atrous.sample import Sample


@dataclass(frozen=True)
class DataSet:
    """The splits of a data folder with their classes; `open_dataset` makes it.

    Args:
        root: The folder.
        labels: The classes.
        splits: `train`, `val`, `test` or `all` -> samples; all share one cache.
        channels: Channels of every image.
        dtype: Type of every image.
        notes: Sentences to print, such as how the classes were found.
        held_out: Whether `val` is a part of the training pairs that was held out.
        valid_area: The name of the folder of fields of view, if there is one.
        dimensions: 2, or 3 for volumes.
    """

    root: Path
    labels: LabelSet
    splits: dict[str, Pairs]
    channels: int
    dtype: np.dtype[Any]
    notes: list[str] = field(default_factory=list)
    held_out: bool = False
    valid_area: str | None = None
    dimensions: int = 2

    @property
    def training(self) -> Pairs:
        """What a network may be trained on: the split `train`, or `all` of a folder without splits.

        Raises:
            DataError: There is neither.
        """
        for name in ("train", "all"):
            if name in self.splits:
                return self.splits[name]
        raise DataError(
            f"{self.root}: has {' and '.join(self.splits)}, but nothing to train on; expected images and masks in "
            "train/, or without splits"
        )

    def verify(
        self,
        splits: Sequence[str] | None = None,
        progress: At | None = None,
        visit: Callable[[str, Pair, Sample], object] | None = None,
    ) -> None:
        """Decode and check every pair, in threads, and what there is to learn; this also fills the cache.

        Args:
            splits: The splits to check; default all.
            progress: Called with (pairs done, all pairs).
            visit: Called in these threads with (split, pair, sample) for each sound sample.

        Raises:
            DataError: Names the first bad file, in the order of splits and names, and counts the
                others.
        """
        names = splits or list(self.splits)
        samples = [(name, i) for name in names for i in range(len(self.splits[name]))]

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
        trained = "train" in names or "all" in names
        if trained and (nothing := nothing_to_learn(self.labels, self.training.frequencies().tolist())):
            raise DataError(f"{self.root}: {nothing}")


def open_dataset(
    root: Path | str,
    *,
    classes: Path | None = None,
    labels: LabelSet | None = None,
    ignore: Sequence[int] = (),
    valid_area: str | None = None,
    holdout: float = 0.2,
    progress: At | None = None,
    cache_mb: float = 1024,
) -> DataSet:
    """Open a data folder of any layout for training, evaluation or your own code.

    Samples are decoded when they are asked for; call `verify` to check them all at once.

    Args:
        root: The data folder.
        classes: A classes file. Default: classes.toml in the folder or beside it, else the classes
            that the layout names, else the values 0..K-1 that the masks hold.
        labels: The classes, if they are known, as those of a trained model; nothing is searched
            then.
        ignore: Further mask values to ignore.
        valid_area: The name of a folder beside images/ that holds the field of view of each image:
            where it is 0, the pixels count in no statistics, no loss and no score.
        holdout: Without a `val` split this share of the training pairs, in [0, 1), becomes `val`:
            the pairs whose stems have the smallest SHA-256, at least one and never all. 0 holds out
            none.
        progress: Called with (masks done, all masks) if every mask must be read to find the
            classes.
        cache_mb: Memory for decoded samples, in MiB.

    Returns:
        The data set.

    Raises:
        DataError: The folder or the classes cannot be used.

    Example:
        >>> import numpy as np
        >>> from atrous.io import write_image
        >>> for name in ("a", "b"):
        ...     write_image(f"data/images/{name}.png", np.zeros((4, 4, 3), np.uint8))
        ...     write_image(f"data/masks/{name}.png", np.eye(4, dtype=np.uint8))
        >>> data = open_dataset("data")
        >>> data.labels.names, {split: samples.names for split, samples in data.splits.items()}
        (('class 0', 'class 1'), {'train': ['a'], 'val': ['b']})
        >>> data.splits["train"].frequencies().tolist()
        [12, 4]
    """
    root = Path(root)
    folder = read_folder(root, valid_area=valid_area)
    folder.refuse_incomplete()
    found, cache = dict(folder.splits), Cache(cache_mb)
    notes = list(folder.notes)
    if labels is None:
        labels, more = find_classes(
            folder,
            classes=classes,
            ignore=ignore,
            progress=progress,
            read=lambda pair: cache.keep_mask(pair, folder.read_mask(pair)),
        )
        notes += more
    else:
        labels = without_nodata(labels, nodata_values(folder))
    held_out = False
    training = "train" if "train" in found else "all"
    if holdout > 0 and "val" not in found and len(found.get(training, ())) > 1:
        train, val = hold_out(found.pop(training), holdout)
        found = {"train": train, "val": val, **found}
        held_out = True
        notes.append(
            f"no val folder: {len(val)} of {len(train) + len(val)} training pairs are held out as val, "
            "by the hash of their names"
        )
    elif holdout > 0 and "val" not in found and training in found:
        found = {"train": found.pop(training), **found}
        notes.append("one training pair: there is no validation")
    if folder.dimensions > 2:
        channels, dtype = folder.image_size(folder.pairs[0])[-1], np.dtype(np.float32)
    else:
        first = folder.read_image(folder.pairs[0])
        channels, dtype = first.shape[2], first.dtype
    kind = Volumes if folder.dimensions > 2 else Pairs
    splits = {split: kind(pairs, labels, channels, dtype, cache, folder.readers) for split, pairs in found.items()}
    area = None if valid_area is None else area_name(root, valid_area)
    return DataSet(root, labels, splits, channels, dtype, notes, held_out, area, folder.dimensions)


def hold_out(pairs: Sequence[Pair], share: float) -> tuple[list[Pair], list[Pair]]:
    """Split two or more pairs into (kept, held out) by their stems; both keep the old order."""
    size = min(max(1, round(len(pairs) * share)), len(pairs) - 1)
    ranked = sorted(pairs, key=lambda pair: name_hash(pair.image))
    taken = set(ranked[:size])
    return [pair for pair in pairs if pair not in taken], [pair for pair in pairs if pair in taken]


def name_hash(image: Path) -> bytes:
    """Hash the stem of a file, in NFC as disks differ in it, by its bytes: it need not be text."""
    return sha256(os.fsencode(nfc(image.stem))).digest()
