"""One look at one pair: it is decoded once, and a few kilobytes are kept for all later checks."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from zlib import crc32

import cv2
import numpy as np

from atrous.datasets.classes import histogram
from atrous.datasets.folder import Folder, Pair, image_file, mask_file, values_inside
from atrous.datasets.geotiff import misplaced
from atrous.datasets.levels import Tally, tally
from atrous.doctor.colours import Colours, colours_of
from atrous.doctor.fit import EdgeFit, edge_fit, shrink_to
from atrous.errors import DataError
from atrous.io import IMAGE_SUFFIXES, read_stored, valid_pixels
from atrous.io.images import damage_as_data_error, open_file, orient, read_header
from atrous.io.masks import fits_mask, fractions_of, hides_in_alpha, is_one_hot
from atrous.visual import to_rgb8

CELLS = 32
"""Side of the small pictures that are kept: the image in four channels, the mask in its values."""
SIDE = 192
"""The longest side of the small image on which edges are compared."""
FEW = 2
"""A mask of so few values or colours has none between others."""


@dataclass(frozen=True)
class ImageFacts:
    """What is kept of an image.

    shape: (H, W, C) after the EXIF orientation, (D, H, W, C) of a volume. orientation: EXIF, 1..8.
    cells: (32, 32, 4) uint8, lightness, two colours (CIE Lab) and texture; None for a volume.
    empty: the share of its pixels that hold nothing (`io.read_valid`).
    """

    shape: tuple[int, ...]
    dtype: str
    orientation: int = 1
    cells: np.ndarray | None = None
    empty: float = 0.0


@dataclass(frozen=True)
class MaskFacts:
    """What is kept of a mask.

    values: value -> pixels, of its whole numbers 0..65535. stray: (value, pixels), if it has other
    numbers. colours: of a colour mask, or of any JPEG. one_hot: one channel is set in each pixel.
    lossy: it is a JPEG whose values have changed. hidden: the label is in the alpha channel.
    fractions: `soft` (0..1, cut at 0.5 here) or `levels` (rounded here), if there are any. tally:
    what the values, or the colours, do, if they are many. cells: (32, 32) values or (32, 32, C)
    colours. checksum: of the values, 0 for colours.
    """

    shape: tuple[int, ...]
    values: dict[int, int]
    stray: tuple[float, int] | None = None
    colours: Colours | None = None
    one_hot: bool = False
    lossy: bool = False
    hidden: bool = False
    fractions: str = ""
    tally: Tally | None = None
    cells: np.ndarray | None = None
    checksum: int = 0


@dataclass(frozen=True)
class PairLook:
    """What was seen of a pair.

    image, mask: None if they cannot be read; image_fault and mask_fault then tell why, and
    mask_kind is the kind of that finding. fit: how the mask's edges lie on the image's. unturned:
    the same for the mask turned by the image's EXIF orientation, as if it had been drawn on the
    picture as stored. elsewhere: how the mask lies at another place on the Earth than its image.
    """

    pair: Pair
    split: str
    image: ImageFacts | None = None
    mask: MaskFacts | None = None
    image_fault: str = ""
    mask_fault: str = ""
    mask_kind: str = "unreadable"
    fit: EdgeFit | None = None
    unturned: EdgeFit | None = None
    elsewhere: str = ""


def look_at(folder: Folder, split: str, pair: Pair) -> PairLook:
    """Read a pair and keep what is needed of it; a fault is kept too, never raised."""
    image, image_fault = attempt(lambda: folder.read_image(pair), pair.image)
    mask, mask_fault = attempt(lambda: folder.readers.mask(pair), pair.mask)
    area = None
    if folder.readers.area and image is not None:
        area, image_fault = attempt(partial(folder.readers.area, pair), pair.image)
        if area is None:
            return PairLook(pair, split, image_fault=image_fault, mask_fault=mask_fault)
    if area is not None and mask is not None:
        mask = values_inside(mask, area)
    own, kind, refused = folder.readers.mask is mask_file, "unreadable", mask is None
    if mask is None and pair.mask.suffix.lower() in IMAGE_SUFFIXES:
        stored, again = attempt(lambda: read_stored(pair.mask), pair.mask)
        if own:
            mask, mask_fault = stored, again
        elif stored is not None:
            kind = "colour_mask" if stored.ndim == 3 and stored.shape[2] == 3 else "value_out_of_range"
    turn = orientation(pair.image) if image is not None and folder.readers.image is image_file else 1
    nearly = own and refused and mask is not None
    lossy = nearly and is_jpeg(pair.mask)
    seen = look_at_arrays(pair, split, image, mask, turn, lossy=lossy, volume=folder.dimensions > 2)
    if own and seen.mask is not None and mask is not None:
        hidden = nearly and mask.ndim == 2 and hides_in_alpha(pair.mask)
        facts = replace(seen.mask, hidden=hidden, tally=_tally(mask, seen.mask))
        if area is not None and not nearly and area.shape == mask.shape:
            facts = replace(facts, values=histogram(mask[area]))
        seen = replace(seen, mask=facts)
    if seen.image and folder.readers.image is image_file and (valid := valid_pixels(pair.image)) is not None:
        seen = replace(seen, image=replace(seen.image, empty=float(1 - valid.mean())))
    elsewhere = "" if image is None or mask is None else misplaced(pair)
    return replace(seen, image_fault=image_fault, mask_fault=mask_fault, mask_kind=kind, elsewhere=elsewhere)


def _tally(mask: np.ndarray, facts: MaskFacts) -> Tally | None:
    """Count what the values of a mask do, or its colours; None if they are few or cannot be counted."""
    if facts.colours is not None and not facts.values:
        return tally(mask[..., :3]) if facts.colours.exact and facts.colours.distinct > FEW else None
    if facts.stray or facts.one_hot or len(facts.shape) > 2 or len(facts.values) <= FEW:
        return None
    plane = mask[..., 0] if mask.ndim == 3 else mask
    return tally(whole_numbers(np.rint(plane) if plane.dtype.kind == "f" else plane)[0].reshape(facts.shape))


def look_at_arrays(
    pair: Pair, split: str, image: np.ndarray | None, mask: np.ndarray | None, turn: int = 1,
    *, lossy: bool = False, volume: bool = False,
) -> PairLook:  # fmt: skip
    """Look at a pair whose arrays are loaded: image (H, W, C), mask (H, W) or (H, W, C).

    turn: EXIF orientation of the image. lossy: the mask is a JPEG. volume: the arrays are (D, H, W,
    C) and (D, H, W).
    """
    if volume:
        facts = None if mask is None else MaskFacts(mask.shape, histogram(whole_numbers(mask)[0]))
        return PairLook(pair, split, None if image is None else ImageFacts(image.shape, str(image.dtype)), facts)
    mask_facts = None if mask is None else facts_of_mask(mask, lossy)
    if image is None:
        return PairLook(pair, split, None, mask_facts)
    small = to_rgb8(shrink(image, SIDE))
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    edges = cv2.magnitude(cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1))
    fit = unturned = None
    if mask is not None and mask_facts and mask_facts.cells is not None and not lossy:
        if mask.shape[:2] == image.shape[:2]:
            fit = edge_fit(edges, mask)
        if turn > 1 and (turned := orient(mask, turn)).shape[:2] == image.shape[:2]:
            unturned = edge_fit(edges, turned)
    facts_of_image = ImageFacts(image.shape, str(image.dtype), turn, cells_of(small, edges))
    return PairLook(pair, split, facts_of_image, mask_facts, fit=fit, unturned=unturned)


def facts_of_mask(mask: np.ndarray, lossy: bool = False) -> MaskFacts:
    """Take what is kept of a mask (H, W) or (H, W, C) of any type."""
    if mask.ndim == 3 and not same_channels(mask):
        if is_one_hot(mask):
            indices = mask.argmax(axis=2).astype(np.uint16)
            return MaskFacts(mask.shape, histogram(indices), one_hot=True, cells=shrink_nearest(mask))
        several = mask.max() <= 1 and (np.count_nonzero(mask, axis=2) > 1).any()  # classes that overlap, not colours
        eight = mask.dtype == np.uint8 and not several
        found = colours_of(mask) if eight else Colours.none(mask.shape[2])
        return MaskFacts(mask.shape, {}, colours=found, lossy=lossy, cells=shrink_nearest(mask) if eight else None)
    plane = mask[..., 0] if mask.ndim == 3 else mask
    if fractions := fractions_of(plane):
        plane = (plane >= 0.5).astype(np.uint8) if fractions == "soft" else np.rint(plane)
    whole, stray = whole_numbers(plane)
    colours = colours_of(plane[..., None]) if lossy and plane.dtype == np.uint8 else None
    small = None if stray else shrink_nearest(whole.reshape(plane.shape))
    return MaskFacts(
        plane.shape, histogram(whole), stray, colours, lossy=lossy, fractions=fractions, cells=small,
        checksum=crc32(np.ascontiguousarray(whole).data),
    )  # fmt: skip


def whole_numbers(mask: np.ndarray) -> tuple[np.ndarray, tuple[float, int] | None]:
    """Return the values that are whole numbers 0..65535, flat.

    If there are others, the first of them is returned with their number.
    """
    flat = mask.reshape(-1)
    if flat.dtype in (np.uint8, np.uint16):
        return flat, None
    good = fits_mask(flat)
    if good.all():
        return flat.astype(np.uint16), None
    bad = flat[~good]
    return flat[good].astype(np.uint16), (float(bad[0]), len(bad))


def cells_of(rgb: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Make the cells (32, 32, 4) uint8 of an image from a small copy and its edge strengths."""
    size = (CELLS, CELLS)
    lab = cv2.cvtColor(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2LAB)
    texture = cv2.resize(np.minimum(edges, 255).astype(np.uint8), size, interpolation=cv2.INTER_AREA)
    return np.dstack([lab, texture])


