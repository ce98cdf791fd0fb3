"""Label maps that are written row by row: PNG of any height, GeoTIFF, Zarr.

A file is written under a temporary name and gets its own when it is whole.
"""

import hashlib
import os
import shutil
import struct
import zlib
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Protocol

import numpy as np

from atrous.errors import DataError
from atrous.files import beside, held, make_folder
from atrous.io.extras import need, there
from atrous.io.marks import SOFTWARE, comment
from atrous.io.paths import VIDEO_SUFFIXES, cannot_write, is_zarr, place_below
from atrous.io.pictures import Picture, is_mapped
from atrous.labels import LabelSet

BLOCK = 256
"""Side of a GeoTIFF's tiles, and the number of rows that are written at once."""
CHUNK = 512
"""Side of a Zarr array's chunks."""


class Sink(Protocol):
    """Takes the rows of one label map, from the top down."""

    def write(self, values: np.ndarray) -> None:
        """Write the next rows (n, W), in the data set's own values."""

    def close(self) -> None:
        """Write what is left, after the last row."""


IEND = b"\0\0\0\0IEND\xaeB`\x82"
"""The last part of a PNG."""


class PngSink:
    """An index PNG, 8 bits with a palette or 16-bit grey, as one stream of compressed rows."""

    def __init__(self, path: Path, size: tuple[int, int], labels: LabelSet, dtype: np.dtype) -> None:
        self.path, self.deep = path, dtype.itemsize > 1
        self._file: BinaryIO = path.open("wb")
        self._pack, self._hash = zlib.compressobj(6), hashlib.sha256()
        self._put(b"\x89PNG\r\n\x1a\n")
        height, width = size
        kind = (16, 0) if self.deep else (8, 3)
        self._part(b"IHDR", struct.pack(">IIBBBBB", width, height, *kind, 0, 0, 0))
        if not self.deep:
            palette = np.zeros((256, 3), np.uint8)
            palette[list(labels.values)] = labels.colours
            self._part(b"PLTE", palette.tobytes())

    def write(self, values: np.ndarray) -> None:
        """See `Sink`."""
        rows = values.astype(">u2" if self.deep else "u1").view(np.uint8).reshape(len(values), -1)
        no_filter = np.zeros((len(rows), 1), np.uint8)
        lines = np.concatenate([no_filter, rows], axis=1)
        if packed := self._pack.compress(lines.tobytes()):
            self._part(b"IDAT", packed)

    def close(self) -> None:
        """See `Sink`."""
        self._part(b"IDAT", self._pack.flush())
        self._hash.update(IEND)
        self._file.write(comment(".png", self._hash) + IEND)
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def _part(self, name: bytes, content: bytes) -> None:
        checksum = zlib.crc32(name + content)
        self._put(struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum))

    def _put(self, data: bytes) -> None:
        self._hash.update(data)
        self._file.write(data)


