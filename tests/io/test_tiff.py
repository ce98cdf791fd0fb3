"""TIFF files of several channels, made by OpenCV (LZW, predictor) and by a small writer here."""

import struct
import zlib
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import tifffile

from atrous.errors import DataError
from atrous.io import decode_image, extras, image_size, open_picture, pictures, read_image, read_mask
from atrous.io.tiff import read_tags

RNG = np.random.default_rng(0)


def tiff(
    pixels: np.ndarray, *, order: str = "<", planar: bool = False, rows: int = 3, squeeze: bool = False, tile: int = 0,
    extra: int | None = None, rgb: bool = False, predictor: int = 1, white: bool = False,
) -> bytes:  # fmt: skip
    """Make a TIFF of (H, W, C), in strips of `rows` rows or in square tiles.

    extra: the value of an ExtraSamples entry.
    """
    height, width, channels = pixels.shape
    planes = [pixels[..., [c]] for c in range(channels)] if planar else [pixels]
    pieces = []
    for plane in planes:
        step = tile or width
        for top in range(0, height, tile or rows):
            for left in range(0, width, step):
                part = plane[top : top + (tile or rows), left : left + step]
                if tile:
                    part = np.pad(part, ((0, tile - part.shape[0]), (0, tile - part.shape[1]), (0, 0)))
                if predictor == 2:
                    part = np.concatenate([part[:, :1], np.diff(part, axis=1)], axis=1)
                data = part.astype(part.dtype.newbyteorder(order)).tobytes()
                pieces.append(zlib.compress(data) if squeeze else data)
    starts = [8 + sum(map(len, pieces[:index])) for index in range(len(pieces))]
    bits, kind = pixels.dtype.itemsize * 8, {"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]
    photometric = 2 if rgb else 0 if white else 1
    tags = {
        256: [width], 257: [height], 258: [bits] * channels, 259: [8 if squeeze else 1], 262: [photometric],
        277: [channels], 284: [2 if planar else 1], 317: [predictor], 339: [kind] * channels,
    }  # fmt: skip
    sizes = [len(piece) for piece in pieces]
    tags |= {322: [tile], 323: [tile], 324: starts, 325: sizes} if tile else {273: starts, 278: [rows], 279: sizes}
    if extra is not None:
        tags[338] = [extra]
    body = b"".join(pieces)
    place = 8 + len(body) + 2 + 12 * len(tags) + 4
    table, lists = struct.pack(order + "H", len(tags)), b""
    for tag, values in sorted(tags.items()):
        table += struct.pack(order + "HHII", tag, 4, len(values), values[0] if len(values) == 1 else place + len(lists))
        lists += struct.pack(f"{order}{len(values)}I", *values) if len(values) > 1 else b""
    head = struct.pack(order + "2sHI", b"II" if order == "<" else b"MM", 42, 8 + len(body))
    return head + body + table + bytes(4) + lists


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 4, 13])
@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"order": ">"},
        {"squeeze": True},
        {"planar": True},
        {"planar": True, "squeeze": True, "order": ">"},
        {"tile": 16},
        {"tile": 16, "squeeze": True, "planar": True},
    ],
    ids=str,
)
def test_any_number_of_channels(dtype: type, channels: int, layout: dict) -> None:
    pixels = (RNG.random((20, 37, channels)) * 250).astype(dtype)
    decoded = decode_image(tiff(pixels, **layout))
    assert decoded.dtype == dtype
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.parametrize("layout", [{}, {"tile": 16}, {"planar": True}, {"squeeze": True}], ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_horizontal_differences_are_undone(layout: dict, dtype: type) -> None:
    pixels = RNG.integers(0, 250, (20, 37, 5)).astype(dtype)
    np.testing.assert_array_equal(decode_image(tiff(pixels, predictor=2, **layout)), pixels)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3])
def test_what_opencv_writes(dtype: type, channels: int) -> None:
    pixels = (RNG.random((20, 37, channels)) * 60000).astype(dtype)
    data = cv2.imencode(".tiff", pixels[..., ::-1])[1].tobytes()
    np.testing.assert_array_equal(decode_image(data), pixels)


