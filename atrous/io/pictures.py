"""Pictures by rows: pictures of any size are read without loading all of them.

A picture has a shape and gives rows. Arrays (.npy), TIFF and BigTIFF need no further package:
Pillow's libtiff decompresses the strips, and knows more compressions than a pure Python reader
would. GeoTIFF goes through rasterio (the [geo] extra), which keeps the place on the Earth; Zarr
goes through zarr ([zarr]).
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from warnings import catch_warnings, simplefilter

import numpy as np

from atrous.errors import DataError
from atrous.io.extras import need, there
from atrous.io.images import (
    MAX_PIXELS,
    as_numbers,
    damage_as_data_error,
    npy_header,
    open_file,
    read_header,
    read_valid,
)
from atrous.io.paths import is_zarr
from atrous.io.tiff import PALETTE, PHOTOMETRIC, Tags, decode_rows, raw_place, read_tags
from atrous.io.valid import empty_pixels, mean_of

HELD_PIXELS = 16_000_000
"""Pictures of up to this many pixels are read whole, larger ones by rows if the kind allows."""
SAMPLED_ROWS = 64
"""Rows of a picture that is read by rows whose mean stands where a pixel holds nothing."""


class Picture(Protocol):
    """A picture (H, W, C) that is read by rows.

    Args:
        name: What error messages call it.
        shape: (H, W, C).
        held: Whether the whole picture is in memory already.
    """

    name: str
    shape: tuple[int, int, int]
    held: bool

    def rows(self, first: int, end: int) -> np.ndarray:
        """Read the rows first..end - 1.

        Returns:
            (end - first, W, C), uint8, uint16 or float32. Pixels that hold nothing (nodata, NaN) have
            the mean of others.

        Raises:
            DataError: The file is damaged.
        """

    def valid(self, first: int, end: int) -> np.ndarray | None:
        """Tell which pixels of these rows hold a value: (end - first, W) bool, None if all do."""


class _Full:
    """A picture all of whose pixels hold a value."""

    def valid(self, first: int, end: int) -> np.ndarray | None:
        """See `Picture`."""
        return None


class ArrayPicture:
    """An array as a `Picture`.

    Args:
        array: (H, W) or (H, W, C); may be a memory map.
        name: What error messages call it.
        held: Whether the whole array is in memory; False for a memory map.
        valid: (H, W) bool, which pixels hold a value; None if all do.

    Example:
        >>> import numpy as np
        >>> picture = ArrayPicture(np.zeros((40, 30), np.uint8))
        >>> picture.shape, picture.rows(10, 12).shape
        ((40, 30, 1), (2, 30, 1))
    """

    def __init__(
        self, array: np.ndarray, name: str = "image", held: bool = True, valid: np.ndarray | None = None
    ) -> None:
        array = array[..., None] if array.ndim == 2 else array
        self.array, self.name, self.held, self.mask = array, name, held, valid
        self.shape: tuple[int, int, int] = (array.shape[0], array.shape[1], array.shape[2])

    def rows(self, first: int, end: int) -> np.ndarray:
        """See `Picture`."""
        return as_numbers(self.array[first:end])

    def valid(self, first: int, end: int) -> np.ndarray | None:
        """See `Picture`."""
        return None if self.mask is None else self.mask[first:end]


class RawPicture(_Full):
    """Pixels that lie in a file as they would in an array.

    They are read, not mapped, as the pages of a memory map would count as this process's memory.
    """

    held = False

    def __init__(self, path: Path, dtype: np.dtype, shape: tuple[int, ...], place: int, channels: int) -> None:
        self.name, self.shape = str(path), (shape[0], shape[1], channels)
        self._path, self._dtype, self._row, self._place = path, dtype, (*shape[1:], 1)[:2], place

    def rows(self, first: int, end: int) -> np.ndarray:
        """See `Picture`."""
        count = int(np.prod(self._row))
        with damage_as_data_error(self.name):
            start = self._place + first * count * self._dtype.itemsize
            pixels = np.fromfile(self._path, self._dtype, (end - first) * count, offset=start)
            if len(pixels) < (end - first) * count:
                raise ValueError("the file is truncated")
            return as_numbers(pixels.reshape(end - first, *self._row)[..., : self.shape[2]])


class TiffPicture(_Full):
    """A TIFF or BigTIFF; each strip or tile is read when it is needed."""

    held = False

    def __init__(self, path: Path, tags: Tags) -> None:
        self.name, self.tags, self._path = str(path), tags, path
        self.shape = (tags.height, tags.width, tags.channels)

    def rows(self, first: int, end: int) -> np.ndarray:
        """See `Picture`."""
        with damage_as_data_error(self.name), self._path.open("rb") as file:

            def read(offset: int, count: int) -> bytes:
                file.seek(offset)
                return file.read(count)

            return as_numbers(decode_rows(read, self.tags, first, end)[..., : self.shape[2]])


class GeoPicture(_Full):
    """A raster that rasterio reads by rows, its numbers and channels as `read_image` gives them."""

    held = False

    def __init__(self, path: Path, tags: Tags) -> None:
        rasterio = need("rasterio", "geo", path)
        self.name, self._tags = str(path), tags
        self._painted = tags.ifd.get(PHOTOMETRIC) == PALETTE
        with damage_as_data_error(path), catch_warnings():
            simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            self._data = rasterio.open(path, driver="GTiff")  # the others may name further files, and addresses
            self._masked = rasterio.enums.MaskFlags.per_dataset in self._data.mask_flag_enums[0]
        self.shape = (self._data.height, self._data.width, 3 if self._painted else tags.channels)
        self.profile = {"crs": self._data.crs, "transform": self._data.transform}

    def rows(self, first: int, end: int) -> np.ndarray:
        """See `Picture`."""
        if first >= end:
            return np.empty((0, *self.shape[1:]), self._data.dtypes[0])
        with damage_as_data_error(self.name):
            bands = list(range(1, 2 if self._painted else self.shape[2] + 1))
            pixels = self._data.read(bands, window=((first, end), (0, self.shape[1]))).transpose(1, 2, 0)
            if self._painted:
                pixels = self._tags.colours[pixels[..., 0]]
            elif self._tags.inverted:
                pixels = np.iinfo(pixels.dtype).max - pixels
            return np.ascontiguousarray(as_numbers(pixels > 0 if self._tags.bits == 1 else pixels))

    def inside(self, first: int, end: int) -> np.ndarray | None:
        """What the mask or the alpha of the file says of these rows, (end - first, W) bool."""
        if not self._masked:
            return None
        with damage_as_data_error(self.name):
            return np.asarray(self._data.read_masks(1, window=((first, end), (0, self.shape[1]))) > 0)


class PatchedPicture:
    """A picture some of whose pixels may hold nothing, as `read_valid` would read it.

    Args:
        picture: The picture as its file has it; its `inside`, if it has one, tells what is masked.
        nodata: The value of pixels that hold nothing; None if there is none.
        profile: The place on the Earth, for a writer.
    """

    holes = True

    def __init__(self, picture: Picture, nodata: float | None, profile: dict[str, Any] | None = None) -> None:
        self.name, self.shape, self.held = picture.name, picture.shape, picture.held
        self._picture, self._nodata, self.profile = picture, nodata, profile or {}

    def rows(self, first: int, end: int) -> np.ndarray:
        """See `Picture`."""
        pixels = self._picture.rows(first, end)
        valid = self._valid(pixels, first, end)
        return pixels if valid is None else np.where(valid[..., None], pixels, self._mean)

    def valid(self, first: int, end: int) -> np.ndarray | None:
        """See `Picture`."""
        own = self._picture.valid(first, end)  # of a picture that is patched already
        return self._valid(self._picture.rows(first, end), first, end) if own is None else own

    def _valid(self, pixels: np.ndarray, first: int, end: int) -> np.ndarray | None:
        empty = empty_pixels(pixels, self._nodata)
        inside = self._picture.inside(first, end) if isinstance(self._picture, GeoPicture) else None
        return inside if empty is None else ~empty if inside is None else inside & ~empty

    @cached_property
    def _mean(self) -> np.ndarray:
        """The mean of the valid pixels of all rows, or of some evenly spaced ones."""
        picked = np.unique(np.linspace(0, self.shape[0] - 1, SAMPLED_ROWS).round().astype(int))
        rows = [self._picture.rows(int(row), int(row) + 1) for row in picked]
        known = [self._valid(pixels, int(row), int(row) + 1) for pixels, row in zip(rows, picked, strict=True)]
        pixels = np.concatenate(rows)
        whole = np.ones((1, self.shape[1]), bool)
        return mean_of(pixels, np.concatenate([whole if valid is None else valid for valid in known]))


class ZarrPicture(_Full):
    """A Zarr array (H, W) or (H, W, C), or the array called `0` in a group."""

    held = False

    def __init__(self, path: Path) -> None:
        zarr = need("zarr", "zarr", path)
        self.name = str(path)
        with damage_as_data_error(path):
            found = zarr.open(str(path), mode="r")
            array = found if hasattr(found, "chunks") else found["0"]
            how = {key: value for key, value in array.metadata.to_dict().items() if key != "attributes"}
        if "pickle" in str(how).lower():  # zarr 3.0 would run what its chunks hold
            raise DataError(
                f"{path}: its chunks are pickled Python objects; expected numbers, save the array in that form"
            )
        if array.ndim not in (2, 3) or array.dtype.kind not in "buif" or 0 in array.shape:
            raise DataError(
                f"{path}: an array of shape {array.shape} and type {array.dtype}; "
                "expected numbers (H, W) or (H, W, C), save the array in that form"
            )
        self._array = array
        self.shape = (array.shape[0], array.shape[1], array.shape[2] if array.ndim == 3 else 1)

    def rows(self, first: int, end: int) -> np.ndarray:
        """See `Picture`."""
        with damage_as_data_error(self.name):
            return as_numbers(np.asarray(self._array[first:end]))


def open_picture(path: Path | str) -> Picture:
    """Open a picture of any size to read it by rows.

    A picture of up to 16 million pixels, or of a kind that can only be read whole (PNG, JPEG, ...),
    is held in memory. Without rasterio a GeoTIFF is read as any other TIFF.

    Args:
        path: A picture file, or a Zarr folder.

    Returns:
        The picture; it has the shape that `read_image` would give.

    Raises:
        DataError: As `read_image`.
        MissingExtra: A Zarr folder without the zarr package.

    Example:
        >>> import numpy as np
        >>> np.save("scan.npy", np.zeros((50, 20, 3), np.uint8))
        >>> open_picture("scan.npy").rows(10, 30).shape
        (20, 20, 3)
    """
    path = Path(path)
    if is_zarr(path):
        return PatchedPicture(ZarrPicture(path), None)
    with damage_as_data_error(path):  # a tag may be read late
        return _opened(path)


def _opened(path: Path) -> Picture:
    with open_file(path) as stream:
        header = read_header(stream, path, max_pixels=None)
        if header.kind == "npy":
            stream.seek(0)
            shape, fortran, dtype = npy_header(stream)
            place = stream.tell()
    tags, size = header.tags, header.height * header.width
    by_rows = tags is not None and tags.by_rows and not tags.beyond and tags.orientation == 1
    if tags and there("rasterio") and (tags.mapped or (size > MAX_PIXELS and not by_rows)):
        return _raster(path, tags, size * max(header.channels / 4, 1) <= HELD_PIXELS)
    if size > HELD_PIXELS and header.kind == "npy" and not fortran:
        return PatchedPicture(RawPicture(path, dtype, shape, place, header.channels), None)
    if size <= HELD_PIXELS or not by_rows or tags is None:
        return _whole(path)
    if tags.mask_page is not None or tags.transparent:
        need("rasterio", "geo", path)
    if (place := raw_place(tags)) is not None:  # type: ignore[assignment]
        samples = (tags.height, tags.width, tags.samples)
        return PatchedPicture(RawPicture(path, tags.dtype, samples, place, tags.channels), tags.nodata)
    return PatchedPicture(TiffPicture(path, tags), tags.nodata)


def _whole(path: Path) -> ArrayPicture:
    pixels, valid = read_valid(path)
    return ArrayPicture(pixels, str(path), valid=valid)


def _raster(path: Path, tags: Tags, small: bool) -> PatchedPicture:
    """A raster with its place on the Earth; a small one is read as training reads it."""
    raster = GeoPicture(path, tags)
    return PatchedPicture(_whole(path) if small else raster, None if small else tags.nodata, raster.profile)


def is_mapped(path: Path) -> bool:
    """Tell by its tags whether a file is a GeoTIFF; False for a file that cannot be read.

    Example:
        >>> from pathlib import Path
        >>> is_mapped(Path("photo.png"))
        False
    """
    try:
        with damage_as_data_error(path), open_file(path) as stream:
            return path.suffix.lower() in (".tif", ".tiff") and read_tags(stream).mapped
    except DataError:
        return False


def strips(picture: Picture, spans: Sequence[tuple[int, int]]) -> Iterator[np.ndarray]:
    """Yield the rows of each span; no row is read twice.

    While one strip is in use, a thread reads the further rows that the next one needs.

    Args:
        picture: Any picture.
        spans: (first, end) rows of each strip, from the top down; neighbours may overlap.

    Yields:
        (end - first, W, C) for each span.

    Example:
        >>> import numpy as np
        >>> picture = ArrayPicture(np.zeros((50, 20, 3), np.uint8))
        >>> [len(strip) for strip in strips(picture, [(0, 20), (10, 50)])]
        [20, 40]
    """
    if isinstance(picture, ArrayPicture) and picture.held:
        yield from (picture.rows(*span) for span in spans)
        return
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(picture.rows, *spans[0])
        held, begin = np.empty((0, 0, 0)), 0
        for place, (first, end) in enumerate(spans):
            new = coming.result()
            if place + 1 < len(spans):
                coming = pool.submit(picture.rows, max(end, spans[place + 1][0]), spans[place + 1][1])
            kept = held[first - begin :] if place else held
            held, begin = (np.concatenate([kept, new]) if len(kept) else new), first
            yield held
