"""Our results are known by a mark inside; what others wrote, or changed, is theirs."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from atrous.io import LabelWriter, read_image, read_mask, there, write_image, write_mask
from atrous.io.marks import COMMENTS, is_marked, marked
from atrous.io.pictures import ArrayPicture
from atrous.labels import LabelSet

LABELS = LabelSet(("sea", "land"))
PIXELS = np.random.default_rng(0).integers(0, 2, (40, 50)).astype(np.uint8)
COLOURS = np.repeat(PIXELS[..., None] * np.uint8(200), 3, axis=2)


def by_rows(path: Path) -> None:
    with LabelWriter(path, ArrayPicture(COLOURS), LABELS) as writer:
        for row in PIXELS:
            writer.write(row[None])


WRITERS: dict[str, Callable[[Path], None]] = {
    "mask.png": lambda path: write_mask(path, PIXELS, LABELS, mark=True),
    "deep.png": lambda path: write_mask(path, PIXELS, LabelSet(("a", "b"), values=(1, 700)), mark=True),
    "rows.png": by_rows,
    "picture.png": lambda path: write_image(path, COLOURS, mark=True),
    "grey.jpg": lambda path: write_image(path, PIXELS, mark=True),
    "colour.jpg": lambda path: write_image(path, COLOURS, mark=True),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_picture_of_ours_is_known_and_read_as_before(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    assert is_marked(path)
    with Image.open(path) as picture:
        picture.verify()  # checksums of all parts
    if path.suffix == ".png":
        with Image.open(path) as picture:
            picture.load()
            assert picture.info["Software"].startswith("atrous ")
        assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED) is not None
    else:
        plain = tmp_path / "plain.jpg"
        write_image(plain, COLOURS if name == "colour.jpg" else PIXELS)
        np.testing.assert_array_equal(read_image(path), read_image(plain))
        assert not is_marked(plain)
    if name in ("mask.png", "rows.png"):
        np.testing.assert_array_equal(read_mask(path), PIXELS)


@pytest.mark.parametrize("name", WRITERS)
def test_a_picture_that_was_changed_is_its_owners(name: str, tmp_path: Path) -> None:
    """By a tool that keeps comments, as by one that drops them."""
    path = tmp_path / name
    WRITERS[name](path)
    with Image.open(path) as picture:
        picture.load()
    if path.suffix == ".png":
        kept = PngInfo()
        kept.add_text("Software", picture.info["Software"])
        picture.putpixel((3, 3), 1 - min(1, np.asarray(picture).flat[0]) if picture.mode != "RGB" else (9, 9, 9))
        picture.save(path, pnginfo=kept)
    else:
        data = bytearray(path.read_bytes())
        data[-20] ^= 1
        path.write_bytes(data)
    assert not is_marked(path)
    picture.save(path)
    assert not is_marked(path)


@pytest.mark.parametrize("suffix", [suffix for suffix in COMMENTS if suffix not in (".png", ".jpg")])
def test_texts(suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"page{suffix.upper()}"
    path.write_bytes(marked(b"one\ntwo\n", suffix))
    assert is_marked(path)
    path.write_bytes(path.read_bytes().replace(b"two", b"2"))
    assert not is_marked(path)
    path.write_bytes(b"one\n")
    assert not is_marked(path)


@pytest.mark.filterwarnings("ignore:Dataset has no geotransform")
def test_streamed_files_and_folders(tmp_path: Path) -> None:
    pytest.importorskip("rasterio")
    by_rows(tmp_path / "map.tif")
    assert is_marked(tmp_path / "map.tif")
    Image.fromarray(PIXELS).save(tmp_path / "other.tif")
    assert not is_marked(tmp_path / "other.tif")
    if there("zarr"):
        by_rows(tmp_path / "map.zarr")
        assert is_marked(tmp_path / "map.zarr")
    (tmp_path / "other.zarr").mkdir()
    (tmp_path / "other.zarr" / "zarr.json").write_text(json.dumps({"attributes": {}}))
    assert not is_marked(tmp_path / "other.zarr")


def test_what_is_no_file_is_nobodys(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "empty.png").touch()
    (tmp_path / "self.png").symlink_to(tmp_path / "self.png")
    for name in ("pipe.png", "empty.png", "none.png", "self.png", "."):
        assert not is_marked(tmp_path / name)
