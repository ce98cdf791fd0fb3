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
from math import hypot
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from atrous.datasets import plain_pairs
from atrous.datasets.folder import (
    SPLITS,
    Folder,
    Pair,
    Readers,
    checked_size,
    folders_in,
    image_file,
    load_json,
    size_of_file,
)
from atrous.datasets.shapes import is_outside
from atrous.errors import DataError, let_through, nearest
from atrous.io import IMAGE_SUFFIXES, image_size, is_picture
from atrous.io.paths import files_below, pictures_below
from atrous.labels import LabelSet

LACKS = "a .json with `shapes` beside each image, as labelme writes it"
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
            if shape["label"] not in self.values:
                raise DataError(
                    f"{pair.mask}: shape {number} has the label {shape['label']!r}, which came after the folder was "
                    "opened; start again"
                )
            try:
                values[paint_shape(shape, height, width)] = self.values[shape["label"]]
            except Exception as error:  # damaged points and pictures can raise anything
                let_through(error)
                raise DataError(f"{pair.mask}: shape {number} ({shape['label']}): {error}; draw it again") from error
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
    file = next(filter(None, map(_some_json, _folders(root).values())), None)
    if file is None or not _is_labelme(file) or plain_pairs.has_masks(root):
        return None
    return f"{file.relative_to(root)} holds shapes as labelme writes them"


def read(root: Path) -> Folder:
    """Read each JSON file with its image; unknown labels and shapes are faults."""
    folder = Folder("labelme", recognise(root) or "", root, {})
    listed = _listed(root)
    seen: set[str] = set()
    for split, part in _folders(root).items():
        pairs = folder.splits.setdefault(split, [])
        images = set(pictures_below(part))
        for file in map(Path, sorted(files_below(part, (".json",)))):
            content = load_json(file)
            image = _image(file, content)
            seen |= _names_in(folder, file, content, listed)
            if image is None:
                folder.lone_masks.append(file)
            else:
                pairs.append(Pair(image, file))
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
    for number, shape in enumerate(content["shapes"]):
        try:
            kind, points = shape.get("shape_type") or "polygon", np.asarray(shape["points"], float).reshape(-1, 2)
            name = str(shape["label"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:
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
    found = {SPLITS[path.name.lower()]: path for path in children if _some_json(path)}
    return found or {"all": root}


def _some_json(folder: Path) -> Path | None:
    """Find any JSON file in a folder or below."""
    return next(map(Path, files_below(folder, (".json",))), None)


def _is_labelme(file: Path) -> bool:
    try:
        content = load_json(file)
    except DataError:
        return False
    return isinstance(content, dict) and "shapes" in content and "imagePath" in content


def _listed(root: Path) -> list[str] | None:
    file = next((file for folder in (root, root.parent) if (file := folder / "labels.txt").is_file()), None)
    return [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()] if file else None


def _image(file: Path, content: Any) -> Path | None:
    """Find the image that a file names, else the image of the same stem beside it."""
    named = str(content.get("imagePath") or "").replace("\\", "/") if isinstance(content, dict) else ""
    if named and is_picture(file.parent / named):
        return Path(os.path.normpath(file.parent / named))
    beside = (file.with_suffix(suffix) for suffix in IMAGE_SUFFIXES)
    return next((path for path in beside if path.is_file()), None)
