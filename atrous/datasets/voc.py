"""PASCAL VOC, and what writes its form (labelme2voc, SBD).

ROOT/JPEGImages/2007_000032.jpg
ROOT/SegmentationClass/2007_000032.png              palette PNG, 0 = background, 255 = border
ROOT/ImageSets/Segmentation/{train,val,test}.txt    one name a line; without them every mask counts
ROOT/class_names.txt                                (labelme2voc) one name a line

Source: VOC2012 Development Kit, section 3 (host.robots.ox.ac.uk/pascal/VOC/voc2012). SBD's `trainaug.txt` and
`SegmentationClassAug/` take the place of train.txt and SegmentationClass/ where they are. trainval.txt counts where
there is no train.txt.
"""

import re
from pathlib import Path

from atrous.datasets.folder import Folder
from atrous.errors import DataError
from atrous.io.paths import pictures_below
from atrous.labels import VOC21, LabelSet

LACKS = "JPEGImages/ and SegmentationClass/ with ImageSets/Segmentation/*.txt"
LISTS = {"train": ("trainaug", "train", "trainval"), "val": ("val",), "test": ("test",)}
NAME = re.compile(r"20(0[5-9]|1[0-2])_\d{6}")
"""A name of the VOC challenges; masks of such images have VOC's 21 classes."""


def recognise(root: Path) -> str | None:
    """The folders of the VOC devkit, with lists of names."""
    if (root / "JPEGImages").is_dir() and (folder := _masks(root)) and (root / "ImageSets" / "Segmentation").is_dir():
        return f"JPEGImages/, {folder.name}/ and ImageSets/Segmentation/ are those of PASCAL VOC"
    return None


def read(root: Path) -> Folder:
    """The pairs of each list. A listed name without image or mask is a lone file; one without both is a fault."""
    painted = _masks(root)
    assert painted is not None
    images = {path.stem: path for path in pictures_below(root / "JPEGImages")}
    masks = {path.stem: path for path in pictures_below(painted)}
    folder = Folder("voc", recognise(root) or "", root, {}, _labels_of(root, list(masks)))
    lists = root / "ImageSets" / "Segmentation"
    for split, candidates in LISTS.items():
        file = next((path for name in candidates if (path := lists / f"{name}.txt").is_file()), None)
        if file is None:
            continue
        names = [line.split()[0] for line in file.read_text().splitlines() if line.strip()]
        if split == "test" and not any(name in masks for name in names):
            folder.notes.append("no name of test.txt has a mask (VOC's are not published): the split is left out")
            continue
        folder.add_named(split, sorted(names), images, masks, file)
    if not folder.splits:
        folder.add_named("all", sorted(masks), images, masks, lists)
    if folder.labels is VOC21:
        folder.notes.append("the 21 classes of PASCAL VOC, since the images have its names")
    return folder


def _labels_of(root: Path, names: list[str]) -> LabelSet | None:
    """class_names.txt, else VOC's classes where the names are VOC's, else None."""
    file = root / "class_names.txt"
    if file.is_file():
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
        found = [line for line in lines if line != "__ignore__"]
        if not found:
            raise DataError(f"{file}: no class name in it; expected one a line")
        return LabelSet(tuple("background" if name == "_background_" else name for name in found))
    return VOC21 if names and all(NAME.fullmatch(name) for name in names[:100]) else None


def _masks(root: Path) -> Path | None:
    """SBD's masks before VOC's; labelme2voc of before 2024 called them SegmentationClassPNG."""
    names = ("SegmentationClassAug", "SegmentationClassPNG", "SegmentationClass")
    return next((folder for name in names if (folder := root / name).is_dir()), None)
