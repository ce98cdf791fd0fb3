"""Label Studio's JSON export: brushes, polygons, rectangles and ellipses.

ROOT/project-1-at-2026-01-01.json    a list of tasks with `data` and `annotations`
ROOT/images/0a1b2c3d-a.jpg           the images, anywhere below ROOT, as uploaded or as `a.jpg`

Classes: 0 is the background, then all labels in alphabetical order. Results are painted in their
order, so a later one is on top. If a task has several annotations, the first one that was not
cancelled counts. Places are in per cent of the image. Polygons become pixels by COCO's rule
(`datasets.shapes`); a pixel is in an ellipse if its centre is; a pixel of a brush counts if it is
at least half opaque (`datasets.rle`).

Source: labelstud.io/guide, export and task format.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlparse

import numpy as np

from atrous.datasets.folder import (
    DAMAGE,
    Folder,
    Pair,
    Readers,
    checked_size,
    files_in,
    has_sections,
    image_file,
    load_json,
    size_of_file,
)
from atrous.datasets.naming import Named
from atrous.datasets.rle import decode_brush
from atrous.datasets.shapes import fill, points_of
from atrous.errors import DataError, let_through
from atrous.io import IMAGE_SUFFIXES, image_size
from atrous.labels import LabelSet

LACKS = "Label Studio's export as JSON, a list of tasks with annotations, and the images"
SHAPES = ("rle", "points", "radiusX", "width")
"""Keys in the value of a result: of a brush, a polygon, an ellipse, a rectangle."""


@dataclass(frozen=True)
class ResultPainter:
    """Paints the results of a pair. records: its entry -> its results with their class values."""

    records: dict[str, list[tuple[dict[str, Any], int]]]
    dtype: np.dtype[Any]

    def __call__(self, pair: Pair) -> np.ndarray:
        """Paint (H, W) class values; DataError names a result that cannot be painted."""
        results = self.records[pair.entry]
        height, width = _size(results, pair)
        values: np.ndarray = np.zeros((height, width), self.dtype)
        for result, value in results:
            try:
                values[paint_result(result["value"], height, width)] = value
            except Exception as error:  # damaged numbers can raise anything
                let_through(error)
                raise DataError(f"{pair.where}: result {result.get('id')!r}: {error}; export it again") from error
        return values


def paint_result(value: dict[str, Any], height: int, width: int) -> np.ndarray:
    """Paint the value of a result as bool (H, W); a damaged one can raise any exception."""
    if "rle" in value:
        return decode_brush(value["rle"], height, width)
    per_cent = np.array([width, height]) / 100
    if "points" in value:
        return fill([points_of(value["points"]) * per_cent], height, width)
    place = np.array([float(value["x"]), float(value["y"])]) * per_cent
    angle = np.deg2rad(float(value.get("rotation") or 0))
    # clockwise, for rows (x, y)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    if "radiusX" in value:
        radii = np.array([float(value["radiusX"]), float(value["radiusY"])]) * per_cent
        centres = np.stack(np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5), axis=-1) - place
        return (((centres @ turn.T) / radii) ** 2).sum(axis=-1) <= 1
    size = np.array([float(value["width"]), float(value["height"])]) * per_cent
    return fill([place + (np.array([[0, 0], [1, 0], [1, 1], [0, 1]]) * size) @ turn], height, width)


def recognise(root: Path) -> str | None:
    """By a JSON list whose first task has annotations with results."""
    file = _export(root)
    return f"{file.name} is a list of tasks as Label Studio exports them" if file else None


def read(root: Path) -> Folder:
    """Read each annotated task with its image; a task without its image is a fault."""
    file = _export(root)
    assert file is not None
    tasks = load_json(file)
    named = Named(root, [root / "images"])
    folder = Folder("label_studio", recognise(root) or "", root, {"all": []})
    records: dict[str, list[tuple[dict[str, Any], str]]] = {}
    skipped = 0
    for number, task in enumerate(tasks, start=1):
        try:
            results, names = _results(task), names_of_task(task)
            regions = None if results is None else _labelled(folder, file, task, results)
        except DAMAGE as error:
            folder.faults.append((file, f"task number {number} is damaged ({error}); export it again"))
            continue
        if regions is None:
            skipped += 1
            continue
        images = next((found for name in names if (found := named.find(name))), [])
        if len(images) == 1:
            entry = f"task {task.get('id')}"
            entry = f"{entry} (number {number})" if entry in records else entry
            records[entry] = regions
            folder.splits["all"].append(Pair(images[0], file, entry))
        else:
            faults = folder.clashes if images else folder.faults
            faults.append((file, unclear(task, names, images, named)))
    folder.splits["all"].sort(key=lambda pair: pair.image)
    if skipped:
        folder.notes.append(f"{skipped} tasks have no annotation and are left out")
    names = sorted({name for found in records.values() for _, name in found} - {"background"})
    if not names and not folder.faults and not folder.clashes:
        raise DataError(
            f"{file}: no label in it; expected brushes, polygons, ellipses or rectangles with labels, export it again"
        )
    labels = LabelSet.numbered(["background", *names])
    value_of = {name: value for value, name in enumerate(labels.names)}
    drawn = {entry: [(result, value_of[name]) for result, name in found] for entry, found in records.items()}
    painter = ResultPainter(drawn, labels.dtype)
    return replace(folder, labels=labels, readers=Readers(image_file, painter, size_of_file))


def unclear(task: dict[str, Any], names: list[str], images: list[Path], named: Named) -> str:
    """Tell that a task's image is not there, or may be one of several."""
    bare = list(dict.fromkeys(name.rpartition("/")[2] for name in names))
    sentence = f"task {task.get('id')} names {' or '.join(bare[:2]) or 'no image'}, which "
    if images:
        both = " or ".join(path.relative_to(named.root).as_posix() for path in images[:2])
        return sentence + f"may be {both}; give one of them another name, and the task too"
    near = named.nearest(bare[0]) if bare else None
    return sentence + f"is not below {named.root}{f', the nearest name is {near}' if near else ''}; add it"


