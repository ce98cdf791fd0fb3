"""What the values of the masks mean: which ones are classes, and what is wrong with the others.

This works on the histograms alone. A cure is applied to the histograms at once, so that later
checks see the masks as they were meant.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np

from atrous.datasets.classes import MOST_UNNAMED, gap_free, too_few, too_many, without
from atrous.datasets.folder import Folder, mask_file
from atrous.doctor.cures import exchange
from atrous.doctor.findings import Severity, counted
from atrous.doctor.look import PairLook
from atrous.doctor.nearly import find_nearly
from atrous.doctor.painted import find_compressed, find_painted
from atrous.doctor.reading import VOID, Reading
from atrous.errors import DataError
from atrous.io import mask_palette
from atrous.labels import LabelSet, voc_palette

MANY_OBJECTS = 4
"""Masks with fewer numbers are not asked whether they number objects."""
MASKS_SEEN = 8
"""So many masks are looked at for that."""
RECURS = 0.1
"""A value that is not a class but occurs in at least this share of the masks is a missing class."""


def read_values(
    folder: Folder, looks: Sequence[PairLook], given: LabelSet | None, ignore: Sequence[int] = ()
) -> Reading:
    """Tell the classes, `given` or found, and report every mask that does not fit them."""
    counts = [dict(look.mask.values) if look.mask else None for look in looks]
    reading = Reading(looks, counts, [[] for _ in looks], given)
    find_painted(reading)
    find_compressed(reading)
    find_nearly(reading)
    _no_numbers(reading)
    if reading.labels is None:
        _infer(reading, folder, ignore)
    else:
        _judge(reading, reading.labels)
    _few(reading)
    return reading


def _few(reading: Reading) -> None:
    """Report fewer than two classes, unless an error tells already why there are none."""
    told = any(finding.severity == "error" for finding in reading.findings)
    if reading.usable and not (told and reading.labels is None):
        few = too_few(reading.labels or LabelSet(()))
        if few:
            reading.report("value_out_of_range", "error", reading.usable, few, "or label further classes in the masks")


def _no_numbers(reading: Reading) -> None:
    """Report fractions, negative numbers, NaN, and numbers of more than 16 bits."""
    for k, look in enumerate(reading.looks):
        if look.mask and look.mask.stray:
            value, pixels = look.mask.stray
            reading.counts[k] = None
            reading.report(
                "value_out_of_range", "error", [k], f"value {value:g} in {counted(pixels, 'pixel')}",
                "expected whole numbers 0..65535; give the ignored pixels a value such as 255",
                value=int(value) if value == value and abs(value) < 2**53 and value == int(value) else None,
                count=pixels,
            )  # fmt: skip


def _infer(reading: Reading, folder: Folder, ignore: Sequence[int]) -> None:
    """Find the classes if nothing names them: the values 0..K-1 that recur, or what was meant."""
    present = set(reading.with_value()) - set(ignore)
    if not present:
        return
    masks = reading.usable
    if present == {0, 255}:
        reading.labels = LabelSet(("value 0", "value 255"), ((0, 0, 0), (255, 255, 255)), (0, 255), tuple(ignore))
        reading.report(
            "binary_0_255", "note", masks, "all masks hold only 0 and 255: read as two classes, value 0 and value 255",
            "nothing to do; if 255 means ignored, list the classes in a classes.toml", value=255,
        )  # fmt: skip
        return
    if present == {0, 65535}:
        _to_one(reading, masks, 65535, "error")
    _lone_white(reading, "error")
    _numbered(reading)
    if many := too_many(sorted(set(reading.with_value()) - set(ignore))):
        reading.report("value_out_of_range", "error", reading.usable, many, "or write one number for each class")
        return
    counts = [reading.counts[k] or {} for k in reading.usable]
    run, _, stray = gap_free(counts, ignore)
    body = sorted(value for value in set(reading.with_value()) - set(ignore) if value < VOID)
    if 0 not in ignore and body and body[0] == 1 and body == list(range(1, len(body) + 1)):
        reading.report(
            "off_by_one", "error", reading.usable,
            f"the values are 1..{len(body)} and no mask holds 0, but classes count from 0",
            f"subtract 1 from each: --write OUT does it; or list the values 1..{len(body)} in a classes.toml", value=1,
            cure=exchange({value: value - 1 for value in body}),
        )  # fmt: skip
    elif stray:
        _one_too_high(reading, len(run))
        _levels(reading, run, ignore)
    counts = [reading.counts[k] or {} for k in reading.usable]
    run, void, stray = gap_free(counts, ignore)
    for value in stray:
        _stray(reading, value, f"the values that recur without a gap are 0..{run[-1]}" if run else "no mask holds 0")
    there = set(reading.with_value())
    if run:
        ignored = (*(value for value in void if value in there), *ignore) or void[:1]
        labels = LabelSet(tuple(f"class {value}" for value in run), _palette(folder, run), tuple(run), ())
        reading.labels = without(replace(labels, ignore=()), tuple(dict.fromkeys(ignored)))
        _objects(reading, folder)


def _objects(reading: Reading, folder: Folder) -> None:
    """Warn of masks that seem to number objects: 1..n in each, another n in each, one piece for each number."""
    numbers = {k: sorted(set(reading.counts[k] or ()) - {0, VOID}) for k in reading.usable if not reading.cures[k]}
    tops = Counter(len(own) for own in numbers.values() if own)
    if len(tops) < 2 or max(tops) < MANY_OBJECTS or tops.total() < 3:
        return
    if any(own != list(range(1, len(own) + 1)) for own in numbers.values()):
        return
    places = [k for k, own in numbers.items() if own]
    found = pieces = 0
    for k in places[:: -(-len(places) // MASKS_SEEN)]:
        mask = folder.read_mask(reading.looks[k].pair)
        found += len(numbers[k])
        pieces += sum(cv2.connectedComponents((mask == value).astype(np.uint8))[0] - 1 for value in numbers[k])
    if pieces <= 1.1 * found:
        reading.report(
            "value_out_of_range", "warning", places,
            f"each mask holds 0 and 1..n, with n from {min(tops)} to {max(tops)}, and each number is one piece: these "
            "look like numbers of objects, which would be taken for classes",
            "write one number for each class; if these are classes, list them in a classes.toml",
        )  # fmt: skip


def _palette(folder: Folder, run: Sequence[int]) -> tuple[tuple[int, int, int], ...]:
    """Take the colours of the first mask's palette for these values, if they differ; else VOC's."""
    if folder.readers.mask is mask_file and folder.pairs:
        try:
            palette = (mask_palette(folder.pairs[0].mask) or [])[: len(run)]
        except DataError:
            palette = []
        if len(set(palette)) == len(run):
            return tuple(palette)
    return voc_palette(max(256, len(run)))[: len(run)]


def _numbered(reading: Reading) -> None:
    """Report masks with so many values that they number instances or are photos."""
    for k in reading.usable:
        counts = reading.counts[k] or {}
        if len(counts) > MOST_UNNAMED and max(counts) >= 2 * len(counts) ** 0.5:
            others = [len(reading.counts[j] or ()) for j in reading.usable if j != k]
            if others and sorted(others)[len(others) // 2] * 4 > len(counts):
                continue
            reading.counts[k] = None
            reading.report(
                "value_out_of_range", "error", [k],
                f"{len(counts):,} values from {min(counts)} to {max(counts)}: numbers of objects, or a grey photo",
                "put a mask with one number per class there", value=max(counts), count=len(counts),
            )  # fmt: skip


def _lone_white(reading: Reading, severity: Severity) -> None:
    """Report masks of 0 and 255 among masks of 0 and 1: their foreground would be ignored."""
    values = {k: set(reading.counts[k] or ()) for k in reading.usable}
    white = [k for k, own in values.items() if 255 in own and 1 not in own]
    if white and set().union(*values.values()) == {0, 1, 255} and not any({1, 255} <= own for own in values.values()):
        _to_one(reading, white, 255, severity)


def _to_one(reading: Reading, places: Sequence[int], value: int, severity: Severity) -> None:
    """Report masks in which 255 or 65535 stands for class 1."""
    whole = len(places) == len(reading.usable)
    others = "for the two classes 0 and 1" if whole else "while the other masks hold 0 and 1"
    reading.report(
        "binary_0_255", severity, places,
        f"holds 0 and {value} {others}: {value} means ignored, so the foreground would be lost",
        f"write 1 for {value}: --write OUT does it", value=value, cure=exchange({value: 1}),
    )  # fmt: skip


def _one_too_high(reading: Reading, classes: int) -> None:
    """Report single masks of 1..K among masks of 0..K-1."""
    own = {k: {value for value in reading.counts[k] or () if value < VOID} for k in reading.usable}
    high = [k for k, values in own.items() if classes in values]
    shifted = [k for k in high if 0 not in own[k] and max(own[k]) == classes and len(own[k]) > 1]
    rest = [values for k, values in own.items() if k not in set(high)]
    if shifted and len(shifted) == len(high) and sum(0 in values for values in rest) * 2 > len(rest):
        reading.report(
            "off_by_one", "error", shifted,
            f"holds up to {classes} and no 0, while the other masks hold 0..{classes - 1}",
            "subtract 1 from each value: --write OUT does it", value=classes,
            cure=exchange({value: value - 1 for value in range(1, classes + 1)}),
        )  # fmt: skip


def _levels(reading: Reading, run: Sequence[int], ignore: Sequence[int]) -> None:
    """Report values that recur with gaps: grey levels for classes, or absent classes."""
    masks_with, n = reading.with_value(), len(reading.usable)
    stray = [value for value in masks_with if value not in run and value not in (VOID, 65535, *ignore)]
    recurring = [value for value in stray if masks_with[value] >= max(2, RECURS * n) or n < 3]
    if not recurring:
        return
    levels = sorted({*run, *recurring, *((VOID,) if _spread([*run, *recurring, VOID], masks_with) else ())})
    places = [k for k in reading.usable if set(reading.counts[k] or ()) & set(levels)]
    reading.report(
        "value_out_of_range", "error", places,
        f"the values {', '.join(map(str, levels[:12]))}{' ...' if len(levels) > 12 else ''} recur, with gaps: grey "
        "levels that stand for classes, or class numbers some of which are never used",
        "list them in a classes.toml, each with its value; or let --write OUT number them from 0",
        value=min(recurring), count=len(places),
        cure=exchange({value: place for place, value in enumerate(levels)}),
    )  # fmt: skip


def _spread(levels: Sequence[int], masks_with: Counter[int]) -> bool:
    """Tell whether 255 is the white end of a grey scale: it occurs, with about equal steps."""
    ordered = sorted(set(levels))
    steps = [b - a for a, b in pairwise(ordered)]
    return VOID in masks_with and len(steps) > 1 and max(steps) - min(steps) <= 2


def _stray(reading: Reading, value: int, expected: str) -> None:
    """Report a value that is not a class; in few masks it is a slip, which a cure ignores."""
    places = [k for k in reading.usable if value in (reading.counts[k] or ())]
    if not places:
        return
    pixels = sum((reading.counts[k] or {})[value] for k in places)
    few = len(places) < max(2, RECURS * len(reading.usable))
    cure = exchange({value: reading.void}) if few else None
    reading.report(
        "value_out_of_range", "error", places,
        f"value {value} in {counted(pixels, 'pixel')} of {counted(len(places), 'mask')}: {expected}",
        f"correct the mask, add the class to a classes.toml or pass --ignore {value}"
        + (" (--write OUT ignores these pixels)" if cure else ""),
        value=value, count=pixels, cure=cure,
    )  # fmt: skip


def _judge(reading: Reading, labels: LabelSet) -> None:
    """Report the masks that do not fit the classes that a file or the layout names."""
    counting = tuple(range(len(labels))) == labels.values
    if labels.values == (0, 1):
        whole = set(reading.with_value())
        if whole == {0, 255}:
            _to_one(reading, [k for k in reading.usable if 255 in (reading.counts[k] or ())], 255, "error")
        else:
            _lone_white(reading, "warning")
    if len(labels) < MOST_UNNAMED:
        _numbered(reading)
    known = set(labels.values) | set(labels.ignore)
    masks_with, n = reading.with_value(), len(reading.usable)
    unknown = sorted(set(masks_with) - known)
    top = len(labels)
    if counting and top in unknown:
        _shifted(reading, labels, masks_with, n)
    elif unknown == [0] and labels.values == tuple(range(1, top + 1)) and top not in masks_with:
        reading.report(
            "off_by_one", "error", reading.usable,
            f"the masks hold 0..{top - 1}, but the classes have the values 1..{top}",
            f"give the classes the values 0..{top - 1}; or let --write OUT add 1 to each", value=0,
            cure=exchange({value: value + 1 for value in range(top)}),
        )  # fmt: skip
    for value in sorted(set(reading.with_value()) - known):
        _stray(reading, value, f"the classes are {_shown(labels.values)}, ignored is {_shown(labels.ignore)}")


def _shifted(reading: Reading, labels: LabelSet, masks_with: Counter[int], n: int) -> None:
    """Report masks of 1..K if the classes are 0..K-1."""
    top = len(labels)
    recurs = masks_with[top] >= max(2, RECURS * n) or n < 3
    if not masks_with[0]:
        reading.report(
            "off_by_one", "error", reading.usable,
            f"the masks hold 1..{top}, but the classes have the values 0..{top - 1}",
            f"give the classes the values 1..{top}; or let --write OUT subtract 1 from each", value=top,
            cure=exchange({value: value - 1 for value in range(1, top + 1)}),
        )  # fmt: skip
        return
    _one_too_high(reading, top)
    if recurs and reading.with_value()[top]:
        places = [k for k in reading.usable if top in (reading.counts[k] or ())]
        reading.report(
            "off_by_one", "error", places,
            f"the masks hold 0..{top}, but there are {top} classes with the values 0..{top - 1}",
            f"if 0 means unlabelled (reduce_zero_label), give the classes the values 1..{top} and ignore 0; "
            f"if 0 is a class, add the missing [[class]]",
            value=top,
        )  # fmt: skip
        for k in places:
            reading.counts[k] = None


def _shown(values: Iterable[int]) -> str:
    text = ", ".join(map(str, sorted(values)[:24]))
    return (text + (" ..." if len(tuple(values)) > 24 else "")) or "nothing"
