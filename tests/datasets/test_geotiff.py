"""GeoTIFF as training data: nodata counts nowhere, and a mask lies on its image."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rasters import SIZE, geotiff

from atrous.datasets import Pair, channel_statistics, open_dataset
from atrous.datasets.geotiff import misplaced
from atrous.doctor.examination import examine_dataset
from atrous.doctor.mend import mend
from atrous.errors import DataError
from atrous.io import extras, read_image
from atrous.labels import LabelSet

RNG = np.random.default_rng(0)
MASK = np.kron(np.array([[1, 2], [2, 3]]), np.ones((12, 12))).astype(np.uint8)
IMAGE = RNG.integers(1, 200, (24, 24, 3)).astype(np.uint8)


def tiles(root: Path, image: np.ndarray, mask: np.ndarray, tag: str | None = None, own: str | None = None) -> Path:
    """Six pairs. tag: nodata of the images. own: nodata of the masks."""
    for number in range(6):
        geotiff(root / f"images/t{number}.tif", image, nodata=tag)
        geotiff(root / f"masks/t{number}.tif", mask, nodata=own)
    return root


@pytest.mark.parametrize("value, dtype", [(-9999, np.float32), (np.nan, np.float32), (0, np.uint8), (-1, np.int16)])
def test_pixels_without_a_value_count_nowhere(tmp_path: Path, value: float, dtype: type) -> None:
    image = IMAGE.astype(dtype)
    image[:, :6] = value
    data = open_dataset(tiles(tmp_path, image, MASK - 1, str(value)))
    train = data.splits["train"]
    fresh = train.frequencies()
    sample = train[0]
    assert sample.mask is not None
    assert (sample.mask[:, :6] == data.labels.ignore_index).all()
    np.testing.assert_array_equal(sample.mask[:, 6:], MASK[:, 6:] - 1)
    mean, deviation = channel_statistics(train)
    np.testing.assert_allclose(mean, IMAGE[:, 6:].mean(axis=(0, 1)), rtol=1e-6)
    np.testing.assert_allclose(deviation, IMAGE[:, 6:].std(axis=(0, 1)), rtol=1e-5)
    np.testing.assert_array_equal(fresh, np.bincount(MASK[:, 6:].ravel() - 1) * len(train))
    (note,) = (one for one in examine_dataset(tmp_path).findings if one.kind == "no_value")
    assert note.severity == "note"
    assert "25.00% of the pixels of 6 images" in note.detail


@pytest.mark.parametrize("nodata, values", [(0, (1, 2, 3)), (9, (0, 1, 2))])
def test_nodata_of_masks_is_no_class(tmp_path: Path, nodata: int, values: tuple[int, ...]) -> None:
    mask = MASK - 1 + values[0]
    mask[:, :6] = nodata
    root = tiles(tmp_path / "data", IMAGE, mask, own=str(nodata))
    labels, found = open_dataset(root).labels, examine_dataset(root)
    assert (labels.values, labels.ignore) == (values, (nodata,))
    assert found.labels is not None
    assert (found.labels.values, found.labels.ignore) == (values, (nodata,))
    assert found.errors == []
    mend(found, tmp_path / "out")
    again = open_dataset(tmp_path / "out")
    assert len(again.labels) == 3
    assert (again.splits["train"][0].mask[:, :6] == again.labels.ignore_index).all()  # type: ignore[index]


def test_what_one_tag_calls_nodata_is_no_label_of_another_mask(tmp_path: Path) -> None:
    root = tiles(tmp_path, IMAGE, MASK - 1, own="0")
    geotiff(root / "masks/t3.tif", MASK - 1)
    with pytest.raises(DataError, match=r"t3.tif: holds 0, which is no data by the tag of t0.tif"):
        open_dataset(root)
    assert [one.file.name for one in examine_dataset(root).errors] == ["t3.tif"]


def test_nodata_that_is_a_class_is_asked_about(tmp_path: Path) -> None:
    root = tiles(tmp_path, IMAGE, np.minimum(MASK - 1, 1), own="0")
    with pytest.raises(DataError, match=r"1 class; .*; 0 is no data by the tag of t0.tif, take the tag away"):
        open_dataset(root)
    named = LabelSet(("ground", "house"))
    for how in ({"labels": named}, {"classes": root / "classes.toml"}):
        (root / "classes.toml").write_text(named.to_toml())
        with pytest.raises(DataError, match=r"nodata value 0 is also the value of the class 'ground'"):
            open_dataset(root, **how)  # type: ignore[arg-type]
    with pytest.raises(DataError, match="nodata value 0"):
        examine_dataset(root)


@pytest.mark.parametrize(
    "mask, told",
    [
        ({"east": 500_000 + 20 * SIZE}, "20 pixels to the east of its image a.tif"),
        ({"east": 500_000 - 3 * SIZE, "north": 5_300_000 + SIZE}, "3 pixels to the west and 1 pixels to the north"),
        ({"east": 500_000 + 0.6 * SIZE}, "0.6 pixels to the east"),
        ({"size": 2 * SIZE}, "the pixels of the mask are 20 x 20 units of the map, those of its image a.tif 10 x 10"),
        ({"epsg": 32634}, "the mask is in EPSG:32634, its image a.tif in EPSG:32633"),
        ({"point": True}, "0.5 pixels to the west and 0.5 pixels to the north"),
        ({"east": 500_000 + 0.4 * SIZE}, ""),
        ({"east": 500_000 + 0.5 * SIZE, "north": 5_300_000 - 0.5 * SIZE, "point": True}, ""),
        ({"epsg": None}, ""),
    ],
)
def test_a_mask_lies_on_its_image(tmp_path: Path, mask: dict, told: str) -> None:
    pair = Pair(geotiff(tmp_path / "a.tif", IMAGE), geotiff(tmp_path / "m.tif", MASK, **mask))
    assert told in misplaced(pair)
    assert bool(told) == bool(misplaced(pair))


def test_check_and_training_refuse_a_mask_of_another_place(tmp_path: Path) -> None:
    root = tiles(tmp_path, IMAGE, MASK - 1)
    geotiff(root / "masks/t2.tif", MASK - 1, east=500_000 + 20 * SIZE)
    with pytest.raises(DataError, match=r"t2.tif: the mask lies 20 pixels to the east"):
        open_dataset(root).verify()
    (error,) = examine_dataset(root).errors
    assert (error.kind, error.file.name) == ("size_mismatch", "t2.tif")
    assert "20 pixels to the east" in error.detail


# rasterio 1.4 with affine 3
@pytest.mark.filterwarnings("ignore:Use `@` matmul:PendingDeprecationWarning")
@pytest.mark.parametrize("how", [{"compress": "LERC"}, {"compress": "deflate", "predictor": 3}, {"sparse_ok": True}])
def test_what_gdal_alone_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: dict) -> None:
    rasterio = pytest.importorskip("rasterio")
    pixels = IMAGE.astype(np.float32)
    size = {"count": 3, "height": 24, "width": 24, "dtype": "float32"}
    place = rasterio.transform.from_origin(500_000, 5_300_000, SIZE, SIZE)
    with rasterio.open(
        tmp_path / "a.tif", "w", driver="GTiff", crs="EPSG:32633", transform=place, **size, **how
    ) as file:
        if "sparse_ok" in how:
            pixels[:] = 0  # nothing is stored
        else:
            file.write(pixels.transpose(2, 0, 1))
    np.testing.assert_array_equal(read_image(tmp_path / "a.tif"), pixels)
    monkeypatch.setattr(extras, "there", lambda module: False)
    with pytest.raises(DataError, match=r"a.tif: (compressed|a sparse file).* which needs atrous\[geo\]; run `pip"):
        read_image(tmp_path / "a.tif")


def test_stacks_are_refused_by_name_everywhere(tmp_path: Path) -> None:
    pages = [Image.fromarray(IMAGE[..., 0] + number) for number in range(4)]
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
        pages[0].save(tmp_path / part / "a.tif")  # so it is no set of stacks
        pages[0].save(tmp_path / part / "volume.tif", save_all=True, append_images=pages[1:])
    with pytest.raises(DataError, match=r"volume.tif: holds 4 pages"):
        open_dataset(tmp_path)
    found = [one for one in examine_dataset(tmp_path).errors if "holds 4 pages" in one.detail]
    assert [(one.kind, one.file.parent.name) for one in found] == [("unreadable", "images"), ("unreadable", "masks")]
