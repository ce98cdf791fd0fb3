"""Plain pairs: a folder of images beside a folder of masks, with or without splits.

DATA/images/0001.jpg        DATA/train/images/...        DATA/images/train/...
DATA/masks/0001.png         DATA/train/masks/...         DATA/masks/train/...
                            DATA/val/images/...          DATA/images/val/...
"""

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np

from atrous.datasets.folder import FILES, IMAGE_FOLDERS, MASK_FOLDERS, SPLITS, Folder, Pair, folders_in, some_picture
from atrous.datasets.split_lists import candidates
from atrous.datasets.words import pair_by_words
from atrous.errors import DataError
from atrous.io import image_size, read_stored
from atrous.io.masks import mask_values
from atrous.io.paths import nfc, pictures_below

MASK_ENDINGS = (
    "_labelTrainIds", "_labelIds", "_segmentation", "_masks", "_mask", "-masks", "-mask", "_labels", "_label", "_seg",
    "_gt", "_L",
)  # fmt: skip
MOST_SHARP, CLEAR, WHITE = 8, 0.9, 128
"""A field of view of more values is smooth: JPEG, or scaled. This share of it must be nearly 0 or nearly its highest
value, which is at least WHITE, also in a JPEG of few values: JPEG changes 0 and 1 into each other."""
EXPECTED = "images/ and masks/ with the same file names (or train/, val/ and test/ with such folders in them)"


