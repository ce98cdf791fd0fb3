"""Roboflow's export `Semantic Segmentation Masks`. (Its COCO export is the COCO layout.)

ROOT/{train,valid,test}/a_jpg.rf.0123.jpg
ROOT/{train,valid,test}/a_jpg.rf.0123_mask.png      grey, one value per pixel
ROOT/{train,valid,test}/_classes.csv                lines `Pixel Value, Class`, `0, background`, ...

Source: docs.roboflow.com, export formats.
"""

import os
from pathlib import Path

from atrous.datasets.folder import SPLITS, Folder, folders_in, load_table, unique_names, whole
from atrous.errors import DataError
from atrous.io.paths import pictures_below
from atrous.labels import LabelSet

LACKS = "train/ with images, *_mask.png and _classes.csv"
TABLE, MASK = "_classes.csv", "_mask"


def recognise(root: Path) -> str | None:
    """By the table of classes in the folder of a split, or in the folder itself."""
    folder = next(iter(_folders(root).values()), None)
    if folder is None or next(folder.glob(f"*{MASK}.png"), None) is None:
        return None
    place = "the folder" if folder == root else f"{folder.name}/"
    return f"{place} holds {TABLE} and *{MASK}.png as Roboflow exports them"


def read(root: Path) -> Folder:
    """Read images and masks that lie side by side; every split must have the same classes."""
    folders = _folders(root)
    tables = {split: read_classes(part / TABLE) for split, part in folders.items()}
    first = next(iter(tables))
    for split, table in tables.items():
        if table != tables[first]:
            raise DataError(
                f"{folders[split] / TABLE}: other classes than {folders[first] / TABLE}; "
                "expected the same classes in all splits, export them together"
            )
    labels = LabelSet(
        tuple(tables[first].values()), values=tuple(tables[first]), ignore=() if 255 in tables[first] else (255,)
    )
    folder = Folder("roboflow", recognise(root) or "", root, {}, labels)
    for split, part in folders.items():
        pictures = pictures_below(part)
        drawn = [path for path in pictures if path.name.endswith(f"{MASK}.png")]
        photos = [path for path in pictures if not path.name.endswith(f"{MASK}.png")]
        masks = folder.by_name(drawn, lambda path: path.stem.removesuffix(MASK))
        images = folder.by_name(photos, lambda path: path.stem)
        folder.add_named(split, [*images, *masks], images, masks, root)
    return folder


def read_classes(file: Path) -> dict[int, str]:
    """Read a table of classes: pixel value -> name."""
    try:
        rows = load_table(file, skipinitialspace=True)[1:]
        found = {whole(row[0]): row[1].strip() for row in rows if row}
        unique_names(file, ((row[1].strip(), f"value {row[0]}") for row in rows if row))
        if len(found) < len([row for row in rows if row]):
            raise ValueError("two classes have one value")
    except DataError:
        raise
    except (ValueError, IndexError) as error:
        raise DataError(
            f"{file}: not a table of classes ({error}); expected lines `value, name`, export it again"
        ) from error
    if len(found) < 2:
        raise DataError(f"{file}: fewer than 2 classes ({len(found)}); add lines such as `1, cat`")
    return found


def _folders(root: Path) -> dict[str, Path]:
    if os.path.isfile(root / TABLE):
        return {"all": root}
    children = [path for path in folders_in(root) if path.name.lower() in SPLITS and os.path.isfile(path / TABLE)]
    found = {SPLITS[path.name.lower()]: path for path in children}
    return {split: found[split] for split in ("train", "val", "test") if split in found}
