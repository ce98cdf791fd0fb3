"""Cityscapes, fine or coarse: the ids of 34 classes become the 19 classes that are scored.

ROOT/leftImg8bit/{train,val,test}/CITY/CITY_000000_000019_leftImg8bit.png
ROOT/gtFine/{train,val,test}/CITY/CITY_000000_000019_gtFine_labelIds.png       ids 0..33, or
                                  CITY_000000_000019_gtFine_labelTrainIds.png  0..18 and 255

A file of trainIds is preferred. The published `gtFine/test` holds dummies instead of labels: such a
split is left out.

Source: cityscapesScripts, helpers/labels.py (the table of ids and trainIds).
"""

import os
from pathlib import Path

import numpy as np

from atrous.datasets.folder import SPLITS, Folder, Pair, Readers, folders_in, image_file, mask_file, size_of_file
from atrous.errors import DataError
from atrous.io.paths import pictures_below
from atrous.labels import CITYSCAPES19

LACKS = "leftImg8bit/{train,val}/CITY/ and gtFine/{train,val}/CITY/"
IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The id of each trainId 0..18; the other ids 0..33 are void."""
TRAIN_IDS = np.arange(256, dtype=np.uint8)
"""id -> trainId; a value that is not an id stays, so that it is reported."""
TRAIN_IDS[:34] = 255
TRAIN_IDS[list(IDS)] = np.arange(19)


def recognise(root: Path) -> str | None:
    """By the folder of images and one of the two folders of labels."""
    labels = _labels(root)
    if os.path.isdir(root / "leftImg8bit") and labels:
        return f"leftImg8bit/ and {labels.name}/ are those of Cityscapes"
    return None


def read(root: Path) -> Folder:
    """Read the pairs of each split, with the 19 classes of trainIds."""
    labels = _labels(root)
    assert labels is not None
    readers = Readers(image_file, train_ids_of, size_of_file)
    folder = Folder("cityscapes", recognise(root) or "", root, {}, CITYSCAPES19, readers=readers)
    for images in folders_in(root / "leftImg8bit"):
        if split := SPLITS.get(images.name.lower()):
            _pair(folder, split, images, labels / images.name)
    if not folder.splits:
        raise DataError(
            f"{root / 'leftImg8bit'}: no folder train, val or test in it; expected {LACKS}, add one of them"
        )
    test = folder.splits.get("test")
    if test and (train_ids_of(test[0]) > 18).all():
        del folder.splits["test"]
        folder.notes.append("the test split is left out: its labels are not published")
    return folder


def train_ids_of(pair: Pair) -> np.ndarray:
    """Read the trainIds (H, W) of a pair, from a file of trainIds or of ids."""
    values = mask_file(pair)
    return values if pair.mask.stem.endswith("TrainIds") or values.dtype != np.uint8 else TRAIN_IDS[values]


def _labels(root: Path) -> Path | None:
    return next((folder for name in ("gtFine", "gtCoarse") if os.path.isdir(folder := root / name)), None)


def _pair(folder: Folder, split: str, images: Path, labels: Path) -> None:
    pairs = folder.splits.setdefault(split, [])
    pictured = _by_name(folder, images, "_leftImg8bit")
    kinds = [_by_name(folder, labels, f"_{labels.parent.name}_{kind}") for kind in ("labelTrainIds", "labelIds")]
    for name, image in pictured.items():
        mask = next((masks[name] for masks in kinds if name in masks), None)
        if mask:
            pairs.append(Pair(image, mask))
        else:
            folder.lone_images.append(image)
    folder.lone_masks.extend(path for masks in kinds for name, path in masks.items() if name not in pictured)


def _by_name(folder: Folder, part: Path, ending: str) -> dict[str, Path]:
    """CITY/name -> the picture CITY/name + ending."""
    pictures = [path for path in pictures_below(part) if path.stem.endswith(ending)]
    return folder.by_name(pictures, lambda path: f"{path.parent.name}/{path.stem.removesuffix(ending)}")
