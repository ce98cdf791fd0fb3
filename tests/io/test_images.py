"""Reading pictures: every kind and every trap (palette, CMYK, EXIF, 16 bits, alpha).

Damage must end in an error, never in pixels.
"""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps

from atrous.errors import DataError
from atrous.io import decode_image, image_size, read_image, write_fitting, write_image


def smooth(height: int = 40, width: int = 60, seed: int = 0) -> np.ndarray:
    """A smooth random RGB picture (H, W, 3) uint8."""
    noise = np.random.default_rng(seed).integers(0, 256, (5, 6, 3), np.uint8)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)


def encoded(pixels: np.ndarray, kind: str, mode: str | None = None, **options: object) -> bytes:
    stream = io.BytesIO()
    picture = Image.fromarray(pixels)
    if mode:
        picture = picture.convert(mode, palette=Image.Palette.ADAPTIVE)
    picture.save(stream, kind, **options)
    return stream.getvalue()


def array_file(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, pixels)
    return stream.getvalue()


RGB = smooth()
EXACT = {
    "png": encoded(RGB, "PNG"),
    "webp": encoded(RGB, "WEBP", lossless=True),
    "bmp": encoded(RGB, "BMP"),
    "tiff": encoded(RGB, "TIFF"),
    "tiff-lzw": encoded(RGB, "TIFF", compression="tiff_lzw"),
    "npy": array_file(RGB),
}
LOSSY = {
    "jpeg": encoded(RGB, "JPEG", quality=95),
    "progressive": encoded(RGB, "JPEG", quality=95, progressive=True),
    "cmyk": encoded(RGB, "JPEG", mode="CMYK", quality=95),
    "webp-lossy": encoded(RGB, "WEBP", quality=95),
    "palette": encoded(RGB, "PNG", mode="P"),
    "gif": encoded(RGB, "GIF", mode="P"),
}


@pytest.mark.parametrize("name", EXACT)
def test_lossless_kinds_give_the_pixels_in_rgb_order(name: str) -> None:
    np.testing.assert_array_equal(decode_image(EXACT[name]), RGB)


@pytest.mark.parametrize("name", LOSSY)
def test_other_kinds_are_rgb_and_near(name: str) -> None:
    pixels = decode_image(LOSSY[name])
    assert pixels.shape == RGB.shape
    assert pixels.dtype == np.uint8
    assert np.abs(pixels.astype(int) - RGB).mean() < 16  # a swap of red and blue is above 50


@pytest.mark.parametrize("mode", ["RGBA", "LA", "L", "1"])
def test_alpha_is_dropped_and_grey_has_one_channel(mode: str) -> None:
    picture = Image.fromarray(RGB).convert(mode)
    if mode.endswith("A"):
        picture.putalpha(Image.fromarray(RGB[..., 0]))
    pixels = decode_image(encoded(np.asarray(picture), "PNG"))
    expected = np.asarray(picture).astype(np.uint8) * (255 if mode == "1" else 1)
    expected = expected[..., :-1] if mode.endswith("A") else expected[..., None]
    np.testing.assert_array_equal(pixels, expected)


def test_sixteen_bits_are_kept() -> None:
    deep = RGB.astype(np.uint16) * 257 + 3
    np.testing.assert_array_equal(decode_image(cv2.imencode(".png", deep[..., ::-1])[1].tobytes()), deep)
    np.testing.assert_array_equal(decode_image(cv2.imencode(".png", deep[..., 0])[1].tobytes()), deep[..., :1])


