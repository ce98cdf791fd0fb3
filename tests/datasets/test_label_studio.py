"""Label Studio: brushes as PNG, and tasks of a wrong form."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from make_layouts import MAKERS, image, save

from atrous.datasets import read_folder
from atrous.errors import DataError


@pytest.mark.parametrize("folder", ["", "masks", "project-1"])
def test_brushes_as_png_are_named(tmp_path: Path, folder: str) -> None:
    save(image(0), tmp_path / "images" / "0a1b2c3d-a.png")
    save(np.eye(20, 28, dtype=np.uint8) * 255, tmp_path / folder / "task-3-annotation-7-by-1-tag-cat-0.png")
    with pytest.raises(
        DataError, match=r"tag-cat-0.png: a brush that Label Studio exported as PNG, .* export it again"
    ):
        read_folder(tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"annotations": 5},
        {"annotations": [3]},
        {"data": "a.jpg"},
        {"annotations": [{"result": [1]}]},
        {"annotations": [{"result": [{"type": {}, "value": {"points": [], "labels": ["x"]}}]}]},
        {"annotations": [{"result": [{"type": "polygonlabels", "value": {"points": [], "polygonlabels": {"a": 1}}}]}]},
    ],
)
def test_a_task_of_a_wrong_form_is_a_fault(tmp_path: Path, change: dict[str, Any]) -> None:
    MAKERS["label studio"][1](tmp_path)
    file = tmp_path / "project-1.json"
    tasks = json.loads(file.read_text())
    tasks[0] |= change
    file.write_text(json.dumps(tasks))
    folder = read_folder(tmp_path)
    assert len(folder.faults) == 1
    assert folder.faults[0][1].startswith("task 1 in the list is damaged (")
    assert folder.faults[0][1].endswith("); export it again")
