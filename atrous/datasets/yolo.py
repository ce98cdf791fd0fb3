"""YOLO's text files: one for each image, with one line for each object.

ROOT/images/a.jpg    ROOT/images/train/a.jpg    ROOT/train/images/a.jpg    ROOT/a.jpg
ROOT/labels/a.txt    ROOT/labels/train/a.txt    ROOT/train/labels/a.txt    ROOT/a.txt
ROOT/data.yaml       optional: `names`, and the folders or lists of `train`, `val`, `test`

A line is `class x y x y x y ...`, the outline in shares 0..1 of the image's sides. Classes: 0 is the
background, then YOLO's ids + 1, with the names of data.yaml, classes.txt or obj.names. Smaller
objects are on top. An empty file means background alone; an image without a file was not annotated
and is left out. Outlines become pixels by COCO's rule (`datasets.shapes`).

Source: docs.ultralytics.com, instance segmentation datasets.
"""

import os
import re
from collections import defaultdict
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from atrous.datasets import plain_pairs
from atrous.datasets.folder import IMAGE_FOLDERS, SPLITS, Folder, files_in, folders_in, head_of, unique_names, whole
from atrous.datasets.naming import DRIVE, Tree, readings
from atrous.datasets.regions import Drawing, Finder, Region
from atrous.errors import DataError
from atrous.files import read_lines, read_text
from atrous.io import IMAGE_SUFFIXES
from atrous.io.paths import files_below, pictures_below

LACKS = "images/ and labels/*.txt with a line `class x y x y ...` for each object, as YOLO has them"
LABELS = ("labels", "label", "Labels", "labelTxt")
"""Names of the folder that stands in the place of images/."""
NAMES = ("classes.txt", "obj.names", "classes.names")
KNOWN = ("data.yaml", "dataset.yaml", "data.yml", "dataset.yml")
SLACK = 0.01
"""How far a place may lie beyond 0..1."""


class Plain(yaml.SafeLoader):
    """Reads plain data alone: aliases of aliases can stand for more than any memory holds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """See `yaml.composer`."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("an alias, *name; write its value in its place")
        return super().compose_node(parent, index)


def recognise(root: Path) -> str | None:
    """By a text file of numbers for an image, if there are no finished masks."""
    tree = Tree(root)
    for folder in (root, *folders_in(root)):
        for image in islice(map(Path, files_below(folder, IMAGE_SUFFIXES, strict=False)), 30):
            file = label_of(image, tree)
            if file and (file.parent != image.parent or _holds_numbers(file)):
                return None if plain_pairs.has_masks(root) else f"{file.relative_to(root)} is a text file as YOLO's"
    return None


def read(root: Path) -> Folder:
    """Read each text file with its image; lines that do not fit become faults."""
    table, content = find_table(root)
    tree = Tree(root)
    names = _names(root, table, content)
    drawing = Drawing(Folder("yolo", recognise(root) or "", root, {}))
    boxes = list[tuple[Path, str]]()
    highest = -1
    seen: set[Path] = set()
    for split, images in _images(tree, table, content, drawing).items():
        drawing.folder.splits.setdefault(split, [])
        if table and (again := seen.intersection(images)):
            sentence = f"names {len(again)} images of {split} twice; give each image to one split"
            drawing.folder.clashes.append((table, sentence))
        todo = [image for image in dict.fromkeys(images) if image not in seen]
        seen.update(todo)
        files = {image: label_of(image, tree) for image in todo}
        for image, file in files.items():
            if file:
                regions, top = _regions(file, names, drawing, boxes)
                highest = max(highest, top)
                drawing.add(split, image, file, regions)
        if without := sum(file is None for file in files.values()):
            drawing.folder.notes.append(
                f"{split}: {without} images have no text file, so were not annotated, and are left out (an empty file "
                "means background alone)"
            )
    if boxes and highest < 0:
        raise DataError(
            f"{boxes[0][0]}: boxes as for detection (4 numbers in a line); expected outlines, `class x y x y x y ...`, "
            "export them for segmentation"
        )
    drawing.folder.faults.extend(boxes)
    drawing.folder.lone_masks.extend(_without_image(root, {pair.mask for pair in drawing.records}))
    drawing.names = list(names.values()) or [f"class {id}" for id in range(highest + 1)]
    return drawing.finished(largest_first=True)


def label_of(image: Path, tree: Tree) -> Path | None:
    """Find the text file of an image: below labels/ in the place of images/, else beside it.

    Raises DataError if it may be two files.
    """
    parts = image.parts
    folders = (place for place in reversed(range(len(tree.root.parts), len(parts) - 1)))
    places = [
        Path(*parts[:place], name, *parts[place + 1 :])
        for place in folders if parts[place].lower() in IMAGE_FOLDERS for name in LABELS
    ]  # fmt: skip
    found = next((files for place in (*places, image) if (files := tree.find(place.with_suffix(".txt")))), [])
    if len(found) > 1:
        raise DataError(
            f"{image}: its labels may be {found[0].name} or {found[1].name}; expected one, keep one of them"
        )
    return found[0] if found else None


def find_table(root: Path) -> tuple[Path | None, dict[str, Any]]:
    """Find data.yaml, or another YAML file with `names`, and its content."""
    files = sorted(files_in(root, (".yaml", ".yml")), key=lambda file: (file.name not in KNOWN, file.name))
    for file in (file for file in files if file.name in KNOWN or b"names" in head_of(file)):
        text = read_text(file)
        try:
            content = yaml.load(text, Plain)
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            if file.name in KNOWN:
                reason = " ".join(str(error).split())
                raise DataError(f"{file}: not a YAML file ({reason}); expected `names`, correct the file") from error
            continue
        if isinstance(content, dict) and ("names" in content or file.name in KNOWN):
            return file, content
    return None, {}


