"""GeoTIFF by their tags alone: written without GDAL."""

from pathlib import Path
from typing import Any

import numpy as np
import tifffile

SIZE = 10.0
"""Side of a pixel, in units of the map."""


def geotiff(
    path: Path,
    pixels: np.ndarray,
    *,
    east: float = 500_000,
    north: float = 5_300_000,
    size: float = SIZE,
    epsg: int | None = 32633,
    nodata: str | None = None,
    point: bool = False,
    **how: Any,
) -> Path:
    """(H, W) or (H, W, C) as a GeoTIFF. point: its tags tell the middle of the first pixel."""
    path.parent.mkdir(parents=True, exist_ok=True)
    keys = [1, 1, 0, 2 + (epsg is not None), 1024, 0, 1, 1, 1025, 0, 1, 2 if point else 1]
    keys += [] if epsg is None else [3072, 0, 1, epsg]
    tags: list[tuple[Any, ...]] = [
        (33550, "d", 3, (size, size, 0.0), True),
        (33922, "d", 6, (0.0, 0.0, 0.0, east, north, 0.0), True),
        (34735, "H", len(keys), tuple(keys), True),
    ]
    if nodata is not None:
        tags.append((42113, "s", 0, nodata, True))
    colours = pixels.ndim == 3 and pixels.shape[2] in (3, 4) and pixels.dtype == np.uint8
    how = {"photometric": "rgb" if colours else "minisblack", "planarconfig": "contig", "metadata": None} | how
    if pixels.ndim == 2:
        del how["planarconfig"]
    tifffile.imwrite(path, pixels, extratags=tags, **how)
    return path
