"""Plain pairs: a folder of images beside a folder of masks, with or without splits.

DATA/images/0001.jpg        DATA/train/images/...        DATA/images/train/...
DATA/masks/0001.png         DATA/train/masks/...         DATA/masks/train/...
                            DATA/val/images/...          DATA/images/val/...
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from atrous.datasets.folder import SPLITS, Folder, Pair, folders_in, some_picture
from atrous.errors import DataError
from atrous.io.paths import nfc, pictures_below

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages")
MASK_FOLDERS = ("masks", "mask", "labels", "label", "annotations", "gt", "segmentationclass")
MASK_ENDINGS = (
    "_labelTrainIds", "_labelIds", "_segmentation", "_masks", "_mask", "-masks", "-mask", "_labels", "_label", "_seg",
    "_gt", "_L",
)  # fmt: skip
EXPECTED = "images/ and masks/ with the same file names (or train/, val/ and test/ with such folders in them)"


@dataclass(frozen=True)
class Matching:
    """The files of an image folder and a mask folder, paired; each list is sorted.

    doubles: (first, second) files that claim the same place.
    """

    pairs: list[Pair] = field(default_factory=list)
    lone_images: list[Path] = field(default_factory=list)
    lone_masks: list[Path] = field(default_factory=list)
    doubles: list[tuple[Path, Path]] = field(default_factory=list)

    def add_to(self, folder: Folder, split: str) -> None:
        """Add this to a folder, as one split."""
        folder.splits[split] = self.pairs
        folder.lone_images.extend(self.lone_images)
        folder.lone_masks.extend(self.lone_masks)
        folder.doubles.extend(self.doubles)


def recognise(root: Path) -> str | None:
    """By a folder of images beside one of masks, here or in the folder of each split."""
    if own := _both(root):
        return f"{own[0].name}/ and {own[1].name}/ lie side by side"
    if found := [(child, both) for child in _splits(root).values() if (both := _both(child))]:
        child, (images, masks) = found[0]
        return f"{child.name}/ holds {images.name}/ and {masks.name}/"
    return None


def read(root: Path) -> Folder:
    """Read the pairs of each split, or of `all` without splits, sorted by file name.

    Raises DataError for a split that is incomplete or stands there twice, and for a folder without
    any image or mask.
    """
    folder = Folder("pairs", recognise(root) or "", root, {})
    for split, (images, masks) in find_folders(root).items():
        matching = match(images, masks)
        if not matching.pairs and not matching.lone_images:
            raise DataError(f"{images}: no images in this folder; expected {EXPECTED}, add the images")
        if not matching.pairs and not matching.lone_masks:
            raise DataError(f"{masks}: no masks in this folder; expected {EXPECTED}, add the masks")
        matching.add_to(folder, split)
    return folder


def find_folders(root: Path) -> dict[str, tuple[Path, Path]]:
    """Find the image folder and the mask folder of each split.

    A root that is called `val` and holds images/ and masks/ is the split `val`. Raises DataError
    for a split that is incomplete or stands there twice.
    """
    if own := _both(root):
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
    found = {split: both for split, folder in splits.items() if (both := _both(folder))}
    if incomplete := sorted(set(splits) - set(found)):
        raise DataError(
            f"{splits[incomplete[0]]}: no images/ and masks/ in this folder; expected both in every split, "
            "add them or remove the split"
        )
    return found


def has_masks(root: Path) -> bool:
    """Tell whether a folder of this layout holds at least one mask."""
    return any(some_picture(masks) for _, masks in _halves(root))


def some_image(root: Path) -> Path | None:
    """Find any image in a folder of this layout."""
    return next((image for images, _ in _halves(root) if (image := some_picture(images))), None)


def folder_above(root: Path) -> Path | None:
    """Find the folder of the data set, if `root` is its images/ or its masks/."""
    return root.parent if root.name.lower() in IMAGE_FOLDERS + MASK_FOLDERS and _both(root.parent) else None


def match(images: Path, masks: Path) -> Matching:
    """Pair the pictures of two folders that have the same path below them, apart from the suffix.

    The stem of a mask may end in one of MASK_ENDINGS.
    """
    result = Matching()
    image_of: dict[str, Path] = {}
    for image in pictures_below(images):
        _put(image_of, _key(image, images), image, result)
    mask_of: dict[str, Path] = {}
    for mask in pictures_below(masks):
        key = _key(mask, masks)
        place = next((name for name in _names(key) if name in image_of), None)
        if place is None:
            result.lone_masks.append(mask)
        else:
            _put(mask_of, place, mask, result)
    for key, image in image_of.items():
        if key in mask_of:
            result.pairs.append(Pair(image, mask_of[key]))
        else:
            result.lone_images.append(image)
    return result


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


def _child(folder: Path, names: tuple[str, ...]) -> Path | None:
    there = {child.name.lower(): child for child in folders_in(folder)}
    return next((there[name] for name in names if name in there), None)


def _both(folder: Path) -> tuple[Path, Path] | None:
    images, masks = _child(folder, IMAGE_FOLDERS), _child(folder, MASK_FOLDERS)
    return (images, masks) if images and masks else None


def _halves(root: Path) -> list[tuple[Path, Path]]:
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
