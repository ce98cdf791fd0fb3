"""Pixels that hold nothing: NaN, nodata, masks and alpha; in images, in masks and by rows."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from rasters import geotiff

from atrous.errors import DataError
from atrous.io import LabelWriter, nodata_value, open_picture, pictures, read_mask, read_valid, valid_pixels
from atrous.io.valid import empty_pixels
from atrous.labels import LabelSet

RNG = np.random.default_rng(0)
LEFT = np.s_[:, :5]


def scene(dtype: type = np.float32, channels: int = 3) -> np.ndarray:
    return RNG.integers(1, 200, (40, 20, channels)).astype(dtype)


def with_left(pixels: np.ndarray, value: float) -> np.ndarray:
    changed = pixels.copy()
    changed[LEFT] = value
    return changed


@pytest.mark.parametrize(
    "dtype, value, tag",
    [
        (np.float32, -9999, "-9999"),
        (np.int16, -32768, "-32768"),
        (np.float32, np.nan, "nan"),
        (np.float32, -3.4028235e38, "-3.40282346638529e+38"),
        (np.uint8, 0, "0"),
        (np.uint16, 65535, "65535\0"),
    ],
)
@pytest.mark.parametrize("mapped", [True, False])
def test_nodata_is_the_mean_of_the_others(tmp_path: Path, dtype: type, value: float, tag: str, mapped: bool) -> None:
    pixels = with_left(scene(dtype), value)
    if mapped:
        geotiff(tmp_path / "a.tif", pixels, nodata=tag)
    else:
        tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", extratags=[(42113, "s", 0, tag, True)])
    found, valid = read_valid(tmp_path / "a.tif")
    assert valid is not None
    assert not valid[LEFT].any()
    assert valid[:, 5:].all()
    np.testing.assert_array_equal(valid, valid_pixels(tmp_path / "a.tif"))
    np.testing.assert_array_equal(found[:, 5:], pixels[:, 5:])
    np.testing.assert_allclose(found[0, 0], pixels[:, 5:].mean(axis=(0, 1)), atol=0.5)


def test_a_value_that_can_be_measured_is_nodata_in_all_channels_alone() -> None:
    pixels = np.array([[[0, 0], [0, 9]]], np.uint8)
    assert empty_pixels(pixels, 0).tolist() == [[True, False]]  # type: ignore[union-attr]
    low = np.array([[[-9999, 3], [1, 9]]], np.int16)
    assert empty_pixels(low, -9999).tolist() == [[True, False]]  # type: ignore[union-attr]
    assert empty_pixels(pixels, 77) is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("suffix", ["npy", "tif"])
def test_numbers_that_are_not_finite_hold_nothing(tmp_path: Path, suffix: str, bad: float) -> None:
    pixels = scene(channels=1)
    pixels[3, 4] = bad
    path = tmp_path / f"a.{suffix}"
    np.save(path, pixels) if suffix == "npy" else tifffile.imwrite(path, pixels[..., 0])
    found, valid = read_valid(path)
    assert valid is not None
    assert np.argwhere(~valid).tolist() == [[3, 4]]
    assert np.isfinite(found).all()
    np.save(tmp_path / "all.npy", np.full((3, 4), bad, np.float32))
    with pytest.raises(DataError, match=r"all.npy: every value is NaN or infinite"):
        read_valid(tmp_path / "all.npy")


def test_alpha_and_mask_pages_tell_what_is_inside(tmp_path: Path) -> None:
    pixels, alpha = scene(np.uint8), np.full((40, 20, 1), 255, np.uint8)
    alpha[LEFT] = 0
    geotiff(tmp_path / "alpha.tif", np.dstack([pixels, alpha]), extrasamples=["unassalpha"])
    with tifffile.TiffWriter(tmp_path / "mask.tif") as file:
        file.write(pixels, photometric="rgb", metadata=None)
        file.write(alpha[..., 0] > 0, subfiletype=4, photometric="mask", metadata=None)
    for name in ("alpha.tif", "mask.tif"):
        found, valid = read_valid(tmp_path / name)
        np.testing.assert_array_equal(valid, alpha[..., 0] > 0)
        np.testing.assert_array_equal(found[:, 5:], pixels[:, 5:])
    tifffile.imwrite(tmp_path / "photo.tif", np.dstack([pixels, alpha]), photometric="rgb", extrasamples=["unassalpha"])
    assert read_valid(tmp_path / "photo.tif")[1] is None  # a photo's alpha is for show


def test_masks_have_a_value_that_says_nothing(tmp_path: Path) -> None:
    values = RNG.integers(1, 4, (40, 20)).astype(np.uint8)
    for name, pixels, tag, told in (
        ("zero", with_left(values, 0), "0", 0),
        ("below", with_left(values.astype(np.int16), -1), "-1", 255),
        ("floats", with_left(values.astype(np.float32), np.nan), "nan", 255),
        ("white", with_left(np.where(values == 3, 255, values).astype(np.int16), -9999), "-9999", 65535),
    ):
        path = geotiff(tmp_path / f"{name}.tif", pixels, nodata=tag)
        found = read_mask(path)
        assert (nodata_value(path), np.unique(found[LEFT]).tolist()) == (told, [told])
        np.testing.assert_array_equal(found[:, 5:], pixels[:, 5:])
    assert nodata_value(geotiff(tmp_path / "none.tif", values)) is None


@pytest.mark.parametrize("kind", ["tif", "npy"])
def test_by_rows_as_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    pixels = with_left(scene(), np.nan)
    if kind == "tif":
        tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="rgb", rowsperstrip=8, compression="zlib")
    else:
        np.save(tmp_path / "a.npy", pixels)
    whole, valid = read_valid(tmp_path / f"a.{kind}")
    monkeypatch.setattr(pictures, "HELD_PIXELS", 100)
    picture = open_picture(tmp_path / f"a.{kind}")
    assert not picture.held
    np.testing.assert_array_equal(picture.valid(7, 33), valid[7:33])  # type: ignore[index]
    np.testing.assert_allclose(picture.rows(7, 33), whole[7:33], atol=1e-4)


# rasterio 1.4 with affine 3
@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
def test_the_map_that_is_written_has_nodata(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    picture = open_picture(geotiff(tmp_path / "a.tif", with_left(scene(), -9999), nodata="-9999"))
    whole, valid = read_valid(tmp_path / "a.tif")
    np.testing.assert_array_equal(picture.rows(0, 40), whole)
    np.testing.assert_array_equal(picture.valid(0, 40), valid)  # type: ignore[arg-type]
    labels = LabelSet(("sea", "land"), values=(0, 255), ignore=())
    with LabelWriter(tmp_path / "out.tif", picture, labels) as writer:
        writer.write(np.where(valid, 1, labels.ignore_index).astype(np.uint8))
    with rasterio.open(tmp_path / "out.tif") as data:
        assert data.nodata == labels.void == 254  # 255 is a class
        np.testing.assert_array_equal(data.read(1), np.where(valid, 255, 254))
