"""Finds classes that are rare or absent from a split, and empty masks."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from atrous.datasets.classes import nothing_to_learn
from atrous.doctor.findings import Finding, as_percent, counted
from atrous.doctor.reading import Reading, file_of_mask
from atrous.labels import LabelSet

RARE = 0.005
"""A class with a smaller share of the labelled pixels is rare."""
FEW_IMAGES = 3
"""A class in fewer images is rare too, if the set has ten times as many."""
BACKGROUND = {"background", "bg", "unlabelled", "unlabeled", "other", "others", "none", "class 0", "value 0", "0"}
FORGOTTEN = 0.2
"""If at least this share of the masks hold only background, that is taken for normal."""


def class_counts(reading: Reading, labels: LabelSet, sides: Sequence[str]) -> dict[str, np.ndarray]:
    """Count each class by split: (K, 2) int64, its pixels and the masks that show it."""
    index = {value: k for k, value in enumerate(labels.values)}
    found = {side: np.zeros((len(labels), 2), np.int64) for side in dict.fromkeys(sides)}
    for place in reading.usable:
        for value, pixels in (reading.counts[place] or {}).items():
            if value in index:
                found[sides[place]][index[value]] += (pixels, 1)
    return found


def find_imbalance(reading: Reading, labels: LabelSet, sides: Sequence[str], root: Path) -> Iterator[Finding]:
    """Yield findings of the kinds absent_class and rare_class."""
    counts = class_counts(reading, labels, sides)
    if not counts:
        return
    total = np.sum(list(counts.values()), axis=0)
    examples = {side: _example(reading, sides, side, root) for side in counts}
    nowhere = [k for k in range(len(labels)) if not total[k, 0]]
    if nowhere:
        detail, remedy = (
            f"{_named(labels, nowhere)} in no mask of the data set",
            "label it, or remove it from the classes",
        )
        yield Finding("absent_class", "warning", (root,), detail, remedy, _single(labels, nowhere), len(nowhere))
    for side, own in counts.items():
        whole = side in ("train", "all") and len(reading.usable) == len(reading.looks)  # else there is an error already
        if whole and (nothing := nothing_to_learn(labels, own[:, 0].tolist())):
            detail, _, remedy = nothing.partition("; ")
            yield Finding("no_training", "error", (examples[side],), detail, remedy)
        if lacking := [k for k in range(len(labels)) if total[k, 0] and not own[k, 0] and own[:, 0].any()]:
            verb = "learnt" if side in ("train", "all") else "evaluated"
            detail = f"{_named(labels, lacking)} in no mask of {side}, but in other splits: it cannot be {verb} there"
            remedy, value = f"move some of its images to {side}", _single(labels, lacking)
            yield Finding("absent_class", "warning", (examples[side],), detail, remedy, value, len(lacking))
    for k, (name, value) in enumerate(zip(labels.names, labels.values, strict=True)):
        if not total[k, 0]:
            continue
        pixels, part = int(total[k, 0]), total[k, 0] / total[:, 0].sum()
        few = total[k, 1] < FEW_IMAGES and len(reading.usable) >= 10 * FEW_IMAGES
        if part < RARE or few:
            yield Finding(
                "rare_class",
                "note",
                (_shows(reading, value),),
                f"class {name} (value {value}) has {as_percent(part)} of the pixels, "
                f"in {counted(int(total[k, 1]), 'mask')}",
                "label more of it, or give it a larger weight; its score will be uncertain",
                value,
                pixels,
            )


def _named(labels: LabelSet, classes: Sequence[int]) -> str:
    """'class tree (value 5) is' or 'classes tree (value 5), car (value 8) are'; at most twelve."""
    names = [f"{labels.names[k]} (value {labels.values[k]})" for k in classes]
    shown = ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
    return f"class {shown} is" if len(names) == 1 else f"classes {shown} are"


def _single(labels: LabelSet, classes: Sequence[int]) -> int | None:
    return labels.values[classes[0]] if len(classes) == 1 else None


def find_empty(reading: Reading, labels: LabelSet) -> Iterator[Finding]:
    """Yield findings of the kind empty_mask: no labelled pixel, or only background."""
    known, bare, plain = set(labels.values), list[int](), list[int]()
    for k in reading.usable:
        shown = known & set(reading.counts[k] or ())
        if not shown:
            bare.append(k)
        elif shown == {labels.values[0]} and labels.names[0].lower() in BACKGROUND and len(labels) > 1:
            plain.append(k)
    if bare:
        yield Finding(
            "empty_mask",
            "warning",
            tuple(file_of_mask(reading.looks[k]) for k in bare),
            f"no labelled pixel in {counted(len(bare), 'mask')}: every pixel is ignored",
            "label it, or remove the pair",
            count=len(bare),
        )
    if plain:
        few = len(plain) < FORGOTTEN * len(reading.usable)
        yield Finding(
            "empty_mask",
            "warning" if few else "note",
            tuple(file_of_mask(reading.looks[k]) for k in plain),
            f"only {labels.names[0]} in {counted(len(plain), 'mask')} of {len(reading.usable)}",
            "label it, unless its image shows nothing else" if few else "nothing to do, if that is right",
            labels.values[0],
            len(plain),
        )


def _example(reading: Reading, sides: Sequence[str], side: str, root: Path) -> Path:
    """Return the folder of the masks of a split."""
    place = next((k for k in range(len(sides)) if sides[k] == side), None)
    return root if place is None else file_of_mask(reading.looks[place]).parent


def _shows(reading: Reading, value: int) -> Path:
    """Return the mask with the most pixels of a value."""
    place = max(reading.usable, key=lambda k: (reading.counts[k] or {}).get(value, 0))
    return file_of_mask(reading.looks[place])
