"""What an evaluation lets one say about the data: how much there is, which classes are absent, rare, out of proportion.

Nothing here looks at the labels' quality.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from atrous.datasets import Pairs
from atrous.evaluate.evaluation import Evaluation

SHOWN_BY_FEW = 10
"""A class that fewer images show has an interval that says little."""
RARE_SHARE = 0.01
"""Share of the pixels below which a class is called rare."""
SHIFT = 3.0
"""Factor between a class's shares in two splits from which on it is worth a word."""
MOST_MASKS = 1000
"""Masks of a split that are read; of more, so many that are evenly spaced."""


class Remark(NamedTuple):
    """One sentence. severity: warning (weakens a number of the page) or note."""

    severity: str
    text: str


def data_remarks(
    result: Evaluation, splits: Mapping[str, Pairs] | None = None, notes: Sequence[str] = ()
) -> list[Remark]:
    """What there is to say about the data of an evaluation, warnings first.

    splits: all of the data set's; their masks are read, but for the split that was evaluated. notes: what opening the
    data set said.
    """
    names, true = result.labels.names, result.counts[:, 0]
    pixels, shown = true.sum(0), (true > 0).sum(0)
    images, found = len(true), [Remark("note", _counts(result, splits or {}))]
    found += [Remark("note", note) for note in notes]
    if absent := [name for name, count in zip(names, pixels, strict=True) if not count]:
        found.append(Remark("warning", f"Without a true pixel in {result.split}: {_list(absent)}"))
    few = [f"{name} ({count})" for name, count in zip(names, shown.tolist(), strict=True) if 0 < count < SHOWN_BY_FEW]
    if few and images > SHOWN_BY_FEW:
        text = f"Shown by fewer than {SHOWN_BY_FEW} of {images} images, so that the interval says little: {_list(few)}"
        found.append(Remark("warning", text))
    total = max(int(pixels.sum()), 1)
    if rare := [
        f"{n} ({_percent(c / total)})"
        for n, c in zip(names, pixels.tolist(), strict=True)
        if 0 < c < RARE_SHARE * total
    ]:
        found.append(
            Remark("note", f"Below {RARE_SHARE * 100:g}\u202f% of the pixels of {result.split}: {_list(rare)}")
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
    """What another split lacks, or has in another proportion than the one that was judged."""
    step = -(-len(pairs) // MOST_MASKS)
    other = pairs.choose(range(0, len(pairs), step)).frequencies()
    where = split if step == 1 else f"one mask in {step} of {split}"
    found = []
    if absent := [name for name, count in zip(names, other, strict=True) if not count]:
        severity = "warning" if split == "train" and step == 1 else "note"
        tail = ", so that it was never learnt" if len(absent) == 1 else ", so that they were never learnt"
        found.append(
            Remark(severity, f"Without a true pixel in {where}{tail * (severity == 'warning')}: {_list(absent)}")
        )
    shares, here = other / max(other.sum(), 1), pixels / max(pixels.sum(), 1)
    moved = [
        f"{name} ({_percent(theirs)} of {split}, {_percent(ours)} of {judged})"
        for name, theirs, ours in zip(names, shares.tolist(), here.tolist(), strict=True)
        if min(theirs, ours) > 0 and max(theirs, ours) >= SHIFT * min(theirs, ours)
    ]
    if moved:
        found.append(Remark("note", f"A share of the pixels that differs {SHIFT:g} times or more: {_list(moved)}"))
    return found


def _percent(share: float) -> str:
    return f"{100 * share:.2f}\u202f%"


def _list(words: Sequence[str], most: int = 12) -> str:
    return ", ".join(words[:most]) + (f" and {len(words) - most} more" if len(words) > most else "")
