"""Lists of names that divide a data set: train.txt, val.txt, test.txt beside the pairs.

ROOT/train.txt, ROOT/splits/val.csv, ROOT/lists/test.lst, ROOT/ImageSets/trainval.txt, ...

A line names an image, or an image and its mask: with or without folders and suffix, apart by a
comma, a tab or spaces. A table may have a heading. splits.json, or splits.csv with a column
`split`, lists all. `trainval` counts where there is neither `train` nor `val`. Pairs that no list
names are left out; if no list is one of `train`, they are `train`. Only a data set without splits
of its own is divided.
"""

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from atrous.datasets.folder import (
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    SPLITS,
    Folder,
    Pair,
    files_in,
    load_json,
    load_table,
    split_of,
)
from atrous.datasets.naming import folded, readings
from atrous.errors import DataError
from atrous.files import read_lines
from atrous.io import IMAGE_SUFFIXES
from atrous.io.paths import nfc

PLACES = (
    "",
    "splits",
    "split",
    "lists",
    "list",
    "ImageSets",
    "ImageSets/Segmentation",
    "images",
    "data",
    "annotations",
)
SUFFIXES = (".txt", ".csv", ".tsv", ".lst")
ORDER = ("train", "val", "test")
TABLES = ("splits", "split")
"""Stems of a file that lists several splits: a JSON object, or a table with a column `split`."""
EXACT = {**SPLITS, "trainval": "trainval"}
"""Stem of a file that must be a list -> its split."""
IMAGE_HEADS = ("image", "img", "file", "path", "name", "id")
MASK_HEADS = ("mask", "label", "gt", "truth", "annot", "seg", "target")
SPLIT_HEADS = ("split", "subset", "partition", "fold", "set")
"""Parts of the heading of a column, the surest first."""
MISSING = ("that are not here", "correct the names, or add the files")
SEVERAL = ("whose name stands for several", "write the folders too")
OTHER_MASK = ("as a pair, but the image has the name of another mask", "rename the masks, or correct the list")
"""What may be wrong with names, and what to do."""

Row = tuple[str, str]
"""The name of an image, and of its mask or ''."""


@dataclass(frozen=True)
class SplitList:
    """A list of names. rows: for each line its possible readings, the likeliest first."""

    file: Path
    split: str
    rows: list[list[Row]]