def _names(root: Path, table: Path | None, content: dict[str, Any]) -> dict[int, str]:
    """Tell id -> name; {} if no file names the classes."""
    file, found = table, content.get("names")
    if found is None:
        places = [root, *(root / name for name in LABELS), *(path for path in folders_in(root) if path.name in SPLITS)]
        file = next((path for place in places for name in NAMES if os.path.isfile(path := place / name)), None)
        found = read_lines(file) if file else []
    try:
        if not isinstance(found, dict | list):
            raise ValueError("not a list")
        names = {whole(id): str(name) for id, name in (found.items() if isinstance(found, dict) else enumerate(found))}
    except (TypeError, ValueError) as error:
        raise DataError(f"{file}: `names` is {found!r}; expected a list of names, correct the file") from error
    if file:
        unique_names(file, ((name, f"id {id}") for id, name in names.items()))
    if min(names, default=0) < 0:
        raise DataError(f"{file}: a class has the id {min(names)}; expected 0, 1, ..., correct it")
    return names


def _images(tree: Tree, table: Path | None, content: dict[str, Any], drawing: Drawing) -> dict[str, list[Path]]:
    """List the images of each split: those that the table names, else by the folders."""
    found: dict[str, list[Path]] = {}
    for key, split in SPLITS.items():
        entry = content.get(key)
        for value in entry if isinstance(entry, list) else [entry] if entry else []:
            images = _named_images(tree, content.get("path"), str(value), drawing)
            if images is not None:
                found.setdefault(split, []).extend(images)
            elif split != "test" and table:
                drawing.fault(table, f"names {value} as {split}, which is not here; correct the path")
    if found:
        return found
    grouped: dict[str, list[Path]] = defaultdict(list)
    for image in pictures_below(tree.root):
        folders = [SPLITS.get(part.lower()) for part in image.relative_to(tree.root).parts[:-1][:2]]
        grouped[next((split for split in folders if split), "all")].append(image)
    if len(grouped) > 1 and (others := [image for image in grouped.pop("all", []) if label_of(image, tree)]):
        drawing.folder.notes.append(f"{len(others)} images outside the folders of splits are left out")
    return grouped


def _named_images(tree: Tree, base: Any, value: str, drawing: Drawing) -> list[Path] | None:
    """List the images in a folder, or in a list, that the table names; None if it is not here.

    base: a folder in front, on the computer where the table was written: its end may be in the data
    folder.
    """
    names = [value, *(f"{'/'.join(parts[first:])}/{value}" for parts in readings(str(base or ""))
                      for first in range(len(parts)))]  # fmt: skip
    if value.replace("\\", "/").startswith("/") or DRIVE.match(value):
        names += ["/".join(parts[first:]) for parts in readings(value) for first in range(len(parts) - 1)]
    path = next((found[0] for name in names if len(found := tree.find_name(name)) == 1), None)
    if not any(readings(names[-1])):  # such as `.`
        path = tree.root
    if path is None or os.path.isdir(path):
        return None if path is None else pictures_below(path)
    finder = Finder(tree.root)
    images = {line: finder.find(line) for line in read_lines(path)}
    if missing := [line for line, image in images.items() if image is None]:
        drawing.fault(path, f"names {len(missing)} images ({missing[0]}, ...) that are not here; correct them")
    return [image for image in images.values() if image]


def _regions(
    file: Path, names: dict[int, str], drawing: Drawing, boxes: list[tuple[Path, str]]
) -> tuple[list[Region], int]:
    """Return the objects of a file and its highest id (-1: none); odd lines become faults."""
    regions, highest = list[Region](), -1
    for number, line in enumerate(read_text(file).splitlines(), 1):
        if not line.strip():
            continue
        try:
            id, places = int(line.split()[0]), np.array(line.split()[1:], float)
        except ValueError:
            drawing.fault(file, f"line {number} is {line[:40]!r}; expected `class x y x y ...` in numbers, correct it")
            continue
        what = f"line {number}"
        if id < 0 or (names and id not in names):
            known = f"{min(names)}..{max(names)} ({', '.join(names.values())})" if names else "0, 1, ..."
            drawing.fault(file, f"{what} has the class {id}, expected {known}; correct it or add its name")
        elif len(places) == 4:
            boxes.append((file, f"{what} is a box (4 numbers), expected an outline; draw it or delete the line"))
        elif len(places) % 2 or len(places) < 6:
            drawing.fault(file, f"{what} has {len(places)} numbers, expected x y of at least 3 points; correct it")
        elif not (places >= -SLACK).all() or not (places <= 1 + SLACK).all():
            drawing.fault(file, f"{what} has places beyond 0..1, expected shares of the image's sides; divide them")
        else:
            highest = max(highest, id)
            label = names.get(id, f"class {id}")
            regions.append(Region(what, label, (places.reshape(-1, 2),), share=True))
    return regions, highest


def _without_image(root: Path, used: set[Path]) -> list[Path]:
    """List the text files in folders of labels that belong to no image."""
    folders = {file.parent for file in used}
    files = (file for folder in sorted(folders) for file in files_in(folder, ".txt"))
    return [file for file in files if file not in used and file.parent != root and file.name not in NAMES]


def _holds_numbers(file: Path) -> bool:
    """Tell whether the first line of a file is a class and places."""
    words = head_of(file, 1000).partition(b"\n")[0].decode("utf-8", "replace").split()
    return len(words) > 2 and words[0].isdigit() and all(re.fullmatch(r"-?[\d.]+(e-?\d+)?", word) for word in words)
