"""The classes of a data set: from its classes.toml, its layout, or the values of its masks."""

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count, takewhile
from pathlib import Path

import cv2
import numpy as np

from atrous.datasets.folder import Folder, Pair, mask_file
from atrous.datasets.geotiff import mixed, nodata_values, without_nodata
from atrous.datasets.levels import Tally, find_smeared, tally
from atrous.errors import DataError
from atrous.io import mask_palette
from atrous.labels import LabelSet
from atrous.progress import At, command

VOID = (255, 65535)
"""Mask values that are ignored by convention, unless they are classes."""
MOST_UNNAMED = 64
"""More classes than this must be named by a file: so many values are numbers of objects, or a grey photo."""


def find_classes(
    folder: Folder,
    *,
    classes: Path | None,
    ignore: Sequence[int] = (),
    progress: At | None = None,
    read: Callable[[Pair], np.ndarray] | None = None,
) -> tuple[LabelSet, list[str]]:
    """Find the classes of a folder; return them with sentences that tell how they were found.

    classes: a classes file. None looks for classes.toml in the folder and beside it, then takes the
    classes that the layout names, and last reads every mask. ignore: further mask values to ignore;
    they stop being classes. read: reads a mask, by default as the folder does. Raises DataError for
    a file that cannot be used, for fewer than two classes and for a stray value.
    """
    root, nodata = folder.root, nodata_values(folder)
    classes = classes or classes_file(root)
    if classes is not None:
        labels = without_nodata(without(LabelSet.from_toml(classes), ignore), nodata)
        where, notes = str(classes), [f"{len(labels)} classes from {classes}"]
    elif folder.labels is not None:
        labels, where = without_nodata(without(folder.labels, ignore), nodata), str(root)
        notes = [f"{len(labels)} classes of the layout {folder.layout}: {', '.join(labels.names[:5])}"]
        notes[0] += " ..." if len(labels) > 5 else ""
    else:
        labels, notes = classes_in_masks(folder, ignore, progress, nodata, read)
        where = str(root)
    notes += [f"mask value {value} is no data by the tag of {path.name}, and ignored" for value, path in nodata.items()]
    if few := too_few(labels):
        raise DataError(f"{where}: {few}" + "".join(map(_if_a_class, nodata, nodata.values())))
    return labels, notes


def _if_a_class(value: int, path: Path) -> str:
    cure = "take the tag away (gdal_edit.py -unsetnodata) if it is a class"
    return f"; {value} is no data by the tag of {path.name}, {cure}"


def too_few(labels: LabelSet) -> str:
    """Say that there are too few classes to train: fewer than two, of which each pixel has one; else ''."""
    if len(labels) >= 2 or labels.mode != "exclusive":
        return ""
    return (
        f"{len(labels)} {'class' if len(labels) == 1 else 'classes'}; expected at least 2, "
        "list them in a classes.toml (--classes FILE)"
    )


def nothing_to_learn(labels: LabelSet, pixels: Sequence[int]) -> str:
    """Say that the masks to train on show fewer than two classes; else ''. pixels: of each class."""
    shown = [name for name, count in zip(labels.names, pixels, strict=True) if count]
    if len(shown) > 1 or labels.mode != "exclusive" or too_few(labels):
        return ""
    found = f"all labelled pixels to train on are {shown[0]!r}" if shown else "there is no labelled pixel to train on"
    return f"{found}; expected at least two classes, correct the masks or the list of classes"


def too_many(values: Sequence[int]) -> str:
    """Say that masks hold too many values to be classes that no file names; else ''."""
    if len(values) <= MOST_UNNAMED:
        return ""
    return (
        f"{len(values):,} values from {min(values)} to {max(values)}: numbers of objects, a grey photo or a mask that "
        f"was scaled smoothly; if these are classes, list them in a classes.toml"
    )


def classes_file(root: Path) -> Path | None:
    """Find the classes.toml of a data folder: in it, else beside it."""
    return next((file for place in (root, root.parent) if os.path.isfile(file := place / "classes.toml")), None)


def without(labels: LabelSet, ignore: Sequence[int]) -> LabelSet:
    """Ignore further values; the classes with these values are removed."""
    keep = [index for index, value in enumerate(labels.values) if value not in ignore]
    return replace(
        labels,
        names=tuple(labels.names[index] for index in keep),
        colours=tuple(labels.colours[index] for index in keep),
        values=tuple(labels.values[index] for index in keep),
        ignore=tuple(dict.fromkeys((*labels.ignore, *ignore))),
    )


