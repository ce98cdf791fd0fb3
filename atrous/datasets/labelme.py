"""labelme: a JSON file of shapes beside each image.

ROOT/a.jpg, ROOT/a.json    or such files in train/, val/, test/
ROOT/labels.txt            optional: the classes in order, with `__ignore__` and `_background_`

Classes: 0 is the background, then the names of labels.txt, else all names in alphabetical order.
`__ignore__` is 255. Shapes are painted in the order of the file, so a later one is on top. An image
without a JSON file was not annotated and is left out.

Source: github.com/wkentaro/labelme, docs. Shapes are painted as its `shape_to_mask` does, with
Pillow: the outline belongs to the shape, lines are 10 wide, points have radius 5.
"""

import os
from base64 import b64decode
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import islice
from math import hypot
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from atrous.datasets import plain_pairs
from atrous.datasets.folder import (
    DAMAGE,
    SPLITS,
    Folder,
    Pair,
    Readers,
    checked_size,
    folders_in,
    has_sections,
    image_file,
    load_json,
    size_of_file,
)
from atrous.datasets.naming import Named
from atrous.datasets.shapes import is_outside
from atrous.errors import DataError, let_through, nearest
from atrous.files import read_lines
from atrous.io import image_size, is_picture
from atrous.io.paths import files_below, pictures_below
from atrous.labels import LabelSet

LACKS = "a .json with `shapes` beside each image, as labelme writes it"
FEW = 20
"""How many JSON files are looked at to recognise the layout."""
LINE_WIDTH, POINT_RADIUS = 10, 5
IGNORE, BACKGROUND = "__ignore__", ("_background_", "background")
POINTS = {"polygon": 3, "oriented_rectangle": 4, "rectangle": 2, "circle": 2, "line": 2, "linestrip": 2, "point": 1,
          "mask": 2}  # fmt: skip
"""Type of a shape -> the number of points that it needs."""


@dataclass(frozen=True)
class ShapePainter:
    """Paints the shapes of a JSON file. values: label -> class value."""

    values: dict[str, int]
    dtype: np.dtype[Any]

    def __call__(self, pair: Pair) -> np.ndarray:
        """Paint (H, W) class values; DataError names a shape that cannot be painted."""
        content = load_json(pair.mask)
        height, width = _size(content, pair)
        values: np.ndarray = np.zeros((height, width), self.dtype)
        for number, shape in enumerate(content["shapes"]):
            if not isinstance(shape, dict) or "label" not in shape:
                raise DataError(f"{pair.mask}: shape {number} has no label; draw it again")
            label = str(shape["label"])
            if label not in self.values:
                raise DataError(
                    f"{pair.mask}: shape {number} has the label {label!r}, which came after the folder was "
                    "opened; start again"
                )
            try:
                values[paint_shape(shape, height, width)] = self.values[label]
            except Exception as error:  # damaged points and pictures can raise anything
                let_through(error)
                raise DataError(f"{pair.mask}: shape {number} ({label}): {error}; draw it again") from error
        return values


def paint_shape(shape: dict[str, Any], height: int, width: int) -> np.ndarray:
    """Paint a shape as bool (H, W), as labelme does; a damaged one can raise any exception."""
    kind, points = shape.get("shape_type") or "polygon", [tuple(map(float, point)) for point in shape["points"]]
    if kind == "mask":
        return _paste(shape["mask"], points, height, width)
    picture = Image.new("1", (width, height))
    draw = ImageDraw.Draw(picture)
    if kind in ("polygon", "oriented_rectangle"):
        draw.polygon(points, outline=1, fill=1)
    elif kind == "rectangle":
        (left, top), (right, bottom) = points
        draw.rectangle((min(left, right), min(top, bottom), max(left, right), max(top, bottom)), outline=1, fill=1)
    elif kind in ("line", "linestrip"):
        draw.line(points, fill=1, width=LINE_WIDTH)
    else:
        x, y = points[0]
        radius = hypot(points[1][0] - x, points[1][1] - y) if kind == "circle" else POINT_RADIUS
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=1, fill=1)
    return np.asarray(picture)


def _paste(packed: str, points: list[tuple[float, ...]], height: int, width: int) -> np.ndarray:
    """Paint a packed PNG with its first pixel at the first point, cut off at the image's border."""
    with Image.open(BytesIO(b64decode(packed)), formats=("PNG",)) as picture:
        if picture.width > width + 1 or picture.height > height + 1:
            raise ValueError(f"its mask of {picture.height} x {picture.width} pixels is larger than the image")
        part = np.asarray(picture.convert("L")) > 0
    left, top = (round(number) for number in points[0])
    mask = np.zeros((height, width), bool)
    rows, columns = np.nonzero(part)
    inside = (rows + top >= 0) & (rows + top < height) & (columns + left >= 0) & (columns + left < width)
    mask[rows[inside] + top, columns[inside] + left] = True
    return mask


def recognise(root: Path) -> str | None:
    """By a JSON file of shapes in the folder or below, if there are no finished masks."""
    files = (file for part in _folders(root).values() for file in _some_jsons(part))
    file = next(filter(_is_labelme, files), None)
    if file is None or plain_pairs.has_masks(root):
        return None
    return f"{file.relative_to(root)} holds shapes as labelme writes them"


