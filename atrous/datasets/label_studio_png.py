"""Label Studio's export "Brush labels to PNG", with its tasks as JSON beside it.

ROOT/tasks.json                                          a list of tasks: `id`, and `data` or `image`
ROOT/images/0a1b2c3d-a.jpg                               the images, anywhere below ROOT
ROOT/masks/task-3-annotation-7-by-1-tag-road-0.png       a brush of task 3, anywhere below ROOT

A brush tells its task, but not its image: that stands in the JSON (exported as JSON-MIN, or as JSON
without results). Without a JSON one task and one image belong together. A pixel counts if it is at
least half opaque (128 of 255). Classes: 0 is the background, then all labels from A to Z. Two
labels on one pixel cannot be told apart and are an error.
"""

import re
from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from atrous.datasets.folder import (
    Folder,
    Pair,
    Readers,
    files_in,
    folders_in,
    has_sections,
    image_file,
    load_json,
    size_of_file,
)
from atrous.datasets.label_studio import names_of_task, unclear
from atrous.datasets.naming import Named
from atrous.datasets.regions import BACKGROUND
from atrous.errors import DataError
from atrous.io import IMAGE_SUFFIXES, read_mask
from atrous.io.paths import files_below
from atrous.labels import LabelSet

LACKS = "Label Studio's brushes as PNG (task-3-annotation-7-by-1-tag-road-0.png), its tasks as JSON, and the images"
BRUSH = re.compile(r"task-(\d+)-annotation-(\d+)-by-(.+)-\d+\.png", re.IGNORECASE)
"""How a brush is called: task, annotation, then its author, the name of the control, and the label."""


@dataclass(frozen=True)
class BrushPainter:
    """Unites the brushes of an image. records: the entry of a pair -> (file, class value)."""

    records: dict[str, list[tuple[Path, int]]]
    dtype: np.dtype[Any]

    def __call__(self, pair: Pair) -> np.ndarray:
        """Paint (H, W) class values; DataError where two labels overlap."""
        height, width = size_of_file(pair)[:2]
        values, painted = np.zeros((height, width), self.dtype), np.zeros((height, width), bool)
        for file, value in self.records[pair.entry]:
            brush = read_mask(file) >= 128
            if brush.shape != values.shape:
                raise DataError(f"{file}: {brush.shape} pixels, {pair.image.name} {values.shape}; expected equal sizes")
            both = brush & painted & (values != value)
            if both.any():
                raise DataError(
                    f"{file}: {int(both.sum())} pixels have another label too; expected one label for each pixel, "
                    "erase one, or export as JSON, which holds the order"
                )
            values[brush], painted[brush] = value, True
        return values


def recognise(root: Path) -> str | None:
    """By a brush as PNG in the folder, or in a folder in it, among the first files."""
    places = (root, *folders_in(root))
    files = (Path(file) for place in places for file in islice(files_below(place, (".png",), strict=False), 20))
    brush = next((file for file in files if BRUSH.fullmatch(file.name)), None)
    return f"{brush.name} is a brush of Label Studio" if brush else None


def read(root: Path) -> Folder:
    """Read each image that has brushes. A brush without a task, and a task without its image, are faults."""
    folder = Folder("label_studio_png", recognise(root) or "", root, {"all": []})
    brushes = [path for path in map(Path, sorted(files_below(root, (".png",)))) if BRUSH.fullmatch(path.name)]
    of_task = defaultdict[int, list[Path]](list)
    for brush in brushes:
        of_task[_numbers(brush)[0]].append(brush)
    images, file = _images(folder, set(of_task)), next(iter(_tasks_files(root)), brushes[0].parent)
    label_of = _labels(brushes)
    labels = LabelSet.numbered(
        ["background", *sorted({name for name in label_of.values() if not _is_background(name)})]
    )
    value_of = {name: value for value, name in enumerate(labels.names)}
    records: dict[str, list[tuple[Path, int]]] = {}
    for task, own in sorted(of_task.items()):
        annotations = sorted({_numbers(brush)[1] for brush in own})
        if len(annotations) > 1:
            both = " and ".join(map(str, annotations[:2]))
            folder.clashes.append((own[0], f"task {task} has the annotations {both}; keep the brushes of one of them"))
        elif task in images:
            entry = f"task {task}"
            records[entry] = [(brush, value_of.get(label_of[brush], 0)) for brush in own]
            folder.splits["all"].append(Pair(images[task], file, entry))
    folder.splits["all"].sort(key=lambda pair: pair.image)
    return replace(
        folder, labels=labels, readers=Readers(image_file, BrushPainter(records, labels.dtype), size_of_file)
    )


