"""PASCAL VOC, and others in its form (labelme2voc, SBD).

ROOT/JPEGImages/2007_000032.jpg
ROOT/SegmentationClass/2007_000032.png              palette PNG, 0 = background, 255 = border
ROOT/ImageSets/Segmentation/{train,val,test}.txt    a name in each line; default all masks
ROOT/class_names.txt                                of labelme2voc, a name in each line

SBD's `trainaug.txt` and `SegmentationClassAug/`, if present, replace train.txt and
SegmentationClass/. Without train.txt, trainval.txt counts.

Source: VOC2012 Development Kit, section 3 (host.robots.ox.ac.uk/pascal/VOC/voc2012).
"""

import os
import re
from functools import partial
from pathlib import Path

from atrous.datasets.folder import Folder, unique_names
from atrous.datasets.naming import listed_names, path_below
from atrous.errors import DataError
from atrous.files import read_lines
from atrous.io.paths import nfc, pictures_below
from atrous.labels import VOC21, LabelSet

LACKS = "JPEGImages/ and SegmentationClass/ with ImageSets/Segmentation/*.txt"
LISTS = {"train": ("trainaug", "train", "trainval"), "val": ("val",), "test": ("test",)}
NAME = re.compile(r"20(0[5-9]|1[0-2])_\d{6}")
"""The names of the VOC challenges; masks of such images have VOC's 21 classes."""


def recognise(root: Path) -> str | None:
    """By the folders of the VOC devkit, with lists of names."""
    both = all(os.path.isdir(root / place) for place in ("JPEGImages", "ImageSets/Segmentation"))
    if both and (folder := _masks(root)):
        return f"JPEGImages/, {folder.name}/ and ImageSets/Segmentation/ are those of PASCAL VOC"
    return None


def read(root: Path) -> Folder:
    """Read the pairs of each list."""
    painted = _masks(root)
    assert painted is not None
    pictures, drawn = pictures_below(root / "JPEGImages"), pictures_below(painted)
    folder = Folder("voc", recognise(root) or "", root, {}, _labels_of(root, [path.stem for path in drawn]))
    flat = all(len({nfc(path.stem) for path in files}) == len(files) for files in (pictures, drawn))
    images, masks = (
        folder.by_name(files, (lambda path: path.stem) if flat else partial(path_below, part))
        for part, files in ((root / "JPEGImages", pictures), (painted, drawn))
    )
    lists = root / "ImageSets" / "Segmentation"
    for split, candidates in LISTS.items():
        file = next((path for name in candidates if os.path.isfile(path := lists / f"{name}.txt")), None)
        if file is None:
            continue
        names = listed_names(read_lines(file), {*images, *masks})
        if split == "test" and not any(name in masks for name in names):
            folder.notes.append("the test split is left out: no name in test.txt has a mask (VOC's are not published)")
            continue
        folder.add_named(split, sorted(names), images, masks, file)
    if not folder.splits:
        folder.add_named("all", sorted(masks), images, masks, lists)
    if folder.labels is VOC21:
        folder.notes.append("the 21 classes of PASCAL VOC, as the images have its names")
    return folder


def _labels_of(root: Path, names: list[str]) -> LabelSet | None:
    """The classes of class_names.txt, else VOC's if the names are VOC's, else None."""
    file = root / "class_names.txt"
    if os.path.isfile(file):
        found = [line for line in read_lines(file) if line != "__ignore__"]
        if not found:
            raise DataError(f"{file}: no class name in it; expected one in each line, add the names")
        names = ["background" if name == "_background_" else name for name in found]
        return LabelSet(tuple(unique_names(file, ((name, f"class {value}") for value, name in enumerate(names)))))
    return VOC21 if names and all(NAME.fullmatch(name) for name in names[:100]) else None


def _masks(root: Path) -> Path | None:
    """Find the folder of masks: SBD's before VOC's; old labelme2voc has SegmentationClassPNG."""
    names = ("SegmentationClassAug", "SegmentationClassPNG", "SegmentationClass")
    return next((folder for name in names if os.path.isdir(folder := root / name)), None)
