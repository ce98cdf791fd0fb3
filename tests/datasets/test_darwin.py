"""Darwin JSON: its two versions, and what does not fit."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_layouts import MAKERS, image, save, write_json

from atrous.datasets import find_pairs, open_dataset, read_folder
from atrous.errors import DataError

SQUARE = [{"x": x, "y": y} for x, y in ((2, 3), (9, 3), (9, 8), (2, 8))]


def test_version_1(tmp_path: Path) -> None:
    save(image(0), tmp_path / "images" / "a.png")
    content = {
        "dataset": "cells",
        "image": {"width": 28, "height": 20, "original_filename": "a.png", "filename": "a.png", "path": "/"},
        "annotations": [{"name": "cat", "bounding_box": {}, "polygon": {"path": SQUARE}}],
    }
    write_json(content, tmp_path / "annotations" / "a.json")
    folder = read_folder(tmp_path)
    assert (folder.layout, list(folder.splits)) == ("darwin", ["all"])
    expected = np.zeros((20, 28), np.uint8)
    expected[3:8, 2:9] = 1
    np.testing.assert_array_equal(folder.read_mask(folder.pairs[0]), expected)


@pytest.mark.parametrize(
    "entry, message",
    [
        ({"name": "cat", "polygon": {"paths": [SQUARE[:1]]}}, r"annotation 0: an outline of shape \(1, 2\)"),
        ({"name": "cat", "polygon": {"paths": [[{"x": 1}]]}}, r"annotation 0: no 'y'"),
        ({"name": "cat", "polygon": {}}, r"annotation 0: "),
        ({"name": "cat", "polygon": 7}, r"annotation 0: "),
        ({"name": "cat", "bounding_box": {"x": 1}}, r"annotation 0: no polygon but bounding_box; expected polygons"),
        ({"polygon": {"paths": [SQUARE]}}, r"annotation 0: no 'name'"),
        ("cat", r"annotation 0: "),
        ({"name": "cat", "polygon": {"path": [{"x": p["x"] + 90, "y": p["y"]} for p in SQUARE]}}, r"lies outside"),
    ],
)
def test_annotations_that_do_not_fit(tmp_path: Path, entry: Any, message: str) -> None:
    MAKERS["darwin"][1](tmp_path)
    file = tmp_path / "releases" / "train" / "d0.json"
    content = json.loads(file.read_text())
    content["annotations"].insert(0, entry)
    file.write_text(json.dumps(content))
    with pytest.raises(DataError, match=rf"d0.json.*{message}"):
        open_dataset(tmp_path).verify()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"item": {"name": "lost.png"}}, r"d0.json: 1 of its images \(lost.png\) are not below .*; add them"),
        ({"item": {}}, r"d0.json: no `item` with a name; expected Darwin JSON"),
        ({"item": None}, r"d0.json: no `item` with a name"),
        ({"annotations": {}}, r"d0.json: no `item` with a name"),
        ({"item": {"name": "d0.png", "slots": [{"height": -4, "width": 9}]}}, r"d0.json .*an image of -4 x 9 pixels"),
        (
            {"item": {"name": "d0.png", "slots": [{"height": 40, "width": 56}]}},
            r"d0.json \(image d0.png\): the mask is 40x56 pixels \(H x W\), its image d0.png is 20x28",
        ),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    MAKERS["darwin"][1](tmp_path)
    file = tmp_path / "releases" / "train" / "d0.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path).verify()


def test_a_file_that_is_cut_and_a_name_that_two_images_have(tmp_path: Path) -> None:
    MAKERS["darwin"][1](tmp_path)
    file = tmp_path / "releases" / "train" / "d0.json"
    whole = file.read_text()
    file.write_text(whole[:-9])
    with pytest.raises(DataError, match=r"d0.json: not a JSON file"):
        find_pairs(tmp_path)
    file.write_text(whole.replace("/train", "/"))
    save(image(3), tmp_path / "images" / "val" / "d0.png")
    with pytest.raises(DataError, match=r"'d0.png' may be images/train/d0.png or images/val/d0.png; expected one"):
        find_pairs(tmp_path)
