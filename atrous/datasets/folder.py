"""What a layout reads from a folder: pairs of image and labels by split, and how a pair is read.

A layout is one file of this package with two functions, `recognise(root)` and `read(root)`;
`datasets.layouts` lists them.
"""

import codecs
import csv
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from atrous.errors import AtrousError, DataError
from atrous.files import read_lines, read_text, unique_keys
from atrous.io import IMAGE_SUFFIXES, MAX_PIXELS, image_size, read_mask, read_valid
from atrous.io.paths import closed_folder, files_below, names_in, nfc
from atrous.labels import LabelSet

SPLITS = {
    "train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Name of a folder, in lower case -> split."""
MARKS = codecs.BOM_UTF8 + codecs.BOM_UTF16_LE + b" \r\n\t"
"""The bytes that may come before a JSON file's first sign."""
DAMAGE = (AttributeError, IndexError, KeyError, OverflowError, TypeError, ValueError)
"""What the entries of an annotation file raise if they are not of the form that is expected."""
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages")
MASK_FOLDERS = (
    "masks", "mask", "labels", "label", "annotations", "annotation", "gt", "gts", "ground_truth", "ground_truths",
    "groundtruth", "groundtruths", "segmentationclass", "segmentation", "segmentations", "seg", "segs", "manual",
    "manual1", "manual2", "1st_manual", "2nd_manual", "annots", "annot", "targets", "target",
)  # fmt: skip
"""Names of the folders of plain pairs, in lower case, with `_` for spaces and hyphens."""


@dataclass(frozen=True)
class Pair:
    """An image file and the file that holds its labels.

    Args:
        image: The picture or volume.
        mask: A mask, or an annotation file that several images share.
        entry: What an annotation file of several images calls the image's entry: `image 7`.

    Example:
        >>> from pathlib import Path
        >>> print(Pair(Path("a.jpg"), Path("labels.json")).where)
        labels.json (image a.jpg)
    """

    image: Path
    mask: Path
    entry: str = ""

    @property
    def where(self) -> str:
        """What error messages call the labels of this pair."""
        alone = self.mask.suffix.lower() in IMAGE_SUFFIXES
        return str(self.mask) if alone else f"{self.mask} (image {self.image.name})"


class Layout(NamedTuple):
    """One form of a data set on disk.

    Args:
        recognise: Looks at a few files of a folder and tells in a sentence why it has this layout,
            or returns None.
        read: Reads a folder of this layout; DataError if that is not possible.
        lacks: What a folder of this layout must hold, for the error about a folder of no layout.
    """

    recognise: Callable[[Path], str | None]
    read: Callable[[Path], "Folder"]
    lacks: str


class Readers(NamedTuple):
    """How a pair is read.

    image: the image (H, W, C). mask: the values of its labels (H, W). size: the shape (H, W, C) of
    the image, from its header. A volume has a leading axis D in all three. area: (H, W) bool, the
    pixels that count; None if all do. `values` reads a mask by both.
    """

    image: Callable[[Pair], np.ndarray]
    mask: Callable[[Pair], np.ndarray]
    size: Callable[[Pair], tuple[int, int, int]]
    area: Callable[[Pair], np.ndarray] | None = None

    def values(self, pair: Pair) -> np.ndarray:
        """Read the values of a pair's labels (H, W); those that do not count are made equal to one that does."""
        values = self.mask(pair)
        return values if self.area is None else values_inside(values, self.area(pair))


def values_inside(values: np.ndarray, area: np.ndarray) -> np.ndarray:
    """Give the pixels of a mask outside of an area a value that occurs inside, so that theirs names no class.

    Args:
        values: (H, W).
        area: (H, W) bool, some of it True; of another shape it changes nothing.

    Returns:
        (H, W), of the type of `values`.

    Example:
        >>> values_inside(np.array([7, 0, 1], np.uint8), np.array([False, True, True])).tolist()
        [0, 0, 1]
    """
    return np.where(area, values, values[area].min()) if area.shape == values.shape else values


def image_file(pair: Pair) -> np.ndarray:
    """Read an image that is one picture file; pixels without a value get the mean of the others."""
    return read_valid(pair.image)[0]


def mask_file(pair: Pair) -> np.ndarray:
    """Read a mask that is one picture file, its values as stored."""
    return read_mask(pair.mask)


def size_of_file(pair: Pair) -> tuple[int, int, int]:
    """Read the shape (H, W, C) of an image that is one picture file."""
    return image_size(pair.image)


FILES = Readers(image_file, mask_file, size_of_file)
"""The readers for pairs of one picture file and one mask file."""


@dataclass(frozen=True)
class Folder:
    """A data folder as its layout reads it; its images and masks are not yet decoded or checked.

    Args:
        layout: Name of the layout.
        why: One sentence that tells how the layout was recognised.
        root: The folder.
        splits: `train`, `val`, `test`, or `all` without splits -> pairs, sorted by image.
        labels: The classes, if the layout names them; else None, and they are found in the masks.
        notes: Sentences to print.
        faults: (file, what is wrong with it and what to do), apart from lone files, doubles and clashes.
        clashes: The same of entries for one image that contradict each other, and of names that
            may mean several images.
        lone_images: Images without labels.
        lone_masks: Labels without an image.
        doubles: (first, second) files that claim the same place.
        rivals: (first, second) files of one name, which need not be used.
        dimensions: 2, or 3 for volumes (D, H, W).
        readers: How a pair is read.
    """

    layout: str
    why: str
    root: Path
    splits: dict[str, list[Pair]]
    labels: LabelSet | None = None
    notes: list[str] = field(default_factory=list)
    faults: list[tuple[Path, str]] = field(default_factory=list)
    clashes: list[tuple[Path, str]] = field(default_factory=list)
    lone_images: list[Path] = field(default_factory=list)
    lone_masks: list[Path] = field(default_factory=list)
    doubles: list[tuple[Path, Path]] = field(default_factory=list)
    rivals: list[tuple[Path, Path]] = field(default_factory=list)
    dimensions: int = 2
    readers: Readers = FILES

    @property
    def pairs(self) -> list[Pair]:
        """The pairs of all splits."""
        return [pair for pairs in self.splits.values() for pair in pairs]

    def add_named(
        self, split: str, names: Iterable[str], images: Mapping[str, Path], masks: Mapping[str, Path], file: Path
    ) -> None:
        """Add a split of the pairs with these names; images and masks are those of `by_name`.

        A name with only an image, or only a mask, adds a lone file. A name with neither adds a
        fault of `file`, which lists the name.
        """
        pairs = self.splits.setdefault(split, [])
        for name in dict.fromkeys(map(nfc, names)):
            image, mask = images.get(name), masks.get(name)
            if image and mask:
                pairs.append(Pair(image, mask))
            elif image:
                self.lone_images.append(image)
            elif mask:
                self.lone_masks.append(mask)
            else:
                self.faults.append((file, f"names {name!r}, which has neither image nor mask; delete the name"))

    def by_name(self, files: Iterable[Path], name_of: Callable[[Path], str]) -> dict[str, Path]:
        """Name -> file, with the names in NFC; a second file of one name becomes a double if the name is used."""
        found: dict[str, Path] = {}
        for file in files:
            first = found.setdefault(nfc(name_of(file)), file)
            if first is not file:
                self.rivals.append((first, file))
        return found

    def settle(self) -> None:
        """Let each image have one pair.

        Pairs of one image in one split with equal labels become one pair. If their labels differ,
        or the image is in two splits, that is a clash: it would be trained or judged by the labels
        of another entry. Two files of one name that is used become doubles.
        """
        first: dict[Path, tuple[str, Pair]] = {}
        told = set[Path]()
        for split, pairs in self.splits.items():
            kept = []
            for pair in pairs:
                other, known = first.setdefault(pair.image, (split, pair))
                if known is pair:
                    kept.append(pair)
                elif other == split and self._agree(known, pair):
                    continue
                elif pair.image not in told:
                    told.add(pair.image)
                    self.clashes.append((pair.image, _twice(other, known, split, pair)))
            self.splits[split] = kept
        used = {file for pair in self.pairs for file in (pair.image, pair.mask)}
        used |= {*self.lone_images, *self.lone_masks}
        self.doubles.extend(rivals for rivals in self.rivals if rivals[0] in used)
        self.rivals.clear()

    def _agree(self, first: Pair, second: Pair) -> bool:
        try:
            return first == second or np.array_equal(self.read_mask(first), self.read_mask(second))
        except AtrousError:
            return False

    def read_mask(self, pair: Pair) -> np.ndarray:
        """Read the labels of a pair, as values of the mask file.

        Returns:
            (H, W), uint8 or uint16, or (D, H, W) of a volume. Values that neither `labels.values`
            nor `labels.ignore` names can occur.

        Raises:
            DataError: The labels cannot be read.
        """
        return self.readers.values(pair)

    def read_image(self, pair: Pair) -> np.ndarray:
        """Read the image of a pair: (H, W, C) as from `io.read_image`, or (D, H, W, C)."""
        return self.readers.image(pair)

    def image_size(self, pair: Pair) -> tuple[int, int, int]:
        """Read the shape of a pair's image, (H, W, C) or (D, H, W, C), from its header."""
        return self.readers.size(pair)

    def refuse_incomplete(self) -> None:
        """Raise a DataError if training cannot use the folder.

        It cannot if two files claim one place, there is a fault, a file has no partner, or a split
        has no pair.
        """
        if self.doubles:
            first, second = self.doubles[0]
            images = {pair.image for pair in self.pairs} | set(self.lone_images)
            kind = "images of one name" if first in images else "masks for one image"
            raise DataError(f"{second}: one of two {kind}, the other is {first.name}; keep one of them")
        if faults := self.faults + self.clashes:
            file, sentence = faults[0]
            more = f" ({len(faults) - 1} more faults; `atrous check` lists them)" if len(faults) > 1 else ""
            raise DataError(f"{file}: {sentence}{more}")
        for lone, noun, other in (self.lone_images, "image", "mask"), (self.lone_masks, "mask", "image"):
            if lone:
                raise DataError(
                    f"{_folder(lone)}: {_count(lone, noun)} without {'a' if other == 'mask' else 'an'} {other}; "
                    f"expected {'a' if other == 'mask' else 'an'} {other} for each, add it or move the {noun}s away"
                )
        for split in [split for split, pairs in self.splits.items() if not pairs] or ([] if self.splits else ["all"]):
            raise DataError(
                f"{self.root}: the split {split} of the layout {self.layout} has no image with labels; "
                "expected at least one, add images and labels or remove the split"
            )


def split_of(name: str) -> str | None:
    """Tell the split that a word in a name stands for: `instances_val2017` -> `val`."""
    letters = "".join(sign if sign.isalpha() else " " for sign in name.lower())
    return next((SPLITS[word] for word in letters.split() if word in SPLITS), None)


def folders_in(folder: Path) -> list[Path]:
    """List the folders in a folder, sorted; fast also among many files. DataError if it may not be entered."""
    try:
        with os.scandir(folder) as entries:
            found = [entry for entry in entries if entry.is_symlink() or entry.is_dir()]
    except PermissionError as error:
        raise closed_folder(folder) from error
    return sorted(Path(entry.path) for entry in found if os.path.isdir(entry.path))


def files_in(folder: Path, endings: str | tuple[str, ...]) -> list[Path]:
    """List the files in a folder whose names end so, in lower or upper case, sorted; fast also among many files.

    Raises DataError if the folder may not be entered.
    """
    names = [name for name in names_in(folder) if name.endswith(endings) or name.lower().endswith(endings)]
    return sorted(path for name in names if os.path.isfile(path := folder / name))


def head_of(path: Path, size: int = 65536) -> bytes:
    """Read the start of a text of any encoding, to look for words of ASCII in it; DataError if that is not possible."""
    try:
        with path.open("rb") as stream:
            return stream.read(size).replace(b"\0", b"").lstrip(MARKS)  # UTF-16 has zeros between the letters
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); get the right to read it") from error


