"""What a layout makes of a folder: pairs of images and labels by split, and how their values are read.

A layout is one file of this package with two functions, `recognise(root)` and `read(root)`; `datasets.layouts` has the
list of them.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from atrous.errors import DataError
from atrous.io import IMAGE_SUFFIXES, MAX_PIXELS, image_size, read_image, read_mask
from atrous.io.paths import files_below
from atrous.labels import LabelSet

SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Folder name, small letters -> split."""


@dataclass(frozen=True)
class Pair:
    """An image file and the file its labels are in: a mask, or an annotation file that several images share."""

    image: Path
    mask: Path

    @property
    def where(self) -> str:
        """What to call the labels of this pair in a message."""
        alone = self.mask.suffix.lower() in IMAGE_SUFFIXES
        return str(self.mask) if alone else f"{self.mask} (image {self.image.name})"


class Layout(NamedTuple):
    """One form of a data set on disk.

    recognise: a folder -> one sentence on why it has this form, or None; looks at few files. read: a folder of this
    form -> a Folder; DataError where it cannot be understood. lacks: what a folder of this form has to hold.
    """

    recognise: Callable[[Path], str | None]
    read: Callable[[Path], "Folder"]
    lacks: str


class Readers(NamedTuple):
    """How a pair is read: the image (H, W, C), the mask's values (H, W), the image's size (H, W, C) from its header."""

    image: Callable[[Pair], np.ndarray]
    mask: Callable[[Pair], np.ndarray]
    size: Callable[[Pair], tuple[int, int, int]]


def image_file(pair: Pair) -> np.ndarray:
    """A picture that `io` reads."""
    return read_image(pair.image)


def mask_file(pair: Pair) -> np.ndarray:
    """A mask that `io` reads, its values as they are."""
    return read_mask(pair.mask)


def size_of_file(pair: Pair) -> tuple[int, int, int]:
    """Of a picture that `io` reads."""
    return image_size(pair.image)


FILES = Readers(image_file, mask_file, size_of_file)
"""One picture and one mask per pair."""


@dataclass(frozen=True)
class Folder:
    """A folder that was understood; nothing in it has been judged yet.

    layout: name of the layout; why: one sentence on how it was recognised.
    splits: `train`, `val`, `test`, or `all` where there are none -> pairs, sorted by image.
    labels: the classes where the layout names them, else None: they are then found in the masks.
    notes: sentences to print. faults: (file, what is wrong with it and what to do) beyond lone files and doubles.
    lone_images, lone_masks: files without their partner. doubles: (first, second) files for one place.
    dimensions: 2, or 3 for volumes (D, H, W).
    readers: how a pair is read.
    """

    layout: str
    why: str
    root: Path
    splits: dict[str, list[Pair]]
    labels: LabelSet | None = None
    notes: list[str] = field(default_factory=list)
    faults: list[tuple[Path, str]] = field(default_factory=list)
    lone_images: list[Path] = field(default_factory=list)
    lone_masks: list[Path] = field(default_factory=list)
    doubles: list[tuple[Path, Path]] = field(default_factory=list)
    dimensions: int = 2
    readers: Readers = FILES

    @property
    def pairs(self) -> list[Pair]:
        """The pairs of all splits."""
        return [pair for pairs in self.splits.values() for pair in pairs]

    def add_named(
        self, split: str, names: Iterable[str], images: Mapping[str, Path], masks: Mapping[str, Path], file: Path
    ) -> None:
        """Add a split: the pair of each name; a name with one half alone is a lone file, without both a fault of the
        `file` that has it."""
        pairs = self.splits.setdefault(split, [])
        for name in dict.fromkeys(names):
            image, mask = images.get(name), masks.get(name)
            if image and mask:
                pairs.append(Pair(image, mask))
            elif image:
                self.lone_images.append(image)
            elif mask:
                self.lone_masks.append(mask)
            else:
                self.faults.append((file, f"names {name!r}, of which there is neither image nor mask; strike it out"))

    def read_mask(self, pair: Pair) -> np.ndarray:
        """(H, W) uint8 or uint16: the values that `labels.values` and `labels.ignore` name, as they are found.

        A value that neither names may occur. Raises DataError where the labels of this pair cannot be read.
        """
        return self.readers.mask(pair)

    def read_image(self, pair: Pair) -> np.ndarray:
        """(H, W, C) as `io.read_image` gives it."""
        return self.readers.image(pair)

    def image_size(self, pair: Pair) -> tuple[int, int, int]:
        """(H, W, C) of the image, from its header."""
        return self.readers.size(pair)

    def refuse_incomplete(self) -> None:
        """Raise the DataError of what cannot be trained on: two files for one place, a fault, a file without partner,
        no pair at all."""
        if self.doubles:
            first, second = self.doubles[0]
            images = {pair.image for pair in self.pairs} | set(self.lone_images)
            kind = "images of one name" if first in images else "masks for one image"
            raise DataError(f"{second}: two {kind}, the other is {first.name}; keep one of them")
        if self.faults:
            file, sentence = self.faults[0]
            more = f" ({len(self.faults) - 1} more faults of this kind or another)" if len(self.faults) > 1 else ""
            raise DataError(f"{file}: {sentence}{more}")
        for lone, noun, other in (self.lone_images, "image", "mask"), (self.lone_masks, "mask", "image"):
            if lone:
                raise DataError(
                    f"{_folder(lone)}: {_count(lone, noun)} without {'a' if other == 'mask' else 'an'} {other}; "
                    f"expected {'a' if other == 'mask' else 'an'} {other} for each, add them or move the {noun}s away"
                )
        for split in [split for split, pairs in self.splits.items() if not pairs] or ([] if self.splits else ["all"]):
            raise DataError(f"{self.root}: the split {split} of the layout {self.layout} has no image with labels")


def split_of(name: str) -> str | None:
    """`instances_val2017` -> `val`: the split that a part of a name stands for."""
    letters = "".join(sign if sign.isalpha() else " " for sign in name.lower())
    return next((SPLITS[word] for word in letters.split() if word in SPLITS), None)


def folders_in(folder: Path) -> list[Path]:
    """The folders in a folder, sorted; quick where it holds many files."""
    with os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir())


def some_picture(folder: Path) -> Path | None:
    """Any picture below the folder, without listing all of it."""
    return next(map(Path, files_below(folder, IMAGE_SUFFIXES)), None)


def load_json(path: Path, hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """What a JSON file holds; hook: applied to every object in it. DataError for a file that is missing or damaged."""
    try:
        return json.loads(path.read_bytes(), object_hook=hook)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path") from error
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a JSON file ({error}); export it again") from error


def checked_size(height: object, width: object, where: str) -> tuple[int, int]:
    """A size that an annotation file states; DataError unless it is two whole numbers of a picture that can be read."""
    try:
        size = int(height), int(width)  # type: ignore[call-overload]
    except (TypeError, ValueError):
        size = (0, 0)
    if min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        raise DataError(f"{where}: an image of {height!r} x {width!r} pixels; expected its height and width")
    return size


def _folder(paths: Sequence[Path]) -> Path:
    """The deepest folder that holds all the files."""
    return Path(os.path.commonpath([path.parent for path in paths]))


def _count(paths: Sequence[Path], noun: str) -> str:
    """3 masks (a.png, b.png, c.png)"""
    names = ", ".join(path.name for path in paths[:3]) + (" ..." if len(paths) > 3 else "")
    return f"{len(paths)} {noun}{'s' if len(paths) > 1 else ''} ({names})"
