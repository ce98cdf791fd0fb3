"""Plain pairs of GeoTIFF: images with coordinates, masks as GeoTIFF or PNG.

ROOT/images/tile_1.tif    ROOT/masks/tile_1.tif    (splits as in plain pairs)

They are read as plain pairs. Conversion copies such masks, so that they keep their coordinates. What
the tags of a mask say holds in every layout: the place on the Earth, and the value of no label.

Source: OGC GeoTIFF 1.1, for the tags that tell a GeoTIFF.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from atrous.datasets import plain_pairs
from atrous.datasets.folder import DAMAGE, Folder, Pair, mask_file
from atrous.errors import DataError
from atrous.io import is_mapped, nodata_value
from atrous.io.images import open_file
from atrous.io.tiff import Tags, read_tags
from atrous.labels import LabelSet

LACKS = "plain pairs whose images are GeoTIFF"
ENOUGH = 0.5
"""A mask that lies this many pixels or more from its image belongs to another place."""

REPLACE = "expected the same place, system and pixels, warp the mask onto its image (gdalwarp) or find the right one"


def recognise(root: Path) -> str | None:
    """By the layout of plain pairs and an image with coordinates."""
    image = plain_pairs.some_image(root)
    if image is None or not is_mapped(image):
        return None
    return f"{plain_pairs.recognise(root)}, and {image.name} is a GeoTIFF"


def read(root: Path) -> Folder:
    """See `plain_pairs.read`."""
    return replace(plain_pairs.read(root), layout="geotiff", why=recognise(root) or "")


def misplaced(pair: Pair) -> str:
    """Tell in words how a mask lies elsewhere than its image by the tags of both; '' if it does not."""
    try:
        return _apart(pair)
    except DataError:
        raise
    except DAMAGE as error:
        return f"its tags, or those of its image {pair.image.name}, tell no place ({error})"


def _apart(pair: Pair) -> str:
    if not (is_mapped(pair.image) and is_mapped(pair.mask)):
        return ""
    image, mask = _tags(pair.image), _tags(pair.mask)
    if image.system and mask.system and image.system != mask.system:
        return f"the mask is in {mask.system}, its image {pair.image.name} in {image.system}"
    if image.place is None or mask.place is None or (image.height, image.width) != (mask.height, mask.width):
        return ""
    size, own = _pixel(image.place), _pixel(mask.place)
    corners = np.array([[0, 0, 1], [0, image.height, 1], [image.width, 0, 1], [image.width, image.height, 1]]).T
    back = np.linalg.inv(image.place[:, :2])
    apart = back @ ((mask.place - image.place) @ corners)  # in pixels of the image: (right, down) of each corner
    if not np.isfinite(apart).all() or np.abs(apart).max() < ENOUGH:
        return ""
    if np.ptp(apart, axis=1).max() >= ENOUGH:
        return (
            f"the pixels of the mask are {own} units of the map, those of its image {pair.image.name} {size}"
            if own != size
            else f"the mask is turned beside its image {pair.image.name}"
        )
    return f"the mask lies {_way(apart.mean(axis=1), image.place)} of its image {pair.image.name}"


def _pixel(place: np.ndarray) -> str:
    across, down = np.hypot(*place[:, :2])
    return f"{across:.6g} x {down:.6g}"


def _way(shift: np.ndarray, place: np.ndarray) -> str:
    """(right, down) in pixels as words: `20 pixels to the east`."""
    north_up = place[0, 0] > 0 > place[1, 1] and place[0, 1] == place[1, 0] == 0
    names = (("west", "east"), ("north", "south")) if north_up else (("left", "right"), ("top", "bottom"))
    parts = [
        f"{abs(pixels):.3g} pixels to the {name[int(pixels > 0)]}"
        for pixels, name in zip(shift, names, strict=True)
        if abs(pixels) >= 0.05
    ]
    return " and ".join(parts)


def _tags(path: Path) -> Tags:
    with open_file(path) as stream:
        return read_tags(stream)


def nodata_values(folder: Folder) -> dict[int, Path]:
    """Find the values that the tags of masks call no data -> the first mask whose tags do."""
    found = dict[int, Path]()
    for pair in folder.pairs if folder.readers.mask is mask_file else ():
        if pair.mask.suffix.lower() in (".tif", ".tiff") and (value := nodata_value(pair.mask)) is not None:
            found.setdefault(value, pair.mask)
    return found


def without_nodata(labels: LabelSet, nodata: Mapping[int, Path]) -> LabelSet:
    """Ignore what masks call no data; DataError if that is the value of a class."""
    for value, path in nodata.items():
        if value in labels.values:
            name = labels.names[labels.values.index(value)]
            raise DataError(
                f"{path}: its nodata value {value} is also the value of the class {name!r}; take the tag away "
                "(gdal_edit.py -unsetnodata) if it is a class, else take the class out of classes.toml"
            )
    return replace(labels, ignore=tuple(dict.fromkeys((*labels.ignore, *nodata))))


def mixed(pairs: Sequence[Pair], values: Sequence[Collection[int]], nodata: Mapping[int, Path]) -> dict[int, str]:
    """Find masks that hold as a label what the tags of others call no data.

    values: those of each pair's mask. Returns the places of such pairs, each with a sentence.
    """
    return {
        place: (
            f"holds {value}, which is no data by the tag of {path.name}, without such a tag of its own; "
            "expected one meaning in all masks, give all of them the tag or none"
        )
        for value, path in nodata.items()
        for place, (pair, present) in enumerate(zip(pairs, values, strict=True))
        if value in present and nodata_value(pair.mask) != value
    }
