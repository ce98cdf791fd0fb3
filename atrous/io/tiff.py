"""TIFF files that Pillow and OpenCV cannot read, or read wrongly: many channels, more than 8 bits.

The interleaved samples of a strip are, byte for byte, a wider grey picture. So the strips are put
into a minimal grey TIFF of bytes, Pillow decompresses it, and the bytes are read as the samples
that they are.

Source: TIFF 6.0 (Adobe, 1992), sections 2, 8, 14, 15.
"""

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from io import BytesIO
from itertools import accumulate
from typing import Any, BinaryIO

import numpy as np
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION = 256, 257, 258, 259, 262, 274
STRIPS, SAMPLES, ROWS, STRIP_BYTES, PLANAR, PREDICTOR = 273, 277, 278, 279, 284, 317
TILE_WIDTH, TILE_HEIGHT, TILES, TILE_BYTES, EXTRA, FORMAT = 322, 323, 324, 325, 338, 339
SUBFILE, OLD_SUBFILE, DESCRIPTION, COLORMAP, NODATA = 254, 255, 270, 320, 42113

UINT, INT, FLOAT = 1, 2, 3
_KINDS = {UINT: "u", INT: "i", FLOAT: "f"}
WHITE_IS_ZERO, BLACK_IS_ZERO, RGB, PALETTE, YCBCR = 0, 1, 2, 3, 6
JPEG = (6, 7)
COMPRESSIONS = {
    1: "nothing", 2: "CCITT", 3: "CCITT fax 3", 4: "CCITT fax 4", 5: "LZW", 6: "JPEG", 7: "JPEG", 8: "deflate",
    32771: "CCITT", 32773: "PackBits", 32946: "deflate", 34925: "LZMA", 50000: "ZSTD",
}  # fmt: skip
"""What Pillow decompresses wherever it is installed."""
RARE = {34887: "LERC", 50001: "WebP", 50002: "JPEG XL", 52546: "JPEG XL", 33003: "JPEG 2000", 34712: "JPEG 2000"}
REDUCED, MASK = 1, 4
"""Bits of NewSubfileType: a smaller copy of another page, and a page that tells which pixels are valid."""
MOST_PAGES = 100_000
GEO = (33550, 33922, 34264, 34735)
"""ModelPixelScale, ModelTiepoint, ModelTransformation, GeoKeyDirectory (OGC GeoTIFF 1.1)."""
SCALE, TIEPOINT, TRANSFORM, KEYS, DOUBLES = *GEO, 34736
RASTER_TYPE, GEOGRAPHIC, PROJECTED, OWN = 1025, 2048, 3072, 32767
"""Keys of the GeoKeyDirectory, and the code of a system that has none."""


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
    kinds: tuple[int, ...] = (0,)
    """NewSubfileType of each directory."""
    places: tuple[int, ...] = ()
    """The offset of each directory."""

    @property
    def dtype(self) -> np.dtype:
        """The type of the samples, in the file's byte order."""
        return np.dtype(f"{_order(self.order)}{_KINDS[self.format]}{self.bits // 8}")

    @property
    def mapped(self) -> bool:
        """Whether GeoTIFF tags tell the place of the pixels on the Earth."""
        return any(tag in self.ifd for tag in GEO)

    @property
    def nodata(self) -> float | None:
        """The value of pixels that hold nothing (GDAL's tag); None if there is none."""
        try:
            return float(str(self.ifd[NODATA]).strip("\0 "))
        except (KeyError, ValueError):
            return None

    @property
    def pages(self) -> int:
        """The number of pictures; smaller copies and masks of them do not count.

        ImageJ may write one directory for a whole stack, whose pages it counts in the description.
        """
        text = str(self.ifd.get(DESCRIPTION, ""))
        stack = re.search(r"^images=(\d+)", text, re.MULTILINE) if text.startswith("ImageJ=") else None
        return max(len(self.whole_pages), int(stack[1]) if stack else 1)

    @property
    def whole_pages(self) -> list[int]:
        """The numbers of the directories that hold a picture, not a smaller copy or a mask."""
        return [page for page, kind in enumerate(self.kinds) if not page or not kind & (REDUCED | MASK)]

    @property
    def mask_page(self) -> int | None:
        """The number of the directory that tells which pixels of the first one are valid."""
        return next((page for page, kind in enumerate(self.kinds) if page and kind & MASK and not kind & REDUCED), None)

    @property
    def beyond(self) -> str:
        """What only GDAL reads of it, in words; '' if there is nothing."""
        code, predictor = self.ifd.get(COMPRESSION, 1), self.ifd.get(PREDICTOR, 1)
        if code not in COMPRESSIONS:
            return f"compressed by {RARE.get(code, f'method {code}')}"
        if self.by_rows and (predictor not in (1, 2) or (predictor == 2 and self.format == FLOAT)):
            return f"compressed with predictor {predictor} of {self.dtype.name}"
        counts = self.ifd.get(TILE_BYTES if TILES in self.ifd else STRIP_BYTES, ())
        return "a sparse file, not all of whose pixels are stored" if 0 in counts else ""

    @property
    def place(self) -> np.ndarray | None:
        """(2, 3): map (x, y) = place @ (column, row, 1), from the corner of the first pixel; None if not told."""
        if TRANSFORM in self.ifd:
            place = np.array(self.ifd[TRANSFORM], float).reshape(4, 4)[:2][:, [0, 1, 3]]
        elif SCALE in self.ifd and TIEPOINT in self.ifd:
            (width, height), tie = self.ifd[SCALE][:2], self.ifd[TIEPOINT]
            place = np.array([[width, 0, tie[3] - tie[0] * width], [0, -height, tie[4] + tie[1] * height]], float)
        else:
            return None
        centred = self._geo_keys.get(RASTER_TYPE) == (2,)  # the tags then tell the middle of a pixel
        return place @ np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]]) if centred else place

    @property
    def system(self) -> str:
        """The coordinate system: `EPSG:32633`, or its own parameters as text; '' if not told."""
        keys = self._geo_keys
        code = keys.get(PROJECTED, keys.get(GEOGRAPHIC))
        if code is None or code != (OWN,):
            return f"EPSG:{code[0]}" if code else ""
        return f"a system of its own ({ {key: keys[key] for key in sorted(keys) if key > GEOGRAPHIC} })"

    @property
    def _geo_keys(self) -> dict[int, tuple[float, ...]]:
        """The GeoKeyDirectory without its texts."""
        flat, doubles = tuple(self.ifd.get(KEYS, ())), tuple(self.ifd.get(DOUBLES, ()))
        found = dict[int, tuple[float, ...]]()
        for key, where, count, value in zip(flat[4::4], flat[5::4], flat[6::4], flat[7::4], strict=False):
            if where in (0, DOUBLES):
                found[key] = doubles[value : value + count] if where else (value,)
        return found

    @property
    def orientation(self) -> int:
        """The EXIF orientation, 1..8."""
        return int(self.ifd.get(ORIENTATION, 1))

    @property
    def plain(self) -> bool:
        """Whether `decode_plain` reads the file; Pillow reads others (palette, CMYK, JPEG, ...)."""
        deep = self.bits > 8 and (self.ifd.get(PREDICTOR, 1) == 1 or self.inverted)
        return not self.beyond and self.by_rows and (self.samples > 1 or deep or self.format == INT)

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
    def transparent(self) -> bool:
        """Whether alpha tells which pixels hold something; in a photo it does not."""
        return self.mapped and self.channels < self.samples

    @property
    def colours(self) -> np.ndarray:
        """The palette, (n, 3) uint8."""
        return (np.array(self.ifd[COLORMAP]).reshape(3, -1).T >> 8).astype(np.uint8)

    @property
    def channels(self) -> int:
        """Samples per pixel, without alpha, which is the last sample."""
        extra = tuple(self.ifd.get(EXTRA, ()))
        return self.samples - 1 if self.samples > 1 and extra[-1:] in ((1,), (2,)) else self.samples


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
    found = list(_directories(stream, start)) or [(0, 0)]
    places, kinds = (tuple(part) for part in zip(*found, strict=True))
    return Tags(
        ifd, int(ifd[WIDTH]), int(ifd[HEIGHT]), samples, int(bits[0]), int(formats[0]), start[:2], kinds, places
    )


