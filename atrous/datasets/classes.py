"""The classes of a data set: from its classes.toml, its layout, or the values of its masks."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import count, takewhile
from pathlib import Path

import cv2
import numpy as np

from atrous.datasets.folder import Folder, Pair, mask_file
from atrous.errors import DataError
from atrous.io import mask_palette
from atrous.labels import LabelSet
from atrous.progress import At

VOID = (255, 65535)
"""Mask values that are ignored by convention, unless they are classes."""


def find_classes(
    folder: Folder, *, classes: Path | None, ignore: Sequence[int] = (), progress: At | None = None
) -> tuple[LabelSet, list[str]]:
    """Find the classes of a folder; return them with sentences that tell how they were found.

    classes: a classes file. None looks for classes.toml in the folder and beside it, then takes the
    classes that the layout names, and last reads every mask. ignore: further mask values to ignore;
    they stop being classes. Raises DataError for a file that cannot be used, for fewer than two
    classes and for a stray value.
    """
    root = folder.root
    classes = classes or classes_file(root)
    if classes is not None:
        labels = without(LabelSet.from_toml(classes), ignore)
        where, notes = str(classes), [f"{len(labels)} classes from {classes}"]
    elif folder.labels is not None:
        labels, where = without(folder.labels, ignore), str(root)
        notes = [f"{len(labels)} classes of the layout {folder.layout}: {', '.join(labels.names[:5])}"]
        notes[0] += " ..." if len(labels) > 5 else ""
    else:
        labels, notes = classes_in_masks(folder, ignore, progress)
        where = str(root)
    if len(labels) < 2 and labels.mode == "exclusive":
        raise DataError(
            f"{where}: {len(labels)} {'class' if len(labels) == 1 else 'classes'}; expected at least 2, "
            "list them in a classes.toml (--classes FILE)"
        )
    return labels, notes


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
    folder: Folder, ignore: Sequence[int] = (), progress: At | None = None
) -> tuple[LabelSet, list[str]]:
    """Take the values 0..K-1 without a gap as classes, with the masks' palette if they have one.

    255 and 65535 are ignored by convention; masks that hold only 0 and 255 have these two classes.
    The highest value must occur in two masks (in one, if there are fewer than five masks), so that
    a stray pixel does not make a class. Raises a DataError with file, value and number of pixels
    for any other value.
    """
    masks = [pair.mask for pair in folder.pairs]
    counts = count_values(folder.pairs, folder.read_mask, progress)
    present = set[int]().union(*counts)
    if present - set(ignore) == {0, 255}:
        labels = LabelSet(("value 0", "value 255"), ((0, 0, 0), (255, 255, 255)), (0, 255), tuple(ignore))
        return labels, ["the masks hold only 0 and 255: two classes, value 0 and value 255"]
    run, void, stray = gap_free(counts, ignore)
    if stray:
        raise _stray_value(masks, counts, stray[0], run)
    palette = (mask_palette(masks[0]) if folder.readers.mask is mask_file else None) or []
    colours = tuple(palette[: len(run)]) if len(set(palette[: len(run)])) == len(run) else ()
    ignored = tuple(value for value in void if value in present) or void[:1]
    names = tuple(f"class {value}" for value in run)
    labels = without(LabelSet(names, colours, tuple(run), ignored), ignore)
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
) -> list[dict[int, int]]:
    """Count the values of each pair's mask: value -> pixels; DataError if one cannot be read."""
    counts = []
    with ThreadPoolExecutor() as pool:
        for done, found in enumerate(pool.map(lambda pair: histogram(read(pair)), pairs), start=1):
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
