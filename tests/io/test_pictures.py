"""Pictures by rows equal the whole picture; label maps by rows are whole or not there."""

import json
import pickle
from contextlib import suppress
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atrous.errors import DataError
from atrous.io import ArrayPicture, LabelWriter, open_picture, pictures, read_image, read_mask, strips, target_of
from atrous.io.tiff import decode_rows, read_tags
from atrous.labels import LabelSet

tifffile = pytest.importorskip("tifffile")
RNG = np.random.default_rng(0)
NAMES = LabelSet(("a", "b", "c"), colours=((0, 0, 0), (200, 0, 0), (0, 90, 0)), values=(0, 7, 9), ignore=())

FORMS = [
    {"rowsperstrip": 7},
    {"rowsperstrip": 7, "compression": "zlib"},
    {"rowsperstrip": 9, "compression": "zlib", "predictor": True},
    {"tile": (16, 32)},
    {"tile": (16, 32), "compression": "zlib"},
    {"rowsperstrip": 7, "bigtiff": True},
    {"rowsperstrip": 7, "byteorder": ">", "compression": "zlib"},
    {"rowsperstrip": 7, "byteorder": ">"},
    {"tile": (32, 16), "bigtiff": True, "compression": "zlib", "predictor": True},
    {"rowsperstrip": 5, "planarconfig": "separate"},
]


@pytest.mark.parametrize("form", FORMS, ids=str)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_rows_of_a_tiff_are_those_of_the_whole(
    form: dict[str, object], dtype: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = RNG.integers(0, np.iinfo(dtype).max, (53, 45, 3), dtype)
    stored = pixels.transpose(2, 0, 1) if form.get("planarconfig") else pixels
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="rgb", **form)
    monkeypatch.setattr(pictures, "HELD_PIXELS", 100)
    picture = open_picture(tmp_path / "a.tif")
    assert not isinstance(picture, ArrayPicture)
    assert picture.shape == (53, 45, 3)
    for first, end in ((0, 53), (0, 1), (10, 30), (6, 7), (52, 53), (20, 20)):
        np.testing.assert_array_equal(picture.rows(first, end), pixels[first:end])


def test_a_large_tiff_of_the_other_byte_order_is_one_sentence(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((4, 5, 3), np.uint8), bigtiff=True, byteorder=">", photometric="rgb")
    with pytest.raises(DataError, match=r"a\.tif: a big-endian BigTIFF, which Pillow cannot read"):
        open_picture(tmp_path / "a.tif")


def test_grey_tiff_and_arrays_by_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "HELD_PIXELS", 100)
    pixels = RNG.integers(0, 255, (40, 31), np.uint8)
    tifffile.imwrite(tmp_path / "grey.tif", pixels, compression="zlib", rowsperstrip=8)
    np.save(tmp_path / "a.npy", pixels.astype(np.float64))
    np.save(tmp_path / "b.npy", np.asfortranarray(pixels))
    for name in ("grey.tif", "a.npy", "b.npy"):
        picture = open_picture(tmp_path / name)
        assert picture.shape == (40, 31, 1)
        np.testing.assert_array_equal(picture.rows(11, 29), read_image(tmp_path / name)[11:29])


def test_no_row_is_read_twice_and_strips_overlap(tmp_path: Path) -> None:
    pixels = RNG.integers(0, 255, (50, 4, 3), np.uint8)
    read: list[tuple[int, int]] = []

    class Counted:
        name, shape, held = "counted", pixels.shape, False

        def rows(self, first: int, end: int) -> np.ndarray:
            read.append((first, end))
            return pixels[first:end]

    spans = [(0, 20), (10, 30), (12, 30), (30, 31), (31, 50)]
    for span, strip in zip(spans, strips(Counted(), spans), strict=True):
        np.testing.assert_array_equal(strip, pixels[slice(*span)])
    assert all(one[1] == other[0] for one, other in pairwise(read))
    assert (read[0][0], read[-1][1]) == (0, 50)


def test_a_tiff_that_is_cut_short_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "HELD_PIXELS", 100)
    for name, form in (("raw.tif", {}), ("packed.tif", {"compression": "zlib", "rowsperstrip": 8})):
        pixels = RNG.integers(0, 255, (64, 64, 3), np.uint8)
        tifffile.imwrite(tmp_path / name, pixels, photometric="rgb", **form)
        data = (tmp_path / name).read_bytes()
        tags = read_tags(BytesIO(data))
        half = data[: len(data) // 2]
        (tmp_path / name).write_bytes(half)
        with pytest.raises(ValueError, match="truncated"):
            decode_rows(lambda offset, count, half=half: half[offset : offset + count], tags, 40, 64)
        with pytest.raises(DataError, match=name):
            open_picture(tmp_path / name).rows(40, 64)


@pytest.mark.parametrize("values", [(0, 7, 9), (0, 7, 900)])
def test_a_png_by_rows_is_a_mask_as_any(values: tuple[int, ...], tmp_path: Path) -> None:
    labels = LabelSet(("a", "b", "c"), colours=NAMES.colours, values=values, ignore=())
    indices = RNG.integers(0, 3, (70, 33)).astype(np.uint8)
    with LabelWriter(tmp_path / "m.png", ArrayPicture(np.zeros((70, 33, 3), np.uint8)), labels) as target:
        for first, end in ((0, 11), (11, 12), (12, 70)):
            target.write(indices[first:end])
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png"), np.array(values)[indices])
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "m.png")), np.array(values)[indices])
    if values[-1] < 256:
        assert Image.open(tmp_path / "m.png").getpalette()[21:24] == [200, 0, 0]


