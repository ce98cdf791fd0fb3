"""Plain pairs of GeoTIFF: images with coordinates, masks as GeoTIFF or PNG.

ROOT/images/tile_1.tif    ROOT/masks/tile_1.tif    (splits as in plain pairs)

They are read as plain pairs. Conversion copies such masks, so that they keep their coordinates.

Source: OGC GeoTIFF 1.1, for the tags that tell a GeoTIFF.
"""

from dataclasses import replace
from pathlib import Path

from atrous.datasets import plain_pairs
from atrous.datasets.folder import Folder
from atrous.io import is_mapped

LACKS = "plain pairs whose images are GeoTIFF"


def recognise(root: Path) -> str | None:
    """By the layout of plain pairs and an image with coordinates."""
    image = plain_pairs.some_image(root)
    if image is None or not is_mapped(image):
        return None
    return f"{plain_pairs.recognise(root)}, and {image.name} is a GeoTIFF"


def read(root: Path) -> Folder:
    """See `plain_pairs.read`."""
    return replace(plain_pairs.read(root), layout="geotiff", why=recognise(root) or "")