def _size(results: list[tuple[dict[str, Any], int]], pair: Pair) -> tuple[int, int]:
    """Tell (H, W) as the results state it, else from the image."""
    for result, _ in results:
        if "original_height" in result:
            return checked_size(result["original_height"], result.get("original_width"), pair.where)
    return image_size(pair.image)[:2]


def _export(root: Path) -> Path | None:
    for file in files_in(root, ".json"):
        if has_sections(file, "[", "annotations", "result"):
            return file
    return None


def _results(task: Any) -> list[dict[str, Any]] | None:
    """Return the results of the first annotation that was not cancelled; None if there is none."""
    annotations = task.get("annotations") if isinstance(task, dict) else None
    done = [entry for entry in annotations or () if not entry.get("was_cancelled")]
    return done[0].get("result") or [] if done else None


def _labelled(folder: Folder, file: Path, task: Any, results: list[dict[str, Any]]) -> list[tuple[dict[str, Any], str]]:
    """Return each region with its label.

    The label may stand in a result of its own, with the id of the region.
    """
    separate = {result.get("id"): names[0] for result in results if (names := result.get("value", {}).get("labels"))}
    found = []
    for result in results:
        value = result.get("value", {})
        if not any(key in value for key in SHAPES):
            continue
        names = value.get(result.get("type")) or value.get("labels")
        name = names[0] if names else separate.get(result.get("id"))
        if name is None:
            sentence = f"task {task.get('id')}: the region {result.get('id')!r} has no label; give it one"
            folder.faults.append((file, sentence))
        elif value.get("closed", True):
            found.append((result, str(name)))
    return found


def names_of_task(task: Any) -> list[str]:
    """List the names that a task's image may have, the surest first.

    They are its path, its name as uploaded (`0a1b2c3d-a.jpg`), and its name before that (`a.jpg`).
    """
    found = []
    for text in (text for text in (task.get("data") or {}).values() if isinstance(text, str)):
        url = urlparse(text)
        path = parse_qs(url.query).get("d", [url.path])[0]
        path = unquote(path).replace("\\", "/")
        name = path.rpartition("/")[2]
        if name.lower().endswith(IMAGE_SUFFIXES):
            start, _, rest = name.partition("-")
            found += [path, name, rest] if len(start) == 8 and rest else [path, name]
    return found