@pytest.mark.parametrize("extra, kept", [(0, 4), (1, 3), (2, 3)])
def test_alpha_is_dropped_but_infrared_stays(extra: int, kept: int) -> None:
    pixels = RNG.integers(0, 60000, (8, 9, 4)).astype(np.uint16)
    np.testing.assert_array_equal(decode_image(tiff(pixels, rgb=True, extra=extra)), pixels[..., :kept])


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float64])
@pytest.mark.parametrize("order", "<>")
def test_other_types_become_float32(dtype: type, order: str) -> None:
    pixels = RNG.integers(-3000, 3000, (8, 9, 2)).astype(dtype)
    decoded = decode_image(tiff(pixels, order=order))
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(
    "layout", [{}, {"squeeze": True, "order": ">"}, {"tile": 16, "squeeze": True, "predictor": 2}], ids=str
)
def test_where_zero_is_white_numbers_turn(
    dtype: type, channels: int, layout: dict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = RNG.integers(0, 250, (20, 37, channels)).astype(dtype)
    turned = np.iinfo(dtype).max - pixels
    data = tiff(pixels, white=True, **layout)
    np.testing.assert_array_equal(decode_image(data), turned)
    (tmp_path / "a.tif").write_bytes(data)
    monkeypatch.setattr(pictures, "HELD_PIXELS", 0)
    picture = open_picture(tmp_path / "a.tif")
    assert not picture.held
    np.testing.assert_array_equal(picture.rows(3, 11), turned[3:11])


@pytest.mark.parametrize("layout", [{}, {"squeeze": True}, {"tile": 16}], ids=str)
def test_eight_bits_with_a_sign_keep_it(layout: dict) -> None:
    pixels = RNG.integers(-128, 128, (20, 37, 1)).astype(np.int8)
    decoded = decode_image(tiff(pixels, **layout))
    assert decoded.dtype == np.float32
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.parametrize("layout", [{}, {"squeeze": True}, {"planar": True}], ids=str)
@pytest.mark.filterwarnings("ignore")  # Pillow warns of a cut directory
def test_pixels_that_are_missing_are_an_error(layout: dict) -> None:
    data = bytearray(tiff(RNG.integers(0, 250, (20, 37, 5)).astype(np.uint8), **layout))
    with pytest.raises(DataError, match="damaged or incomplete"):
        decode_image(bytes(data[: len(data) // 2]))


def test_a_floating_point_predictor_needs_gdal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extras, "there", lambda module: False)
    data = tiff(np.ones((4, 5, 2), np.float32), predictor=3)
    with pytest.raises(
        DataError, match=r"^sat.tif: compressed with predictor 3 of float32, which needs atrous\[geo\]; run"
    ):
        decode_image(data, "sat.tif")


@pytest.mark.parametrize("short", [1, 40, 70])
@pytest.mark.parametrize("layout", [{}, {"tile": 16}, {"planar": True}], ids=str)
def test_pieces_that_are_too_small_are_an_error(short: int, layout: dict) -> None:
    pixels = RNG.integers(0, 250, (20, 37, 5)).astype(np.uint8)
    data = bytearray(tiff(pixels, **layout))
    tags = read_tags(BytesIO(bytes(data)))
    counts = tags.ifd[325 if "tile" in layout else 279]
    place = data.rindex(struct.pack(f"<{len(counts)}I", *counts))
    struct.pack_into("<I", data, place + 4 * (len(counts) - 1), counts[-1] - short)
    with pytest.raises(DataError, match=r"\d+ bytes, \d+ are needed"):
        decode_image(bytes(data), "a.tif")


GREY = {"photometric": "minisblack", "dtype": np.uint8}
PALETTE = {"photometric": "palette", "dtype": np.uint8, "colormap": np.arange(768, dtype=np.uint16).reshape(3, 256)}


@pytest.mark.parametrize("short", [1, 40])
@pytest.mark.parametrize(
    "how",
    [GREY, {**GREY, "tile": (16, 16)}, {**GREY, "rowsperstrip": 7}, {**GREY, "dtype": bool}, PALETTE],
    ids=["grey", "tiles", "strips", "bits", "palette"],
)
@pytest.mark.parametrize("read", [read_image, read_mask, lambda path: open_picture(path).rows(0, 9)])
def test_pieces_that_pillow_would_fill_are_an_error(tmp_path: Path, read: Any, how: dict[str, Any], short: int) -> None:
    stream, how = BytesIO(), dict(how)
    tifffile.imwrite(stream, np.ones((40, 40), how.pop("dtype")), metadata=None, **how)
    data = bytearray(stream.getvalue())
    with tifffile.TiffFile(BytesIO(bytes(data))) as file:
        tag = file.pages[0].tags[325 if "tile" in how else 279]
    last = tag.valueoffset + struct.calcsize({3: "H", 4: "I"}[tag.dtype]) * (tag.count - 1)
    (count,) = struct.unpack_from("<" + {3: "H", 4: "I"}[tag.dtype], data, last)
    struct.pack_into("<" + {3: "H", 4: "I"}[tag.dtype], data, last, count - short)
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(DataError, match=r"\d+ bytes, \d+ are needed"):
        read(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_masks_give_the_stored_numbers_where_zero_is_white(tmp_path: Path, dtype: type) -> None:
    values = RNG.integers(0, 5, (20, 30)).astype(dtype)
    tifffile.imwrite(tmp_path / "m.tif", values, photometric="miniswhite")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.tif"), values)
    np.testing.assert_array_equal(read_image(tmp_path / "m.tif")[..., 0], np.iinfo(dtype).max - values)


def test_a_stack_is_refused_and_smaller_copies_are_not(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 250, (16, 20)).astype(np.uint8)
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as file:
        file.write(pixels, metadata=None)
        file.write(pixels[::2, ::2], subfiletype=1, metadata=None)
    np.testing.assert_array_equal(read_image(tmp_path / "pyramid.tif")[..., 0], pixels)
    for name, how in (
        ("pages.tif", {}), ("big.tif", {"bigtiff": True}), ("motorola.tif", {"byteorder": ">"}),
        ("fiji.tif", {"imagej": True}),
    ):  # fmt: skip
        tifffile.imwrite(tmp_path / name, np.stack([pixels] * 7), photometric="minisblack", **how)
        for read in (read_image, read_mask, image_size, open_picture):
            with pytest.raises(DataError, match=rf"{name}: holds 7 pages; expected one picture, save each page"):
                read(tmp_path / name)


def test_fiji_counts_pages_that_have_no_directory() -> None:
    data = tiff(RNG.integers(0, 250, (16, 20, 2)).astype(np.uint8))
    tags = read_tags(BytesIO(data))
    assert tags.pages == 1
    tags.ifd[270] = "ImageJ=1.53t\nimages=9\nslices=9\n"
    assert tags.pages == 9
