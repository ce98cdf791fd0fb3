"""Which classes a data set has: from its classes.toml, else from the values and palettes of its masks."""

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

Progress = Callable[[int, int], object]
"""Called with (files done, files in all)."""

VOID = (255, 65535)
"""Mask values that are ignored by convention."""


def find_classes(
    folder: Folder, *, classes: Path | None, ignore: Sequence[int] = (), progress: Progress | None = None
) -> tuple[LabelSet, list[str]]:
    """The label set, and sentences on how it was found.

    classes: a classes file; None looks for classes.toml in the folder and its parent, then takes the classes that the
    layout names, and reads every mask where it names none. ignore: mask values that are ignored, on top of the ones
    found; they stop being classes. Raises DataError for an unusable file, fewer than two classes, a stray value.
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
            f"{where}: {len(labels)} class; expected at least 2, list them in a classes.toml (--classes FILE)"
        )
    return labels, notes


def classes_file(root: Path) -> Path | None:
    """The classes.toml of a data folder, which may lie beside it too."""
    return next((file for place in (root, root.parent) if (file := place / "classes.toml").is_file()), None)


def without(labels: LabelSet, ignore: Sequence[int]) -> LabelSet:
    """The label set with more ignored values; classes of those values leave."""
    keep = [index for index, value in enumerate(labels.values) if value not in ignore]
    return replace(
        labels,
        names=tuple(labels.names[index] for index in keep),
        colours=tuple(labels.colours[index] for index in keep),
        values=tuple(labels.values[index] for index in keep),
        ignore=tuple(dict.fromkeys((*labels.ignore, *ignore))),
    )


def classes_in_masks(
    folder: Folder, ignore: Sequence[int] = (), progress: Progress | None = None
) -> tuple[LabelSet, list[str]]:
    """The gap-free values 0..K-1 that recur in the masks, with the masks' palette if they have one.

    255 (and 65535) is ignored by convention; masks of 0 and 255 alone have two classes of these values. The last
    class must recur, that is occur in two masks (in one where there are fewer than five), so that a slip of the pen
    makes no class. Raises DataError naming file, value and pixels for a value beyond the classes.
    """
    masks = [pair.mask for pair in folder.pairs]
    counts = count_values(folder.pairs, folder.read_mask, progress)
    present = set[int]().union(*counts)
    if present - set(ignore) == {0, 255}:
        labels = LabelSet(("value 0", "value 255"), ((0, 0, 0), (255, 255, 255)), (0, 255), tuple(ignore))
        return labels, ["the masks hold 0 and 255 only: two classes, value 0 and value 255"]
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
    """From the histogram of each mask: the gap-free values 0..K-1 of which the last recurs, the values that are ignored
    by convention, and the others that occur."""
    masks_with = Counter(value for pixels in counts for value in pixels)
    present = set(masks_with)
    void = (65535,) if {254, 255, 256} <= present else VOID
    known = present.union(ignore) - {value for value in void if value not in ignore}
    run = list(takewhile(known.__contains__, count()))
    while run and run[-1] not in ignore and masks_with[run[-1]] < min(2, len(counts) // 5 + 1):
        run.pop()
    return run, void, sorted(present - set(run) - set(void) - set(ignore))


def count_values(
    pairs: Sequence[Pair], read: Callable[[Pair], np.ndarray] = mask_file, progress: Progress | None = None
) -> list[dict[int, int]]:
    """Value -> pixels that have it, for the mask of each pair; raises the DataError of the first that cannot be
    read."""
    counts = []
    with ThreadPoolExecutor() as pool:
        for done, found in enumerate(pool.map(lambda pair: histogram(read(pair)), pairs), start=1):
            counts.append(found)
            if progress:
                progress(done, len(pairs))
    return counts


def histogram(values: np.ndarray) -> dict[int, int]:
    """Value -> pixels, of uint8 or uint16."""
    if values.dtype == np.uint8 and 0 < values.size < 2**24:  # OpenCV is faster, but counts in float32
        pixels = cv2.calcHist([values.reshape(1, -1)], [0], None, [256], [0, 256]).reshape(-1).astype(np.int64)
    else:
        pixels = np.bincount(values.reshape(-1))
    return {int(value): int(pixels[value]) for value in np.flatnonzero(pixels)}


def _stray_value(masks: Sequence[Path], counts: Sequence[dict[int, int]], value: int, run: Sequence[int]) -> DataError:
    """The error about a value beyond the gap-free ones, at the first file that has it."""
    where = [index for index, pixels in enumerate(counts) if value in pixels]
    path, number = masks[where[0]], counts[where[0]][value]
    others = f", {len(where) - 1} more masks have it" if len(where) > 1 else ""
    if path.suffix.lower() in (".jpg", ".jpeg"):
        return DataError(
            f"{path}: value {value} in {number} pixels of a JPEG mask{others}; expected class indices, which JPEG "
            "compression blurs: save the masks as PNG"
        )
    classes = f"0..{run[-1]}" if run else "none, since no mask holds 0"
    return DataError(
        f"{path}: value {value} in {number} pixels{others} is out of range: the gap-free values that recur are "
        f"{classes}; list the classes in a classes.toml or pass --ignore {value}"
    )
