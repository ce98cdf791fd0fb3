"""Supervisely: places of files, and objects that do not fit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_layouts import MAKERS, image, packed, save, write_json

from atrous.datasets import find_pairs, open_dataset, read_folder
from atrous.errors import DataError


def change(root: Path, **values: Any) -> None:
    """Change the first object of s0."""
    MAKERS["supervisely"][1](root)
    file = root / "train" / "ann" / "s0.png.json"
    content = json.loads(file.read_text())
    content["objects"][0] |= values
    file.write_text(json.dumps(content))


def points(*exterior: list[float]) -> dict[str, Any]:
    return {"exterior": list(exterior), "interior": []}


def test_rectangles_other_bitmaps_and_places(tmp_path: Path) -> None:
    change(tmp_path, geometryType="rectangle", points=points([9, 12], [3, 4]))
    folder = read_folder(tmp_path)
    mask = folder.read_mask(folder.pairs[0])
    expected = np.zeros_like(mask, bool)
    expected[4:12, 3:9] = True
    np.testing.assert_array_equal(mask == 1, expected)
    (tmp_path / "train" / "ann" / "s0.png.json").rename(tmp_path / "train" / "ann" / "s0.json")
    save(image(7), tmp_path / "val" / "img" / "new.png")
    folder = read_folder(tmp_path)
    assert {split: [pair.image.name for pair in pairs] for split, pairs in folder.splits.items()} == {
        "train": ["s0.png"],
        "val": ["s1.png"],
    }
    assert folder.notes == ["val: 1 images have no .json file, so were not annotated, and are left out"]
    (tmp_path / "train" / "img" / "s0.png").unlink()
    assert [path.name for path in read_folder(tmp_path).lone_masks] == ["s0.json"]


BAD = packed(np.ones((2, 2), bool))


@pytest.mark.parametrize(
    "values, message",
    [
        ({"points": points([1, 1])}, r"object 0: an outline of shape \(1, 2\); expected at least 3 points"),
        ({"points": points([1, 1], [2])}, r"object 0: .*; correct or delete it"),
        ({"points": None}, r"object 0: "),
        ({"points": {}}, r"object 0: no 'exterior'"),
        ({"classTitle": "cow"}, r"object 0: the class 'cow'; expected one of meta.json, dog, cat"),
        ({"classTitle": None}, r"object 0: the class None"),
        ({"geometryType": "point"}, r"object 0: a 'point'; expected a polygon, bitmap or rectangle"),
        ({"geometryType": "bitmap", "bitmap": {"data": BAD[:-9], "origin": [0, 0]}}, r"object 0: "),
        ({"geometryType": "bitmap", "bitmap": {"data": "####", "origin": [0, 0]}}, r"object 0: "),
        ({"geometryType": "bitmap", "bitmap": {"data": "bm8=", "origin": [0, 0]}}, r"object 0: "),
        ({"geometryType": "bitmap", "bitmap": {"data": 5, "origin": [0, 0]}}, r"object 0: "),
        ({"geometryType": "bitmap", "bitmap": {"data": BAD, "origin": [0]}}, r"object 0: "),
        ({"geometryType": "bitmap", "bitmap": {"data": BAD}}, r"object 0: no 'origin'"),
        ({"geometryType": "bitmap", "bitmap": None}, r"object 0: "),
        ({"geometryType": "bitmap", "bitmap": {"data": BAD, "origin": [90, 3]}}, r"object 0 \(dog\): lies outside"),
    ],
)
def test_objects_that_do_not_fit(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    change(tmp_path, **values)
    with pytest.raises(DataError, match=rf"s0.png.json.*{message}"):
        open_dataset(tmp_path).verify()


@pytest.mark.parametrize(
    "file, text, message",
    [
        ("meta.json", "{", "not a JSON file"),
        ("meta.json", "[]", "no list of `classes` with a `title` each"),
        (
            "meta.json",
            '{"classes": [{"title": "a"}, {"title": "a"}]}',
            "two classes are called 'a', class 1 and class 2",
        ),
        ("train/ann/s0.png.json", '{"objects": [', "not a JSON file"),
        ("train/ann/s0.png.json", '{"objects": 3}', "no list of `objects`"),
        ("train/ann/s0.png.json", '{"objects": ["a"]}', "object 0: "),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, file: str, text: str, message: str) -> None:
    MAKERS["supervisely"][1](tmp_path)
    (tmp_path / file).write_text(text)
    with pytest.raises(DataError, match=rf"{Path(file).name}: {message}"):
        find_pairs(tmp_path)


def test_one_data_set_alone(tmp_path: Path) -> None:
    MAKERS["supervisely"][1](tmp_path)
    assert list(find_pairs(tmp_path / "val")) == ["val"]
    write_json({"objects": []}, tmp_path / "val" / "ann" / "s1.png.json")
    folder = read_folder(tmp_path / "val")
    assert not folder.read_mask(folder.pairs[0]).any()


@pytest.mark.parametrize(
    "image_file, label_file",
    [
        ("S0.PNG", "s0.png.json"),
        ("\u00e9.png", "e\u0301.png.json"),
        ("e\u0301.png", "\u00e9.json"),
        ("s0.png", "S0.JSON"),
    ],
)
def test_an_image_in_other_letters_is_found(tmp_path: Path, image_file: str, label_file: str) -> None:
    MAKERS["supervisely"][1](tmp_path)
    (tmp_path / "train" / "img" / "s0.png").rename(tmp_path / "train" / "img" / image_file)
    (tmp_path / "train" / "ann" / "s0.png.json").rename(tmp_path / "train" / "ann" / label_file)
    folder = read_folder(tmp_path)
    folder.refuse_incomplete()
    assert [pair.image.name for pair in folder.splits["train"]] == [image_file]
    assert folder.notes == []


def test_two_images_that_fit_are_asked_about(tmp_path: Path) -> None:
    MAKERS["supervisely"][1](tmp_path)
    (tmp_path / "train" / "ann" / "s0.png.json").rename(tmp_path / "train" / "ann" / "s0.json")
    save(image(7), tmp_path / "train" / "img" / "s0.jpg")
    with pytest.raises(DataError, match=r"s0.json: its image may be s0.png or s0.jpg; expected one, keep one of them"):
        find_pairs(tmp_path)