def read(root: Path) -> Folder:
    """Read each JSON file with its image; unknown labels and shapes are faults."""
    folder = Folder("labelme", recognise(root) or "", root, {})
    listed = _listed(root)
    seen: set[str] = set()
    for split, part in _folders(root).items():
        pairs = folder.splits.setdefault(split, [])
        images, named = set(pictures_below(part)), Named(root, [part])
        for file in map(Path, sorted(files_below(part, (".json",)))):
            content = load_json(file)
            found = _images(file, content, named)
            seen |= _names_in(folder, file, content, listed)
            if len(found) == 1:
                pairs.append(Pair(found[0], file))
            elif found:
                both = " or ".join(path.relative_to(root).as_posix() for path in found[:2])
                folder.clashes.append((file, f"its image may be {both}; correct its imagePath"))
            elif given := _outside(file, content):
                remedy = "move the image into it, or give a folder that holds both"
                folder.faults.append((file, f"its image {given} lies outside of {root}; {remedy}"))
            else:
                folder.lone_masks.append(file)
        if alone := len(images - {pair.image for pair in pairs}):
            folder.notes.append(f"{split}: {alone} images have no .json file, so were not annotated, and are left out")
        pairs.sort(key=lambda pair: pair.image)
    names = [name for name in listed or sorted(seen) if name != IGNORE and name.lower() not in BACKGROUND]
    if len(names) != len(set(names)) or not names:
        raise DataError(
            f"{root}: {len(names)} labels; expected at least one besides the background, and each once in labels.txt, "
            "correct the labels"
        )
    labels = LabelSet.numbered(["background", *names])
    values = {name: value for value, name in enumerate(labels.names)}
    values |= dict.fromkeys([name for name in seen if name.lower() in BACKGROUND], 0) | {IGNORE: labels.ignore[0]}
    painter = ShapePainter(values, labels.dtype)
    return replace(folder, labels=labels, readers=Readers(image_file, painter, size_of_file))


def _names_in(folder: Folder, file: Path, content: Any, listed: list[str] | None) -> set[str]:
    """Return the labels in a file; whatever is wrong with a shape becomes a fault."""
    if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
        raise DataError(f"{file}: not a labelme file; expected an object with `shapes`, move the file away")
    names = set()
    height, width = content.get("imageHeight"), content.get("imageWidth")
    if height and width:
        height, width = checked_size(height, width, str(file))
    for number, shape in enumerate(content["shapes"]):
        try:
            kind, points = shape.get("shape_type") or "polygon", np.asarray(shape["points"], float).reshape(-1, 2)
            name = str(shape["label"])
            if not isinstance(kind, str) or not isinstance(shape["label"], str | int | float):
                raise TypeError(f"its shape_type is {kind!r}, its label {name!r}; expected texts")
        except DAMAGE as error:
            folder.faults.append((file, f"shape {number} has no label or points ({error}); draw it again"))
            continue
        names.add(name)
        if kind not in POINTS:
            folder.faults.append((file, f"shape {number} is a {kind!r}, {nearest(kind, list(POINTS))}; draw it again"))
        elif len(points) < POINTS[kind]:
            folder.faults.append(
                (file, f"shape {number} ({name}) is a {kind} with {len(points)} points; draw it again")
            )
        elif height and width and is_outside(points, height, width):
            folder.faults.append((file, f"shape {number} ({name}) lies outside the image; draw it again"))
        if listed and name != IGNORE and name.lower() not in BACKGROUND and name not in listed:
            sentence = f"shape {number} has the label {name!r}, {nearest(name, listed)}"
            folder.faults.append((file, f"{sentence}; correct it or add it to labels.txt"))
    return names


def _size(content: dict[str, Any], pair: Pair) -> tuple[int, int]:
    """Tell (H, W) as the file states it, else from the image."""
    if content.get("imageHeight") and content.get("imageWidth"):
        return checked_size(content["imageHeight"], content["imageWidth"], pair.where)
    return image_size(pair.image)[:2]


def _folders(root: Path) -> dict[str, Path]:
    """Find the folders of splits if one of them holds a JSON file, else take the root."""
    children = [path for path in folders_in(root) if path.name.lower() in SPLITS]
    found = {SPLITS[path.name.lower()]: path for path in children if _some_jsons(path)}
    return found or {"all": root}


def _some_jsons(folder: Path) -> list[Path]:
    """Find a few JSON files in a folder or below: the first one may be of something else."""
    return sorted(map(Path, islice(files_below(folder, (".json",), strict=False), FEW)))


def _is_labelme(file: Path) -> bool:
    return has_sections(file, "{", "shapes", "imagePath")


def _listed(root: Path) -> list[str] | None:
    file = next((file for folder in (root, root.parent) if os.path.isfile(file := folder / "labels.txt")), None)
    return read_lines(file) if file else None


def _given(content: Any) -> str:
    return str(content.get("imagePath") or "").replace("\\", "/") if isinstance(content, dict) else ""


def _outside(file: Path, content: Any) -> str | None:
    """Tell the path of a file's image that is there, but was not found: it lies outside of the data folder."""
    given = _given(content)
    return given if given and is_picture(file.parent / given) else None


def _images(file: Path, content: Any, named: Named) -> list[Path]:
    """Find the image that a file names, else those of the same stem beside it, else those of its name elsewhere.

    An image outside of the data folder is not followed.
    """
    given = _given(content)
    path = file.parent / given
    inside = Path(os.path.normpath(path)).is_relative_to(os.path.normpath(named.root))
    found = [path] if given and inside and is_picture(path) else named.beside(file) or named.find(given)
    return [Path(os.path.normpath(path)) for path in found]
