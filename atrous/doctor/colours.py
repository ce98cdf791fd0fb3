"""The colours of a mask: which of them are classes, though JPEG has smeared each into hundreds."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from atrous.labels import CAMVID11, CITYSCAPES19, VOC21, LabelSet

EXACT = 1024
"""Colours up to which a mask's colours are kept as they are; more are gathered in boxes of 8 x 8 x 8."""
RADIUS = 24
"""Distance, in the largest channel, within which a colour belongs to a class's colour in a smeared mask."""
MOST_CLASSES = 256
LEAST_FLAT = 0.4
"""Share of a mask's pixels with equal neighbours; a photo has less."""
LEAST_SHARE = 2e-4
"""Of all flat pixels: below, a colour of a smeared mask is no class."""

KNOWN: dict[str, LabelSet] = {"CamVid": CAMVID11, "Cityscapes": CITYSCAPES19, "PASCAL VOC": VOC21}


class Colours(NamedTuple):
    """colours: (n, C) uint8; pixels: (n,) that have them; flat: (n,) of those that have neighbours like them.

    distinct: how many there are, before they were gathered.
    """

    colours: np.ndarray
    pixels: np.ndarray
    flat: np.ndarray
    distinct: int

    @classmethod
    def none(cls, channels: int) -> "Colours":
        """Of a mask whose channels are no colours."""
        return cls(np.zeros((0, channels), np.uint8), np.zeros(0, np.int64), np.zeros(0, np.int64), 0)

    @property
    def exact(self) -> bool:
        """Whether nothing was gathered."""
        return self.distinct == len(self.colours)


def colours_of(mask: np.ndarray) -> Colours:
    """The colours of a mask (H, W, C) uint8, of up to three channels of it."""
    mask = np.ascontiguousarray(mask[..., :3])
    around = np.ones((3, 3), np.uint8)
    spread = cv2.dilate(mask, around) - cv2.erode(mask, around)
    flat = (spread.reshape(*mask.shape[:2], -1) <= 6).all(axis=2).reshape(-1)
    codes = np.zeros(flat.size, np.uint32)
    for channel in range(mask.shape[2]):
        codes = codes << 8 | mask[..., channel].reshape(-1)
    distinct, pixels, even = count(codes, flat)
    total = len(distinct)
    if total > EXACT:
        boxes, place = np.unique(distinct & 0xF8F8F8, return_inverse=True)
        pixels, even = (np.bincount(place, weights=n).astype(np.int64) for n in (pixels, even))
        distinct = boxes | 0x040404
    channels = [distinct >> 8 * k & 255 for k in range(mask.shape[2] - 1, -1, -1)]
    return Colours(np.stack(channels, 1).astype(np.uint8), pixels, even, total)


def count(codes: np.ndarray, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distinct codes, pixels that have each, flat pixels that have each; by runs, of which masks have few."""
    starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    lengths = np.diff(np.append(starts, len(codes)))
    even = np.add.reduceat(flat.astype(np.int64), starts)
    distinct, place = np.unique(codes[starts], return_inverse=True)
    pixels, flats = (np.bincount(place, weights=n).astype(np.int64) for n in (lengths, even))
    return distinct, pixels, flats


def is_photo(colours: Colours) -> bool:
    """Whether these are the colours of a photo: few pixels are like their neighbours, or there are too many colours."""
    total = max(int(colours.pixels.sum()), 1)
    if colours.distinct <= MOST_CLASSES:
        return False
    return colours.flat.sum() < LEAST_FLAT * total or len(find_table([colours], False)) > MOST_CLASSES


def find_table(masks: Iterable[Colours], exact: bool) -> list[tuple[int, ...]]:
    """The colours that stand for classes, most pixels first. exact: none was smeared.

    Every colour, where all masks are exact. In smeared ones those that have most flat pixels, each at least `RADIUS`
    from those before it.
    """
    masks = list(masks)
    colours = np.concatenate([one.colours for one in masks])
    distinct, place = np.unique(colours, axis=0, return_inverse=True)
    pixels, flat = (
        np.bincount(place.reshape(-1), weights=np.concatenate(parts)).astype(np.int64)
        for parts in ([one.pixels for one in masks], [one.flat for one in masks])
    )
    if exact and len(distinct) <= MOST_CLASSES:
        return [tuple(map(int, distinct[k])) for k in np.argsort(-pixels, kind="stable")]
    total, centres = max(int(flat.sum()), 1), np.zeros((0, distinct.shape[1]), np.int64)
    near = np.zeros(len(distinct), bool)
    for k in np.argsort(-flat, kind="stable"):
        if near[k] or len(centres) > MOST_CLASSES:
            continue
        close = np.abs(distinct.astype(np.int64) - distinct[k].astype(np.int64)).max(1) <= RADIUS
        if flat[close & ~near].sum() < LEAST_SHARE * total:
            near[k] = True
            continue
        weights = flat[close & ~near]
        centre = (distinct[close & ~near] * weights[:, None]).sum(0) / weights.sum()
        centres = np.concatenate([centres, np.rint(centre).astype(np.int64)[None]])
        near |= close
    return [tuple(map(int, centre)) for centre in centres]


def known_label_set(table: Sequence[tuple[int, ...]], exact: bool) -> tuple[str, LabelSet] | None:
    """The published label set whose colours these are: all but black and white, three at least, and (smeared) near."""
    near = 0 if exact else RADIUS
    wanted = [colour for colour in table if colour not in ((0, 0, 0), (255, 255, 255)) and max(colour) > near]
    if len(wanted) < 3 or len(table[0]) != 3:
        return None
    for name, labels in KNOWN.items():
        known = np.array(labels.colours)
        if all(np.abs(known - colour).max(1).min() <= near for colour in wanted):
            return name, labels
    return None
