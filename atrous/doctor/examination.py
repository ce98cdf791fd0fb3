"""The whole examination: read the layout, look at each pair, draw the findings from the looks."""

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from atrous.datasets.classes import classes_file, without
from atrous.datasets.dataset import hold_out
from atrous.datasets.folder import Folder, Pair
from atrous.datasets.geotiff import mixed, nodata_values, without_nodata
from atrous.datasets.layouts import read_folder
from atrous.doctor.balance import class_counts, find_empty, find_imbalance
from atrous.doctor.copies import find_copies
from atrous.doctor.findings import Finding, in_order
from atrous.doctor.look import PairLook, look_at
from atrous.doctor.reading import Reading, file_of_mask
from atrous.doctor.shapes import find_empty_pixels, find_missing, find_sizes, find_unreadable
from atrous.doctor.splits import find_splits
from atrous.doctor.suspicion import Suspect, find_suspicious, rank_masks
from atrous.doctor.twins import find_twins
from atrous.doctor.values import read_values
from atrous.doctor.videos import find_videos
from atrous.labels import LabelSet
from atrous.progress import At

HOLDOUT = 0.2
"""The share that training holds out without a val folder."""
MOST_RANKED = 50
"""How many of the oddest masks the JSON document lists."""


@dataclass(frozen=True)
class Examination:
    """What was found in a data folder; `examine_dataset` makes it.

    Args:
        root: The folder.
        folder: The folder as its layout reads it.
        reading: How the masks are read, with a look at each pair.
        labels: The classes of the masks after their cures; None if they cannot be told.
        sides: The split of each look in training, where held-out pairs are `val`.
        findings: Errors first, then warnings and notes.
        ranked: The masks, the oddest first.
    """

    root: Path
    folder: Folder
    reading: Reading
    labels: LabelSet | None
    sides: list[str]
    findings: list[Finding]
    ranked: list[Suspect] = field(default_factory=list)

    @property
    def looks(self) -> Sequence[PairLook]:
        """What was seen of each pair."""
        return self.reading.looks

    @property
    def errors(self) -> list[Finding]:
        """The findings of severity error."""
        return [finding for finding in self.findings if finding.severity == "error"]

    def counts(self) -> dict[str, int]:
        """Count the findings by severity."""
        found = Counter(finding.severity for finding in self.findings)
        return {severity: found[severity] for severity in ("error", "warning", "note")}

    def pixels(self) -> dict[str, np.ndarray]:
        """Count each class by split: (K, 2) int64, its pixels and the masks that show it."""
        return class_counts(self.reading, self.labels, self.sides) if self.labels else {}

    def summary(self) -> dict[str, Any]:
        """Return plain data for the JSON document of `atrous check`."""
        pixels = self.pixels()
        classes = [
            {
                "name": name,
                "value": value,
                "color": list(colour),
                "pixels": {split: int(count[k, 0]) for split, count in pixels.items()},
                "masks": {split: int(count[k, 1]) for split, count in pixels.items()},
            }
            for k, (name, value, colour) in enumerate(
                zip(self.labels.names, self.labels.values, self.labels.colours, strict=True) if self.labels else ()
            )
        ]
        return {
            "data": str(self.root),
            "layout": self.folder.layout,
            "why": self.folder.why,
            "pairs": len(self.looks),
            "splits": dict(Counter(look.split for look in self.looks)),
            "images": image_kinds(self.looks),
            "classes": classes,
            "ignore": list(self.labels.ignore) if self.labels else [],
            "colours": [{"color": list(colour), "value": value} for colour, value in self.reading.table],
            "notes": self.folder.notes,
            "counts": self.counts(),
            "findings": [finding.summary() for finding in self.findings],
            "ranked": [
                {"file": str(file_of_mask(self.looks[one.place])), "score": round(one.score, 2), "reason": one.reason}
                for one in self.ranked[:MOST_RANKED]
            ],
        }


