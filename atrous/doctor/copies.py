"""Images that are the same or nearly, inside a split and across splits.

Each image has a hash of 128 bits, the signs of the differences between neighbours at 9 x 9 cells (dHash), and the same
of its seven mirrored and turned forms. Hashes find the candidates, the correlation of the small pictures decides.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from filecmp import cmp
from typing import NamedTuple

import cv2
import numpy as np
from numba import njit

from atrous.doctor.findings import Finding, Severity, counted
from atrous.doctor.look import PairLook

FAR = 14
"""Bits of 128 by which two candidates differ at most."""
ALIKE = 0.985
"""Correlation of two small pictures from which on they count as the same scene."""
LEAST_CONTRAST = 4.0
"""Standard deviation of a small picture below which it looks like any other of its kind."""


class Copy(NamedTuple):
    """Two looks, first < second; form: 0 as it is, 1..7 mirrored or turned; alike: their correlation."""

    first: int
    second: int
    form: int
    alike: float


def find_copies(looks: Sequence[PairLook], sides: Sequence[str]) -> Iterator[Finding]:
    """near_duplicate and leak. sides: the split of each look, as training would have it."""
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
    """For each of (n, 32, 32) uint8 the one before it that is most alike, of its own side and of another."""
    codes = np.stack([hashes(forms(thumb)) for thumb in thumbs])
    best, which = nearest_codes(codes, sides.astype(np.int64), FAR)
    scaled = normalised(thumbs)
    found = []
    for second in range(len(thumbs)):
        for other in range(2):
            first = int(best[second, other])
            if first >= 0:
                form = int(which[second, other])
                likeness = float((scaled[first] * forms(scaled[second])[form]).sum())
                if likeness >= ALIKE:
                    found.append(Copy(first, second, form, likeness))
    return found


def forms(picture: np.ndarray) -> np.ndarray:
    """(h, h) -> (8, h, h): as it is, its mirror image, and both turned by 90, 180 and 270 degrees."""
    turns = [np.rot90(picture, k) for k in range(4)]
    return np.stack([form for turn in turns for form in (turn, turn[:, ::-1])])


def hashes(pictures: np.ndarray) -> np.ndarray:
    """(n, 32, 32) uint8 -> (n, 2) uint64: the signs of the differences to the right and downwards."""
    cells = np.stack([cv2.resize(picture, (9, 9), interpolation=cv2.INTER_AREA) for picture in pictures]).astype(int)
    right, down = np.diff(cells[:, :8], axis=2) > 0, np.diff(cells[:, :, :8], axis=1) > 0
    bits = np.stack([right.reshape(len(cells), 64), down.reshape(len(cells), 64)], 1)
    return np.packbits(bits, axis=2).view(">u8")[..., 0].astype(np.uint64)


@njit(nogil=True, cache=True, boundscheck=False)
def nearest_codes(codes, sides, far):  # type: ignore[no-untyped-def]
    """codes (n, 8, 2) of the eight forms. Before each: the nearest of its side and of another, -1 without; its form."""
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
    """How many of the 64 bits are set."""
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return np.int64((x * np.uint64(0x0101010101010101)) >> np.uint64(56))


def groups(copies: Sequence[Copy]) -> list[list[int]]:
    """The looks that hang together, each group sorted."""
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
    """Of a group in several splits, or of one file under several names; None: they look alike, inside one split."""
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
            f"{what}, in {' and '.join(sorted(across))}: the score of one split says what another has taught",
            "keep them in one split" if planned else BY_HASH, count=len(files),
        )  # fmt: skip
    if not same:
        return None
    differ = len({tuple(sorted(mask.values.items())) for k in group if (mask := looks[k].mask)}) > 1
    severity: Severity = "warning" if differ else "note"
    remedy = "keep the one whose mask is right" if differ else "keep one of them"
    detail = f"{what}, whose masks differ" if differ else what
    return Finding("near_duplicate", severity, files, detail, remedy, count=len(files))


def _lookalikes(groups: list[list[int]], looks: Sequence[PairLook], side: str) -> Finding:
    """All images of a split that look like another one of it, in one finding."""
    files = tuple(looks[k].pair.image for group in groups for k in group)
    largest = max(groups, key=len)
    name = looks[largest[0]].pair.image.name
    where = "" if len(groups) == 1 else f" in {len(groups)} groups, the largest of {len(largest)} begins with {name}"
    names = f" ({', '.join(file.name for file in files[:3])}{' ...' if len(files) > 3 else ''})"
    detail = f"{len(files)} images of {side} look like another one of it{where or names}: they teach little more"
    return Finding("near_duplicate", "note", files, detail, "keep them in one split, or one of each", count=len(files))


BY_HASH = "training holds out a fifth by the names' hash, which parts them: make a val folder that keeps them together"


def normalised(thumbs: np.ndarray) -> np.ndarray:
    """Each (h, w) less its mean, of length 1, float32."""
    flat = thumbs.reshape(len(thumbs), -1).astype(np.float32)
    flat -= flat.mean(1, keepdims=True)
    return (flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)).reshape(thumbs.shape)