def _directories(stream: BinaryIO, start: bytes) -> Iterator[tuple[int, int]]:
    """Yield offset and NewSubfileType of each directory; a chain that is damaged or closed ends there.

    start: the first 8 bytes of a TIFF, 16 of a BigTIFF.
    """
    order, big = _order(start[:2]), len(start) == 16
    count, entry, offset = ("Q", 20, "Q") if big else ("H", 12, "I")
    (place,), seen = struct.unpack(order + offset, start[8:] if big else start[4:]), set[int]()
    while place and place not in seen and len(seen) < MOST_PAGES:
        seen.add(place)
        stream.seek(place)
        head = stream.read(struct.calcsize(count))
        size = struct.unpack(order + count, head)[0] * entry if len(head) == struct.calcsize(count) else 0
        table = stream.read(min(size, 65535 * entry) + struct.calcsize(offset))
        if not size or len(table) < size + struct.calcsize(offset):
            return
        kind = 0
        for at in range(0, size, entry):
            tag, form = struct.unpack_from(order + "HH", table, at)
            if tag in (SUBFILE, OLD_SUBFILE):
                (value,) = struct.unpack_from(order + ("H" if form == 3 else "I"), table, at + (12 if big else 8))
                kind |= value if tag == SUBFILE else REDUCED * (value == 2)
        yield place, kind
        (place,) = struct.unpack_from(order + offset, table, size)


