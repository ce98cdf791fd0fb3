"""The surfaces of all classes of a label volume in one pass, and exact distances between them.

A surface has far fewer voxels than a volume, and that of a prediction lies mostly near that of the truth. So the
search goes outwards from each voxel, line by line of the volume, and soon ends. What lies farther goes to a k-d tree.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.spatial import KDTree

from atrous.ops.compiling import njit

LINES = 600
"""Lines of a volume that are searched around a voxel before the k-d tree is asked: that takes about as long."""
MOST_LINES = 2**24
"""Of the others' box; of more, all goes to the k-d tree, which needs no table of them."""


def surfaces_of(labels: np.ndarray, classes: Sequence[int]) -> list[np.ndarray]:
    """The surface of each class: its voxels with a face that is outside of the class, or of the image.

    Args:
        labels: (W,), (H, W) or (D, H, W) whole numbers, or bool.
        classes: the labels that are asked for, each once.

    Returns:
        For each class (n, axes) int32: the indices of its surface's voxels, in the order of the volume; n is 0 where
        the class is nowhere.

    Raises:
        ValueError: the labels are not of one to three axes, or not whole numbers; a class is given twice, or has more
            than 64 bits; there are over 65,535 of them.

    Example:
        >>> square = np.zeros((5, 5), np.uint8)
        >>> square[1:4, 1:4] = 7
        >>> [len(one) for one in surfaces_of(square, [7, 3])]
        [8, 0]
    """
    if not 1 <= labels.ndim <= 3 or labels.dtype.kind not in "iub":
        raise ValueError(f"labels are {labels.dtype} of shape {labels.shape}; expected whole numbers, 1 to 3 axes")
    known = [int(label) for label in classes]
    if len(set(known)) < len(known) or len(known) > 65535 or not all(-(2**63) <= one < 2**63 - 1 for one in known):
        raise ValueError(f"{len(known)} classes, {len(set(known))} different; expected each once, at most 65535")
    values, slots = _small(labels, known)
    # Axes that were added in front have no faces: a flat image would be all surface.
    whole = values.reshape((1,) * (3 - labels.ndim) + values.shape)
    places, owners = _edges(whole, slots, len(known), labels.ndim)
    order = np.argsort(owners, kind="stable")
    bounds = np.searchsorted(owners[order], np.arange(len(known) + 1))
    places = places[:, 3 - labels.ndim :]
    return [places[order[first:end]] for first, end in pairwise(bounds)]