def classes_in_masks(
    folder: Folder,
    ignore: Sequence[int] = (),
    progress: At | None = None,
    nodata: Mapping[int, Path] | None = None,
    read: Callable[[Pair], np.ndarray] | None = None,
) -> tuple[LabelSet, list[str]]:
    """Take the values 0..K-1 without a gap as classes, with the masks' palette if they have one.

    255 and 65535 are ignored by convention; masks that hold only 0 and 255 have these two classes.
    The highest value must occur in two masks (in one, if there are fewer than five masks), so that
    a stray pixel does not make a class. nodata: values that the tags of masks call no data
    (`geotiff.nodata_values`); they are ignored. Raises a DataError with file, value and number of
    pixels for any other value, for masks whose edges hold values between classes, and for more than
    MOST_UNNAMED classes.
    """
    masks, nodata, asked = [pair.mask for pair in folder.pairs], nodata or {}, ignore
    seen, ignore = count_values(folder.pairs, read or folder.read_mask, progress), (*ignore, *nodata)
    if smeared := find_smeared([tally for _, tally in seen]):
        raise DataError(
            f"{masks[smeared.places[0]]}: {smeared} ({len(smeared.places)} such masks); expected class indices, "
            f"`{command('atrous', 'check', folder.root)} --write OUT` takes the nearest where that is clear"
        )
    counts = [count for count, _ in seen]
    if different := mixed(folder.pairs, counts, nodata):
        place, sentence = next(iter(different.items()))
        raise DataError(f"{masks[place]}: {sentence}")
    present = set[int]().union(*counts)
    if present - set(ignore) == {0, 255}:
        labels = LabelSet(("value 0", "value 255"), ((0, 0, 0), (255, 255, 255)), (0, 255), tuple(ignore))
        return labels, ["the masks hold only 0 and 255: two classes, value 0 and value 255"]
    run, void, stray = gap_free(counts, ignore)
    if stray:
        raise _stray_value(masks, counts, stray[0], run)
    if many := too_many(run):
        raise DataError(f"{folder.root}: the masks hold {many}")
    palette = (mask_palette(masks[0]) if folder.readers.mask is mask_file else None) or []
    colours = tuple(palette[: len(run)]) if len(set(palette[: len(run)])) == len(run) else ()
    ignored = tuple(value for value in void if value in present) or void[:1]
    names = tuple(f"class {value}" for value in run)
    labels = without(LabelSet(names, colours, tuple(run), ignored), ignore)
    if nodata:
        found = (value for value in void if value in present)
        labels = replace(labels, ignore=tuple(dict.fromkeys((*nodata, *asked, *found))))
    origin = ", colours from the palette" if colours else ""
    notes = [f"{len(labels)} classes found in the masks: values {', '.join(map(str, labels.values))}{origin}"]
    notes += [f"mask value {value} is ignored by convention" for value in void if value in present - set(ignore)]
    return labels, notes


def gap_free(
    counts: Sequence[dict[int, int]], ignore: Sequence[int] = ()
) -> tuple[list[int], tuple[int, ...], list[int]]:
    """Sort the values of masks into classes, ignored values and others.

    counts: the histogram of each mask. Returns the values 0..K-1 without a gap whose highest one
    recurs, the values that are ignored by convention, and the other values that occur.
    """
    masks_with = Counter(value for pixels in counts for value in pixels)
    present = set(masks_with)
    void = (65535,) if {254, 255, 256} <= present else VOID
    known = present.union(ignore) - {value for value in void if value not in ignore}
    run = list(takewhile(known.__contains__, count()))
    while run and run[-1] not in ignore and masks_with[run[-1]] < min(2, len(counts) // 5 + 1):
        run.pop()
    return run, void, sorted(present - set(run) - set(void) - set(ignore))


def count_values(
    pairs: Sequence[Pair], read: Callable[[Pair], np.ndarray] = mask_file, progress: At | None = None
) -> list[tuple[dict[int, int], Tally | None]]:
    """Count the values of each pair's mask; DataError if one cannot be read.

    Returns value -> pixels, and what these values do in a mask of more than two of them.
    """

    def look(pair: Pair) -> tuple[dict[int, int], Tally | None]:
        values = read(pair)
        found = histogram(values)
        return found, tally(values) if len(found) > 2 and values.ndim == 2 else None

    counts = []
    with ThreadPoolExecutor() as pool:
        for done, found in enumerate(pool.map(look, pairs), start=1):
            counts.append(found)
            if progress:
                progress(done, len(pairs))
    return counts


def histogram(values: np.ndarray) -> dict[int, int]:
    """Count the values of a uint8 or uint16 array: value -> pixels."""
    if values.dtype == np.uint8 and 0 < values.size < 2**24:  # OpenCV, fast, counts in float32
        pixels = cv2.calcHist([values.reshape(1, -1)], [0], None, [256], [0, 256]).reshape(-1).astype(np.int64)
    else:
        pixels = np.bincount(values.reshape(-1))
    return {int(value): int(pixels[value]) for value in np.flatnonzero(pixels)}


def _stray_value(masks: Sequence[Path], counts: Sequence[dict[int, int]], value: int, run: Sequence[int]) -> DataError:
    """Make the error for a value that is not a class, with the first file that has it."""
    where = [index for index, pixels in enumerate(counts) if value in pixels]
    path, number = masks[where[0]], counts[where[0]][value]
    more = len(where) - 1
    others = f" (also in {more} more mask{'s' if more > 1 else ''})" if more else ""
    if path.suffix.lower() in (".jpg", ".jpeg"):
        return DataError(
            f"{path}: value {value} in {number} pixels of a JPEG mask{others}; expected class indices, which JPEG "
            "compression changes, save the masks as PNG"
        )
    classes = f"0..{run[-1]}, the values that recur without a gap" if run else "0, 1, ..., but no mask holds 0"
    return DataError(
        f"{path}: value {value} in {number} pixels{others} is out of range; expected {classes}: "
        f"list the classes in a classes.toml or pass --ignore {value}"
    )
