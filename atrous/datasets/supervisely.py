"""Supervisely: a JSON file of objects for each image.

ROOT/meta.json                         classes in order, with colours
ROOT/DATASET/img/a.jpg                 one or more data sets; one called train, val or test is a split
ROOT/DATASET/ann/a.jpg.json            objects: polygons, bitmaps, rectangles

Classes: 0 is the background, then those of meta.json. Later objects are on top. A bitmap is a PNG,
zipped by zlib, in base64; its opaque pixels count. Outlines become pixels by COCO's rule
(`datasets.shapes`). An image without a JSON file was not annotated and is left out.

Source: docs.supervisely.com, Supervisely annotation format.
"""

import os
import zlib
from base64 import b64decode
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from atrous.datasets.folder import DAMAGE, Folder, folders_in, load_json, split_of, unique_names, whole
from atrous.datasets.naming import Tree
from atrous.datasets.regions import Drawing, Region
from atrous.datasets.shapes import points_of
from atrous.errors import DataError, let_through
from atrous.io import IMAGE_SUFFIXES, MAX_PIXELS
from atrous.io.paths import files_below, pictures_below

LACKS = "meta.json, and data sets with img/ and ann/ as Supervisely exports them"
LARGEST = 64 * 2**20
"""Bytes of an unzipped bitmap at most."""


def recognise(root: Path) -> str | None:
    """By meta.json in the folder or above, and img/ beside ann/."""
    folder = next(iter(_datasets(root)), None)
    if folder is None or _meta(root) is None:
        return None
    return f"meta.json and {(folder / 'ann').relative_to(root)}/ are those of Supervisely"


def read(root: Path) -> Folder:
    """Read each JSON file with its image; objects that do not fit become faults."""
    meta = _meta(root)
    assert meta is not None
    names = _classes(meta)
    drawing = Drawing(Folder("supervisely", recognise(root) or "", root, {}), names=names)
    tree = Tree(root)
    for folder in _datasets(root):
        split = split_of(folder.name) or "all"
        used = set()
        for file in map(Path, sorted(files_below(folder / "ann", (".json",)))):
            image = _image(folder, file, tree)
            if image is None:
                drawing.folder.lone_masks.append(file)
                continue
            used.add(image)
            content = load_json(file)
            if not isinstance(content, dict) or not isinstance(content.get("objects"), list):
                raise DataError(f"{file}: no list of `objects`; expected Supervisely's annotations, export it again")
            size = content.get("size")
            size = (size.get("height"), size.get("width")) if isinstance(size, dict) else None
            drawing.add(split, image, file, list(_regions(file, content["objects"], names, drawing)), size)
        if alone := len([image for image in pictures_below(folder / "img") if image not in used]):
            drawing.folder.notes.append(
                f"{folder.name}: {alone} images have no .json file, so were not annotated, and are left out"
            )
    return drawing.finished()


def _datasets(root: Path) -> Iterator[Path]:
    for folder in (root, *folders_in(root)):
        if os.path.isdir(folder / "img") and os.path.isdir(folder / "ann"):
            yield folder


def _meta(root: Path) -> Path | None:
    return next((file for folder in (root, root.parent) if os.path.isfile(file := folder / "meta.json")), None)


def _classes(meta: Path) -> list[str]:
    content = load_json(meta)
    try:
        names = [str(entry["title"]) for entry in content["classes"]]
    except DAMAGE as error:
        raise DataError(f"{meta}: no list of `classes` with a `title` each ({error}); export it again") from error
    unique_names(meta, ((name, f"class {number}") for number, name in enumerate(names, 1)))
    if not names:
        raise DataError(f"{meta}: 0 classes; expected one at least, export it again")
    return names


def _image(folder: Path, file: Path, tree: Tree) -> Path | None:
    """Find the image of ann/a.jpg.json: img/a.jpg; or of ann/a.json: img/a with any suffix."""
    place = folder / "img" / file.relative_to(folder / "ann").with_suffix("")
    found = tree.find(place) if place.suffix.lower() in IMAGE_SUFFIXES else []
    found = found or [path for end in IMAGE_SUFFIXES for path in tree.find(place.with_name(f"{place.name}{end}"))]
    if len(found) > 1:
        raise DataError(f"{file}: its image may be {found[0].name} or {found[1].name}; expected one, keep one of them")
    return found[0] if found else None


def _regions(file: Path, objects: list[Any], names: list[str], drawing: Drawing) -> Iterator[Region]:
    for number, entry in enumerate(objects):
        try:
            label = entry["classTitle"]
            if label not in names:
                raise ValueError(f"the class {label!r}; expected one of meta.json, {', '.join(names)}")
            yield _region(entry, f"object {number} ({label})", label)
        except DAMAGE as error:
            reason = f"no {error}" if isinstance(error, KeyError) else str(error)
            drawing.fault(file, f"object {number}: {reason}; correct or delete it")


def _region(entry: dict[str, Any], what: str, label: str) -> Region:
    kind = entry.get("geometryType") or ("bitmap" if entry.get("bitmap") else "polygon")
    if kind == "bitmap":
        left, top = (whole(number) for number in entry["bitmap"]["origin"])
        return Region(what, label, part=(_opaque(entry["bitmap"]["data"]), left, top))
    outer = np.array(entry["points"]["exterior"], float)
    if kind == "rectangle":
        (left, top), (right, bottom) = outer
        outer = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    elif kind != "polygon":
        raise ValueError(f"a {kind!r}; expected a polygon, bitmap or rectangle")
    holes = [points_of(np.array(hole, float)) for hole in entry["points"].get("interior") or ()]
    return Region(what, label, (points_of(outer), *holes))


def _opaque(text: str) -> np.ndarray:
    """Unpack a bitmap: bool (h, w), its opaque pixels, or those above 0 without transparency."""
    try:
        data = zlib.decompressobj().decompress(b64decode(text, validate=True), LARGEST)
        with Image.open(BytesIO(data), formats=("PNG",)) as picture:
            if picture.width * picture.height > MAX_PIXELS:
                raise ValueError(f"{picture.height} x {picture.width} pixels")
            if "A" in picture.getbands() or "transparency" in picture.info:
                return np.asarray(picture.convert("RGBA"))[..., 3] > 0
            return np.asarray(picture.convert("L")) > 0
    except Exception as error:  # a damaged picture can raise anything
        let_through(error)
        raise ValueError(f"a bitmap that cannot be read ({error}); expected a PNG, zipped, in base64") from error
