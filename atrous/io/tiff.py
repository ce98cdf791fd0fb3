"""TIFF files that Pillow and OpenCV cannot read, or read wrongly: many channels, more than 8 bits.

The interleaved samples of a strip are, byte for byte, a wider grey picture. So the strips are put
into a minimal grey TIFF of bytes, Pillow decompresses it, and the bytes are read as the samples
that they are.

Source: TIFF 6.0 (Adobe, 1992), sections 2, 8, 14, 15.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import accumulate
from typing import BinaryIO

import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION = 256, 257, 258, 259, 262, 274
STRIPS, SAMPLES, ROWS, STRIP_BYTES, PLANAR, PREDICTOR = 273, 277, 278, 279, 284, 317
TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES, EXTRA, FORMAT = 322, 323, 324, 325, 338, 339

UINT, INT, FLOAT = 1, 2, 3
_KINDS = {UINT: "u", INT: "i", FLOAT: "f"}
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB = 0, 1, 2
JPEG = (6, 7)
GEO = (33550, 33922, 34264, 34735)
"""ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory (OGC GeoTIFF 1.1)."""


@dataclass(frozen=True)
class Tags:
    """The first directory of a TIFF; `ifd` holds every tag by its number."""

    ifd: ImageFileDirectory_v2
    width: int
    height: int
    samples: int
    bits: int
    format: int
    order: bytes = b"II"

    @property
    def dtype(self) -> np.dtype:
        """The type of the samples, in the file's byte order."""
        return np.dtype(f"{_order(self.order)}{_KINDS[self.format]}{self.bits // 8}")

    @property
    def mapped(self) -> bool:
        """Whether GeoTIFF tags tell the place of the pixels on the Earth."""
        return any(tag in self.ifd for tag in GEO)

    @property
    def orientation(self) -> int:
        """The EXIF orientation, 1..8."""
        return int(self.ifd.get(ORIENTATION, 1))

    @property
    def plain(self) -> bool:
        """Whether `decode_plain` reads the file; Pillow reads others (palette, CMYK, JPEG, ...)."""
        deep = self.bits > 8 and (self.ifd.get(PREDICTOR, 1) == 1 or self.inverted)
        return self.by_rows and (self.samples > 1 or deep or self.format == INT)

    @property
    def by_rows(self) -> bool:
        """Whether `decode_rows` reads the file."""
        shades = self.ifd.get(PHOTOMETRIC) in (WHITE_IS_ZERO, BLACK_IS_ZERO, RGB)
        simple = shades and self.ifd.get(COMPRESSION, 1) not in JPEG
        return simple and self.bits in (8, 16, 32, 64) and self.format in _KINDS

    @property
    def inverted(self) -> bool:
        """Whether the largest number is black; only unsigned integers have a largest number."""
        return self.ifd.get(PHOTOMETRIC) == WHITE_IS_ZERO and self.format == UINT

    @property
    def channels(self) -> int:
        """Samples per pixel, without alpha."""
        extra = self.ifd.get(EXTRA, ())
        colour = 3 if self.ifd.get(PHOTOMETRIC) == RGB else 1
        return colour if self.samples == colour + 1 and tuple(extra) in ((1,), (2,)) else self.samples


def read_tags(stream: BinaryIO) -> Tags:
    """Read the first directory of a TIFF or BigTIFF; a damaged one can raise any exception."""
    start = stream.read(8)
    if start[:4] == b"MM\x00\x2b":
        raise NotImplementedError("a big-endian BigTIFF, which Pillow cannot read; save it as little-endian")
    if start[2:4] == b"\x2b\x00":
        start += stream.read(8)
    ifd = ImageFileDirectory_v2(start)
    stream.seek(ifd.next)
    ifd.load(stream)
    samples = int(ifd.get(SAMPLES, 1))
    bits, formats = ifd.get(BITS, (1,)), ifd.get(FORMAT, (UINT,))
    if len(set(bits)) > 1 or len(set(formats)) > 1:
        raise NotImplementedError(f"channels of different types ({bits} bits); expected one type, save it as .npy")
    return Tags(ifd, int(ifd[WIDTH]), int(ifd[HEIGHT]), samples, int(bits[0]), int(formats[0]), start[:2])


Read = Callable[[int, int], bytes]
"""(offset, count) -> bytes of the file; fewer if the file ends before."""


def decode_plain(data: bytes, tags: Tags) -> np.ndarray:
    """Decode a `plain` TIFF into (H, W, C), in the file's type, with alpha, not yet oriented."""
    return decode_rows(lambda offset, count: data[offset : offset + count], tags, 0, tags.height)


