"""The colours of a mask, and which of them are classes, also after JPEG has changed them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from atrous.labels import CAMVID11, CITYSCAPES19, VOC21, LabelSet

EXACT = 1024
"""A mask with more colours has them collected in boxes of 8 x 8 x 8 colours."""
RADIUS = 24
"""In a mask from JPEG, a colour belongs to a class's colour within this distance in any channel."""
MOST_CLASSES = 256
LEAST_FLAT = 0.4
"""A mask has at least this share of pixels that equal their neighbours; a photo has fewer."""
LEAST_SHARE = 2e-4
"""In a mask from JPEG, a colour with a smaller share of the flat pixels is not a class."""

KNOWN: dict[str, LabelSet] = {"CamVid": CAMVID11, "Cityscapes": CITYSCAPES19, "PASCAL VOC": VOC21}


class Colours(NamedTuple):
    """The colours of a mask.

    colours: (n, C) uint8. pixels: (n,), how many pixels have each. flat: (n,), how many of these
    equal their neighbours. distinct: the number of colours before they were collected in boxes.
    """

    colours: np.ndarray
    pixels: np.ndarray
    flat: np.ndarray
    distinct: int

    @classmethod
    def none(cls, channels: int) -> "Colours":
        """Return the empty set, for a mask whose channels are not colours."""
        return cls(np.zeros((0, channels), np.uint8), np.zeros(0, np.int64), np.zeros(0, np.int64), 0)

    @property
    def exact(self) -> bool:
        """Whether every colour is kept, none in a box."""
        return self.distinct == len(self.colours)


def colours_of(mask: np.ndarray) -> Colours:
    """Count the colours of a mask (H, W, C) uint8, in its first three channels."""
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
    """Return the distinct codes, with the pixels and the flat pixels that have each.

    It goes by runs of equal codes, as masks have few of them.
    """
    starts = np.flatnonzero(np.concatenate([[True], codes[1:] != codes[:-1]]))
    lengths = np.diff(np.append(starts, len(codes)))
    even = np.add.reduceat(flat.astype(np.int64), starts)
    distinct, place = np.unique(codes[starts], return_inverse=True)
    pixels, flats = (np.bincount(place, weights=n).astype(np.int64) for n in (lengths, even))
    return distinct, pixels, flats


def is_photo(colours: Colours) -> bool:
    """Tell whether these are the colours of a photo: few flat pixels, or too many colours."""
    total = max(int(colours.pixels.sum()), 1)
    if colours.distinct <= MOST_CLASSES:
        return False
    return colours.flat.sum() < LEAST_FLAT * total or len(find_table([colours], False)) > MOST_CLASSES


def find_table(masks: Iterable[Colours], exact: bool) -> list[tuple[int, ...]]:
    """Find the colours that stand for classes, the commonest first.

    exact: no mask is from JPEG; then every colour counts. Else the colours with the most flat
    pixels count, each at least RADIUS away from those before it.
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
    """Find the published label set that has all these colours, apart from black and white.

    At least three colours must be left. In masks from JPEG, near colours count too.
    """
    near = 0 if exact else RADIUS
    wanted = [colour for colour in table if colour not in ((0, 0, 0), (255, 255, 255)) and max(colour) > near]
    if len(wanted) < 3 or len(table[0]) != 3:
        return None
    for name, labels in KNOWN.items():
        known = np.array(labels.colours)
        if all(np.abs(known - colour).max(1).min() <= near for colour in wanted):
            return name, labels
    return None
