"""COCO: objects outlined in JSON as polygons or run lengths, and the COCO exports of other tools.

ROOT/annotations/instances_train2017.json, ROOT/train2017/*.jpg or ROOT/images/train2017/*.jpg
ROOT/annotations/instances_default.json, ROOT/images/*.jpg                      (CVAT)
ROOT/train/_annotations.coco.json, ROOT/train/*.jpg                             (Roboflow)
ROOT/labels.json, ROOT/data/*.jpg                                               (FiftyOne)

Classes: 0 is the background (no object), then 1..K are the categories in the order of their ids. A
category called background is value 0. Objects are painted from the largest to the smallest area, so
that the small one is on top. Crowds are objects. Several polygons of one object are united.
Polygons become pixels by COCO's rule (`datasets.shapes`).

Source: cocodataset.org, data format, object detection.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from atrous.datasets import shapes
from atrous.datasets.folder import (
    DAMAGE,
    Folder,
    Pair,
    Readers,
    checked_size,
    files_in,
    folders_in,
    has_sections,
    image_file,
    load_json,
    size_of_file,
    split_of,
    unique_names,
    whole,
)
from atrous.datasets.naming import Named
from atrous.datasets.rle import decode_counts, runs_of
from atrous.errors import DataError
from atrous.labels import LabelSet

LACKS = "annotations/instances_*.json, or _annotations.coco.json beside the images"
OTHERS = ("captions", "person_keypoints", "panoptic", "image_info", "stuff")
"""Beginnings of the names of COCO's own files without objects."""
NAMES = ("_annotations.coco.json", "annotations.json", "instances.json", "labels.json")
"""Files in the folder of a split; they are looked for by name, as images lie there too."""


Key = tuple[Path, str]
"""What tells the labels of a pair: its annotation file and the entry of its image there."""


class Shape(NamedTuple):
    """One object: id of its annotation, class value, area in pixels, outlines or run lengths."""

    id: object
    value: int
    area: float
    outlines: tuple[np.ndarray, ...]
    runs: np.ndarray | None


@dataclass(frozen=True)
class ObjectPainter:
    """Paints the labels of a pair. records: the height, width and shapes of its image's entry."""

    records: dict[Key, tuple[int, int, list[Shape]]]
    dtype: np.dtype[Any]

    def __call__(self, pair: Pair) -> np.ndarray:
        """Paint (H, W) class values; DataError names an annotation that cannot be painted."""
        height, width, found = self.records[pair.mask, pair.entry]
        values: np.ndarray = np.zeros((height, width), self.dtype)
        for shape in sorted(found, key=lambda shape: -shape.area):
            try:
                if shape.runs is None:
                    values[shapes.fill(shape.outlines, height, width)] = shape.value
                else:
                    values[decode_counts(shape.runs, height, width)] = shape.value
            except ValueError as error:
                raise DataError(f"{pair.where}: annotation {shape.id}: {error}; correct or delete it") from error
        return values


def recognise(root: Path) -> str | None:
    """By a JSON file with COCO's sections at one of the usual places."""
    files = _files(root)
    return _why(root, files) if files else None


def _why(root: Path, files: Sequence[Path]) -> str:
    return f"{files[0].relative_to(root)} holds annotations of COCO's form"


def read(root: Path) -> Folder:
    """Read every annotation file with its images; the classes are the categories of all files."""
    files = _files(root)
    folder = Folder("coco", _why(root, files), root, {})
    parsed = {file: _parse(file) for file in files}
    names = _categories(parsed)
    labels = LabelSet.numbered(names.values())
    value_of: dict[float, int] = {id: value for value, id in enumerate(names)}
    painter = ObjectPainter({}, labels.dtype)
    for file, content in parsed.items():
        split = split_of(file.stem) or (split_of(file.parent.name) if file.parent != root else None) or "all"
        _pair(folder, split, file, content, value_of, painter)
    return replace(folder, labels=labels, readers=Readers(image_file, painter, size_of_file))


def _files(root: Path) -> list[Path]:
    found = [*files_in(root, ".json"), *files_in(root / "annotations", ".json")]
    folders = [path for path in folders_in(root) if split_of(path.name)]
    found += [file for folder in folders for name in NAMES if os.path.isfile(file := folder / name)]
    found = [file for file in found if not file.name.startswith(OTHERS)]
    found = [file for file in found if has_sections(file, "{", "images", "annotations|categories")]
    return [file for file in found if file.name.startswith("instances")] or found