def _images(folder: Folder, wanted: set[int]) -> dict[int, Path]:
    """Task -> image, of the tasks that have brushes; adds a fault for each task whose image cannot be told.

    Several files may list the tasks. A task that they give two images is a fault: numbers of tasks
    differ only inside one Label Studio.
    """
    root, files = folder.root, _tasks_files(folder.root)
    named = Named(root, [root / "images"])
    if not files:
        found = [path for path in map(Path, files_below(root, IMAGE_SUFFIXES)) if not BRUSH.fullmatch(path.name)]
        if len(found) == len(wanted) == 1:
            return dict(zip(wanted, found, strict=True))
        raise DataError(
            f"{root}: Label Studio's brushes as PNG do not tell their images; expected the tasks as JSON beside them, "
            "export as JSON too (it holds the brushes, and is enough), or as JSON-MIN"
        )
    images: dict[int, Path] = {}
    told = set[int]()
    for file in files:
        for task in load_json(file):
            number = task.get("id") if isinstance(task, dict) else None
            if not isinstance(number, int) or number not in wanted - told:
                continue
            found, fault = _image_of(task, named)
            if not fault and images.setdefault(number, found[0]) != found[0]:
                both = f"{images.pop(number).name} and {found[0].name}"
                fault = f"task {number} has two images, {both}; keep the export that the brushes are from"
            if fault:
                (folder.clashes if found else folder.faults).append((file, fault))
                told.add(number)
    lost = sorted(wanted - told - set(images))
    folder.faults.extend((files[0], f"has no task {number}, which has brushes; export it again") for number in lost)
    return images


def _image_of(task: dict[str, Any], named: Named) -> tuple[list[Path], str]:
    """Find the one image of a task; the second part tells why there is none."""
    try:
        names = names_of_task(task if isinstance(task.get("data"), dict) else {"data": task})
    except ValueError as error:  # of the parts of an address
        return [], f"task {task['id']} is damaged ({error}); export it again"
    found = next((paths for name in names if (paths := named.find(name))), [])
    return found, "" if len(found) == 1 else unclear(task, names, found, named)


def _tasks_files(root: Path) -> list[Path]:
    """List the JSON files that list tasks."""
    return [file for file in files_in(root, ".json") if has_sections(file, "[", "id", "data|image")]


def _is_background(label: str) -> bool:
    return label.lower() in BACKGROUND


def _numbers(brush: Path) -> tuple[int, int]:
    """The numbers of a brush's task and annotation."""
    found = BRUSH.fullmatch(brush.name)
    assert found
    return int(found[1]), int(found[2])


def _labels(brushes: list[Path]) -> dict[Path, str]:
    """Brush -> label: what stands behind `-tag-`, else behind the words that all names have in common."""
    middles = {brush: found[3] for brush in brushes if (found := BRUSH.fullmatch(brush.name))}
    if all("-tag-" in middle for middle in middles.values()):
        return {brush: middle.partition("-tag-")[2] for brush, middle in middles.items()}
    words = {brush: middle.split("-") for brush, middle in middles.items()}
    unlike = (place for place, of_all in enumerate(zip(*words.values(), strict=False)) if len(set(of_all)) > 1)
    common = next(unlike, min(map(len, words.values())) - 1)
    if common == 0:
        raise DataError(
            f"{brushes[0]}: the names of these brushes do not tell where the label begins; export as JSON, which holds "
            "the brushes too"
        )
    return {brush: "-".join(own[common:]) for brush, own in words.items()}
