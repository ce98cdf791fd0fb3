"""Masks as PNG files against Pillow and a PNG writer of every filter."""

import struct
import zlib
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from PIL.PngImagePlugin import PngImageFile

from atrous.errors import DataError
from atrous.io import image_size, read_mask
from atrous.io.png import decode_bytes, tells_orientation


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
            # of equally near ones the first
            nearest = min((left, over, corner), key=lambda v: abs(left + over - corner - v))
            guess = (0, left, over, (left + over) // 2, nearest)[kind]
            row.append((int(pixels[y, x]) - guess) % 256)
        rows.append(bytes(row))
    return b"".join(rows)


def png(pixels: np.ndarray, lines: bytes, colour: int = 0, pieces: int = 3, head: bytes = b"") -> bytes:
    packed = zlib.compress(lines)
    packed = head + packed[len(head) :]
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


def test_more_rows_than_a_band() -> None:
    """Bands are unpacked one at a time: rows go on across borders, the last band is shorter."""
    rng = np.random.default_rng(1)
    for height in (64, 65, 1500):
        pixels = (rng.integers(0, 256, (height, 5)) // 60).astype(np.uint8)
        kinds = rng.permutation([2, 3, 4] * height)[:height].tolist()
        np.testing.assert_array_equal(decode_bytes(png(pixels, filtered(pixels, kinds))), pixels)
    cut = png(pixels, filtered(pixels, kinds)[: 6 * 700 + 2])
    with pytest.raises(ValueError, match="end in row 700 of 1500"):
        decode_bytes(cut)
    lines = bytearray(filtered(pixels, kinds))
    lines[6 * 700] = 9
    with pytest.raises(ValueError, match="row 700 of the PNG has an unknown filter"):
        decode_bytes(png(pixels, bytes(lines)))


def test_an_orientation_is_found_wherever_it_is(tmp_path: Path) -> None:
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    plain = png(pixels, filtered(pixels, [0] * 3))
    exif = Image.Exif()
    exif[0x0112] = 3
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description tiff:Orientation="3"/></x:xmpmeta>'
    raw = b"\nexif\n" + str(len(exif.tobytes())).encode().rjust(8) + b"\n" + exif.tobytes().hex().encode() + b"\n"
    end = part(b"IEND", b"")
    for extra, turned in (
        (part(b"eXIf", exif.tobytes()[6:]), True),
        (part(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(raw)), True),
        (part(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp), True),
        (part(b"tEXt", b"Software\0a program"), False),
        (part(b"tEXt", b"Software\0a program") + part(b"eXIf", exif.tobytes()[6:]), True),
        (b"", False),
    ):
        head = plain[:33]  # the signature and IHDR
        for data in (head + extra + plain[33:], plain[: -len(end)] + extra + end):
            stream = BytesIO(data)
            stream.seek(5)
            assert tells_orientation(stream) == turned
            assert stream.tell() == 5
            (tmp_path / "m.png").write_bytes(data)
            expected = np.asarray(ImageOps.exif_transpose(Image.open(BytesIO(data))))
            np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), expected)
            assert (expected[0, 0] == 11) == turned
    assert not tells_orientation(BytesIO(plain + part(b"eXIf", exif.tobytes()))), "what follows the end does not count"


def test_a_size_is_told_without_decoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded = []
    monkeypatch.setattr(PngImageFile, "load", lambda self: decoded.append(self))
    (tmp_path / "m.png").write_bytes(png(np.zeros((3, 4), np.uint8), bytes(15)))
    assert image_size(tmp_path / "m.png") == (3, 4, 1)
    assert read_mask(tmp_path / "m.png").shape == (3, 4)
    assert not decoded


def test_damage_is_one_sentence(tmp_path: Path) -> None:
    pixels = np.arange(48, dtype=np.uint8).reshape(6, 8)
    lines = filtered(pixels, [0] * 6)
    good = png(pixels, lines)
    for data, told in (
        (png(pixels, lines[:-9]), "the PNG's pixels end in row 5 of 6"),
        (png(pixels, b"\5" + lines[1:]), "row 0 of the PNG has an unknown filter"),
        (png(pixels, lines, head=b"\x79\x9c"), "no valid zlib header"),
        (png(pixels, lines, head=b"\x77\x09"), "no valid zlib header"),
        (png(pixels, lines, head=b"\x78\x9d"), "no valid zlib header"),
        (png(pixels, lines, head=b"\x78\xbb"), "no valid zlib header"),
        (png(pixels, lines, head=b"\x88\x1c"), "no valid zlib header"),
        (good[:60] + bytes([good[60] ^ 1]) + good[61:], "wrong checksum in the PNG chunk b'IDAT'"),
        (good[:-12], "the end of the PNG is missing"),
    ):
        (tmp_path / "m.png").write_bytes(data)
        with pytest.raises(DataError, match=told):
            read_mask(tmp_path / "m.png")


def test_a_picture_without_pixels() -> None:
    pixels = np.zeros((2, 3), np.uint8)
    with pytest.raises(ValueError, match="no valid zlib header"):
        decode_bytes(png(pixels, bytes(8))[:33] + part(b"IEND", b""))


def test_a_bomb_is_not_blown_up() -> None:
    """Pixel data that would unpack to 20 MB: no more than the picture's own bytes are unpacked."""
    pixels = np.zeros((4, 4), np.uint8)
    data = png(pixels, filtered(pixels, [0] * 4) + bytes(20_000_000))
    np.testing.assert_array_equal(decode_bytes(data), pixels)


@pytest.mark.parametrize("size", [(70, 2**31), (2**20, 2**31), (2**20, 3), (4, 5000)])
def test_a_header_says_more_pixels_than_bytes_can_hold(size: tuple[int, int]) -> None:
    data = png(np.zeros((4, 4), np.uint8), filtered(np.zeros((4, 4), np.uint8), [0] * 4))
    head = part(b"IHDR", struct.pack(">II", *size) + data[24:29])
    with pytest.raises(ValueError, match="packed bytes cannot hold so many"):
        decode_bytes(data[:8] + head + data[33:])


def test_a_blank_picture_packs_as_far_as_deflate_can() -> None:
    pixels = np.zeros((3000, 4000), np.uint8)
    lines = bytes(3000 * 4001)
    np.testing.assert_array_equal(decode_bytes(png(pixels, lines)), pixels)