def test_a_label_map_that_fails_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "m.png").write_bytes(b"old")

    def write() -> None:
        with LabelWriter(tmp_path / "m.png", ArrayPicture(np.zeros((4, 5, 3), np.uint8)), NAMES) as target:
            target.write(np.zeros((2, 5), np.uint8))
            raise DataError("broken")

    with pytest.raises(DataError, match="broken"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["m.png"]
    assert (tmp_path / "m.png").read_bytes() == b"old"


# rasterio 1.4 with affine 3
@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
def test_a_geotiff_keeps_its_place(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    pixels = RNG.integers(0, 255, (300, 70, 3), np.uint8)
    place = rasterio.transform.from_origin(500_000, 4_600_000, 10, 10)
    with rasterio.open(
        tmp_path / "map.tif", "w", driver="GTiff", height=300, width=70, count=4, dtype="uint8", crs="EPSG:32633",
        transform=place, photometric="RGB", alpha="YES",
    ) as data:  # fmt: skip
        data.write(np.concatenate([pixels, np.full_like(pixels[..., :1], 255)], 2).transpose(2, 0, 1))
    picture = open_picture(tmp_path / "map.tif")
    assert picture.shape == (300, 70, 3)
    np.testing.assert_array_equal(picture.rows(100, 290), pixels[100:290])
    target = target_of(tmp_path / "map.tif", tmp_path / "out")
    assert target.name == "map.tif"
    indices = RNG.integers(0, 3, (300, 70)).astype(np.uint8)
    with LabelWriter(target, picture, NAMES) as writer:
        for first in range(0, 300, 77):
            writer.write(indices[first : first + 77])
    with rasterio.open(target) as data:
        assert (data.crs.to_epsg(), data.transform) == (32633, place)
        assert data.profile["tiled"]
        assert data.profile["compress"] == "deflate"
        np.testing.assert_array_equal(data.read(1), np.array([0, 7, 9])[indices])
        assert data.colormap(1)[7][:3] == (200, 0, 0)
        assert data.tags(1)["class_7"] == "b"


def test_zarr_in_and_out(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    pixels = RNG.integers(0, 255, (90, 40, 3), np.uint8)
    array = zarr.create_array(str(tmp_path / "a.zarr"), shape=pixels.shape, dtype="uint8", chunks=(32, 32, 3))
    array[:] = pixels
    picture = open_picture(tmp_path / "a.zarr")
    np.testing.assert_array_equal(picture.rows(30, 70), pixels[30:70])
    indices = RNG.integers(0, 3, (90, 40)).astype(np.uint8)
    with LabelWriter(target_of(tmp_path / "a.zarr", tmp_path / "out"), picture, NAMES) as target:
        target.write(indices[:50])
        target.write(indices[50:])
    found = zarr.open(str(tmp_path / "out" / "a.zarr"), mode="r")
    np.testing.assert_array_equal(found[:], np.array([0, 7, 9])[indices])
    assert found.attrs["classes"] == {"a": 0, "b": 7, "c": 9}


def test_a_label_map_that_lacks_rows_is_never_left(tmp_path: Path) -> None:
    (tmp_path / "m.png").write_bytes(b"old")
    picture = ArrayPicture(np.zeros((4, 5, 3), np.uint8))
    with (
        pytest.raises(DataError, match=r"m\.png: 3 of 4 rows were written"),
        LabelWriter(tmp_path / "m.png", picture, NAMES) as writer,
    ):
        writer.write(np.zeros((3, 5), np.uint8))
    with suppress(KeyboardInterrupt), LabelWriter(tmp_path / "m.png", picture, NAMES) as writer:
        writer.write(np.zeros((4, 5), np.uint8))
        raise KeyboardInterrupt
    assert (tmp_path / "m.png").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["m.png"]


def test_two_writers_of_one_label_map_do_not_mix(tmp_path: Path) -> None:
    picture = ArrayPicture(np.zeros((2, 5, 3), np.uint8))
    with (
        LabelWriter(tmp_path / "m.png", picture, NAMES) as first,
        LabelWriter(tmp_path / "m.png", picture, NAMES) as other,
    ):
        for value in (1, 2):
            first.write(np.full((1, 5), 1, np.uint8))
            other.write(np.full((1, 5), value, np.uint8))
    assert read_mask(tmp_path / "m.png").tolist() == [[7] * 5, [7] * 5]


class Code:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize(("dtype", "filters", "compressor"), [
    ("|u1", [{"id": "pickle"}], None), ("|u1", None, {"id": "pickle"}), ("|O", [{"id": "pickle"}], None),
])  # fmt: skip
def test_a_zarr_array_runs_no_code(
    tmp_path: Path, dtype: str, filters: list[dict[str, str]] | None, compressor: dict[str, str] | None
) -> None:
    pytest.importorskip("zarr")
    scan = tmp_path / "scan.zarr"
    scan.mkdir()
    about = {"zarr_format": 2, "shape": [8, 8, 3], "chunks": [8, 8, 3], "dtype": dtype, "compressor": compressor,
             "fill_value": 0, "order": "C", "filters": filters}  # fmt: skip
    (scan / ".zarray").write_text(json.dumps(about))
    (scan / "0.0.0").write_bytes(pickle.dumps(Code(tmp_path / "ran")))
    with pytest.raises(DataError, match=r"scan\.zarr"):
        open_picture(scan).rows(0, 8)
    assert not (tmp_path / "ran").exists()