def decode_rows(read: Read, tags: Tags, first: int, end: int) -> np.ndarray:
    """Decode the rows first..end - 1 of a `plain` TIFF into (rows, W, C).

    Only the strips or tiles that hold these rows are read.
    """
    if first >= end:
        return np.empty((0, tags.width, tags.samples), tags.dtype)
    ifd, planar = tags.ifd, tags.ifd.get(PLANAR, 1) == 2
    predictor = ifd.get(PREDICTOR, 1)
    if predictor not in (1, 2) or (predictor == 2 and tags.format == FLOAT):
        raise NotImplementedError(
            f"a TIFF predictor {predictor} with {tags.dtype} samples, which cannot be read; "
            "save it without one, or as .npy"
        )
    tiled = TILES in ifd
    offsets, counts = (ifd[TILES], ifd[TILE_BYTES]) if tiled else (ifd[STRIPS], ifd[STRIP_BYTES])
    high = int(ifd[TILE_HEIGHT] if tiled else min(ifd.get(ROWS, tags.height), tags.height))
    across = -(-tags.width // int(ifd[TILE_WIDTH])) if tiled else 1
    start, stop = first // high, -(-end // high)
    band = replace(tags, height=min(stop * high, tags.height) - start * high)
    planes = tags.samples if planar else 1
    together = tags.samples // planes  # samples side by side in one piece
    per_plane = across * -(-tags.height // high)
    if len(offsets) < planes * per_plane:
        raise ValueError(f"it has {len(offsets)} strips or tiles, {planes * per_plane} are needed")
    decoded = []
    for plane in range(planes):
        places = range(plane * per_plane + start * across, plane * per_plane + stop * across)
        pieces = [read(offsets[place], counts[place]) for place in places]
        if [len(piece) for piece in pieces] != [counts[place] for place in places]:
            raise ValueError("the file is truncated")
        pixels = _decode_plane(tags.order, band, pieces, together)
        decoded.append(_undo_differences(pixels, band) if predictor == 2 else pixels)
    rows = decoded[0] if planes == 1 else np.concatenate(decoded, axis=2)
    rows = rows[first - start * high : end - start * high]
    return np.iinfo(rows.dtype).max - rows if tags.inverted else rows


def raw_place(tags: Tags) -> int | None:
    """The offset of the pixels, if the file holds them as an array (H, W, C) would; else None."""
    ifd = tags.ifd
    if TILES in ifd or ifd.get(COMPRESSION, 1) != 1 or (ifd.get(PLANAR, 1) == 2 and tags.samples > 1):
        return None
    offsets, counts = ifd[STRIPS], ifd[STRIP_BYTES]
    together = all(a + n == b for a, n, b in zip(offsets, counts, offsets[1:], strict=False))
    whole = sum(counts) == tags.width * tags.height * tags.samples * tags.bits // 8
    plain = ifd.get(PREDICTOR, 1) == 1 and not tags.inverted
    return int(offsets[0]) if together and whole and plain else None


def _decode_plane(order: bytes, tags: Tags, pieces: list[bytes], together: int) -> np.ndarray:
    """Decompress the strips or tiles of one plane into (H, W, together).

    Pillow reads them from a grey TIFF of bytes that is made for it.
    """
    size = together * tags.bits // 8
    ifd = tags.ifd
    sizes = tuple(len(piece) for piece in pieces)
    starts = tuple(accumulate(sizes, initial=8))[:-1]
    entries: dict[int, tuple[int, ...]] = {
        WIDTH: (tags.width * size,),
        HEIGHT: (tags.height,),
        BITS: (8,),
        COMPRESSION: (ifd.get(COMPRESSION, 1),),
        PHOTOMETRIC: (BLACK_IS_ZERO,),
        SAMPLES: (1,),
    }
    if TILES in ifd:
        entries |= {TILE_WIDTH: (ifd[TILE_WIDTH] * size,), TILE_HEIGHT: (ifd[TILE_HEIGHT],)}
        entries |= {TILES: starts, TILE_BYTES: sizes}
    else:
        entries |= {ROWS: (ifd.get(ROWS, tags.height),), STRIPS: starts, STRIP_BYTES: sizes}
    body = b"".join(pieces)
    directory = 8 + len(body)
    header = struct.pack(_order(order) + "2sHI", order, 42, directory)
    with TiffImageFile(BytesIO(header + body + _directory(entries, order, directory))) as picture:
        pixels = np.asarray(picture).view(f"{_order(order)}{_KINDS[tags.format]}{tags.bits // 8}")
    return pixels.reshape(tags.height, tags.width, together).astype(pixels.dtype.newbyteorder("="), copy=False)


def _order(order: bytes) -> str:
    """The byte order of a TIFF in the notation of `struct`."""
    return "<" if order == b"II" else ">"


def _directory(entries: dict[int, tuple[int, ...]], order: bytes, place: int) -> bytes:
    """Make a TIFF directory (section 2) for offset `place`; its longer lists follow it."""
    long_lists = place + 2 + 12 * len(entries) + 4
    table, lists = struct.pack(_order(order) + "H", len(entries)), b""
    for tag, values in sorted(entries.items()):
        where = values[0] if len(values) == 1 else long_lists + len(lists)
        table += struct.pack(_order(order) + "HHII", tag, 4, len(values), where)
        lists += struct.pack(f"{_order(order)}{len(values)}I", *values) if len(values) > 1 else b""
    return table + bytes(4) + lists


def _undo_differences(pixels: np.ndarray, tags: Tags) -> np.ndarray:
    """Undo predictor 2 (section 14), which stores the difference to the same sample on the left."""
    step = int(tags.ifd.get(TILE_WIDTH, tags.width))
    parts = [pixels[:, left : left + step] for left in range(0, tags.width, step)]
    return np.concatenate([np.cumsum(part, axis=1, dtype=part.dtype) for part in parts], axis=1)
