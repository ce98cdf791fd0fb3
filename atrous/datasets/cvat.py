"""CVAT's export `Segmentation mask 1.1`. (Its `COCO 1.0` export is the COCO layout.)

ROOT/labelmap.txt                          lines such as background:0,0,0::
ROOT/JPEGImages/a.jpg                      if exported with `save images`; else add them, or images/
ROOT/SegmentationClass/a.png               in the colours of labelmap.txt
ROOT/ImageSets/Segmentation/default.txt    a name in each line; train.txt, ... if there are subsets

The classes are numbered in the order of labelmap.txt.

Source: docs.cvat.ai, formats, Segmentation Mask.
"""

import os
from functools import partial
from pathlib import Path

from atrous.datasets.colours import distinct, values_of
from atrous.datasets.folder import Folder, Readers, files_in, image_file, size_of_file, split_of, unique_names
from atrous.datasets.naming import listed_names, path_below
from atrous.errors import DataError
from atrous.files import read_lines
from atrous.io.paths import pictures_below
from atrous.labels import Colour, LabelSet

LACKS = "labelmap.txt, SegmentationClass/ and ImageSets/Segmentation/*.txt"


def recognise(root: Path) -> str | None:
    """By the table of colours beside the folder of masks."""
    if os.path.isfile(root / "labelmap.txt") and os.path.isdir(root / "SegmentationClass"):
        return "labelmap.txt and SegmentationClass/ are those of CVAT's segmentation masks"
    return None


def read(root: Path) -> Folder:
    """Read the pairs of each list, by their paths below the folders."""
    names = read_labelmap(root / "labelmap.txt")
    labels = LabelSet.numbered(names, names.values())
    table = {colour: index for index, colour in enumerate(names.values())}
    readers = Readers(image_file, partial(values_of, table=table), size_of_file)
    folder = Folder("cvat", recognise(root) or "", root, {}, labels, readers=readers)
    pictures = next((path for name in ("JPEGImages", "images") if os.path.isdir(path := root / name)), None)
    if pictures is None:
        raise DataError(
            f"{root / 'JPEGImages'}: no such folder; expected the images, export with `save images` or put them there"
        )
    images, masks = (
        folder.by_name(pictures_below(part), partial(path_below, part))
        for part in (pictures, root / "SegmentationClass")
    )
    lists = files_in(root / "ImageSets" / "Segmentation", ".txt")
    for file in lists:
        listed = listed_names(read_lines(file), {*images, *masks})
        folder.add_named(split_of(file.stem) or "all", sorted(listed), images, masks, file)
    if not lists:
        folder.add_named("all", sorted(set(images) | set(masks)), images, masks, root)
    return folder


def read_labelmap(file: Path) -> dict[str, Colour]:
    """Read names and colours, in the order of the file."""
    found = list[tuple[str, Colour]]()
    for line in read_lines(file):
        if line.startswith("#"):
            continue
        name, _, rest = line.partition(":")
        try:
            red, green, blue = (int(number) for number in rest.split(":")[0].split(","))
        except ValueError as error:
            raise DataError(
                f"{file}: {line!r} is not a label; expected name:red,green,blue::, correct the line"
            ) from error
        found.append((name.strip(), (red, green, blue)))
    if len(found) < 2:
        raise DataError(f"{file}: fewer than 2 labels ({len(found)}); add lines such as cat:250,50,83::")
    return distinct(unique_names(file, found), file)
