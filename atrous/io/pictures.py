"""Pictures by rows: pictures of any size are read without loading all of them.

A picture has a shape and gives rows. Arrays (.npy), TIFF and BigTIFF need no further package:
Pillow's libtiff decompresses the strips, and knows more compressions than a pure Python reader
would. GeoTIFF goes through rasterio (the [geo] extra), which keeps the place on the Earth; Zarr
goes through zarr ([zarr]).
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from atrous.errors import DataError, MissingExtra
from atrous.io.images import (
    MAX_PIXELS,
    as_numbers,
    damage_as_data_error,
    npy_header,
    open_file,
    read_header,
    read_image,
)
from atrous.io.paths import is_zarr
from atrous.io.tiff import Tags, decode_rows, raw_place, read_tags

HELD_PIXELS = 16_000_000
"""Pictures of up to this many pixels are read whole, larger ones by rows if the kind allows."""


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
            (end - first, W, C), uint8, uint16 or float32.

        Raises:
            DataError: The file is damaged.
        """


class ArrayPicture:
    """An array as a `Picture`.

    Args:
        array: (H, W) or (H, W, C); may be a memory map.
        name: What error messages call it.
        held: Whether the whole array is in memory; False for a memory map.

    Example:
        >>> import numpy as np
        >>> picture = ArrayPicture(np.zeros((40, 30), np.uint8))
        >>> picture.shape, picture.rows(10, 12).shape
        ((40, 30, 1), (2, 30, 1))
    """

    def __init__(self, array: np.ndarray, name: str = "image", held: bool = True) -> None:
        array = array[..., None] if array.ndim == 2 else array
        self.array, self.name, self.held = array, name, held
        self.shape: tuple[int, int, int] = (array.shape[0], array.shape[1], array.shape[2])

    def rows(self, first: int, end: int) -> np.ndarray:
        """See `Picture`."""
        return as_numbers(self.array[first:end])


class RawPicture:
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


class TiffPicture:
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


class GeoPicture:
    """A raster that rasterio reads. profile: the place on the Earth, for a writer."""

    held = False

    def __init__(self, path: Path) -> None:
        rasterio = need("rasterio", "geo", path)
        self.name = str(path)
        with damage_as_data_error(path):
            self._data = rasterio.open(path)
            alpha = rasterio.enums.ColorInterp.alpha
            self._bands = [k + 1 for k, kind in enumerate(self._data.colorinterp) if kind != alpha]
        self.shape = (self._data.height, self._data.width, len(self._bands))
        self.profile = {"crs": self._data.crs, "transform": self._data.transform}

    def rows(self, first: int, end: int) -> np.ndarray:
        """See `Picture`."""
        if first >= end:
            return np.empty((0, *self.shape[1:]), self._data.dtypes[0])
        with damage_as_data_error(self.name):
            pixels = self._data.read(self._bands, window=((first, end), (0, self.shape[1])))
            return np.ascontiguousarray(as_numbers(pixels.transpose(1, 2, 0)))


class ZarrPicture:
    """A Zarr array (H, W) or (H, W, C), or the array called `0` in a group."""

    held = False

    def __init__(self, path: Path) -> None:
        zarr = need("zarr", "zarr", path)
        self.name = str(path)
        with damage_as_data_error(path):
            found = zarr.open(str(path), mode="r")
            array = found if hasattr(found, "chunks") else found["0"]
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
        return ZarrPicture(path)
    with damage_as_data_error(path), open_file(path) as stream:
        header = read_header(stream, path, max_pixels=None)
        stream.seek(0)
        tags = read_tags(stream) if header.kind == "TIFF" else None
        if header.kind == "npy":
            stream.seek(0)
            shape, fortran, dtype = npy_header(stream)
            place = stream.tell()
    large = header.height * header.width > HELD_PIXELS
    by_rows = tags is not None and tags.by_rows and tags.orientation == 1
    if tags and there("rasterio") and (tags.mapped or (header.height * header.width > MAX_PIXELS and not by_rows)):
        return GeoPicture(path)
    if large and header.kind == "npy" and not fortran:
        return RawPicture(path, dtype, shape, place, header.channels)
    if not large or not by_rows or tags is None:
        return ArrayPicture(read_image(path), str(path))
    if (place := raw_place(tags)) is not None:  # type: ignore[assignment]
        return RawPicture(path, tags.dtype, (tags.height, tags.width, tags.samples), place, tags.channels)
    return TiffPicture(path, tags)


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


def there(module: str) -> bool:
    """Tell whether an optional package is installed.

    Example:
        >>> there("numpy")
        True
    """
    return find_spec(module) is not None


def need(module: str, extra: str, path: Path) -> Any:
    """Import an optional package; MissingExtra names the command that installs it."""
    try:
        return import_module(module)
    except ImportError as error:
        raise MissingExtra(f"{path}: reading it needs {module}; run `pip install 'atrous[{extra}]'`") from error