def distances_between(here: np.ndarray, there: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """The Euclidean distance from each of some voxels to the nearest of others, in float64.

    Args:
        here: (n, axes) int32 indices, 1 to 3 axes.
        there: (m, axes) int32 indices in the order of the volume, as of `surfaces_of`.
        spacing: the size of a voxel along each axis, above 0.

    Returns:
        (n,) float64 in units of the spacing; inf everywhere if m is 0.

    Raises:
        ValueError: the arrays or the spacing are of another form, or indices are not in order.

    Example:
        >>> distances_between(np.array([[0, 0]], np.int32), np.array([[1, 4], [2, 0]], np.int32), (3.0, 1.0))
        array([5.])
    """
    axes = len(spacing)
    if not 1 <= axes <= 3 or any(
        one.ndim != 2 or one.shape[1] != axes or one.dtype != np.int32 for one in (here, there)
    ):
        raise ValueError(
            f"voxels are {here.dtype} of shape {here.shape} and {there.dtype} of shape {there.shape} for {axes} axes; "
            "expected int32 (n, axes), 1 to 3 axes"
        )
    if not all(1e-100 < float(pace) < 1e100 for pace in spacing):
        raise ValueError(f"the spacing is {tuple(spacing)}; expected finite numbers above 0")
    if not len(here) or not len(there):
        return np.full(len(here), np.inf)
    size = np.ones(3)
    size[3 - axes :] = spacing
    near, others = (np.pad(one, ((0, 0), (3 - axes, 0))).astype(np.int64) for one in (here, there))
    low = others.min(0)
    lines = others.max(0)[:2] + 1 - low[:2]
    found = np.full(len(here), -1.0)
    if int(lines[0]) * int(lines[1]) <= MOST_LINES:
        line = (others[:, 0] - low[0]) * lines[1] + others[:, 1] - low[1]
        across = others[:, 2].copy()
        if (line[1:] < line[:-1]).any() or (np.diff(across)[line[1:] == line[:-1]] < 0).any():
            raise ValueError("the voxels that are searched are not in the order of the volume")
        starts = np.searchsorted(line, np.arange(int(lines.prod()) + 1))
        extent = np.maximum(near.max(0), others.max(0)) - np.minimum(near.min(0), low) + 1
        steps, squares, reach = _ways(size, extent)
        _nearest(near, starts, across, low, lines, steps, squares, size[2], reach, found)
    far = np.flatnonzero(found < 0)
    if len(far):
        found[far] = KDTree(there * size[3 - axes :]).query(here[far] * size[3 - axes :])[0]
    return found


def _small(labels: np.ndarray, classes: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """The labels in 8 or 16 bits, and for each of these values the place of its class, or the number of classes.

    The labels are read-only: the kernel is then compiled for one kind of array.
    """
    none = len(classes)
    if labels.dtype in (bool, np.uint8):
        values = np.ascontiguousarray(labels).view(np.uint8)
    elif labels.size == 0 or (labels.min() >= 0 and labels.max() <= 255):
        values = labels.astype(np.uint8, order="C")
    else:
        # Numbered by their place among the sorted classes; all others are one value.
        ordered = np.array([*sorted(classes), 2**63 - 1], np.int64)
        wide = (np.minimum(labels, 2**63 - 1) if labels.dtype.itemsize == 8 else labels).astype(np.int64)
        at = np.searchsorted(ordered, wide)
        values = np.where(ordered[at] == wide, at, none).astype(np.uint16, order="C")
        slots = np.full(65536, none, np.uint16)
        slots[:none] = np.argsort(np.array(classes, np.int64))
        values.flags.writeable = False
        return values, slots
    slots = np.full(256, none, np.uint16)
    for slot, label in enumerate(classes):
        if 0 <= label <= 255:
            slots[label] = slot
    values.flags.writeable = False
    return values, slots


def _ways(size: np.ndarray, extent: np.ndarray) -> tuple[np.ndarray, np.ndarray, float]:
    """Steps (n, 2) to the lines around a voxel, nearest first, their squared distances, and the square of their reach.

    All lines nearer than the reach are among them. It is inf if there are no others.
    """
    most = [int(one) - 1 for one in extent[:2]]

    def within(radius: float) -> list[int]:
        """Lines along the two axes within this distance."""
        return [int(min(limit, radius // pace)) for limit, pace in zip(most, size[:2], strict=True)]

    def many(radius: float) -> bool:
        return (2 * within(radius)[0] + 1) * (2 * within(radius)[1] + 1) > LINES

    low, high = 0.0, float(np.dot(most, size[:2])) * 1.01  # the latter reaches all lines, rounding or not
    if not many(high):
        low = high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if many(middle) else (middle, high)
    reached = within(low)
    steps = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in reached), indexing="ij"), axis=-1).reshape(-1, 2)
    squares = ((steps * size[:2]) ** 2).sum(1)
    order = np.argsort(squares, kind="stable")
    # A line that is not among them is one step farther, or more, along an axis that was cut short.
    cut = [((n + 1) * pace) ** 2 for n, pace, limit in zip(reached, size[:2], most, strict=True) if n < limit]
    return steps[order].astype(np.int64), squares[order], float(min(cut)) if cut else np.inf


@njit(nogil=True, cache=True)
def _edges(labels, slots, none, axes):  # type: ignore[no-untyped-def]
    """Surface voxels (n, 3) int32 of a volume (D, H, W), in its order, and the slot of each; only those of a class.

    none: the slot of what is no class. axes: so many of the last axes have faces.
    """
    # In bounds: neighbours are looked at only where there are any; the slots have a place for every value of this type;
    # before each line the lists have room for it.
    depth, height, width = labels.shape
    places, owners = np.empty((1024 + width, 3), np.int32), np.empty(1024 + width, np.uint16)
    edge = np.empty(width, np.uint8)
    n = 0
    for z in range(depth):
        for y in range(height):
            line = labels[z, y]
            border = (axes > 2 and (z == 0 or z == depth - 1)) or (axes > 1 and (y == 0 or y == height - 1))
            edge[:] = border
            if not border:
                if axes > 2:
                    one, other = labels[z - 1, y], labels[z + 1, y]
                    for x in range(width):
                        edge[x] |= np.uint8((line[x] ^ one[x]) | (line[x] ^ other[x]) != 0)
                if axes > 1:
                    one, other = labels[z, y - 1], labels[z, y + 1]
                    for x in range(width):
                        edge[x] |= np.uint8((line[x] ^ one[x]) | (line[x] ^ other[x]) != 0)
                for x in range(1, width - 1):
                    edge[x] |= np.uint8((line[x] ^ line[x - 1]) | (line[x] ^ line[x + 1]) != 0)
                if width:
                    edge[0] = edge[width - 1] = 1
            if n + width > len(owners):
                places = np.concatenate((places, np.empty((len(places) + width, 3), np.int32)))
                owners = np.concatenate((owners, np.empty(len(owners) + width, np.uint16)))
            for x in range(width):
                if edge[x] and slots[line[x]] < none:
                    places[n, 0], places[n, 1], places[n, 2], owners[n] = z, y, x, slots[line[x]]
                    n += 1
    return places[:n], owners[:n]


@njit(nogil=True, cache=True)
def _nearest(here, starts, across, low, lines, steps, squares, pace, reach, found):  # type: ignore[no-untyped-def]
    """Write for each voxel (n, 3) the distance to the nearest of others; -1 where that is beyond the reach.

    starts (lines + 1): line l of the others' box has the sorted places across[starts[l] : starts[l + 1]].
    low, lines: where the box begins, and its lines along the two axes.
    """
    # In bounds: lines outside of the box are passed over; starts rise up to len(across), `distances_between` has made
    # them; in a search first <= at < last, and at - 1 is looked at only above first.
    for i in range(len(here)):
        best = np.inf
        z, y, x = here[i, 0] - low[0], here[i, 1] - low[1], here[i, 2]
        for k in range(len(squares)):
            if squares[k] >= best:
                break
            row, column = z + steps[k, 0], y + steps[k, 1]
            if row < 0 or row >= lines[0] or column < 0 or column >= lines[1]:
                continue
            first, last = starts[row * lines[1] + column], starts[row * lines[1] + column + 1]
            low_end, high_end = first, last
            while low_end < high_end:  # the first place that is not left of x
                middle = (low_end + high_end) // 2
                if across[middle] < x:
                    low_end = middle + 1
                else:
                    high_end = middle
            if low_end < last:
                best = min(best, squares[k] + ((across[low_end] - x) * pace) ** 2)
            if low_end > first:
                best = min(best, squares[k] + ((x - across[low_end - 1]) * pace) ** 2)
        found[i] = np.sqrt(best) if best <= reach else -1.0