@pytest.mark.parametrize("dtype", ["float32", "float64", "int16", "uint16", ">u2", "bool"])
def test_arrays_become_uint8_uint16_or_float32(dtype: str) -> None:
    values = (np.arange(24).reshape(4, 6) % 2).astype(dtype)
    pixels = decode_image(array_file(values))
    assert pixels.shape == (4, 6, 1)
    assert pixels.dtype == {"uint16": np.uint16, ">u2": np.uint16, "bool": np.uint8}.get(dtype, np.float32)
    assert pixels.max() == (255 if dtype == "bool" else 1)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(kind: str, orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(RGB, kind, exif=exif, **options)
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB"))
    pixels = decode_image(data)
    assert pixels.shape == expected.shape
    assert np.abs(pixels.astype(int) - expected).mean() < 2
    (tmp_path / "picture").write_bytes(data)
    assert image_size(tmp_path / "picture") == expected.shape


@pytest.mark.parametrize("name", [*EXACT, *LOSSY])
def test_every_truncation_is_an_error(name: str) -> None:
    data = (EXACT | LOSSY)[name]
    for end in [0, 3, 20, *np.random.default_rng(0).integers(21, len(data), 30), len(data) - 1]:
        if name == "gif" and end == len(data) - 1:
            continue  # the last byte of a GIF follows the pixels
        with pytest.raises(DataError):
            decode_image(data[:end], name)


@pytest.mark.parametrize("name", [*EXACT, *LOSSY])
@pytest.mark.filterwarnings("ignore")  # Pillow warns of odd tags
def test_altered_bytes_give_a_picture_or_a_data_error(name: str) -> None:
    rng = np.random.default_rng(1)
    for _ in range(60):
        data = bytearray((EXACT | LOSSY)[name])
        for place in rng.integers(0, len(data), rng.integers(1, 8)):
            data[place] = rng.integers(256)
        try:
            pixels = decode_image(bytes(data), name, max_pixels=10**6)
        except DataError:
            continue
        assert pixels.ndim == 3


@pytest.mark.parametrize("name", ["png", "palette"])
def test_png_pixels_with_one_wrong_bit_are_an_error(name: str) -> None:
    data = bytearray((EXACT | LOSSY)[name])
    data[len(data) // 2] ^= 1
    with pytest.raises(DataError, match="checksum"):
        decode_image(bytes(data))


def test_a_bomb_is_refused_by_its_header() -> None:
    bomb = encoded(np.zeros((2000, 2000), np.uint8), "PNG")
    with pytest.raises(DataError, match=r"bomb.png: 2000x2000 pixels .* limit of 1 million.*tiles"):
        decode_image(bomb, "bomb.png", max_pixels=10**6)
    thin = array_file(np.zeros((10, 10, 50), np.uint8))
    with pytest.raises(DataError, match="50 channels"):
        decode_image(thin, max_pixels=1000)


def test_the_kind_is_told_by_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(EXACT["png"])
    np.testing.assert_array_equal(read_image(tmp_path / "a.jpg"), RGB)
    (tmp_path / "b.png").write_text("not a picture")
    with pytest.raises(DataError, match=r"b.png: a file that begins with b'not '; expected a PNG"):
        read_image(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(b"")
    with pytest.raises(DataError, match="an empty file"):
        read_image(tmp_path / "c.png")


def test_wrong_paths_say_what_is_near(tmp_path: Path) -> None:
    (tmp_path / "street_01.png").write_bytes(EXACT["png"])
    with pytest.raises(DataError, match=r"no such file.*did you mean .*street_01.png"):
        read_image(tmp_path / "street_1.png")
    with pytest.raises(DataError, match="not a file"):
        image_size(tmp_path)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    values = np.ones((3, 4), np.float32)
    values[1, 2] = bad
    with pytest.raises(DataError, match="1 values are NaN or infinite"):
        decode_image(array_file(values))


@pytest.mark.parametrize("values", [np.array(["a"]), np.zeros((2, 2), complex), np.zeros(3), np.zeros((0, 4))])
def test_arrays_that_are_no_picture_are_refused(values: np.ndarray) -> None:
    with pytest.raises(DataError, match=r"array of shape|empty picture"):
        decode_image(array_file(values))


def test_writing_and_reading_back(tmp_path: Path) -> None:
    write_image(tmp_path / "new" / "a.png", RGB)
    np.testing.assert_array_equal(read_image(tmp_path / "new" / "a.png"), RGB)
    write_image(tmp_path / "a.jpg", RGB)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - RGB).mean() < 16
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]
    with pytest.raises(DataError, match=r"a.xyz: cannot write uint8 as .xyz"):
        write_image(tmp_path / "a.xyz", RGB)
    with pytest.raises(DataError, match="cannot be written"):
        write_image(tmp_path / "a.jpg" / "b.png", RGB)


def test_alpha_is_written_in_the_order_of_the_channels(tmp_path: Path) -> None:
    rgba = np.full((3, 4, 4), (250, 20, 10, 99), np.uint8)
    for name in ("a.png", "a.webp"):
        write_image(tmp_path / name, rgba)
        stored = np.asarray(Image.open(tmp_path / name).convert("RGBA"))
        assert np.abs(stored.astype(int) - rgba).max() <= (0 if name == "a.png" else 8)
    with pytest.raises(DataError, match=r"a\.jpg: cannot write an array of shape \(3, 4, 4\)"):
        write_image(tmp_path / "a.jpg", rgba)
    with pytest.raises(DataError, match=r"cannot write an array of shape \(3, 4, 2\)"):
        write_image(tmp_path / "a.png", rgba[..., :2])


@pytest.mark.parametrize("suffix, most", [(".jpg", 65500), (".webp", 16383)])
def test_a_picture_larger_than_its_format_holds_is_refused_or_made_to_fit(
    tmp_path: Path, suffix: str, most: int
) -> None:
    wide = np.zeros((2, most + 1, 3), np.uint8)
    with pytest.raises(DataError, match=rf"wide\{suffix}: 2x{most + 1} pixels; \{suffix} holds {most:,} a side"):
        write_image(tmp_path / f"wide{suffix}", wide)
    write_fitting(tmp_path / f"wide{suffix}", wide)
    assert image_size(tmp_path / f"wide{suffix}")[1] == -(-(most + 1) // 2)
    write_image(tmp_path / f"just{suffix}", wide[:, 1:])


def test_an_encoder_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atrous.io.images.cv2.imencode", lambda suffix, pixels: (False, np.zeros(0, np.uint8)))
    with pytest.raises(DataError, match=r"a\.png: cannot be encoded as \.png"):
        write_image(tmp_path / "a.png", np.zeros((2, 2, 3), np.uint8))
    assert not (tmp_path / "a.png").exists()
