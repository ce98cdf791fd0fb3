"""Volumes: read through SimpleITK, an error of one sentence without it."""

import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from make_layouts import SIZE, Masks, decathlon, nnunet_volumes, write_nifti

from atrous.datasets import open_dataset, read_folder
from atrous.datasets.convert import write_pairs
from atrous.errors import DataError, MissingExtra
from atrous.io.volumes import read_labels, read_volume, volume_size
from atrous.labels import LabelSet

needs_simpleitk = pytest.mark.skipif(find_spec("SimpleITK") is None, reason="SimpleITK ([medical]) is not installed")
BOTH = pytest.mark.parametrize(
    "layout, make, names",
    [
        ("decathlon", decathlon, ("background", "PZ", "TZ")),
        ("nnunet", nnunet_volumes, ("background", "liver", "tumour")),
    ],
    ids=["decathlon", "nnunet"],
)


@BOTH
@needs_simpleitk
def test_volumes_are_read_slices_first_channels_last(tmp_path: Path, layout: str, make: object, names: tuple) -> None:
    expected: Masks = make(tmp_path)
    folder = read_folder(tmp_path)
    assert (folder.layout, folder.dimensions, folder.labels) == (layout, 3, LabelSet(names))
    assert (list(folder.splits), folder.faults) == (["all"], [])
    assert {pair.image.stem for pair in folder.pairs} == set(expected)
    for number, pair in enumerate(folder.pairs):
        np.testing.assert_array_equal(folder.read_mask(pair), expected[pair.image.stem])
        image = folder.read_image(pair)
        assert image.shape == folder.image_size(pair) == (4, *SIZE, 2)
        if layout == "decathlon":
            made = np.random.default_rng(number).integers(-900, 900, (2, 4, *SIZE))
        else:
            made = [np.random.default_rng(2 * number + c).integers(-900, 900, (4, *SIZE)) for c in range(2)]
        np.testing.assert_array_equal(image, np.moveaxis(np.array(made), 0, -1))


@BOTH
def test_volumes_are_no_plain_pairs_of_pictures(tmp_path: Path, layout: str, make: object, names: tuple) -> None:
    make(tmp_path / "data")
    with pytest.raises(
        DataError, match=r"data: volumes \(dataset.json .*\); plain pairs hold only two-dimensional images"
    ):
        write_pairs(read_folder(tmp_path / "data"), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


@BOTH
def test_without_simpleitk_the_command_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layout: str, make: object, names: tuple
) -> None:
    make(tmp_path)
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    folder = read_folder(tmp_path)
    for read in (folder.read_mask, folder.read_image, folder.image_size):
        with pytest.raises(MissingExtra, match=r"needs SimpleITK; run `pip install 'atrous\[medical\]'`"):
            read(folder.pairs[0])


def test_a_decathlon_file_that_is_listed_and_missing(tmp_path: Path) -> None:
    decathlon(tmp_path)
    missing = tmp_path / "labelsTr" / "prostate_00.nii.gz"
    missing.unlink()
    folder = read_folder(tmp_path)
    assert folder.faults == [(missing, "no such file, but dataset.json names it; add the file or delete the entry")]
    assert len(folder.pairs) == 1


@needs_simpleitk
def test_damaged_volumes_and_labels_that_are_none(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii", np.arange(24, dtype=np.int16).reshape(2, 3, 4))
    assert volume_size(tmp_path / "a.nii") == (2, 3, 4, 1)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.nii").array, np.arange(24).reshape(2, 3, 4))
    write_nifti(tmp_path / "b.nii", np.full((2, 3, 4), -1, np.int16))
    with pytest.raises(DataError, match=r"b.nii: labels from -1 to -1; expected whole numbers 0..65535"):
        read_labels(tmp_path / "b.nii")
    write_nifti(tmp_path / "c.nii", np.zeros((2, 2, 3, 4), np.uint8))
    with pytest.raises(DataError, match=r"c.nii: labels of shape \(2, 3, 4, 2\); expected one value per voxel"):
        read_labels(tmp_path / "c.nii")
    (tmp_path / "d.nii").write_bytes((tmp_path / "a.nii").read_bytes()[:200])
    with pytest.raises(DataError, match=r"d.nii: not a volume of its kind \(its header is cut short\)"):
        read_volume(tmp_path / "d.nii")
    with pytest.raises(DataError, match=r"e.nii: no such file"):
        read_volume(tmp_path / "e.nii")


def plain_volumes(root: Path, *names: str) -> None:
    for name in names:
        labels = "labels" in name
        write_nifti(root / name, np.full((4, 5, 6), labels, np.uint8) if labels else np.full((4, 5, 6), 7, np.int16))


@needs_simpleitk
def test_plain_pairs_of_volumes(tmp_path: Path) -> None:
    root = tmp_path / "data"
    plain_volumes(
        root, "train/images/a.nii.gz", "train/labels/a.nii.gz", "train/images/b.nii.gz", "train/labels/b_seg.nii.gz"
    )
    plain_volumes(root, "val/images/c.nii.gz", "val/labels/c.nii.gz")
    folder = read_folder(root)
    assert (folder.layout, folder.dimensions) == ("volumes", 3)
    assert {split: [pair.mask.name for pair in pairs] for split, pairs in folder.splits.items()} == {
        "train": ["a.nii.gz", "b_seg.nii.gz"], "val": ["c.nii.gz"],
    }  # fmt: skip
    data = open_dataset(root, labels=LabelSet(("background", "organ")))
    assert data.splits["train"].names == ["a", "b"]
    assert data.dimensions == 3
    sample = data.splits["val"][0]
    assert sample.image.shape == (4, 5, 6, 1)
    assert sample.geometry["spacing"] == (3.0, 2.0, 1.0)


@needs_simpleitk
def test_channels_are_files_and_what_is_alone_is_named(tmp_path: Path) -> None:
    root = tmp_path / "data"
    plain_volumes(root, *(f"images/{case}_000{channel}.nii.gz" for case in "ab" for channel in range(2)))
    plain_volumes(root, "labels/a.nii.gz", "labels/b.nii.gz")
    data = open_dataset(root, labels=LabelSet(("background", "organ")), holdout=0)
    assert data.channels == 2
    assert data.splits["all"].names == ["a", "b"]
    assert data.splits["all"][0].image.shape == (4, 5, 6, 2)
    plain_volumes(root, "images/c_0000.nii.gz", "labels/d.nii.gz")
    folder = read_folder(root)
    assert [path.name for path in folder.lone_images] == ["c_0000.nii.gz"]
    assert [path.name for path in folder.lone_masks] == ["d.nii.gz"]
    with pytest.raises(DataError, match=r"1 image \(c_0000.nii.gz\) without a mask"):
        open_dataset(root)
    plain_volumes(tmp_path / "two", "images/a.nii.gz", "labels/a.nii.gz", "images/b.nii", "labels/b.nii")
    with pytest.raises(DataError, match=r"images end in .nii and .nii.gz; expected one ending"):
        read_folder(tmp_path / "two")
