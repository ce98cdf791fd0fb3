"""Masks that are nearly masks: scaled smoothly, or saved as JPEG, so that their edges hold further values.

The levels that were meant fill areas. The others lie only along edges, between a lower and a higher
neighbour, and there are many of them on few pixels. Classes are not so: a thin class has the same
values on both sides or is one of few.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np

FEWEST = 2
"""Fewer values between the levels are not enough to tell."""
FILLS = 0.2
"""A level has at least this share of its pixels among equal neighbours."""
COMMON = 0.05
"""A value that fills no area is a level too if it has this share of all pixels but the commonest value's, and
seldom lies between others: that of thin objects."""
BETWEEN = 0.5
"""Of the pixels of the other values, at least this share lies between a lower and a higher neighbour."""
APART = 8
"""Levels closer together, such as class numbers, cannot be told again: other classes lie between them."""


class Tally(NamedTuple):
    """What the values of a mask do.

    values: (n, C), the distinct ones. pixels: (n,), how many have each. core: how many of these
    equal all their neighbours. between: how many have both a lower and a higher neighbour.
    """

    values: np.ndarray
    pixels: np.ndarray
    core: np.ndarray
    between: np.ndarray


class Smeared(NamedTuple):
    """Masks whose edges hold values between the levels.

    places: of the masks in the data set. levels: the values that were meant, in each channel.
    """

    places: list[int]
    levels: list[tuple[int, ...]]

    @property
    def far_apart(self) -> bool:
        """Whether the nearest level of a grey value is the one that was meant."""
        return all(high[0] - low[0] >= APART for low, high in pairwise(self.levels))

    def __str__(self) -> str:
        shown = ", ".join(str(level[0]) for level in self.levels[:12]) + (" ..." if len(self.levels) > 12 else "")
        return f"only the values {shown} fill areas, others lie along edges: scaled smoothly, or saved as JPEG once"


def tally(mask: np.ndarray) -> Tally:
    """Count what the values of a mask do: (H, W) or (H, W, C up to 3), uint8 or uint16."""
    planes = np.ascontiguousarray(mask[..., None] if mask.ndim == 2 else mask)
    around = np.ones((3, 3), np.uint8)
    low, high = (change(planes, around).reshape(planes.shape) for change in (cv2.erode, cv2.dilate))
    core = (low == high).all(2).reshape(-1)
    between = ((low < planes) & (planes < high)).any(2).reshape(-1)
    place = planes.reshape(-1)
    distinct = np.arange(int(planes.max(initial=0)) + 1)
    if planes.shape[2] > 1:
        codes = sum(planes[..., k].reshape(-1).astype(np.int64) << 16 * k for k in range(planes.shape[2]))
        distinct, place = np.unique(codes, return_inverse=True)
    values = np.stack([distinct >> 16 * k & 65535 for k in range(planes.shape[2])], 1)
    counts = [np.bincount(place[some], minlength=len(distinct)) for some in (slice(None), core, between)]
    there = counts[0] > 0
    return Tally(values[there], *(count[there] for count in counts))


def find_smeared(tallies: Sequence[Tally | None]) -> Smeared | None:
    """Find the masks of a data set whose edges hold values between the levels.

    All masks are judged together; if they are sound together, each is judged alone.

    Args:
        tallies: Of each mask; None for a mask that is passed over.

    Returns:
        The places of these masks and their levels; None if there are none.

    Example:
        >>> sharp = np.zeros((40, 40), np.uint8)
        >>> sharp[10:30, 10:30] = 200
        >>> find_smeared([tally(sharp), tally(cv2.blur(sharp, (5, 5)))])
        Smeared(places=[1], levels=[(0,), (200,)])
        >>> find_smeared([tally(sharp)])
    """
    seen = {place: one for place, one in enumerate(tallies) if one is not None}
    if levels := _levels(seen.values()):
        meant = set(levels)
        return Smeared([k for k, one in seen.items() if not meant.issuperset(map(tuple, one.values.tolist()))], levels)
    places = [k for k, one in seen.items() if _levels([one])]
    levels = _levels(seen[k] for k in places)
    return Smeared(places, levels) if levels else None


def _levels(tallies: Iterable[Tally]) -> list[tuple[int, ...]]:
    """Find the levels of masks whose edges hold values between them; empty if these are sound masks."""
    tallies = list(tallies)
    if not tallies:
        return []
    values, place = np.unique(np.concatenate([one.values for one in tallies]), axis=0, return_inverse=True)
    pixels, core, between = (
        np.bincount(place.reshape(-1), weights=np.concatenate(parts))
        for parts in zip(*(one[1:] for one in tallies), strict=True)
    )
    total = pixels.sum()
    level = (core >= FILLS * pixels) | ((between < pixels / 2) & (pixels >= COMMON * (total - pixels.max())))
    edges, others = pixels[~level].sum(), (~level).sum()
    if level.sum() < 2 or others < max(FEWEST, level.sum() - 1) or min(core.sum(), total - edges) < total / 3:
        return []
    if between[~level].sum() < BETWEEN * edges:
        return []
    return _without_noise(values[level], pixels[level], core[level])


def _without_noise(values: np.ndarray, pixels: np.ndarray, core: np.ndarray) -> list[tuple[int, ...]]:
    """Drop the levels that are another level, moved a little: they are rarer than it and hardly fill areas."""
    near = max(2, (values.max() - values.min()) / 24)
    kept = []
    for k in range(len(values)):
        close = np.abs(values - values[k]).max(1) <= near
        times = 4 if core[k] >= pixels[k] / 20 else 1
        if core[k] >= pixels[k] / 2 or not (close & (pixels > times * pixels[k])).any():
            kept.append(k)
    return sorted(tuple(values[k].tolist()) for k in kept)