def examine_dataset(
    root: Path | str,
    *,
    classes: Path | None = None,
    ignore: Sequence[int] = (),
    valid_area: str | None = None,
    progress: At | None = None,
) -> Examination:
    """Look at every pair of a data folder and find what is wrong.

    Each file is decoded once. Nothing is changed. A fault of a file is a finding, not an error.

    Args:
        root: The data folder, in any layout.
        classes: A classes file; default as `open_dataset`.
        ignore: Further mask values to ignore.
        valid_area: As `open_dataset`.
        progress: Called with (pairs seen, all pairs).

    Returns:
        The examination, with its findings.

    Raises:
        DataError: No layout fits the folder, or the classes file cannot be used.

    Example:
        >>> import numpy as np
        >>> from atrous.io import write_image
        >>> write_image("data/images/a.png", np.zeros((8, 8, 3), np.uint8))
        >>> write_image("data/masks/a.png", np.eye(8, dtype=np.uint8))
        >>> write_image("data/images/b.png", np.zeros((8, 8, 3), np.uint8))
        >>> [(one.kind, one.file.name) for one in examine_dataset("data").errors]
        [('missing_mask', 'b.png')]
    """
    root = Path(root)
    folder = read_folder(root, valid_area=valid_area)
    given, nodata = named_classes(folder, classes, ignore), nodata_values(folder)
    given = without_nodata(given, nodata) if given else None
    pairs = [(split, pair) for split, found in folder.splits.items() for pair in found]
    looks = list[PairLook]()
    with ThreadPoolExecutor((os.cpu_count() or 1) + 1) as pool:
        for seen in pool.map(partial(_one, folder), pairs):
            looks.append(seen)
            if progress:
                progress(len(looks), len(pairs))
    findings = [] if given else find_mixed(looks, nodata)
    return examine_looks(folder, looks, given, (*ignore, *nodata), findings)


def examine_looks(
    folder: Folder,
    looks: Sequence[PairLook],
    given: LabelSet | None,
    ignore: Sequence[int] = (),
    found: Sequence[Finding] = (),
) -> Examination:
    """Draw the findings from the looks.

    given: the classes, if a file or the layout names them. found: findings that there are already.
    """
    findings = [*found, *find_missing(folder), *find_splits(folder), *find_unreadable(looks)]
    findings += find_empty_pixels(looks)
    reading = read_values(folder, looks, given, ignore)
    findings += find_sizes(reading) + reading.findings
    sides = training_sides(folder, looks)
    findings += [*find_copies(looks, sides), *find_videos(looks, sides), *find_twins(reading)]
    labels, ranked = reading.labels, list[Suspect]()
    if labels is not None:
        findings += [*find_imbalance(reading, labels, sides, folder.root), *find_empty(reading, labels)]
        ranked = rank_masks(reading)
        findings += find_suspicious(reading, ranked)
    return Examination(folder.root, folder, reading, labels, sides, in_order(findings), ranked)


def named_classes(folder: Folder, classes: Path | None, ignore: Sequence[int]) -> LabelSet | None:
    """Return the classes that a file or the layout names; None if neither does."""
    classes = classes or classes_file(folder.root)
    labels = LabelSet.from_toml(classes) if classes is not None else folder.labels
    return None if labels is None else without(labels, ignore)


def find_mixed(looks: Sequence[PairLook], nodata: Mapping[int, Path]) -> list[Finding]:
    """Find masks that hold as a label what the tags of others call no data."""
    values = [look.mask.values if look.mask else () for look in looks]
    found = []
    for place, sentence in mixed([look.pair for look in looks], values, nodata).items():
        detail, _, remedy = sentence.partition("; ")
        found.append(Finding("value_out_of_range", "error", (file_of_mask(looks[place]),), detail, remedy))
    return found


def training_sides(folder: Folder, looks: Sequence[PairLook]) -> list[str]:
    """Tell the split of each look in training; without `val`, the held-out pairs are `val`."""
    whole = "train" if "train" in folder.splits else "all"
    if "val" in folder.splits or len(folder.splits.get(whole, ())) < 2:
        return [look.split for look in looks]
    held = set(hold_out(folder.splits[whole], HOLDOUT)[1])
    names = {whole: "train"}
    return ["val" if look.split == whole and look.pair in held else names.get(look.split, look.split) for look in looks]


def image_kinds(looks: Sequence[PairLook]) -> list[dict[str, Any]]:
    """Count the images by channels and type, the commonest first, with their range of sizes."""
    kinds: dict[tuple[int, str], list[tuple[int, ...]]] = {}
    for look in looks:
        if look.image:
            kinds.setdefault((look.image.shape[-1], look.image.dtype), []).append(look.image.shape[:-1])
    return [
        {
            "images": len(shapes),
            "channels": channels,
            "dtype": dtype,
            "smallest": list(min(shapes, key=prod)),
            "largest": list(max(shapes, key=prod)),
        }
        for (channels, dtype), shapes in sorted(kinds.items(), key=lambda item: -len(item[1]))
    ]


def _one(folder: Folder, place: tuple[str, Pair]) -> PairLook:
    return look_at(folder, *place)
