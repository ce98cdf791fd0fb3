"""CVAT's XML: shapes and files that do not fit."""

from pathlib import Path

import numpy as np
import pytest
from make_layouts import MAKERS, image, save

from atrous.datasets import find_pairs, read_folder
from atrous.errors import DataError


def made(root: Path, old: str = "", new: str = "") -> Path:
    MAKERS["cvat, xml"][1](root)
    file = root / "annotations.xml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    return file


def test_an_ellipse_and_a_turned_box(tmp_path: Path) -> None:
    save(image(0, (40, 60)), tmp_path / "a.png")
    (tmp_path / "annotations.xml").write_text(
        '<annotations><image name="a.png"><ellipse label="egg" cx="45" cy="30" rx="6" ry="4" rotation="90"/>'
        '<box label="box" xtl="10" ytl="12" xbr="22" ybr="16" rotation="90"/><tag label="good"/></image></annotations>'
    )
    folder = read_folder(tmp_path)
    folder.refuse_incomplete()
    assert folder.labels is not None
    assert folder.labels.names == ("background", "box", "egg")
    expected = np.zeros((40, 60), np.uint8)
    y, x = np.indices(expected.shape) + 0.5
    expected[((x - 45) / 4) ** 2 + ((y - 30) / 6) ** 2 <= 1] = 2
    expected[8:20, 14:18] = 1
    np.testing.assert_array_equal(folder.read_mask(folder.pairs[0]), expected)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('points="3,4;13,4;13,14;3,14"', 'points="3,4"', r"c0.png: shape 0 \(polygon\): an outline of shape \(1, 2\)"),
        ('points="3,4;13,4', 'points="3,4;13', r"shape 0 \(polygon\): .*; correct or delete it"),
        ('points="3,4;13,4', 'points="x,4;13,4', r"shape 0 \(polygon\): could not convert"),
        ('points="3,4;13,4;13,14;3,14"', "", r"shape 0 \(polygon\): no 'points'"),
        ('rle="2, 3, 1, 6"', 'rle="2, 3, 1, 9"', r"shape 1 \(mask\): run lengths of 15 pixels for a mask of 3 x 4"),
        ('xbr="28"', 'xbr="-3"', r"shape 2 \(box\): a rectangle of -3 x 4; expected sides above 0"),
        ('label="dog"', 'label="cow"', r"shape 0 \(polygon\): the label 'cow'; expected one of cat, dog"),
        ("<polygon ", "<polyline ", r"shape 0 \(polyline\): a shape without an area"),
        ('name="c0.png"', 'name="lost.png"', r"1 of its images \(lost.png\) are not below .*; add them"),
        ('name="c0.png"', 'name="c1.png"', r"has a second entry for c1.png|c1.png"),
    ],
)
def test_shapes_that_do_not_fit(tmp_path: Path, old: str, new: str, message: str) -> None:
    made(tmp_path, old, new)
    with pytest.raises(DataError, match=rf"annotations.xml: .*{message}"):
        find_pairs(tmp_path)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ("</annotations>", "", r"annotations.xml: not an XML file \("),
        ("<image ", '<track id="0"></track><image ', r"annotations.xml: tracks of a video; expected images"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, old: str, new: str, message: str) -> None:
    made(tmp_path, old, new)
    with pytest.raises(DataError, match=message):
        read_folder(tmp_path)


def test_a_shape_outside_is_told_when_it_is_painted(tmp_path: Path) -> None:
    made(tmp_path, 'points="3,4;13,4;13,14;3,14"', 'points="33,4;43,4;43,14"')
    folder = read_folder(tmp_path)
    with pytest.raises(DataError, match=r"\(image c0.png\): shape 0 \(polygon\): lies outside the image, 20 x 28 pix"):
        folder.read_mask(folder.pairs[0])


def test_finished_masks_come_first(tmp_path: Path) -> None:
    made(tmp_path)
    for number, split in enumerate(("Train", "Validation")):
        save(np.eye(20, 28, dtype=np.uint8), tmp_path / "masks" / split / f"c{number}.png")
    assert read_folder(tmp_path).layout == "pairs"
