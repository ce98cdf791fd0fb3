"""Remarks on the data of an evaluation: their size; classes that are absent, rare or shifted.

Nothing here looks for wrong labels; `atrous.doctor` does.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from atrous.datasets import Pairs
from atrous.evaluate.evaluation import Evaluation

SHOWN_BY_FEW = 10
"""The interval of a class says little if fewer images than this show the class."""
RARE_SHARE = 0.01
"""A class is rare if its share of the pixels is smaller than this."""
SHIFT = 3.0
"""A class is worth a remark if its shares in two splits differ by this factor or more."""
MOST_MASKS = 1000
"""At most this many masks of a split are read, evenly spaced."""


class Remark(NamedTuple):
    """A sentence about the data, without its full stop.

    severity: `warning` if it weakens a number of the page, else `note`.
    """

    severity: str
    text: str


def data_remarks(
    result: Evaluation, splits: Mapping[str, Pairs] | None = None, notes: Sequence[str] = ()
) -> list[Remark]:
    """Remarks on the data of an evaluation, warnings first.

    splits: all splits of the data set; the masks of those that were not evaluated are read. notes:
    what was said when the data set was opened.
    """
    names, true = result.labels.names, result.counts[:, 0]
    pixels, shown = true.sum(0), (true > 0).sum(0)
    images, found = len(true), [Remark("note", _counts(result, splits or {}))]
    found += [Remark("note", note) for note in notes]
    if absent := [name for name, count in zip(names, pixels, strict=True) if not count]:
        found.append(Remark("warning", f"Classes without a true pixel in {result.split}: {_list(absent)}"))
    few = [f"{name} ({count})" for name, count in zip(names, shown.tolist(), strict=True) if 0 < count < SHOWN_BY_FEW]
    if few and images > SHOWN_BY_FEW:
        text = f"Classes in fewer than {SHOWN_BY_FEW} of {images} images, whose intervals say little: {_list(few)}"
        found.append(Remark("warning", text))
    total = max(int(pixels.sum()), 1)
    if rare := [
        f"{n} ({_percent(c / total)})"
        for n, c in zip(names, pixels.tolist(), strict=True)
        if 0 < c < RARE_SHARE * total
    ]:
        found.append(
            Remark(
                "note",
                f"Classes with less than {RARE_SHARE * 100:g}\u202f% of the pixels of {result.split}: {_list(rare)}",
            )
        )
    if empty := int((true.sum(1) == 0).sum()):
        found.append(Remark("note", f"{empty} of {images} images have no labelled pixel and count nowhere"))
    for split, pairs in (splits or {}).items():
        if split != result.split and len(pairs):
            found += _beside(split, pairs, result.split, names, pixels)
    return sorted(found, key=lambda one: one.severity != "warning")


def _counts(result: Evaluation, splits: Mapping[str, Pairs]) -> str:
    counts = {split: len(pairs) for split, pairs in splits.items()} | {result.split: len(result.names)}
    return "Images: " + ", ".join(f"{count:,} in {split}".replace(",", "\u202f") for split, count in counts.items())


def _beside(split: str, pairs: Pairs, judged: str, names: Sequence[str], pixels: np.ndarray) -> list[Remark]:
    """What another split lacks, or has in another proportion than the evaluated one."""
    step = -(-len(pairs) // MOST_MASKS)
    other = pairs.choose(range(0, len(pairs), step)).frequencies()
    where = split if step == 1 else f"one mask in {step} of {split}"
    found = []
    if absent := [name for name, count in zip(names, other, strict=True) if not count]:
        severity = "warning" if split == "train" and step == 1 else "note"
        tail = ", which were never learned" * (severity == "warning")
        found.append(Remark(severity, f"Classes without a true pixel in {where}{tail}: {_list(absent)}"))
    shares, here = other / max(other.sum(), 1), pixels / max(pixels.sum(), 1)
    moved = [
        f"{name} ({_percent(theirs)} of {split}, {_percent(ours)} of {judged})"
        for name, theirs, ours in zip(names, shares.tolist(), here.tolist(), strict=True)
        if min(theirs, ours) > 0 and max(theirs, ours) >= SHIFT * min(theirs, ours)
    ]
    if moved:
        found.append(
            Remark(
                "note", f"Classes whose share of the pixels differs by a factor of {SHIFT:g} or more: {_list(moved)}"
            )
        )
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.2f}\u202f%"


def _list(words: Sequence[str], most: int = 12) -> str:
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
