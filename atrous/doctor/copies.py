"""Finds images that are the same, or nearly the same, inside a split and across splits.

Each image gets a hash of 128 bits: the signs of the differences between neighbours on 9 x 9 cells
(dHash). Its seven mirrored and turned forms get hashes too. Similar hashes, and the highest
correlation of very small pictures, give the candidates; the correlation of the small pictures
decides.

Pictures of one camera look alike too: the same disc in the dark, the same street behind the cars.
So where an image looks like many others, a copy of it must be much nearer than those are.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from filecmp import cmp
from typing import NamedTuple

import cv2
import numpy as np

from atrous.doctor.findings import Finding, Severity, counted
from atrous.doctor.look import PairLook
from atrous.errors import DataError
from atrous.ops.compiling import njit

FAR = 14
"""Two candidates differ in at most this many of 128 bits."""
ALIKE = 0.985
"""Two small pictures with at least this correlation show the same scene."""
LIKE_MANY, MANY = 0.8, 4
"""An image looks like many others if this many have at least this correlation with it."""
NEARER = 0.15
"""A copy of an image that looks like many others differs from it by at most this share of what they differ by."""
STEP = 1.5
"""Small pictures that differ by at most so many of 255 grey levels (root mean square) are the same in any case."""
SAMPLE = 400
"""So many images, evenly spaced, tell what an image looks like."""
LEAST_CONTRAST = 4.0
"""A small picture with a smaller standard deviation is too flat to be compared."""


class Copy(NamedTuple):
    """Two images that look alike.

    first, second: places of their looks, first < second. form: 0 as it is, 1..7 mirrored or turned.
    alike: their correlation.
    """

    first: int
    second: int
    form: int
    alike: float


def find_copies(looks: Sequence[PairLook], sides: Sequence[str]) -> Iterator[Finding]:
    """Yield findings of the kinds near_duplicate and leak.

    sides: the split of each look in training, where held-out pairs are `val`.
    """
    thumbs = [None if look.image is None or look.image.cells is None else look.image.cells[..., 0] for look in looks]
    places = [k for k, thumb in enumerate(thumbs) if thumb is not None and thumb.std() >= LEAST_CONTRAST]
    if len(places) < 2:
        return
    small = np.stack([thumbs[k] for k in places])  # type: ignore[misc]
    names = sorted(set(sides))
    copies = alike_pairs(small, np.array([names.index(sides[k]) for k in places]))
    pairs = [Copy(places[copy.first], places[copy.second], copy.form, copy.alike) for copy in copies]
    found = [(group, _finding(group, pairs, looks, sides)) for group in groups(pairs)]
    lookalikes = [group for group, finding in found if finding is None]
    yield from (finding for _, finding in found if finding is not None)
    for side in dict.fromkeys(sides):
        if own := [group for group in lookalikes if sides[group[0]] == side]:
            yield _lookalikes(own, looks, side)


def alike_pairs(thumbs: np.ndarray, sides: np.ndarray) -> list[Copy]:
    """For each of (n, 32, 32) uint8, find the most similar one before it.

    One is sought in its own split and one in the other splits. sides: (n,) numbers of the splits.
    Raises DataError for other arrays.
    """
    if thumbs.shape[1:] != (32, 32) or thumbs.dtype != np.uint8 or sides.shape != thumbs.shape[:1]:
        raise DataError(
            f"thumbs have shape {thumbs.shape} and type {thumbs.dtype}, sides {sides.shape}; expected (n, 32, 32) "
            "uint8 and (n,)"
        )
    if not len(thumbs):
        return []
    codes = np.stack([hashes(forms(thumb)) for thumb in thumbs])
    best, which = nearest_codes(codes, sides.astype(np.int64), FAR)
    scaled = normalised(thumbs)
    nearest = nearest_looks(scaled, sides)
    found = []
    for second in range(len(thumbs)):
        for other in range(2):
            candidates = {(int(best[second, other]), int(which[second, other])), (int(nearest[second, other]), 0)}
            pairs = [
                Copy(first, second, form, float((scaled[first] * forms(scaled[second])[form]).sum()))
                for first, form in candidates
                if first >= 0
            ]
            if pairs and is_copy(likest := max(pairs, key=lambda pair: pair.alike), thumbs, scaled):
                found.append(likest)
    return found


def is_copy(pair: Copy, thumbs: np.ndarray, scaled: np.ndarray) -> bool:
    """Tell whether two images look alike, and not only as many others do.

    thumbs: (n, h, w). scaled: the same, `normalised`.
    """
    if pair.alike < ALIKE:
        return False
    same = STEP**2 / (2 * float(thumbs[pair.first].var()))  # 1 - the correlation of two that differ by STEP
    if 1 - pair.alike <= same:
        return True
    sample = np.unique(np.linspace(0, len(scaled) - 1, min(SAMPLE, len(scaled))).round().astype(int))
    sample = sample[(sample != pair.first) & (sample != pair.second)]
    apart = 1 - np.tensordot(scaled[sample], scaled[pair.first], 2)
    many = apart[(apart <= 1 - LIKE_MANY) & (apart > same)]
    return len(many) < MANY or 1 - pair.alike <= NEARER * float(np.median(many))


def nearest_looks(scaled: np.ndarray, sides: np.ndarray) -> np.ndarray:
    """For each of (n, 32, 32), find the one before it with the highest correlation of their 16 x 16 cells.

    Returns (n, 2) places, of its own split and of another, -1 if there is none.
    """
    n = len(scaled)
    cells = normalised(scaled.reshape(n, 16, 2, 16, 2).mean((2, 4))).reshape(n, -1)
    nearest = np.full((n, 2), -1, np.int64)
    for start in range(0, n, 512):
        stop = min(start + 512, n)
        likeness = cells[start:stop] @ cells[:stop].T
        before = np.arange(stop) < np.arange(start, stop)[:, None]
        other = sides[:stop] != sides[start:stop, None]
        for column, allowed in enumerate((before & ~other, before & other)):
            masked = np.where(allowed, likeness, -np.inf)
            nearest[start:stop, column] = np.where(allowed.any(1), masked.argmax(1), -1)
    return nearest


def forms(picture: np.ndarray) -> np.ndarray:
    """Turn (h, h) by 0, 90, 180 and 270 degrees, as it is and mirrored: (8, h, h)."""
    turns = [np.rot90(picture, k) for k in range(4)]
    return np.stack([form for turn in turns for form in (turn, turn[:, ::-1])])


def hashes(pictures: np.ndarray) -> np.ndarray:
    """Hash (n, 32, 32) uint8 to (n, 2) uint64: the signs of differences to the right and down."""
    cells = np.stack([cv2.resize(picture, (9, 9), interpolation=cv2.INTER_AREA) for picture in pictures]).astype(int)
    right, down = np.diff(cells[:, :8], axis=2) > 0, np.diff(cells[:, :, :8], axis=1) > 0
    bits = np.stack([right.reshape(len(cells), 64), down.reshape(len(cells), 64)], 1)
    return np.packbits(bits, axis=2).view(">u8")[..., 0].astype(np.uint64)


@njit(nogil=True, cache=True, boundscheck=False)
def nearest_codes(codes, sides, far):  # type: ignore[no-untyped-def]
    """For each image, find the nearest one before it by its hash.

    codes: (n, 8, 2) uint64, hashes of the eight forms. sides: (n,) splits. far: most different
    bits. Returns (n, 2) places, of its own split and of another, -1 if there is none, and (n, 2)
    forms.
    """
    # In bounds: `alike_pairs` has checked that there is a side for each code, and `forms` makes eight of each.
    n = len(codes)
    best, which = np.full((n, 2), -1, np.int64), np.zeros((n, 2), np.int64)
    for j in range(n):
        least = np.full(2, far + 1, np.int64)
        for i in range(j):
            other = 1 if sides[i] != sides[j] else 0
            for form in range(8):
                distance = _bits(codes[i, 0, 0] ^ codes[j, form, 0])
                if distance < least[other]:
                    distance += _bits(codes[i, 0, 1] ^ codes[j, form, 1])
                    if distance < least[other]:
                        least[other], best[j, other], which[j, other] = distance, i, form
    return best, which


@njit(inline="always")
def _bits(x):  # type: ignore[no-untyped-def]
    """Count the bits of a uint64 that are set."""
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


def groups(copies: Sequence[Copy]) -> list[list[int]]:
    """Join copies that share an image into groups of looks, each sorted."""
    parent: dict[int, int] = {}

    def root(k: int) -> int:
        while parent.setdefault(k, k) != k:
            parent[k] = parent[parent[k]]
            k = parent[k]
        return k

    for copy in copies:
        parent[root(copy.second)] = root(copy.first)
    members = defaultdict(list)
    for k in sorted(parent):
        members[root(k)].append(k)
    return list(members.values())


def _finding(
    group: list[int], copies: Sequence[Copy], looks: Sequence[PairLook], sides: Sequence[str]
) -> Finding | None:
    """Make the finding for a group in several splits, or for one file under several names.

    Returns None for a group that only looks alike and lies in one split.
    """
    own = [copy for copy in copies if copy.second in set(group)]
    files = tuple(looks[k].pair.image for k in group)
    same = all(cmp(looks[copy.first].pair.image, looks[copy.second].pair.image, shallow=False) for copy in own)
    turned = ", mirrored or turned" if any(copy.form for copy in own) else ""
    names = ", ".join(file.name for file in files[1:4]) + (" ..." if len(files) > 4 else "")
    count = counted(len(files), "image")
    if same:
        what = f"one file under several names: {count} (with {names})"
    else:
        what = f"{count} look the same{turned} (with {names}; correlation {min(copy.alike for copy in own):.3f})"
    across = {sides[k] for k in group}
    if len(across) > 1:
        planned = {looks[k].split for k in group} == across
        return Finding(
            "leak", "warning", files,
            f"{what}, in {' and '.join(sorted(across))}: a score on images that were trained on is too good",
            "keep them in one split" if planned else BY_HASH, count=len(files),
        )  # fmt: skip
    if not same:
        return None
    differ = len({tuple(sorted(mask.values.items())) for k in group if (mask := looks[k].mask)}) > 1
    severity: Severity = "warning" if differ else "note"
    remedy = "keep the one with the right mask" if differ else "keep one of them"
    detail = f"{what}, whose masks differ" if differ else what
    return Finding("near_duplicate", severity, files, detail, remedy, count=len(files))


def _lookalikes(groups: list[list[int]], looks: Sequence[PairLook], side: str) -> Finding:
    """Make one finding for all images of a split that look like another image of it."""
    files = tuple(looks[k].pair.image for group in groups for k in group)
    largest = max(groups, key=len)
    name = looks[largest[0]].pair.image.name
    where = "" if len(groups) == 1 else f" in {len(groups)} groups, the largest ({len(largest)}) begins with {name}"
    names = f" ({', '.join(file.name for file in files[:3])}{' ...' if len(files) > 3 else ''})"
    detail = f"{len(files)} images of {side} look like another one of {side}{where or names}: they teach little more"
    remedy = "keep them in one split, or keep one of each group"
    return Finding("near_duplicate", "note", files, detail, remedy, count=len(files))


BY_HASH = "make a val folder that keeps them together: without one, training holds out a fifth by the hash of the names"


def normalised(thumbs: np.ndarray) -> np.ndarray:
    """Shift and scale each of (n, h, w) to mean 0 and Euclidean length 1, float32."""
    flat = thumbs.reshape(len(thumbs), -1).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    return (flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)).reshape(thumbs.shape)