def _parse(file: Path) -> dict[str, list[Any]]:
    """Read the sections of a file.

    Outlines become arrays while the file is read: as lists of Python they would take gigabytes.
    """
    content = load_json(file, _shrink)
    sections = ("images", "annotations", "categories")
    if not isinstance(content, dict) or not all(_is_table(content.get(name)) for name in sections):
        raise DataError(
            f"{file}: not COCO's annotations; expected the lists images, annotations and categories, export it again"
        )
    if any("segments_info" in entry for entry in content["annotations"][:1]):
        raise DataError(
            f"{file}: panoptic annotations, which cannot be read; expected objects, "
            "use the instances or COCO-Stuff's maps"
        )
    return content


def _shrink(entry: dict[str, Any]) -> dict[str, Any]:
    if "segmentation" not in entry:
        return entry
    found = entry["segmentation"]
    try:
        if isinstance(found, list):
            outlines = tuple(shapes.points_of(part) for part in (found if _is_nested(found) else [found]) if part)
            entry = {**entry, "segmentation": outlines}
        elif isinstance(found, dict) and "counts" in found:
            counts = found["counts"]
            runs = runs_of(counts) if isinstance(counts, str) else np.array([whole(run) for run in counts], np.int64)
            size = tuple(whole(side) for side in found.get("size", ()))
            if runs.ndim != 1 or len(size) not in (0, 2):
                raise ValueError("its RLE is not one list of run lengths with a size of height and width")
            entry = {**entry, "segmentation": (runs, size)}
        else:
            entry = {**entry, "segmentation": ()}
    except DAMAGE as error:
        entry = {**entry, "segmentation": error}
    keep = ("id", "image_id", "category_id", "segmentation")
    return {key: entry[key] for key in keep if key in entry}


def _is_table(section: object) -> bool:
    return isinstance(section, list) and all(isinstance(entry, dict) for entry in section)


def _is_nested(found: Sequence[Any]) -> bool:
    return not found or isinstance(found[0], list)


def _categories(parsed: dict[Path, dict[str, list[Any]]]) -> dict[int, str]:
    """Collect id -> name, background first, then by id; DataError if two files disagree."""
    found: dict[int, str] = {}
    parents: set[str] = set()
    tops: set[int] = set()
    for file, content in parsed.items():
        for entry in content["categories"]:
            try:
                id, name = whole(entry["id"]), str(entry["name"])
            except DAMAGE as error:
                raise DataError(
                    f"{file}: the category {entry} has no id or no name; expected both, export it again"
                ) from error
            if found.setdefault(id, name) != name:
                raise DataError(
                    f"{file}: category {id} is {name!r}, but {found[id]!r} in another file; "
                    "expected the same categories in all files, export them together"
                )
            parents.add(str(entry.get("supercategory")))
            if entry.get("supercategory") == "none":
                tops.add(id)
    used = {_category(entry) for content in parsed.values() for entry in content["annotations"]}
    # Roboflow has the project itself as a category: the parent of all others, without an object
    found = {id: name for id, name in found.items() if id in used or id not in tops or name not in parents}
    unique_names(next(iter(parsed)), ((name, f"category {id}") for id, name in found.items()))
    background = next((id for id, name in found.items() if name.lower() == "background"), None)
    first = {-1: "background"} if background is None else {background: found.pop(background)}
    if not found:
        raise DataError(f"{next(iter(parsed))}: no category with objects; expected at least one, export it again")
    return {**first, **dict(sorted(found.items()))}


def _category(annotation: dict[str, Any]) -> float:
    """Return the id of an annotation's category; NaN, which is no category, if it is not a number."""
    id = annotation.get("category_id")
    return id if isinstance(id, int | float) else float("nan")


