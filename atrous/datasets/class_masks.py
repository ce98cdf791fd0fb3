"""A mask for each class: in a folder of its own, or with the class at the end of its name.

ROOT/images/a.png                      ROOT/images/a.png
ROOT/masks/tree/a.png                  ROOT/masks/a_tree.png
ROOT/masks/road/a.png                  ROOT/masks/a_road.png         (splits as in plain pairs)

A mask holds 0, and one other value where its class is. Classes: 0 is the background, then all
classes from A to Z; a class called background is value 0 too. A class without a mask for an image
is not in it. Two classes on one pixel cannot be told apart and are an error.
"""

import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from atrous.datasets import plain_pairs
from atrous.datasets.folder import SPLITS, Folder, Pair, Readers, folders_in, image_file, size_of_file, some_picture
from atrous.datasets.regions import BACKGROUND
from atrous.errors import DataError
from atrous.io import IMAGE_SUFFIXES, read_mask
from atrous.io.paths import nfc, pictures_below
from atrous.labels import LabelSet

LACKS = "images/ and a folder for each class in masks/, or masks/NAME_CLASS.png"
CUT = re.compile(r"[_\-. ]+")


@dataclass(frozen=True)
class ClassPainter:
    """Unites the masks of the classes. records: pair -> (mask, class value)."""

    records: dict[Pair, list[tuple[Path, int]]]
    dtype: np.dtype[Any]

    def __call__(self, pair: Pair) -> np.ndarray:
        """Paint (H, W) class values; DataError for another value, or where two classes overlap."""
        values: np.ndarray | None = None
        owner: np.ndarray | None = None
        files = self.records[pair]
        for number, (file, value) in enumerate(files, 1):
            mask = read_mask(file)
            levels = set(np.unique(mask).tolist()) - {0}
            if len(levels) > 1:
                raise DataError(
                    f"{file}: {len(levels) + 1} values ({', '.join(map(str, sorted(levels)[:4]))} ...) in the mask of "
                    "one class; expected 0 and one other value, write it again"
                )
            if values is None or owner is None:
                values, owner = np.zeros(mask.shape, self.dtype), np.zeros(mask.shape, np.uint16)
            if mask.shape != values.shape:
                raise DataError(f"{file}: {mask.shape} pixels, {files[0][0].name} {values.shape}; expected equal sizes")
            both = (owner > 0) & (mask > 0)
            if both.any():
                other = files[int(owner[both][0]) - 1][0]
                raise DataError(
                    f"{file}: {int(both.sum())} pixels are of this class and of {other.parent.name}/{other.name}; "
                    "expected one class for each pixel, erase one of them"
                )
            owner[mask > 0] = number
            values[mask > 0] = value
        assert values is not None
        return values


def recognise(root: Path) -> str | None:
    """By folders in masks/ that repeat the names of the images, or by a word behind these names."""
    try:
        folders = plain_pairs.find_folders(root)
    except DataError:
        return None
    for images, masks in folders.values():
        if _is_partner(some_picture(masks), masks, images):  # plain pairs, told fast among many files
            return None
        if mask := object_mask(images, masks):
            return f"{mask.relative_to(root)} is the mask of one object"
        if found := classes_of(images, masks):
            shown = ", ".join(sorted(found)[:3])
            return f"{masks.relative_to(root)}/ holds a mask for each class ({shown}{' ...' if len(found) > 3 else ''})"
    return None


def read(root: Path) -> Folder:
    """Read the masks of each image; those without an image become lone masks.

    Raises DataError for a mask for each object, as its class cannot be told.
    """
    folder = Folder("class_masks", recognise(root) or "", root, {})
    found: dict[Pair, dict[str, Path]] = {}
    for split, (images, masks) in plain_pairs.find_folders(root).items():
        if mask := object_mask(images, masks):
            raise DataError(
                f"{masks}: a mask for each object (such as {mask.relative_to(masks)}), a form that is not read; "
                "expected one mask for each image, unite them with the number of the class in each pixel"
            )
        masks_of: dict[Path, dict[str, Path]] = {}
        for name, (matched, lone) in classes_of(images, masks).items():
            folder.lone_masks.extend(lone)
            for image, mask in matched.items():
                masks_of.setdefault(image, {})[name] = mask
        found |= {Pair(image, masks): own for image, own in masks_of.items()}
        folder.splits[split] = [Pair(image, masks) for image in sorted(masks_of)]
        folder.lone_images.extend(image for image in pictures_below(images) if image not in masks_of)
    names = sorted({name for own in found.values() for name in own})
    labels = LabelSet.numbered(["background", *(name for name in names if name.lower() not in BACKGROUND)])
    values = {name: labels.names.index(name) if name in labels.names else 0 for name in names}
    records = {pair: [(mask, values[name]) for name, mask in sorted(own.items())] for pair, own in found.items()}
    readers = Readers(image_file, ClassPainter(records, labels.dtype), size_of_file)
    return replace(folder, labels=labels, readers=readers)


