"""Masks as PNG files against Pillow and a PNG writer of every filter."""

import struct
import zlib
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atrous.errors import DataError
from atrous.io import read_mask
from atrous.io.png import decode_bytes


def part(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def filtered(pixels: np.ndarray, kinds: list[int]) -> bytes:
    """The specification's filters (section 9.2), a byte at a time."""
    rows = []
    for y, kind in enumerate(kinds):
        row = [kind]
        for x in range(pixels.shape[1]):
            left = int(pixels[y, x - 1]) if x else 0
            over = int(pixels[y - 1, x]) if y else 0
            corner = int(pixels[y - 1, x - 1]) if x and y else 0
            nearest = min((left, over, corner), key=lambda v: abs(left + over - corner - v))  # ties: the first
            guess = (0, left, over, (left + over) // 2, nearest)[kind]
            row.append((int(pixels[y, x]) - guess) % 256)
        rows.append(bytes(row))
    return b"".join(rows)


def png(pixels: np.ndarray, lines: bytes, colour: int = 0, pieces: int = 3) -> bytes:
    packed = zlib.compress(lines)
    cuts = [len(packed) * i // pieces for i in range(pieces + 1)]
    content = part(b"IHDR", struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 8, colour, 0, 0, 0))
    if colour == 3:
        content += part(b"PLTE", bytes(range(256)) * 3)
    content += b"".join(part(b"IDAT", packed[a:b]) for a, b in pairwise(cuts))
    return b"\x89PNG\r\n\x1a\n" + content + part(b"IEND", b"")


@pytest.mark.parametrize("colour", [0, 3])
@pytest.mark.parametrize("kind", ["noise", "blocks"])
def test_every_filter(kind: str, colour: int) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (25, 31)).astype(np.uint8)
    if kind == "blocks":
        pixels = rng.integers(0, 3, (5, 7)).repeat(5, 0).repeat(5, 1)[:25, :31].astype(np.uint8)
    kinds = [0, 1, 2, 3, 4, *rng.permutation([0, 1, 2, 3, 4] * 4)]
    for order in (kinds, kinds[::-1]):
        data = png(pixels, filtered(pixels, order), colour)
        np.testing.assert_array_equal(decode_bytes(data), pixels)
        np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(data))), pixels)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (9, 1), (64, 65)])
def test_what_pillow_writes(size: tuple[int, int]) -> None:
    for seed in range(4):
        pixels = (np.random.default_rng(seed).integers(0, 255, size) // (1, 9, 60, 250)[seed]).astype(np.uint8)
        for mode in ("L", "P"):
            stream = BytesIO()
            picture = Image.fromarray(pixels)
            if mode == "P":
                picture.putpalette(bytes(range(256)) * 3)
            picture.save(stream, "PNG")
            np.testing.assert_array_equal(decode_bytes(stream.getvalue()), pixels)


@pytest.mark.parametrize("mode", ["1", "LA", "RGB", "I;16"])
def test_other_pngs_are_left_to_others(mode: str) -> None:
    stream = BytesIO()
    Image.new(mode, (4, 5)).save(stream, "PNG")
    assert decode_bytes(stream.getvalue()) is None


def test_damage_is_one_sentence(tmp_path: Path) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    lines = filtered(pixels, [0] * 6)
    good = png(pixels, lines)
    for data, told in (
        (png(pixels, lines[:-9]), "9 bytes of the PNG's pixels are missing"),
        (png(pixels, b"\5" + lines[1:]), "row 0 of the PNG has an unknown filter"),
        (good[:60] + bytes([good[60] ^ 1]) + good[61:], "wrong checksum in the PNG part b'IDAT'"),
        (good[:-12], "the end of the PNG is missing"),
    ):
        (tmp_path / "m.png").write_bytes(data)
        with pytest.raises(DataError, match=told):
            read_mask(tmp_path / "m.png")


def test_a_bomb_is_not_blown_up() -> None:
    """A small picture whose pixel data unpack to 20 MB: no more than the picture's bytes are unpacked."""
    pixels = np.zeros((4, 4), np.uint8)
    data = png(pixels, filtered(pixels, [0] * 4) + bytes(20_000_000))
    np.testing.assert_array_equal(decode_bytes(data), pixels)