def shrink(image: np.ndarray, side: int) -> np.ndarray:
    """Shrink an image to at most `side` pixels a side, by averages; three channels are kept."""
    image = np.ascontiguousarray(image[..., :3])
    height, width = image.shape[:2]
    factor = min(1.0, side / max(height, width))
    if factor == 1:
        return image
    size = (max(1, round(width * factor)), max(1, round(height * factor)))
    if (whole := int(1 / factor)) > 1 and height >= whole and width >= whole:  # a fast first step
        image = cv2.resize(image, (width // whole, height // whole), interpolation=cv2.INTER_AREA)
    small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    return small if small.ndim == 3 else small[..., None]


def shrink_nearest(mask: np.ndarray, side: int = CELLS) -> np.ndarray:
    """Shrink a mask to (side, side) or (side, side, C): the values at the centres of its cells."""
    return shrink_to(mask, side, side)


def same_channels(mask: np.ndarray) -> bool:
    """Tell whether all channels of (H, W, C) are equal."""
    return bool((mask[..., 1:] == mask[..., :1]).all())


def is_jpeg(path: Path) -> bool:
    """Tell by its first bytes whether a file is a JPEG."""
    with path.open("rb") as stream:
        return stream.read(3) == b"\xff\xd8\xff"


def orientation(path: Path) -> int:
    """Read the EXIF orientation 1..8 that `read_image` applies; most files tell at once."""
    with damage_as_data_error(path), open_file(path) as stream:
        start = stream.read(65536)
        photo, webp = start.startswith(b"\xff\xd8\xff"), start[8:16] == b"WEBPVP8X"
        if (photo and b"Exif" not in start) or (start[8:15] == b"WEBPVP8" and not (webp and start[20] & 8)):
            return 1
        stream.seek(0)
        return read_header(stream, path).orientation


def attempt(read: Callable[[], np.ndarray], path: Path) -> tuple[np.ndarray | None, str]:
    """Read; return the array, or None and the sentence of the error without the file's name."""
    try:
        return read(), ""
    except DataError as error:
        return None, str(error).removeprefix(f"{path}: ")