class Names:
    """Finds files by what a list may call them: an end of their path, with or without suffix.

    ends: any end of a path below the root -> the files. wholes: the same of whole paths. below: of
    paths below the first folder. All in the form in which letter case does not count.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.ends, self.wholes, self.below = (defaultdict[str, set[Path]](set) for _ in range(3))

    def add(self, path: Path) -> None:
        """Make a file known."""
        near = path.relative_to(self.root).as_posix() if path.is_relative_to(self.root) else path.name
        for first, end in enumerate(_ends(folded(near))):
            for name in _forms(end):
                self.ends[name].add(path)
                if first < 2:
                    (self.below if first else self.wholes)[name].add(path)

    def find(self, name: str) -> set[Path]:
        """Find the files that a name may mean; the folders above the root may stand in front."""
        for parts in readings(name.strip().strip("\"'")):
            for first, end in enumerate(_ends(folded("/".join(parts)))):
                places = [self.wholes] if first else [self.ends]
                if first and parts[first - 1].lower() in (*IMAGE_FOLDERS, *MASK_FOLDERS):
                    places.append(self.below)
                found = next((place[form] for form in _forms(end) for place in places if form in place), set[Path]())
                if len(found) > 1:
                    letters = set(_forms(nfc("/".join(parts[first:]))))
                    return {path for path in found if letters & set(_same_depth(path, len(parts) - first))} or found
                if found:
                    return found
        return set()


class Files:
    """The files of a folder, by their names: images, masks (if each has its own file), pairs."""

    def __init__(self, folder: Folder) -> None:
        self.images, self.masks = Names(folder.root), Names(folder.root)
        self.pair_of: dict[Path, Pair] = {}
        self.own = all(pair.mask.suffix.lower() in IMAGE_SUFFIXES for pair in folder.pairs)
        for pair in folder.pairs:
            for path, names in ((pair.image, self.images), (pair.mask, self.masks))[: 1 + self.own]:
                names.add(path)
                self.pair_of[path] = pair
        for path in folder.lone_images:
            self.images.add(path)
        for path in folder.lone_masks if self.own else ():
            self.masks.add(path)

    def find(self, row: Sequence[Row]) -> tuple[str, str, set[Path]]:
        """Return the first reading that names a file, and the files: images, else masks."""
        for image, mask in row:
            if found := self.images.find(image) or self.masks.find(image):
                return image, mask, found
        return row[0][0], "", set()


def divide(folder: Folder) -> Folder:
    """Divide a folder by the lists that lie in it; whatever does not fit becomes a fault.

    A list of `test` whose names are all missing is left out: test pictures are often not published.
    Raises DataError for a list that cannot be read, and for two lists of one split.
    """
    files = Files(folder) if candidates(folder.root) else None
    lists = sorted(find_lists(folder.root, files), key=lambda one: ORDER.index(one.split)) if files else []
    if files is None or not lists:
        return folder
    if set(folder.splits) != {"all"}:
        listed = [one.file.relative_to(folder.root).as_posix() for one in lists]
        if files.own and (others := ", ".join(name for name in listed if not name.startswith("ImageSets/"))):
            folder.notes.append(f"{others}: not read, as the layout gives the splits")
        return folder
    own = {"faults": list(folder.faults), "clashes": list(folder.clashes), "notes": list(folder.notes)}
    found = replace(folder, splits={}, **own)  # type: ignore[arg-type]
    named: dict[Path, SplitList] = {}
    for one in lists:
        _add(found, one, files, named)
    return _with_the_others(found, folder, named)


def find_lists(root: Path, files: Files) -> list[SplitList]:
    """Find the lists of a folder, at most one for each split.

    A file that is called `train`, or the like, is a list. One with such a word in its name is a
    list if it names at least one image.
    """
    found: dict[str, SplitList] = {}
    for file in candidates(root):
        if file.stem.lower() in TABLES:
            for one in _table(file, files):
                found.setdefault(one.split, one)
            continue
        split = EXACT.get(file.stem.lower()) or split_of(file.stem)
        assert split is not None
        one = SplitList(file, split, list(_rows(file, files)))
        if file.stem.lower() not in EXACT and not any(files.find(row)[2] for row in one.rows):
            continue
        if split in found and _named(found[split], files) != _named(one, files):
            first = found[split].file.relative_to(root)
            raise DataError(
                f"{file}: a second list of the split {split!r}, with other names than {first}; keep one of them"
            )
        found.setdefault(split, one)
    both = found.pop("trainval", None)
    if both and not {"train", "val"} & set(found):
        found["train"] = replace(both, split="train")
    return list(found.values())


def _named(one: SplitList, files: Files) -> set[str]:
    """Return the files that a list names; a name of no file stands for itself."""
    found = [files.find(row) for row in one.rows]
    return {str(path) for name, _, paths in found for path in (paths or {Path(name)})}


def candidates(root: Path) -> list[Path]:
    """List the files that may be lists, by their places and names."""
    places = [root / place for place in PLACES]
    files = [file for place in places for file in files_in(place, SUFFIXES)]
    named = [file for file in files if file.stem.lower() in EXACT or split_of(file.stem)]
    return [*named, *(file for place in places for end in (".csv", ".tsv", ".json") for name in TABLES
                      if os.path.isfile(file := place / f"{name}{end}"))]  # fmt: skip


def _table(file: Path, files: Files) -> list[SplitList]:
    """Read a file that lists several splits."""
    rows: dict[str, list[list[Row]]] = defaultdict(list)
    if file.suffix == ".json":
        content = load_json(file)
        lists = content if isinstance(content, dict) else {}
        if not lists or not all(isinstance(names, list) for names in lists.values()):
            raise DataError(f"{file}: not the lists of splits; expected `train`, `val`, `test` with names, correct it")
        named = [(str(split), str(name), "") for split, names in lists.items() for name in names]
    else:
        named = [(row[-1], row[0], row[1]) for row in _cells(file, files)]
    for split, image, mask in named:
        if split.lower() not in SPLITS:
            known = ", ".join(sorted(SPLITS))
            raise DataError(f"{file}: {image!r} is in the split {split!r}; expected one of {known}, correct it")
        rows[SPLITS[split.lower()]].append([(image, mask)])
    return [SplitList(file, split, found) for split, found in rows.items()]


def _rows(file: Path, files: Files) -> Iterator[list[Row]]:
    """Yield the readings of each line."""
    lines = read_lines(file)
    if file.suffix.lower() not in (".csv", ".tsv"):
        yield from map(_readings, lines)
        return
    for image, mask, _ in _cells(file, files):
        yield [(image, mask)]


def _cells(file: Path, files: Files) -> list[tuple[str, str, str]]:
    """Read the names of image and mask, and the split, from each row of a table; '' if it has none."""
    table = [[cell.strip() for cell in row] for row in load_table(file, _delimiter(file))]
    image, mask, split = 0, 1, 1
    if table and not files.find([(table[0][0], "")])[2]:
        heads = [cell.lower() for cell in table[0]]
        split = _column(heads, SPLIT_HEADS)
        mask = _column(["" if place == split else head for place, head in enumerate(heads)], MASK_HEADS)
        image = _column(["" if place in (mask, split) else head for place, head in enumerate(heads)], IMAGE_HEADS)
        table = table[image >= 0 :]
        image, mask, split = (image, mask, split) if image >= 0 else (0, 1, 1)

    def cell(row: list[str], place: int) -> str:
        return row[place] if 0 <= place < len(row) else ""

    return [(cell(row, image), cell(row, mask), cell(row, split)) for row in table if cell(row, image)]


def _delimiter(file: Path) -> str:
    if file.suffix.lower() == ".tsv":
        return "\t"
    lines = read_lines(file)
    return ";" if lines and ";" in lines[0] and "," not in lines[0] else ","


def _column(heads: Sequence[str], words: Sequence[str]) -> int:
    return next((place for word in words for place, head in enumerate(heads) if word in head), -1)


def _readings(line: str) -> list[Row]:
    """List what a line may mean: one name, or two that a comma, a tab or spaces keep apart."""
    cuts = [match.span() for match in re.finditer(r"\s*[,;\t]\s*|\s+", line)]
    return [(line, ""), *((line[:start], line[end:]) for start, end in cuts)]


def _add(folder: Folder, one: SplitList, files: "Files", named: dict[Path, SplitList]) -> None:
    """Add the split of a list to the folder. named: file -> the list that names it first."""
    pairs: dict[Path, Pair] = {}
    problems: dict[tuple[str, str], list[str]] = defaultdict(list)
    for row in one.rows:
        name, mask, found = files.find(row)
        if len(found) != 1:
            problems[SEVERAL if found else MISSING].append(name)
            continue
        file = next(iter(found))
        pair = files.pair_of.get(file)
        image = pair.image if pair else file
        if named.setdefault(image, one) is not one:
            problems[f"that {named[image].file.name} names too", "keep each name in one list"].append(name)
            continue
        listed = files.masks.find(mask) if mask else set()
        if mask and files.own and not listed and mask.lower().endswith(IMAGE_SUFFIXES):
            problems[MISSING].append(mask)
        elif listed and pair and pair.mask not in listed:
            problems[OTHER_MASK].append(f"{name} {mask}")
        elif pair:
            pairs[image] = pair
        elif len(listed) == 1:
            pairs[image] = Pair(image, next(iter(listed)))
    if one.split == "test" and "train" in folder.splits and not pairs and set(problems) == {MISSING}:
        folder.notes.append(f"the test split is left out: none of the names in {one.file.name} is here")
        return
    if not one.rows:
        problems["", "write a name in each line, or delete the list"] = []
    for (what, remedy), names in problems.items():
        known = folder.faults if not what or (what, remedy) == MISSING else folder.clashes
        known.append((one.file, f"names {_some(names)}{what and ' '}{what}; {remedy}"))
    folder.splits[one.split] = sorted(pairs.values(), key=lambda pair: pair.image)


def _with_the_others(folder: Folder, before: Folder, named: dict[Path, SplitList]) -> Folder:
    """Add what no list names: as `train` if no list is one of `train`, else as a note."""
    taken = {path for pair in folder.pairs for path in (pair.image, pair.mask)}
    rest = [pair for pair in before.pairs if pair.image not in named]
    lone = [[path for path in paths if path not in taken] for paths in (before.lone_images, before.lone_masks)]
    if "train" not in folder.splits:
        if rest:
            folder.splits["train"] = rest
            folder.notes.append(f"no list of train: the {len(rest)} pairs that no list names are train")
        return replace(folder, lone_images=lone[0], lone_masks=lone[1])
    kept = [[path for path in paths if path in named] for paths in lone]
    if left := len(rest) + sum(map(len, lone)) - sum(map(len, kept)):
        folder.notes.append(f"no list names {left} of the pairs and lone files; they are left out")
    return replace(folder, lone_images=kept[0], lone_masks=kept[1])


def _some(names: Sequence[str]) -> str:
    """3 files ('a', 'b', 'c')"""
    if not names:
        return "nothing"
    shown = ", ".join(map(repr, names[:3])) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} file{'s' if len(names) > 1 else ''} ({shown})"


def _same_depth(path: Path, depth: int) -> tuple[str, ...]:
    """Write the last parts of a path, with and without the suffix of a picture."""
    return _forms(nfc("/".join(path.parts[-depth:])))


def _ends(path: str) -> list[str]:
    """List a path and its ends: `a/b/c`, `b/c`, `c`."""
    parts = path.split("/")
    return ["/".join(parts[first:]) for first in range(len(parts))]


def _forms(name: str) -> tuple[str, ...]:
    """Write a name with and without the suffix of a picture."""
    start, dot, end = name.rpartition(".")
    return (name, start) if f"{dot}{end}".lower() in IMAGE_SUFFIXES else (name,)
