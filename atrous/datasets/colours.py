"""Masks whose classes are RGB colours: a table translates them into class values."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from atrous.datasets.folder import Pair
from atrous.errors import DataError
from atrous.io import read_image
from atrous.labels import Colour


def values_of(pair: Pair, table: Mapping[Colour, int]) -> np.ndarray:
    """Read a mask of colours as class values (H, W), uint8 or uint16.

    A palette file is read by its colours, not its indices. Raises a DataError for a colour that is
    not in the table; it names the nearest one.
    """
    picture = read_image(pair.mask)
    if picture.shape[2] not in (1, 3) or picture.dtype != np.uint8:
        raise DataError(
            f"{pair.mask}: {picture.shape[2]} channels of {picture.dtype}; expected 8-bit colours, convert the mask"
        )
    rgb = np.broadcast_to(picture, (*picture.shape[:2], 3)).astype(np.uint32)
    codes = rgb[..., 0] << 16 | rgb[..., 1] << 8 | rgb[..., 2]
    known = np.array([red << 16 | green << 8 | blue for red, green, blue in table], np.uint32)
    order = np.argsort(known)
    place = np.searchsorted(known[order], codes).clip(max=len(known) - 1)
    stray = known[order][place] != codes
    if stray.any():
        raise _unknown(pair, picture, stray, table)
    values = np.array(list(table.values()))[order]
    return values.astype(np.uint8 if values.max(initial=0) <= 255 else np.uint16)[place]


def distinct(names: dict[str, Colour], where: Path) -> dict[str, Colour]:
    """Return names and colours as they are; DataError if two names share a colour, or one is none of 8 bits."""
    seen: dict[Colour, str] = {}
    for name, colour in names.items():
        if not 0 <= min(colour) <= max(colour) <= 255:
            raise DataError(f"{where}: {name!r} has the colour {colour}; expected 3 numbers in 0..255, correct it")
        if colour in seen:
            raise DataError(
                f"{where}: {seen[colour]!r} and {name!r} share the colour {colour}; give each a colour of its own"
            )
        seen[colour] = name
    return names


def _unknown(pair: Pair, picture: np.ndarray, stray: np.ndarray, table: Mapping[Colour, int]) -> DataError:
    rgb = np.broadcast_to(picture, (*picture.shape[:2], 3))[stray]
    colours, counts = np.unique(rgb, axis=0, return_counts=True)
    colour = colours[counts.argmax()].astype(int)
    near = min(table, key=lambda other: float(np.square(colour - other).sum()))
    return DataError(
        f"{pair.mask}: the colour {tuple(map(int, colour))} in {counts.max()} pixels is not in the table of "
        f"{len(table)} colours ({int(stray.sum())} pixels have such colours, {len(colours)} in all); "
        f"the nearest is {near}, correct the mask or the table"
    )
