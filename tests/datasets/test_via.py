"""VGG Image Annotator: its other files and shapes, and what does not fit."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_layouts import MAKERS, image, save, write_json

from atrous.datasets import find_pairs, read_folder
from atrous.errors import DataError

CIRCLE = {"name": "circle", "cx": 12.0, "cy": 10.0, "r": 5.0}
ELLIPSE = {"name": "ellipse", "cx": 12, "cy": 10, "rx": 8, "ry": 3, "theta": np.pi / 2}
POLYGON = {"name": "polygon", "all_points_x": [2, 20, 20, 2], "all_points_y": [3, 3, 9, 9]}


def region(shape: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    return {"shape_attributes": shape, "region_attributes": attributes}


def write(root: Path, *regions: Any) -> Path:
    save(image(0), root / "a.png")
    write_json({"a.png7": {"filename": "a.png", "size": 7, "regions": list(regions)}}, root / "via_region_data.json")
    return root / "via_region_data.json"


def painted(root: Path) -> np.ndarray:
    folder = read_folder(root)
    folder.refuse_incomplete()
    assert folder.layout == "via"
    return folder.read_mask(folder.pairs[0])


def test_discs(tmp_path: Path) -> None:
    y, x = np.indices((20, 28)) + 0.5
    write(tmp_path, region(CIRCLE))
    np.testing.assert_array_equal(painted(tmp_path), (x - 12) ** 2 + (y - 10) ** 2 <= 25)
    write(tmp_path, region(ELLIPSE))
    np.testing.assert_array_equal(painted(tmp_path), ((x - 12) / 3) ** 2 + ((y - 10) / 8) ** 2 <= 1)


def test_a_project_and_a_table(tmp_path: Path) -> None:
    file = write(tmp_path, region(POLYGON, label="cat"), region(CIRCLE, label="dog"))
    expected = painted(tmp_path)
    assert set(np.unique(expected)) == {0, 1, 2}
    entry = json.loads(file.read_text())
    file.unlink()
    write_json({"_via_settings": {}, "_via_img_metadata": entry, "_via_attributes": {}}, tmp_path / "project.json")
    np.testing.assert_array_equal(painted(tmp_path), expected)
    (tmp_path / "project.json").unlink()
    with (tmp_path / "via_export_csv.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["filename", "file_size", "region_id", "region_shape_attributes", "region_attributes"])
        for number, one in enumerate(entry["a.png7"]["regions"]):
            cells = (json.dumps(one[key]) for key in ("shape_attributes", "region_attributes"))
            table.writerow(["a.png", 7, number, *cells])
    np.testing.assert_array_equal(painted(tmp_path), expected)


def test_which_attribute_is_the_label(tmp_path: Path) -> None:
    write(tmp_path, region(POLYGON, size="big", Class="cat"), region(CIRCLE, size="small", Class="dog"))
    folder = read_folder(tmp_path)
    assert folder.labels is not None
    assert folder.labels.names == ("background", "cat", "dog")
    write(tmp_path, region(POLYGON, size="big", colour="red"))
    with pytest.raises(DataError, match=r"regions have the attributes colour, size; expected the label in one called"):
        read_folder(tmp_path)
    write(tmp_path, region(POLYGON))
    assert read_folder(tmp_path).labels.names == ("background", "object")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "one, message",
    [
        (region({**POLYGON, "all_points_x": [1], "all_points_y": [1]}, label="x"), r"an outline of shape \(1, 2\)"),
        (region({**POLYGON, "all_points_x": [1, 2]}, label="x"), r"region 1: .*; correct or delete it"),
        (region({"name": "polygon"}, label="x"), r"region 1: no 'all_points_x'"),
        (region({**CIRCLE, "r": 0}, label="x"), r"region 1 \(x\): an ellipse of the radii 0 and 0"),
        (region({**CIRCLE, "r": "wide"}, label="x"), r"region 1: could not convert"),
        (region({"name": "point", "cx": 1, "cy": 2}, label="x"), r"a 'point', which has no area; expected a polygon"),
        (region(POLYGON), r"region 1: no single label in its attribute 'label'"),
        (region(POLYGON, label={"a": True, "b": True}), r"region 1: no single label"),
        ({"shape_attributes": 3}, r"region 1: "),
        ("region", r"region 1: "),
        (region({**POLYGON, "all_points_x": [99, 120, 120, 99]}, label="x"), r"region 1 \(x\): lies outside the image"),
    ],
)
def test_regions_that_do_not_fit(tmp_path: Path, one: Any, message: str) -> None:
    write(tmp_path, region(POLYGON, label="cat"), one)
    with pytest.raises(DataError, match=rf"via_region_data.json.*{message}"):
        painted(tmp_path)


@pytest.mark.parametrize(
    "content, message",
    [
        ('{"a": {"filename": "a.png", "regions": [', r"not a JSON file"),
        ('{"a": {"filename": "a.png", "regions": 5}}', r"not the regions of VIA"),
        ('{"a": {"filename": "a.png"}, "b": {"regions": []}}', r"not the regions of VIA \(KeyError: 'regions'\)"),
        (
            '{"a": {"filename": "lost.png", "regions": [{}]}}',
            r"1 of its images \(lost.png\) are not below .*; add them",
        ),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, content: str, message: str) -> None:
    write(tmp_path).write_text(content)
    with pytest.raises(DataError, match=rf"via_region_data.json: {message}"):
        find_pairs(tmp_path)


def test_finished_masks_come_first(tmp_path: Path) -> None:
    MAKERS["via"][1](tmp_path)
    MAKERS["pairs"][1](tmp_path)
    assert read_folder(tmp_path).layout == "pairs"