def some_picture(folder: Path) -> Path | None:
    """Find any picture in a folder or below, without listing all of it."""
    return next(map(Path, files_below(folder, IMAGE_SUFFIXES, strict=False)), None)


def load_json(path: Path, hook: Callable[[dict[str, Any]], Any] | None = None) -> Any:
    """Read a JSON file; DataError if it is missing or damaged.

    hook: applied to every object of the file while it is read.
    """
    text = read_text(path)

    def kept(pairs: list[tuple[str, Any]]) -> Any:
        return hook(unique_keys(pairs)) if hook else unique_keys(pairs)

    try:
        return json.loads(text, object_pairs_hook=kept)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: not a JSON file ({error}); export it again") from error


def load_table(path: Path, delimiter: str = ",", *, skipinitialspace: bool = False) -> list[list[str]]:
    """Read the cells of each line of a table; DataError if it is missing or damaged."""
    try:
        return list(csv.reader(read_lines(path), delimiter=delimiter, skipinitialspace=skipinitialspace))
    except csv.Error as error:
        raise DataError(f"{path}: not a table ({error}); correct the file, or export it again") from error


def has_sections(path: Path, start: str, *names: str) -> bool:
    """Tell whether a JSON file starts with a sign and has keys of these names, wherever they stand.

    Names with a bar between them: one of them is enough. Only looks for the words, in any encoding:
    a file of hundreds of megabytes is not parsed for that, and one that is not UTF-8 is recognised
    too, so that reading it tells what is wrong.
    """
    if not os.path.isfile(path):
        return False
    try:
        with path.open("rb") as stream:
            head = stream.read(1000).replace(b"\0", b"").lstrip(MARKS)
            if not head.startswith(start.encode()):
                return False
            stream.seek(0)
            data = stream.read()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); get the right to read it") from error
    data = data.replace(b"\0", b"") if b"\0" in data[:1000] else data
    return all(any(_has_key(data, name) for name in either.split("|")) for either in names)


