"""Masks keep the file's own values, in and out."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atrous.errors import DataError
from atrous.io import mask_palette, read_mask, write_mask
from atrous.labels import LabelSet

VALUES = (np.arange(48).reshape(6, 8) % 4).astype(np.uint8)


def test_a_palette_gives_indices_and_colours(tmp_path: Path) -> None:
    picture = Image.fromarray(VALUES).convert("P")
    picture.putdata(VALUES.ravel())
    picture.putpalette([0, 0, 0, 250, 0, 0, 0, 250, 0, 0, 0, 250])
    picture.save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), VALUES)
    assert mask_palette(tmp_path / "m.png")[:4] == [(0, 0, 0), (250, 0, 0), (0, 250, 0), (0, 0, 250)]
    Image.fromarray(VALUES).save(tmp_path / "grey.png")
    assert mask_palette(tmp_path / "grey.png") is None


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_few_bits_are_not_stretched(bits: int, tmp_path: Path) -> None:
    values = VALUES % 2**bits
    packed = np.packbits(np.unpackbits(values[..., None], axis=2)[..., -bits:].reshape(6, -1), axis=1)
    _write_png(tmp_path / "m.png", packed, width=8, bits=bits)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), values)


def _write_png(path: Path, rows: np.ndarray, *, width: int, bits: int) -> None:
    """A grey PNG of a given bit depth (PNG specification, sections 4 and 11)."""

    def part(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, len(rows), bits, 0, 0, 0, 0)
    lines = b"".join(b"\0" + row.tobytes() for row in rows)
    content = part(b"IHDR", header) + part(b"IDAT", zlib.compress(lines)) + part(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


@pytest.mark.parametrize(
    "suffix, mode",
    [*((kind, mode) for kind in ("png", "tif") for mode in ("L", "RGB", "LA", "RGBA")), ("bmp", "L"), ("gif", "L")],
)
def test_grey_in_any_dress_is_read(suffix: str, mode: str, tmp_path: Path) -> None:
    Image.fromarray(VALUES).convert(mode).save(tmp_path / f"m.{suffix}")
    np.testing.assert_array_equal(read_mask(tmp_path / f"m.{suffix}"), VALUES)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int32", "int64", "float32", "float64", "bool"])
@pytest.mark.parametrize("shape", [(6, 8), (6, 8, 1)])
def test_arrays_of_whole_numbers(dtype: str, shape: tuple[int, ...], tmp_path: Path) -> None:
    values = (VALUES % 2).astype(dtype) if dtype == "bool" else VALUES.astype(dtype)
    np.save(tmp_path / "m.npy", values.reshape(shape))
    read = read_mask(tmp_path / "m.npy")
    assert read.dtype == (np.uint16 if dtype == "uint16" else np.uint8)
    np.testing.assert_array_equal(read, values)


@pytest.mark.parametrize("dtype", ["int32", "float64"])
def test_large_whole_numbers_are_kept(dtype: str, tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", VALUES.astype(dtype) * 1000)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.npy"), VALUES.astype(int) * 1000)


def test_sixteen_bits(tmp_path: Path) -> None:
    values = VALUES.astype(np.uint16) * 1000
    Image.fromarray(values).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), values)


@pytest.mark.parametrize("bad, told", [(0.5, "0.5"), (-1, "-1"), (70000, "70000"), (np.nan, "nan")])
def test_numbers_that_are_no_class_are_refused(bad: float, told: str, tmp_path: Path) -> None:
    values = VALUES.astype(np.float64)
    values[2, 3] = bad
    np.save(tmp_path / "m.npy", values)
    with pytest.raises(DataError, match=rf"m.npy: value {told}.*\(1 pixels have such values\).*whole numbers"):
        read_mask(tmp_path / "m.npy")


def test_a_colour_mask_is_refused_with_its_number_of_colours(tmp_path: Path) -> None:
    colours = np.array([[0, 0, 0], [250, 0, 0], [0, 250, 0], [0, 0, 250]], np.uint8)
    Image.fromarray(colours[VALUES]).save(tmp_path / "m.png")
    with pytest.raises(DataError, match=r"m.png: a colour mask with 4 colours in 3 channels; expected one class index"):
        read_mask(tmp_path / "m.png")


def test_a_mask_turns_with_its_image(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(VALUES).save(tmp_path / "m.png", exif=exif)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), np.rot90(VALUES, -1))


def test_a_cut_mask_is_refused(tmp_path: Path) -> None:
    write_mask(tmp_path / "m.png", VALUES, LabelSet(("a", "b", "c", "d")))
    data = (tmp_path / "m.png").read_bytes()
    (tmp_path / "m.png").write_bytes(data[: len(data) * 2 // 3])
    with pytest.raises(DataError, match=r"m.png: damaged or incomplete"):
        read_mask(tmp_path / "m.png")


def test_written_masks_hold_the_data_sets_values_and_colours(tmp_path: Path) -> None:
    labels = LabelSet(("a", "b"), ((1, 2, 3), (4, 5, 6)), (3, 200), ignore=(11,))
    indices = np.array([[0, 1, 255], [1, 0, 0]], np.uint8)
    write_mask(tmp_path / "m.png", indices, labels)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), [[3, 200, 11], [200, 3, 3]])
    palette = mask_palette(tmp_path / "m.png")
    assert (palette[3], palette[200], palette[11]) == ((1, 2, 3), (4, 5, 6), (0, 0, 0))
    assert [path.name for path in tmp_path.iterdir()] == ["m.png"]


def test_values_above_255_are_written_with_16_bits(tmp_path: Path) -> None:
    labels = LabelSet(("a", "b"), values=(7, 1000), ignore=(65535,))
    write_mask(tmp_path / "m.png", np.array([[0, 1, 255]], np.uint8), labels)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), [[7, 1000, 65535]])
    assert mask_palette(tmp_path / "m.png") is None


def test_only_png_masks_are_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"m.jpg: cannot write .* a file ending in .png"):
        write_mask(tmp_path / "m.jpg", VALUES, LabelSet(("a", "b", "c", "d")))


def test_the_colours_of_a_large_mask_are_counted_on_some_of_its_pixels(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (900, 900, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "large.png")
    with pytest.raises(DataError, match=r"large.png: a colour mask with \d{5} or more colours in 3 channels"):
        read_mask(tmp_path / "large.png")
