"""Stacks of pages are data sets of slices, or one sentence."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import tifffile
from command_line import SMALL, run
from PIL import Image

from atrous.datasets import open_dataset, read_folder
from atrous.datasets.convert import write_pairs
from atrous.doctor import examine_dataset
from atrous.errors import DataError

RNG = np.random.default_rng(0)


def stack(path: Path, pages: Sequence[np.ndarray]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *rest = map(Image.fromarray, pages)
    first.save(path, save_all=True, append_images=rest)
    return path


def scenes(count: int, white: int = 255) -> tuple[list[np.ndarray], list[np.ndarray]]:
    masks = [RNG.integers(0, 2, (6, 8)).astype(np.uint8).repeat(8, 0).repeat(8, 1) for _ in range(count)]
    images = [(mask * 90 + RNG.integers(0, 60, mask.shape)).astype(np.uint8) for mask in masks]
    return images, [mask * np.uint8(white) for mask in masks]


FORMS: dict[str, tuple[str, str]] = {
    "ISBI": ("train-volume.tif", "train-labels.tif"),
    "folders": ("images/a.tif", "masks/a.tif"),
    "endings": ("images/cell.tiff", "masks/cell_mask.tiff"),
    "flat": ("em_raw.tif", "em_gt.tif"),
    "a split": ("train/images/a.tif", "train/masks/a.tif"),
}


@pytest.mark.parametrize("form", FORMS)
def test_pages_are_pairs(tmp_path: Path, form: str) -> None:
    images, masks = scenes(10)
    image, label = (tmp_path / name for name in FORMS[form])
    stack(image, images)
    stack(label, masks)
    if form == "ISBI":
        stack(tmp_path / "test-volume.tif", images)
    data = open_dataset(tmp_path)
    assert read_folder(tmp_path).layout == "stacks"
    assert {name: len(pairs) for name, pairs in data.splits.items()} == {"train": 8, "val": 2}
    assert any("the last 2 of 10 pages are val" in note for note in data.notes)
    samples = [*data.splits["train"], *data.splits["val"]]
    for k, sample in enumerate(samples):
        np.testing.assert_array_equal(sample.image[..., 0], images[k])
        np.testing.assert_array_equal(sample.mask, masks[k] // 255)
    assert data.splits["val"].names == [f"{image.stem}_009", f"{image.stem}_010"]
    assert examine_dataset(tmp_path).errors == []


@pytest.mark.parametrize("kind", ["uint16", "RGB", "float32", "bits"])
def test_pages_of_any_type(tmp_path: Path, kind: str) -> None:
    images, masks = scenes(4, white=1)
    if kind == "uint16":
        images = [image.astype(np.uint16) * 250 for image in images]
    elif kind == "float32":
        images = [image.astype(np.float32) / 7 for image in images]
    elif kind == "RGB":
        images = [np.stack([image, image // 2, 255 - image], axis=2) for image in images]
    else:
        masks = [mask > 0 for mask in masks]
    stack(tmp_path / "images" / "a.tif", images)
    stack(tmp_path / "masks" / "a.tif", masks)
    pairs = open_dataset(tmp_path).splits["train"]
    for k, sample in enumerate(pairs):
        np.testing.assert_array_equal(sample.image.squeeze(), images[k])
        np.testing.assert_array_equal(sample.mask, masks[k])


def test_smaller_copies_are_no_pages(tmp_path: Path) -> None:
    images, masks = scenes(3)
    for part, pages in (("images", images), ("masks", masks)):
        (tmp_path / part).mkdir()
        with tifffile.TiffWriter(tmp_path / part / "a.tif") as writer:
            for page in pages:
                writer.write(page, photometric="minisblack", metadata=None)
                writer.write(page[::2, ::2], photometric="minisblack", metadata=None, subfiletype=1)
    pairs = open_dataset(tmp_path).splits
    assert [len(split) for split in pairs.values()] == [2, 1]
    np.testing.assert_array_equal(pairs["val"][0].image[..., 0], images[2])


def _another_count(root: Path) -> None:
    stack(root / "masks" / "a.tif", scenes(3)[1])


def _labels_of_one_page(root: Path) -> None:
    stack(root / "masks" / "a.tif", scenes(1)[1])


def _no_labels(root: Path) -> None:
    (root / "masks" / "a.tif").rename(root / "masks" / "b.tif")


def _another_size(root: Path) -> None:
    masks = scenes(4)[1]
    stack(root / "masks" / "a.tif", [masks[0], masks[1][:-8], *masks[2:]])


def _cut(root: Path) -> None:
    path = root / "images" / "a.tif"
    path.write_bytes(path.read_bytes()[:-2000])


def _colours(root: Path) -> None:
    stack(root / "masks" / "a.tif", [np.dstack([mask, mask, mask // 2]) for mask in scenes(4)[1]])


def _one_directory(root: Path) -> None:
    for part in ("images", "masks"):
        with tifffile.TiffWriter(root / part / "a.tif", imagej=True) as writer:
            writer.write(np.stack(scenes(4)[0]), contiguous=True)
        data = bytearray((root / part / "a.tif").read_bytes())
        with tifffile.TiffFile(root / part / "a.tif") as file:
            place = file.pages[0].offset + 2 + 12 * len(file.pages[0].tags)
        data[place : place + 4] = bytes(4)  # no further directory
        (root / part / "a.tif").write_bytes(data)


FAULTS: dict[Callable[[Path], None], str] = {
    _another_count: "masks/a.tif: holds 3 pages, its images a.tif 4; expected one page for each",
    _labels_of_one_page: "masks/a.tif: holds 1 pages, its images a.tif 4",
    _no_labels: "without a mask",
    _another_size: "a_002.tif: the mask is 40x64 pixels .* its image a_002.tif is 48x64",
    _cut: "images/a.tif: damaged or incomplete picture",
    _colours: "a_001.tif: a colour mask",
    _one_directory: "a.tif: an ImageJ stack whose 4 pages have one directory; save it as an image sequence",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_fit_is_one_sentence_of_check_and_training(tmp_path: Path, fault: Callable[[Path], None]) -> None:
    images, masks = scenes(4)
    stack(tmp_path / "images" / "a.tif", images)
    stack(tmp_path / "masks" / "a.tif", masks)
    fault(tmp_path)
    with pytest.raises(DataError, match=FAULTS[fault]):
        open_dataset(tmp_path).verify()
    assert examine_dataset(tmp_path).errors


def test_a_stack_is_trained_on_and_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, masks = scenes(10)
    stack(tmp_path / "d" / "train-volume.tif", images)
    stack(tmp_path / "d" / "train-labels.tif", masks)
    assert run("train", tmp_path / "d", "-o", tmp_path / "run", *SMALL) == 0
    assert run("eval", tmp_path / "run", tmp_path / "d") == 0
    assert "val" in capsys.readouterr().out
    assert run("predict", tmp_path / "d" / "train-volume.tif", "--model", tmp_path / "run", "-o", tmp_path / "out") == 2
    assert "holds 10 pages" in capsys.readouterr().err
    copy = write_pairs(read_folder(tmp_path / "d"), tmp_path / "copy")
    again = open_dataset(copy)
    assert {name: pairs.names for name, pairs in again.splits.items()} == {
        "train": [f"train-volume_{k:03d}" for k in range(1, 9)], "val": ["train-volume_009", "train-volume_010"],
    }  # fmt: skip
