"""ADE20K in the form of the scene parsing benchmark: 150 classes.

ROOT/images/training/ADE_train_00000001.jpg         images/validation/ADE_val_00000001.jpg
ROOT/annotations/training/ADE_train_00000001.png    annotations/validation/ADE_val_00000001.png
ROOT/objectInfo150.txt

Masks hold 1..150. 0 is everything else, and is ignored as in the benchmark's score; other tools
call that `reduce_zero_label`.

Source: MIT Scene Parsing Benchmark, development kit (ADEChallengeData2016).
"""

import os
from dataclasses import replace
from pathlib import Path

from atrous.datasets import plain_pairs
from atrous.datasets.folder import Folder, some_picture
from atrous.labels import ADE150

LACKS = "images/training/ADE_train_*.jpg and annotations/training/"


def recognise(root: Path) -> str | None:
    """By the folders of the benchmark, with its list of objects or its file names."""
    if not all(os.path.isdir(root / part / "training") for part in ("images", "annotations")):
        return None
    if os.path.isfile(root / "objectInfo150.txt"):
        return "images/training/, annotations/training/ and objectInfo150.txt are those of ADE20K's scene parsing"
    picture = some_picture(root / "images" / "training")
    if picture and picture.name.startswith("ADE_train_"):
        return f"images/training/ holds {picture.name}, a name of ADE20K's scene parsing"
    return None


def read(root: Path) -> Folder:
    """Read plain pairs, with ADE20K's classes."""
    note = "mask value 0 is `other` and ignored, 1..150 are the classes"
    plain = plain_pairs.read(root)
    return replace(plain, layout="ade20k", why=recognise(root) or "", labels=ADE150, notes=[*plain.notes, note])