def _has_key(data: bytes, name: str) -> bool:
    """Tell whether a word in quotes stands before a colon; ten times as fast as a regular expression."""
    word, place = f'"{name}"'.encode(), 0
    while (place := data.find(word, place)) >= 0:
        place += len(word)
        if data[place : place + 100].lstrip().startswith(b":"):
            return True
    return False


def whole(value: object) -> int:
    """A number that must be whole, as a file states it; ValueError for 1.7, which is not rounded, and for no number.

    Example:
        >>> whole("7"), whole(2.0)
        (7, 2)
    """
    try:
        number = int(value)  # type: ignore[call-overload]
        exact = not isinstance(value, bool) and (isinstance(value, str) or number == value)
    except (OverflowError, TypeError, ValueError):
        exact = False
    if not exact or abs(number) >= 2**63:
        raise ValueError(f"{str(value)[:60]!r} is not a whole number below 2^63")
    return int(number)


def unique_names(file: Path, entries: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Make the dict of classes, name -> value or colour; DataError, with both, if a name stands there twice."""
    found = dict[str, Any]()
    for name, value in entries:
        if name in found:
            raise DataError(
                f"{file}: two classes are called {name!r}, {found[name]} and {value}; give each class its own name"
            )
        found[name] = value
    return found


def checked_size(height: object, width: object, where: str) -> tuple[int, int]:
    """Check the size that an annotation file states; DataError if no picture can have it."""
    try:
        size = whole(height), whole(width)
    except ValueError:
        size = (0, 0)
    if min(size) < 1 or size[0] * size[1] > MAX_PIXELS:
        raise DataError(
            f"{where}: an image of {height!r} x {width!r} pixels; expected its height and width, "
            f"{MAX_PIXELS / 1e6:g} million pixels at most, export the annotations again"
        )
    return size


def _twice(first_split: str, first: Pair, split: str, second: Pair) -> str:
    """Tell how one image comes to have two pairs, and what to do."""
    names = [f"{pair.entry} of {pair.mask.name}" if pair.entry else pair.mask.name for pair in (first, second)]
    if split != first_split:
        labels = f" with the labels {names[0]} and {names[1]}" if names[0] != names[1] else ""
        return f"this image is in {first_split} and in {split}{labels}; keep it in one of them"
    return f"two entries, {names[0]} and {names[1]}, give this image different labels; keep one of them"


def _folder(paths: Sequence[Path]) -> Path:
    """Find the deepest folder that holds all these files."""
    return Path(os.path.commonpath([path.parent for path in paths]))


def _count(paths: Sequence[Path], noun: str) -> str:
    """3 masks (a.png, b.png, c.png)"""
    names = ", ".join(path.name for path in paths[:3]) + (" ..." if len(paths) > 3 else "")
    return f"{len(paths)} {noun}{'s' if len(paths) > 1 else ''} ({names})"