Read = Callable[[int, int], bytes]
"""(offset, count) -> bytes of the file; fewer if the file ends before."""


def decode_plain(data: bytes, tags: Tags, *, stored: bool = False) -> np.ndarray:
    """Decode a `plain` TIFF into (H, W, C), in the file's type, with alpha, not yet oriented.

    stored: as `decode_rows`.
    """
    return decode_rows(lambda offset, count: data[offset : offset + count], tags, 0, tags.height, stored=stored)


def decode_rows(read: Read, tags: Tags, first: int, end: int, *, stored: bool = False) -> np.ndarray:
    """Decode the rows first..end - 1 of a `plain` TIFF into (rows, W, C).

    Only the strips or tiles that hold these rows are read. stored: give the numbers of the file also
    where the largest one is black, as labels are numbers and not shades.
    """
    if first >= end:
        return np.empty((0, tags.width, tags.samples), tags.dtype)
    ifd, planar = tags.ifd, tags.ifd.get(PLANAR, 1) == 2
    tiled = TILES in ifd
    offsets, counts = (ifd[TILES], ifd[TILE_BYTES]) if tiled else (ifd[STRIPS], ifd[STRIP_BYTES])
    high = int(ifd[TILE_HEIGHT] if tiled else min(ifd.get(ROWS, tags.height), tags.height))
    across = -(-tags.width // int(ifd[TILE_WIDTH])) if tiled else 1
    start, stop = first // high, -(-end // high)
    band = replace(tags, height=min(stop * high, tags.height) - start * high)
    planes = tags.samples if planar else 1
    together = tags.samples // planes  # samples side by side in one piece
    per_plane = across * -(-tags.height // high)
    check_sizes(ifd, tags.width, tags.height, tags.samples, tags.bits)
    if len(offsets) < planes * per_plane:
        raise ValueError(f"it has {len(offsets)} strips or tiles, {planes * per_plane} are needed")
    decoded = []
    for plane in range(planes):
        places = range(plane * per_plane + start * across, plane * per_plane + stop * across)
        pieces = [read(offsets[place], counts[place]) for place in places]
        if [len(piece) for piece in pieces] != [counts[place] for place in places]:
            raise ValueError("the file is truncated")
        pixels = _decode_plane(tags.order, band, pieces, together)
        decoded.append(_undo_differences(pixels, band) if ifd.get(PREDICTOR, 1) == 2 else pixels)
    rows = decoded[0] if planes == 1 else np.concatenate(decoded, axis=2)
    rows = rows[first - start * high : end - start * high]
    return np.iinfo(rows.dtype).max - rows if tags.inverted and not stored else rows


def check_sizes(ifd: Mapping[int, Any], width: int, height: int, samples: int, bits: int) -> None:
    """Raise ValueError for uncompressed strips or tiles that are too few, or too small for their pixels.

    Decoders would fill the picture from the bytes behind them, or with black. Without compression YCbCr alone takes
    fewer bytes.
    """
    counts = np.array(ifd.get(TILE_BYTES if TILES in ifd else STRIP_BYTES, ()))
    if not len(counts) or ifd.get(COMPRESSION, 1) != 1 or ifd.get(PHOTOMETRIC) == YCBCR:
        return
    planes = samples if ifd.get(PLANAR, 1) == 2 else 1
    if TILES in ifd:
        high, pieces = int(ifd[TILE_HEIGHT]), -(-width // int(ifd[TILE_WIDTH])) * -(-height // int(ifd[TILE_HEIGHT]))
        width, last = int(ifd[TILE_WIDTH]), high
    else:
        high = min(int(ifd.get(ROWS, height)), height)
        pieces = -(-height // high)
        last = height - (pieces - 1) * high  # rows
    if len(counts) < planes * pieces:
        raise ValueError(f"it has {len(counts)} strips or tiles, {planes * pieces} are needed")
    rows = np.where(np.arange(len(counts)) % pieces < pieces - 1, high, last)
    needed = rows * -(-width * (samples // planes) * bits // 8)
    if (short := np.flatnonzero(counts < needed)).size:
        raise ValueError(f"a strip or tile of {counts[short[0]]} bytes, {needed[short[0]]} are needed")


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
    pixels = _decompress(order, tags.ifd, pieces, tags.width * size, tags.height, across=size)
    pixels = pixels.view(f"{_order(order)}{_KINDS[tags.format]}{tags.bits // 8}")
    return pixels.reshape(tags.height, tags.width, together).astype(pixels.dtype.newbyteorder("="), copy=False)


def decode_mask(data: bytes, tags: Tags) -> np.ndarray | None:
    """The pixels that the mask page of a TIFF calls valid, (H, W) bool; None if it has none."""
    if tags.mask_page is None:
        return None
    ifd, stream = ImageFileDirectory_v2(data[: 16 if data[2:4] == b"\x2b\x00" else 8]), BytesIO(data)
    stream.seek(tags.places[tags.mask_page])
    ifd.load(stream)
    size, bits = (int(ifd[HEIGHT]), int(ifd[WIDTH])), ifd.get(BITS, (1,))[0]
    if size != (tags.height, tags.width) or bits not in (1, 8):
        raise ValueError(f"its mask has {size} pixels of {bits} bits, the picture {(tags.height, tags.width)}")
    tiled = TILES in ifd
    offsets, counts = (ifd[TILES], ifd[TILE_BYTES]) if tiled else (ifd[STRIPS], ifd[STRIP_BYTES])
    pieces = [data[offset : offset + count] for offset, count in zip(offsets, counts, strict=True)]
    check_sizes(ifd, tags.width, tags.height, 1, bits)
    return _decompress(tags.order, ifd, pieces, tags.width, tags.height, bits=bits) > 0


def _decompress(
    order: bytes, ifd: ImageFileDirectory_v2, pieces: list[bytes], width: int, height: int, *,
    bits: int = 8, across: int = 1,
) -> np.ndarray:  # fmt: skip
    """Decompress strips or tiles into the (height, width) of a grey picture; across: its pixels per pixel of a tile."""
    sizes = tuple(len(piece) for piece in pieces)
    starts = tuple(accumulate(sizes, initial=8))[:-1]
    entries: dict[int, tuple[int, ...]] = {
        WIDTH: (width,),
        HEIGHT: (height,),
        BITS: (bits,),
        COMPRESSION: (ifd.get(COMPRESSION, 1),),
        PHOTOMETRIC: (BLACK_IS_ZERO,),
        SAMPLES: (1,),
    }
    if TILES in ifd:
        entries |= {TILE_WIDTH: (ifd[TILE_WIDTH] * across,), TILE_HEIGHT: (ifd[TILE_HEIGHT],)}
        entries |= {TILES: starts, TILE_BYTES: sizes}
    else:
        entries |= {ROWS: (ifd.get(ROWS, height),), STRIPS: starts, STRIP_BYTES: sizes}
    body = b"".join(pieces)
    directory = 8 + len(body)
    header = struct.pack(_order(order) + "2sHI", order, 42, directory)
    with TiffImageFile(BytesIO(header + body + _directory(entries, order, directory))) as picture:
        return np.asarray(picture)


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