class GeoSink:
    """A tiled, compressed GeoTIFF. profile: the place on the Earth, from the picture, and nodata."""

    def __init__(
        self, path: Path, size: tuple[int, int], labels: LabelSet, dtype: np.dtype, profile: dict[str, Any]
    ) -> None:
        rasterio = need("rasterio", "geo", path)
        tiles = {"tiled": True, "blockxsize": BLOCK, "blockysize": BLOCK, "compress": "deflate", "bigtiff": "if_safer"}
        self._data = rasterio.open(
            path, "w", driver="GTiff", height=size[0], width=size[1], count=1, dtype=dtype.name, **tiles,
            **profile,
        )  # fmt: skip
        if dtype.itemsize == 1:
            colours = dict(zip(labels.values, labels.colours, strict=True))
            self._data.write_colormap(1, {value: tuple(colour) for value, colour in colours.items()})
        self._data.update_tags(TIFFTAG_SOFTWARE=SOFTWARE)
        self._data.update_tags(1, **{f"class_{v}": name for v, name in zip(labels.values, labels.names, strict=True)})
        self._held, self._top, self._width = np.empty((0, size[1]), dtype), 0, size[1]

    def write(self, values: np.ndarray) -> None:
        """See `Sink`; rows wait for a full row of tiles, so that no tile is compressed twice."""
        self._held = np.concatenate([self._held, values])
        self._send(len(self._held) // BLOCK * BLOCK)

    def close(self) -> None:
        """See `Sink`."""
        self._send(len(self._held))
        self._data.close()

    def _send(self, rows: int) -> None:
        if rows:
            window = ((self._top, self._top + rows), (0, self._width))
            self._data.write(self._held[:rows], 1, window=window)
            self._held, self._top = self._held[rows:], self._top + rows


class ZarrSink:
    """A Zarr array (H, W) with the classes in its attributes."""

    def __init__(self, path: Path, size: tuple[int, int], labels: LabelSet, dtype: np.dtype) -> None:
        zarr = need("zarr", "zarr", path)
        self._array = zarr.create_array(str(path), shape=size, dtype=dtype, chunks=tuple(min(CHUNK, n) for n in size))
        self._array.attrs["software"] = SOFTWARE
        self._array.attrs["classes"] = dict(zip(labels.names, map(int, labels.values), strict=True))
        self._held, self._top = np.empty((0, size[1]), dtype), 0

    def write(self, values: np.ndarray) -> None:
        """See `Sink`; rows wait until they fill a row of chunks."""
        self._held = np.concatenate([self._held, values])
        self._send(len(self._held) // CHUNK * CHUNK)

    def close(self) -> None:
        """See `Sink`."""
        self._send(len(self._held))

    def _send(self, rows: int) -> None:
        if rows:
            self._array[self._top : self._top + rows] = self._held[:rows]
            self._held, self._top = self._held[rows:], self._top + rows


class LabelWriter:
    """Writes a label map row by row; use it in a `with` block.

    The file appears when the block ends without an error; else an older file stays as it was.

    Args:
        target: The file; its suffix (.png, .tif, .zarr) tells the kind, see `target_of`.
        picture: The picture that was labelled: its size and, if any, its place on the Earth.
        labels: The classes; their file values and colours are written.

    Raises:
        DataError: The file cannot be written, or rows are missing when the block ends.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from atrous.labels import LabelSet
        >>> picture = ArrayPicture(np.zeros((4, 5, 3), np.uint8))
        >>> with LabelWriter(Path("map.png"), picture, LabelSet(("a", "b"))) as writer:
        ...     writer.write(np.zeros((3, 5), np.uint8))
        ...     writer.write(np.ones((1, 5), np.uint8))
        >>> read_mask("map.png")[:, 0].tolist()
        [0, 0, 0, 1]
    """

    def __init__(self, target: Path, picture: Picture, labels: LabelSet) -> None:
        self.target, self.labels = target, labels
        self._temporary = beside(target, target.suffix)
        size = picture.shape[:2]
        self._rows, self._height = 0, size[0]
        values = labels.to_values(np.zeros((1, 1), labels.dtype))
        try:
            make_folder(target.parent)
            if target.suffix == ".tif":
                nodata = {"nodata": labels.void} if getattr(picture, "holes", False) else {}
                profile = {**getattr(picture, "profile", {}), **nodata}
                self._sink: Sink = GeoSink(self._temporary, size, labels, values.dtype, profile)
            elif target.suffix == ".zarr":
                self._sink = ZarrSink(self._temporary, size, labels, values.dtype)
            else:
                self._sink = PngSink(self._temporary, size, labels, values.dtype)
            self._held = ExitStack()
            self._held.enter_context(held(self._temporary))
        except OSError as error:
            raise cannot_write(target, error) from error

    def write(self, indices: np.ndarray) -> None:
        """Write the next rows: (rows, W) class indices."""
        self._rows += len(indices)
        try:
            self._sink.write(self.labels.to_values(indices))
        except OSError as error:
            raise cannot_write(self.target, error) from error

    def __enter__(self) -> "LabelWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            self._sink.close()
            if kind is None and self._rows != self._height:
                raise DataError(f"{self.target}: {self._rows} of {self._height} rows were written; it is left out")
            if kind is None:
                old = beside(self.target)
                if self.target.is_dir():  # no file system replaces a folder by another one
                    self.target.replace(old)
                self._temporary.replace(self.target)
                _remove(old)
        except OSError as broken:
            if kind is None:
                raise cannot_write(self.target, broken) from broken
        finally:
            _remove(self._temporary)
            self._held.close()


def target_of(path: Path, folder: Path) -> Path:
    """Tell the file that the label map of an input is written to.

    Args:
        path: The input: a picture, a video or a Zarr folder.
        folder: The folder of the results.

    Returns:
        `folder / <stem>` with .mkv for a video, .zarr for Zarr, .tif for a GeoTIFF if rasterio is
        installed, else .png.

    Example:
        >>> from pathlib import Path
        >>> target_of(Path("drive/a.mp4"), Path("out")).name
        'a.mkv'
    """
    suffix = ".png"
    if path.suffix.lower() in VIDEO_SUFFIXES:
        suffix = ".mkv"
    elif is_zarr(path):
        suffix = ".zarr"
    elif is_mapped(path) and there("rasterio"):
        suffix = ".tif"
    return place_below(folder, f"{stem_of(path)}{suffix}")


def overlay_of(path: Path, folder: Path) -> Path:
    """Tell the file that the overlay of an input is written to: .mp4 for a video, else .jpg."""
    suffix = ".mp4" if path.suffix.lower() in VIDEO_SUFFIXES else ".jpg"
    return place_below(folder, f"overlays/{stem_of(path)}{suffix}")


def uncertain_of(path: Path, folder: Path) -> Path:
    """Tell the file that shows where no label of an input is certain."""
    return place_below(folder, f"uncertain/{stem_of(path)}.png")


def stem_of(path: Path) -> str:
    """Name an input without its suffix, also if it is the folder `.`."""
    return Path(os.path.abspath(path)).stem


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