def classes_of(images: Path, masks: Path) -> dict[str, tuple[dict[Path, Path], list[Path]]]:
    """Return class -> (image -> mask, masks without an image); {} if the masks have another form."""
    return _by_folder(images, masks) or _by_name(images, masks)


def _is_partner(mask: Path | None, masks: Path, images: Path) -> bool:
    """Tell whether an image has the name of a mask."""
    place = images / mask.relative_to(masks).with_suffix("") if mask else images
    return any(os.path.isfile(place.with_name(place.name + suffix)) for suffix in IMAGE_SUFFIXES)


def object_mask(images: Path, masks: Path) -> Path | None:
    """Find any mask if there is one for each object: masks/a/1.png or masks/a_1.png for a.png."""
    stems = {nfc(path.stem) for path in pictures_below(images)}
    folders = folders_in(masks)
    if folders and all(nfc(folder.name) in stems for folder in folders) and not _by_folder(images, masks):
        return next((mask for folder in folders for mask in pictures_below(folder)), None)
    found = _cut(images, masks) or {}
    several = len(found) > len({image for image, _ in found.values()})
    numbered = several and all(name.isdigit() for _, name in found.values())
    return next(iter(found)) if numbered else None


def _by_folder(images: Path, masks: Path) -> dict[str, tuple[dict[Path, Path], list[Path]]]:
    folders = folders_in(masks)
    own = {nfc(folder.name) for folder in folders_in(images)}
    if not folders or any(nfc(folder.name) in own or folder.name.lower() in SPLITS for folder in folders):
        return {}
    below = {folder: pictures_below(folder) for folder in folders}
    if len(pictures_below(masks)) > sum(map(len, below.values())):
        return {}
    found = {}
    for folder in (folder for folder in folders if below[folder]):
        matched = {pair.image: pair.mask for pair in plain_pairs.match(images, folder).pairs}
        found[nfc(folder.name)] = matched, [mask for mask in below[folder] if mask not in matched.values()]
    return found if any(matched for matched, _ in found.values()) else {}


def _by_name(images: Path, masks: Path) -> dict[str, tuple[dict[Path, Path], list[Path]]]:
    cut = _cut(images, masks)
    if cut is None or any(f"_{name}".endswith(plain_pairs.MASK_ENDINGS) for _, name in cut.values()):
        return {}
    found: dict[str, tuple[dict[Path, Path], list[Path]]] = {}
    for mask, (image, name) in cut.items():
        found.setdefault(name, ({}, []))[0].setdefault(image, mask)
    return found if len(found) > 1 and len(cut) > len({image for image, _ in cut.values()}) else {}


def _cut(images: Path, masks: Path) -> dict[Path, tuple[Path, str]] | None:
    """Cut the name of each mask into that of an image and a class; None if one cannot be cut."""
    image_of = {_key(path, images): path for path in pictures_below(images)}
    found: dict[Path, tuple[Path, str]] = {}
    for mask in pictures_below(masks):
        key = _key(mask, masks)
        if key in image_of:
            return None
        cuts = [match.span() for match in CUT.finditer(key.name)][::-1]
        halves = [(key.name[:start], key.name[end:]) for start, end in cuts]
        halves += [(behind, front) for front, behind in halves]
        place = next(((image, name) for stem, name in halves if (image := image_of.get(key.with_name(stem)))), None)
        if place is None:
            return None
        found[mask] = place
    return found


def _key(path: Path, folder: Path) -> Path:
    return Path(nfc(str(path.relative_to(folder).with_suffix(""))))
