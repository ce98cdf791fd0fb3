"""Darwin JSON, as V7 exports it: a JSON file of annotations for each image.

ROOT/images/a.jpg
ROOT/annotations/a.json        anywhere below ROOT; version 2 with `item`, or 1 with `image`

Classes: 0 is the background, then all names from A to Z. Later annotations are on top. Polygons with
several paths are filled by the even-odd rule: an inner path is a hole. Outlines become pixels
by COCO's rule (`datasets.shapes`).

Source: docs.v7labs.com, Darwin JSON.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from atrous.datasets import plain_pairs
from atrous.datasets.folder import DAMAGE, Folder, has_sections, load_json, split_of
from atrous.datasets.regions import Drawing, Finder, Region, Size
from atrous.datasets.shapes import points_of
from atrous.errors import DataError
from atrous.io.paths import files_below

LACKS = "a .json with `item` and `annotations` for each image, as V7 exports Darwin JSON, and the images"


def recognise(root: Path) -> str | None:
    """By a JSON file with `annotations` and an `item` (or `image`), if there are no masks yet."""
    some = islice(map(Path, files_below(root, (".json",), strict=False)), 5)
    file = next(filter(_is_darwin, some), None)
    if file is None or plain_pairs.has_masks(root):
        return None
    return f"{file.relative_to(root)} holds annotations as V7 exports Darwin JSON"


def read(root: Path) -> Folder:
    """Read each JSON file with its image; annotations that do not fit become faults."""
    drawing = Drawing(Folder("darwin", recognise(root) or "", root, {}))
    finder = Finder(root)
    for file in map(Path, sorted(files_below(root, (".json",)))):
        content = load_json(file)
        try:
            name, path, size, annotations = _named(content)
        except DAMAGE:
            if _is_darwin(file):
                raise DataError(f"{file}: no `item` with a name; expected Darwin JSON, export it again") from None
            continue
        image = finder.find(name, path)
        if image is None:
            drawing.lost.setdefault(file, []).append(name)
            continue
        folders = file.relative_to(root).parts[:-1]
        split = next((found for part in folders if (found := split_of(part))), "all")
        drawing.add(split, image, file, list(_regions(file, annotations, drawing)), size)
    return drawing.finished()


def _is_darwin(file: Path) -> bool:
    named = ("item",), ("image", "original_filename")
    return any(has_sections(file, "{", "annotations", *keys) for keys in named)


def _named(content: Any) -> tuple[str, str, Size | None, list[Any]]:
    """Return the name of the image, a folder around it, its size, and the annotations."""
    item = content["item"] if "item" in content else content["image"]
    name = item["name"] if "name" in item else item["filename"]
    path = str(item.get("path") or "").strip("/")
    if not isinstance(content["annotations"], list):
        raise TypeError
    place = (item.get("slots") or [item])[0]
    size = (place["height"], place.get("width")) if "height" in place else None
    return str(name), path.rpartition("/")[2], size, content["annotations"]


def _regions(file: Path, annotations: list[Any], drawing: Drawing) -> Iterator[Region]:
    for number, entry in enumerate(annotations):
        try:
            label = str(entry["name"])
            paths = _paths(entry)
            if paths is not None:
                yield Region(f"annotation {number} ({label})", label, tuple(paths))
        except DAMAGE as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            drawing.fault(file, f"annotation {number}: {reason}; correct or delete it")


def _paths(entry: dict[str, Any]) -> list[np.ndarray] | None:
    """Return the outlines of an annotation; None for a mere tag."""
    polygon = entry.get("polygon") or entry.get("complex_polygon")
    if polygon is None:
        if "tag" in entry:
            return None
        kinds = ", ".join(key for key in entry if key in ("bounding_box", "line", "keypoint", "ellipse", "mask"))
        raise ValueError(f"no polygon but {kinds or 'nothing'}; expected polygons")
    listed = polygon.get("paths") or [polygon["path"]]
    listed = [listed] if isinstance(listed[0], dict) else listed
    return [points_of(np.array([[point["x"], point["y"]] for point in path], float)) for path in listed]