@dataclass(frozen=True)
class Matching:
    """The files of an image folder and a mask folder, paired; each list is sorted.

    doubles: (first, second) files that claim the same place. faults: (folder, why no file of it has
    a partner), which stands for the lone files. notes: sentences to print.
    """

    pairs: list[Pair] = field(default_factory=list)
    lone_images: list[Path] = field(default_factory=list)
    lone_masks: list[Path] = field(default_factory=list)
    doubles: list[tuple[Path, Path]] = field(default_factory=list)
    faults: list[tuple[Path, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add_to(self, folder: Folder, split: str) -> None:
        """Add this to a folder, as one split."""
        folder.splits[split] = self.pairs
        if not self.faults:
            folder.lone_images.extend(self.lone_images)
            folder.lone_masks.extend(self.lone_masks)
        folder.doubles.extend(self.doubles)
        folder.faults.extend(self.faults)
        folder.notes.extend(note for note in self.notes if note not in folder.notes)


def recognise(root: Path, valid_area: str | None = None) -> str | None:
    """By a folder of images beside one of masks, here or in the folder of each split; `valid_area` is none of them."""
    if own := _both(root, valid_area):
        return f"{own[0].name}/ and {own[1].name}/ lie side by side"
    if found := [(child, both) for child in _splits(root).values() if (both := _both(child, valid_area))]:
        child, (images, masks) = found[0]
        return f"{child.name}/ holds {images.name}/ and {masks.name}/"
    return None


def read(root: Path, valid_area: str | None = None) -> Folder:
    """Read the pairs of each split, or of `all` without splits, sorted by file name.

    valid_area: the name of a folder beside images/ with a field of view for each image. Raises
    DataError for a split that is incomplete or stands there twice, for a folder without any image
    or mask, and if there are no fields of view.
    """
    areas = dict[Path, Path]()
    readers = FILES._replace(area=partial(field_of_view, areas, valid_area)) if valid_area else FILES
    folder = Folder("pairs", recognise(root, valid_area) or "", root, {}, readers=readers)
    for split, (images, masks) in find_folders(root, valid_area).items():
        matching = match(images, masks)
        if not matching.pairs and not matching.lone_images:
            raise DataError(f"{images}: no images in this folder; expected {EXPECTED}, add the images")
        if not matching.pairs and not matching.lone_masks:
            raise DataError(f"{masks}: no masks in this folder; expected {EXPECTED}, add the masks")
        notes = _unread(images, masks, valid_area)
        folder.notes.extend(note for note in notes if note not in folder.notes)
        if candidates(root):  # lists may name each image with its mask
            matching.faults.clear()
        matching.add_to(folder, split)
        if valid_area:
            areas |= {pair.image: pair.mask for pair in match(images, _areas_beside(images, valid_area)).pairs}
    return folder


def area_name(root: Path, name: str) -> str:
    """Return the name of a folder of fields of view, as `mask/` too; DataError if it is none that can hold them."""
    parts = Path(name).parts
    holding = [root, *folders_in(root)]
    there = sorted({child.name for folder in holding for child in folders_in(folder)} - set(SPLITS))
    others = [child for child in there if _plain(child) not in IMAGE_FOLDERS]
    if len(parts) != 1 or parts[0] not in others:
        raise DataError(
            f"{root}: no folder {name!r} that can hold fields of view; expected the name alone of a folder beside the "
            f"images, such as {' or '.join(others[:3]) or 'mask'}"
        )
    return parts[0]


def _areas_beside(images: Path, name: str) -> Path:
    """Find the folder of fields of view for a folder of images: beside it, or as images/train and mask/train."""
    for folder in (images.parent / name, images.parent.parent / name / images.name):
        if some_picture(folder):
            return folder
    raise DataError(
        f"{images.parent}: no folder {name}/ with pictures beside {images.name}/; expected a field of view for each "
        "image there, give the folder's name"
    )


def field_of_view(areas: Mapping[Path, Path], folder: str, pair: Pair) -> np.ndarray:
    """Read which pixels of an image count: (H, W) bool, those where its field of view is not 0.

    areas: image -> its field of view, which may be smooth along its edge, as JPEG makes it. folder:
    the name of the folder where they lie. Raises DataError if the image has none, or if it is of
    another size, or has more values than 0 and one other.
    """
    path = areas.get(pair.image)
    if path is None:
        raise DataError(f"{pair.image}: has no field of view in {folder}/; add it, or move the image away")
    values, size = mask_values(read_stored(path), path), image_size(pair.image)[:2]
    if values.shape != size:
        raise DataError(
            f"{path}: a field of view of {values.shape[0]}x{values.shape[1]} pixels (H x W), its image "
            f"{pair.image.name} is {size[0]}x{size[1]}; expected equal sizes"
        )
    inside, known, top = values != 0, len(np.unique(values)), float(values.max())
    if known > MOST_SHARP and top >= WHITE and np.mean((values < top / 4) | (values > top * 3 / 4)) >= CLEAR:
        return values > top / 2
    dark = path.suffix.lower() in (".jpg", ".jpeg") and top < WHITE
    if len(np.unique(values[inside])) != 1 or dark:
        raise DataError(
            f"{path}: {known} values up to {top:g}; expected a field of view, 0 outside and one other value inside"
        )
    return inside


def find_folders(root: Path, valid_area: str | None = None) -> dict[str, tuple[Path, Path]]:
    """Find the image folder and the mask folder of each split.

    A root that is called `val` and holds images/ and masks/ is the split `val`. Raises DataError
    for a split that is incomplete or stands there twice, and where two folders could be the masks.
    """
    if own := _both(root, valid_area):
        images, masks = own
        inner_images, inner_masks = _splits(images), _splits(masks)
        if not inner_images and not inner_masks:
            return {SPLITS.get(root.name.lower(), "all"): own}
        if missing := sorted(set(inner_images) ^ set(inner_masks)):
            there, lacking = (images, masks) if missing[0] in inner_images else (masks, images)
            raise DataError(
                f"{lacking}: no folder {missing[0]!r}, but {there} has one; expected images and masks of each split, "
                "add the folder or remove the other"
            )
        return {split: (inner_images[split], inner_masks[split]) for split in inner_images}
    splits = _splits(root)
    found = {split: both for split, folder in splits.items() if (both := _both(folder, valid_area))}
    if incomplete := sorted(set(splits) - set(found)):
        raise DataError(
            f"{splits[incomplete[0]]}: no images/ and masks/ in this folder; expected both in every split, "
            "add them or remove the split"
        )
    return found


def has_masks(root: Path) -> bool:
    """Tell whether a folder of this layout holds at least one mask."""
    return any(some_picture(masks) for _, masks in halves(root))


def some_image(root: Path) -> Path | None:
    """Find any image in a folder of this layout."""
    return next((image for images, _ in halves(root) if (image := some_picture(images))), None)


def folder_above(root: Path) -> Path | None:
    """Find the folder of the data set, if `root` is its images/ or its masks/."""
    return root.parent if root.name.lower() in IMAGE_FOLDERS + MASK_FOLDERS and _both(root.parent) else None


def half_of_pairs(root: Path) -> str | None:
    """Tell what a folder lacks to be plain pairs, if it is nearly that; None if it is not."""
    images = _child(root, IMAGE_FOLDERS, "images")
    others = [folder for folder in folders_in(root) if folder != images and some_picture(folder)]
    if images and some_picture(images) and others:
        listed = ", ".join(f"{folder.name}/" for folder in others[:4]) + (" ..." if len(others) > 4 else "")
        return (
            f"{images.name}/ has no masks/ beside it, but there is {listed}; call the folder of masks masks/, or put "
            "folders that hold a mask for each class into masks/"
        )
    inner = [both for folder in folders_in(root)[:2] if (both := _both(folder))]
    if len(inner) > 1 and len(pictures_below(inner[0][0])) == 1:
        return (
            f"a folder for each image, such as {inner[0][0].parent.name}/, a form that is not read; expected one "
            "images/ and one masks/, with one mask for each image that holds the number of the class in each pixel"
        )
    return None


def match(images: Path, masks: Path) -> Matching:
    """Pair the pictures of two folders that have the same path below them, apart from the suffix.

    The stem of a mask may end in one of MASK_ENDINGS. If no mask has the name of an image, they are
    paired by `pair_by_words`.
    """
    result = Matching()
    image_of: dict[str, Path] = {}
    for image in pictures_below(images):
        _put(image_of, _key(image, images), image, result)
    mask_of: dict[str, Path] = {}
    others: dict[str, Path] = {}
    for mask in pictures_below(masks):
        key = _key(mask, masks)
        place = next((name for name in _names(key) if name in image_of), None)
        _put(others if place is None else mask_of, place or key, mask, result)
    if not mask_of and (found := pair_by_words(list(image_of), list(others))):
        mask_of = {image: others.pop(mask) for image, mask in found.pairs.items()}
        words = [" ".join(map(repr, side)) or "nothing" for side in (found.images, found.masks)]
        result.notes.append(
            f"{words[0]} in the names of {images.name}/ is {words[1]} in those of {masks.name}/: "
            "the masks are found by the rest of the names"
        )
    if not mask_of and len(image_of) > 1 and len(others) > 1:
        result.faults.append((masks, _no_partners(image_of, others, images, masks)))
    result.pairs.extend(Pair(image, mask_of[key]) for key, image in image_of.items() if key in mask_of)
    result.lone_images.extend(image for key, image in image_of.items() if key not in mask_of)
    result.lone_masks.extend(others.values())
    return result


def _no_partners(image_of: dict[str, Path], others: dict[str, Path], images: Path, masks: Path) -> str:
    """Tell in one sentence that no mask has the name of an image."""
    stems = {image.stem: image for image in image_of.values()}
    if same := next((mask for mask in others.values() if mask.stem in stems), None):
        image = stems[same.stem].relative_to(images.parent)
        return (
            f"{same.relative_to(masks.parent)} has the name of {image}, but another folder around it; expected the "
            f"same folders in {images.name}/ and {masks.name}/, move the masks"
        )
    image, mask = next(iter(image_of.values())), next(iter(others.values()))
    if len(others) >= 2 * len(image_of):
        return (
            f"{len(others)} masks for {len(image_of)} images, called like {mask.name} and {image.name}; expected one "
            "mask for each image, move the other kinds of masks away"
        )
    return (
        f"none of its {len(others)} masks has the name of one of {len(image_of)} images: they are called like "
        f"{mask.name} and {image.name}; give each mask the name of its image"
    )


def _put(places: dict[str, Path], key: str, path: Path, result: Matching) -> None:
    if key in places:
        result.doubles.append((places[key], path))
    else:
        places[key] = path


def _key(path: Path, folder: Path) -> str:
    return nfc(os.path.splitext(str(path)[len(str(folder)) + 1 :])[0].replace(os.sep, "/"))


def _names(key: str) -> Iterable[str]:
    """Yield the image stems that a mask stem may stand for: itself, then without its ending."""
    yield key
    for ending in MASK_ENDINGS:
        if key.endswith(ending):
            yield key.removesuffix(ending)


def _child(folder: Path, names: tuple[str, ...], half: str, valid_area: str | None = None) -> Path | None:
    """Find the folder with one of these names; DataError if two of them hold pictures.

    One without a picture is found only if there is no other, and the one of fields of view never.
    """
    children = [child for child in folders_in(folder) if child.name != valid_area]
    there = [(_plain(child.name), child) for child in children]
    found = [child for name in names for other, child in there if other == name]
    filled = [child for child in found if some_picture(child)] if len(found) > 1 else []
    if len(filled) > 1:
        listed = " and ".join(f"{child.name}/" for child in filled)
        disc = next((child.name for child in filled if child.name.lower() in ("mask", "masks")), "")
        area = f"; if {disc}/ holds the field of view of each image, give --valid-area {disc}" if disc else ""
        raise DataError(
            f"{folder}: {listed} could each hold the {half}; expected one such folder, move the others away or "
            f"give them other names{area}"
        )
    return next(iter([*filled, *found]), None)


def _plain(name: str) -> str:
    """Write the name of a folder as IMAGE_FOLDERS and MASK_FOLDERS do."""
    return re.sub("[ -]", "_", name.lower())


def _unread(images: Path, masks: Path, valid_area: str | None) -> Iterable[str]:
    """Yield a note on each other folder beside them with as many pictures: it may hold the labels."""
    if images.parent != masks.parent:
        return
    known = (images, masks, images.parent / str(valid_area))
    others = [one for one in folders_in(images.parent) if one not in known and one.name.lower() not in SPLITS]
    for other in (one for one in others if some_picture(one)):
        if len(pictures_below(other)) == len(pictures_below(images)):
            yield (
                f"{other.name}/ has as many pictures as {images.name}/ and is not read: the labels are those of "
                f"{masks.name}/"
            )


def _both(folder: Path, valid_area: str | None = None) -> tuple[Path, Path] | None:
    images = _child(folder, IMAGE_FOLDERS, "images", valid_area)
    masks = _child(folder, MASK_FOLDERS, "masks", valid_area)
    return (images, masks) if images and masks else None


def halves(root: Path) -> list[tuple[Path, Path]]:
    """List the (images, masks) folders in the root and in the folders of its splits."""
    folders = [root, *(child for child in folders_in(root) if child.name.lower() in SPLITS)]
    return [both for folder in folders if (both := _both(folder))]


def _splits(folder: Path) -> dict[str, Path]:
    """Find the folders of splits in a folder, in the order train, val, test."""
    found: dict[str, Path] = {}
    for child in folders_in(folder):
        split = SPLITS.get(child.name.lower())
        if split and split in found:
            raise DataError(
                f"{child}: a second folder for the split {split!r} beside {found[split].name}; keep one of them"
            )
        if split:
            found[split] = child
    return {split: found[split] for split in ("train", "val", "test") if split in found}
