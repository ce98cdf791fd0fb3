"""CVAT's export `CVAT for images 1.1`. (Its masks are the layout cvat, its COCO export is coco.)

ROOT/annotations.xml                     `<image name="a.jpg">` with its polygons, masks, boxes, ellipses
ROOT/images/a.jpg, ROOT/images/Train/a.jpg, ROOT/a.jpg

Classes: 0 is the background, then the labels in the order of the file. Shapes are painted by their
`z_order`, then in the order of the file, so a later one is on top. An image is in the split of its
`subset`. Outlines become pixels by COCO's rule (`datasets.shapes`); a pixel is in an ellipse if its
centre is.

Source: docs.cvat.ai, formats, CVAT.
"""

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from atrous.datasets import plain_pairs
from atrous.datasets.folder import DAMAGE, Folder, files_in, head_of, split_of, unique_names, whole
from atrous.datasets.regions import Drawing, Finder, Region, rectangle
from atrous.datasets.shapes import points_of
from atrous.errors import DataError
from atrous.files import read_text

LACKS = "annotations.xml as CVAT for images writes it, and the images"
THIN = ("polyline", "points", "cuboid", "skeleton")
"""Shapes that have no pixels."""


def recognise(root: Path) -> str | None:
    """By an XML file that begins with `<annotations>`, if there are no masks yet."""
    file = next(_files(root), None)
    if file is None or plain_pairs.has_masks(root):
        return None
    return f"{file.name} holds annotations as CVAT for images writes them"


def read(root: Path) -> Folder:
    """Read each image with its shapes; shapes that do not fit become faults."""
    drawing = Drawing(Folder("cvat_xml", recognise(root) or "", root, {}))
    finder = Finder(root)
    names: dict[str, None] = {}
    for file in _files(root):
        text = read_text(file)
        try:
            tree = ET.fromstring(text)
        except (ET.ParseError, LookupError, ValueError) as error:
            raise DataError(f"{file}: not an XML file ({error}); export it again") from error
        if tree.find("track") is not None:
            raise DataError(f"{file}: tracks of a video; expected images, export as `CVAT for images 1.1`")
        listed = [label.findtext("name") or "" for label in tree.iter("label")]
        unique_names(file, ((label, f"label {number}") for number, label in enumerate(listed, 1)))
        names |= dict.fromkeys(listed)
        for entry in tree.iter("image"):
            name, subset = entry.get("name", ""), entry.get("subset") or ""
            image = finder.find(name, subset)
            if image is None:
                drawing.lost.setdefault(file, []).append(name)
                continue
            regions = sorted(_regions(file, entry, name, listed, drawing), key=lambda pair: pair[0])
            size = (entry.get("height"), entry.get("width")) if entry.get("height") else None
            drawing.add(split_of(subset) or "all", image, file, [region for _, region in regions], size)
    drawing.names = list(names) or None
    return drawing.finished()


def _files(root: Path) -> Iterator[Path]:
    for file in (*files_in(root, ".xml"), *files_in(root / "annotations", ".xml")):
        head = head_of(file, 4000)
        if b"<annotations" in head and b"<annotation>" not in head:
            yield file


def _regions(
    file: Path, entry: ET.Element, name: str, listed: list[str], drawing: Drawing
) -> Iterator[tuple[int, Region]]:
    """Yield the shapes of an image with their z_order."""
    for number, shape in enumerate(entry):
        if shape.tag == "tag":
            continue
        what, label = f"{name}: shape {number} ({shape.tag})", shape.get("label", "")
        try:
            if shape.tag in THIN:
                raise ValueError("a shape without an area; expected a polygon, mask, box or ellipse")
            if not label or (listed and label not in listed):
                raise ValueError(f"the label {label!r}; expected one of {', '.join(listed)}")
            order = whole(shape.get("z_order", 0))
            yield order, _region(shape, f"shape {number} ({shape.tag})", label)
        except DAMAGE as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            drawing.fault(file, f"{what}: {reason}; correct or delete it")


def _region(shape: ET.Element, what: str, label: str) -> Region:
    values = shape.attrib
    if shape.tag == "polygon":
        points = [point.split(",") for point in values["points"].split(";")]
        return Region(what, label, (points_of(np.array(points, float)),))
    if shape.tag == "box":
        left, top, right, bottom = (float(values[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
        outline = rectangle(left, top, right - left, bottom - top, float(values.get("rotation", 0)))
        return Region(what, label, (outline,))
    if shape.tag == "ellipse":
        x, y, across, down = (float(values[key]) for key in ("cx", "cy", "rx", "ry"))
        return Region(what, label, ellipse=(x, y, across, down, float(values.get("rotation", 0))))
    if shape.tag == "mask":
        left, top, width, height = (whole(float(values[key])) for key in ("left", "top", "width", "height"))
        runs = np.array(values["rle"].split(","), np.int64)
        if min(width, height) < 1 or runs.min(initial=0) < 0 or int(runs.sum()) != width * height:
            raise ValueError(f"run lengths of {int(runs.sum())} pixels for a mask of {height} x {width}")
        part = np.repeat(np.arange(len(runs)) & 1, runs).astype(bool).reshape(height, width)
        return Region(what, label, part=(part, left, top))
    raise ValueError("an unknown shape; expected a polygon, mask, box or ellipse")