def _pair(
    folder: Folder,
    split: str,
    file: Path,
    content: dict[str, list[Any]],
    value_of: dict[float, int],
    painter: ObjectPainter,
) -> None:
    """Add the pairs of one file with their shapes; whatever does not fit becomes a fault."""
    found = _images(folder, file, content["images"], painter)
    known, without = {str(entry.get("id")) for entry in content["images"]}, 0
    for entry in content["annotations"]:
        id, owner, outline = entry.get("id"), str(entry.get("image_id")), entry.get("segmentation", ())
        category = _category(entry)
        if owner not in known:
            sentence = f"annotation {id} belongs to image {owner}, which is not listed"
            folder.faults.append((file, f"{sentence}; add the image or delete the annotation"))
        elif category not in value_of:
            known_ids = ", ".join(str(id) for id in list(value_of)[:5] if id >= 0)
            wrong = f"annotation {id} has the category {entry.get('category_id')}, expected one of {known_ids} ..."
            folder.faults.append((file, f"{wrong}; add the category or correct it"))
        elif isinstance(outline, Exception):
            folder.faults.append((file, f"annotation {id}: {outline}; correct or delete it"))
        elif not outline:
            without += 1
        elif (pair := found.get(owner)) is not None:
            height, width, drawn = painter.records[file, pair.entry]
            shape = _shape(id, value_of[category], outline)
            if problem := _misplaced(shape, outline, height, width):
                folder.faults.append((file, f"annotation {id} of {pair.image.name}: {problem}; correct or delete it"))
            else:
                drawn.append(shape)
    if without == len(content["annotations"]) and without:
        raise DataError(f"{file}: all {without} annotations are boxes; expected outlines, export polygons or masks")
    if without:
        folder.notes.append(f"{file.name}: {without} annotations are boxes without an outline and are left out")
    folder.splits.setdefault(split, []).extend(sorted(found.values(), key=lambda pair: pair.image))


def _images(folder: Folder, file: Path, entries: Sequence[dict[str, Any]], painter: ObjectPainter) -> dict[str, Pair]:
    """Find the image of each entry: id -> pair. An image that cannot be told is a fault."""
    part = file.stem.rpartition("_")[2]  # instances_train2017 -> train2017
    near = [folder.root / "images" / part, folder.root / part, file.parent, file.parent / "images"]
    near += [file.parent / "data", folder.root / "images", folder.root / "data"]
    named = Named(folder.root, near)
    found: dict[str, Pair] = {}
    missing = []
    for entry in entries:
        id, name = str(entry.get("id")), str(entry.get("file_name") or "")
        images = named.find(name)
        if len(images) > 1:
            both = " or ".join(path.relative_to(folder.root).as_posix() for path in images[:2])
            folder.clashes.append((file, f"image {id}, {name!r}, may be {both}; give its file_name with its folders"))
        elif not images:
            missing.append(name)
        elif (other := found.setdefault(id, Pair(images[0], file, f"image {id}"))).image == images[0]:
            size = checked_size(entry.get("height"), entry.get("width"), other.where)
            painter.records[file, other.entry] = (*size, [])
        else:
            shared = f"share the id {id} in {file.name}: nobody can tell whose its annotations are"
            for one, two in (other.image, images[0]), (images[0], other.image):
                folder.clashes.append((one, f"this image and {two.name} {shared}; give each an id, export it again"))
    if missing:
        names = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        places = " or ".join(map(str, named.places[:3]))
        near_name = named.nearest(missing[0])
        hint = f", the nearest name to {missing[0]} is {near_name}" if near_name else ""
        folder.faults.append((file, f"{len(missing)} of its images ({names}) are not in {places}{hint}; add them"))
    return found


def _shape(id: object, value: int, outline: tuple[Any, ...]) -> Shape:
    if outline[0].ndim == 1:
        return Shape(id, value, float(outline[0][1::2].sum()), (), outline[0])
    return Shape(id, value, sum(shapes.area(points) for points in outline), outline, None)


def _misplaced(shape: Shape, outline: tuple[Any, ...], height: int, width: int) -> str | None:
    """Tell what is wrong with the place of a shape, or None."""
    if shape.runs is not None and outline[1] and tuple(outline[1]) != (height, width):
        return f"its RLE has {outline[1][0]} x {outline[1][1]} pixels, the image {height} x {width}"
    if shape.outlines and all(shapes.is_outside(points, height, width) for points in shape.outlines):
        return f"its outline lies outside the image, {height} x {width} pixels"
    return None
