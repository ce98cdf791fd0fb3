"""VGG Image Annotator (VIA 1 and 2): regions in a JSON file or a table.

ROOT/via_region_data.json, ROOT/a.jpg                 or such files in train/, val/, test/, images/
ROOT/via_project.json                                 a saved project
ROOT/via_export_csv.csv                               columns filename, region_shape_attributes, ...

The label of a region is the value of its attribute; if regions have several attributes, of the one
called class, label, name, type, category or object. Regions without any attribute are all of one
class, `object`. Classes: 0 is the background, then all labels from A to Z. Later regions are on top.
Polygons and rectangles become pixels by COCO's rule (`datasets.shapes`); a pixel is in a circle or
an ellipse if its centre is.

Source: robots.ox.ac.uk/~vgg/software/via, the code of version 2.
"""

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from atrous.datasets import plain_pairs
from atrous.datasets.folder import (
    DAMAGE,
    IMAGE_FOLDERS,
    MASK_FOLDERS,
    SPLITS,
    Folder,
    files_in,
    folders_in,
    head_of,
    load_json,
    load_table,
)
from atrous.datasets.regions import Drawing, Finder, Region, rectangle
from atrous.datasets.shapes import points_of
from atrous.errors import DataError
from atrous.files import parse_json

LACKS = "via_region_data.json or .csv as VGG Image Annotator writes them, and the images"
ATTRIBUTES = ("class", "label", "name", "type", "category", "object")
COLUMNS = ("filename", "region_shape_attributes", "region_attributes")
ALONE = "object"
"""The class of regions without any attribute."""


def recognise(root: Path) -> str | None:
    """By a JSON file or a table with VIA's regions, if there are no masks yet."""
    file = next((file for _, file in _files(root)), None)
    if file is None or plain_pairs.has_masks(root):
        return None
    return f"{file.relative_to(root)} holds regions as VGG Image Annotator writes them"


def read(root: Path) -> Folder:
    """Read each image with its regions; regions that do not fit become faults."""
    drawing = Drawing(Folder("via", recognise(root) or "", root, {}))
    parsed = [(split, file, _parse(file)) for split, file in _files(root)]
    attribute = _attribute(root, [region for _, _, images in parsed for found in images.values() for region in found])
    for split, file, images in parsed:
        finder = Finder(root if split == "all" else file.parent)
        for name, entries in images.items():
            image = finder.find(name)
            if image is None:
                drawing.lost.setdefault(file, []).append(name)
                continue
            regions = list[Region]()
            for number, entry in enumerate(entries):
                try:
                    regions.append(_region(entry, number, attribute))
                except DAMAGE as error:
                    reason = f"no {error}" if isinstance(error, KeyError) else str(error)
                    drawing.fault(file, f"{name}: region {number}: {reason}; correct or delete it")
            drawing.add(split, image, file, regions)
    return drawing.finished()


def _files(root: Path) -> Iterator[tuple[str, Path]]:
    folders = [(SPLITS.get(path.name.lower(), "all"), path) for path in folders_in(root)]
    known = (*SPLITS, *IMAGE_FOLDERS, *MASK_FOLDERS)
    for split, folder in (("all", root), *(place for place in folders if place[1].name.lower() in known)):
        for file in files_in(folder, (".json", ".csv")):
            head = head_of(file)
            if file.suffix.lower() == ".csv":
                head = head.partition(b"\n")[0]
                if all(name.encode() in head for name in COLUMNS):
                    yield split, file
            elif b'"_via_' in head or (b'"filename"' in head and b'"regions"' in head):
                yield split, file


def _parse(file: Path) -> dict[str, list[Any]]:
    """Read a file: name of an image -> its regions."""
    found: dict[str, list[Any]] = defaultdict(list)
    try:
        if file.suffix.lower() == ".csv":
            heads, *rows = load_table(file)
            for cells in rows:
                row = dict.fromkeys(COLUMNS, "") | dict(zip((head.lstrip("#") for head in heads), cells, strict=False))
                shape = parse_json(row["region_shape_attributes"] or "{}")
                entries = found[row["filename"]]
                if shape:
                    attributes = parse_json(row["region_attributes"] or "{}")
                    entries.append({"shape_attributes": shape, "region_attributes": attributes})
            return found
        content = load_json(file)
        content = content.get("_via_img_metadata", content)
        for entry in content.values():
            regions = entry["regions"]
            found[str(entry["filename"])].extend(regions.values() if isinstance(regions, dict) else regions)
    except DAMAGE as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{file}: not the regions of VIA ({type(error).__name__}: {error}); expected images with `filename` and "
            "`regions`, export it again"
        ) from error
    return found


def _attribute(root: Path, regions: list[Any]) -> str | None:
    """Tell the attribute that holds the label; None if no region has an attribute."""
    found = [entry.get("region_attributes") for entry in regions if isinstance(entry, dict)]
    names = sorted({str(name) for attributes in found if isinstance(attributes, dict) for name in attributes})
    if len(names) <= 1:
        return names[0] if names else None
    known = next((name for word in ATTRIBUTES for name in names if name.lower() == word), None)
    if known is None:
        raise DataError(
            f"{root}: regions have the attributes {', '.join(names)}; expected the label in one called class or label, "
            "rename it in VIA"
        )
    return known


def _region(entry: Any, number: int, attribute: str | None) -> Region:
    shape, attributes = entry["shape_attributes"], entry.get("region_attributes") or {}
    kind, label = shape["name"], ALONE if attribute is None else attributes.get(attribute)
    if isinstance(label, dict):  # check boxes
        ticked = [name for name, value in label.items() if value]
        label = ticked[0] if len(ticked) == 1 else None
    if label in (None, ""):
        raise ValueError(f"no single label in its attribute {attribute!r}")
    what = f"region {number} ({label})"
    if kind == "polygon":
        return Region(what, str(label), (points_of(np.array([shape["all_points_x"], shape["all_points_y"]], float).T),))
    if kind == "rect":
        x, y, width, height = (float(shape[key]) for key in ("x", "y", "width", "height"))
        return Region(what, str(label), (rectangle(x, y, width, height),))
    if kind in ("circle", "ellipse"):
        radii = ("r", "r") if kind == "circle" else ("rx", "ry")
        x, y, across, down = (float(shape[key]) for key in ("cx", "cy", *radii))
        return Region(what, str(label), ellipse=(x, y, across, down, float(np.rad2deg(shape.get("theta", 0)))))
    raise ValueError(f"a {kind!r}, which has no area; expected a polygon, rect, circle or ellipse")
