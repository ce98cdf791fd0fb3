"""Label Studio's brushes as PNG: the tasks tell their images."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from make_layouts import SIZE, image, label_studio_png, save

from atrous.datasets import open_dataset, read_folder
from atrous.doctor import examine_dataset
from atrous.errors import DataError

ONE = np.zeros(SIZE, np.uint8)
ONE[4:9, 4:9] = 255


@pytest.mark.parametrize("folder", ["", "masks", "project-1"])
def test_one_image_and_one_task_belong_together(tmp_path: Path, folder: str) -> None:
    save(image(0), tmp_path / "images" / "0a1b2c3d-a.png")
    save(ONE, tmp_path / folder / "task-3-annotation-7-by-1-tag-cat-0.png")
    found = read_folder(tmp_path)
    assert found.layout == "label_studio_png"
    assert found.labels is not None
    assert found.labels.names == ("background", "cat")
    np.testing.assert_array_equal(found.read_mask(found.pairs[0]), ONE // 255)


def test_json_min_tells_the_images_too(tmp_path: Path) -> None:
    truth = label_studio_png(tmp_path)
    tasks = [
        {"id": task["id"], **task["data"], "annotator": 1} for task in json.loads((tmp_path / "tasks.json").read_text())
    ]
    (tmp_path / "tasks.json").write_text(json.dumps(tasks))
    found = read_folder(tmp_path)
    assert {pair.image.stem: pair.entry for pair in found.pairs} == {"0a1b2c3d-a b": "task 3", "c": "task 12"}
    for pair in found.pairs:
        np.testing.assert_array_equal(found.read_mask(pair), truth[pair.image.stem])


@pytest.mark.parametrize(
    ("control", "labels"), [("label", ("car", "bus")), ("brush", ("car-door", "car")), ("my-brush", ("x-1", "y"))]
)
def test_labels_stand_behind_what_all_names_share(tmp_path: Path, control: str, labels: tuple[str, ...]) -> None:
    save(image(0), tmp_path / "images" / "a.png")
    for place, label in enumerate(labels):
        brush = np.zeros(SIZE, np.uint8)
        brush[5 * place : 5 * place + 3] = 255
        save(brush, tmp_path / "masks" / f"task-1-annotation-2-by-me@x-y.org-{control}-{label}-0.png")
    assert read_folder(tmp_path).labels.names == ("background", *sorted(labels))  # type: ignore[union-attr]


def _two_labels(root: Path) -> None:
    save(ONE, root / "masks" / "task-3-annotation-7-by-me@my-firm.org-tag-tree-1.png")


def _two_annotations(root: Path) -> None:
    save(ONE, root / "masks" / "task-12-annotation-8-by-me@my-firm.org-tag-tree-0.png")


def _no_tasks(root: Path) -> None:
    (root / "tasks.json").unlink()


def _no_such_task(root: Path) -> None:
    save(ONE, root / "masks" / "task-99-annotation-8-by-me@my-firm.org-tag-tree-0.png")


def _no_image(root: Path) -> None:
    (root / "images" / "c.jpg").unlink()


def _other_size(root: Path) -> None:
    save(ONE[:-2], root / "masks" / "task-12-annotation-7-by-me@my-firm.org-tag-tree-1.png")


def _other_authors(root: Path) -> None:
    for name in ("task-12-annotation-7-by-you-label-tree-3.png", "task-12-annotation-7-by-her-label-tree-4.png"):
        save(ONE, root / "masks" / name)


def _background_over_a_label(root: Path) -> None:
    save(ONE, root / "masks" / "task-3-annotation-7-by-me@my-firm.org-tag-Background-0.png")


def _tasks_of_two_projects(root: Path) -> None:
    images = {3: "c.jpg", 12: "0a1b2c3d-a%20b.jpg"}
    (root / "old.json").write_text(json.dumps([{"id": task, "image": name} for task, name in images.items()]))


def _a_task_twice(root: Path) -> None:
    tasks = json.loads((root / "tasks.json").read_text())
    (root / "tasks.json").write_text(json.dumps([*tasks, tasks[0] | {"data": tasks[1]["data"]}]))


def _no_address(root: Path) -> None:
    (root / "tasks.json").write_text(json.dumps([{"id": 3, "data": {"image": "http://[a/c.jpg"}}]))


FAULTS: dict[Callable[[Path], None], str] = {
    _two_labels: "tree-1.png.* pixels have another label too",
    _two_annotations: "task 12 has the annotations 7 and 8; keep the brushes of one of them",
    _no_tasks: "do not tell their images; expected the tasks as JSON",
    _no_such_task: "tasks.json: has no task 99, which has brushes",
    _no_image: "task 12 names .*c.jpg, which is not below",
    _other_size: "tree-1.png: .* pixels, c.jpg .*; expected equal sizes",
    _other_authors: "do not tell where the label begins",
    _background_over_a_label: "pixels have another label too",
    _tasks_of_two_projects: "tasks.json: task 3 has two images, c.jpg and 0a1b2c3d-a b.jpg; keep the export",
    _a_task_twice: "tasks.json: task 3 has two images, 0a1b2c3d-a b.jpg and c.jpg; keep the export",
    _no_address: "tasks.json: task 3 is damaged .*; export it again",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_what_cannot_be_told_is_one_sentence(tmp_path: Path, fault: Callable[[Path], None]) -> None:
    label_studio_png(tmp_path)
    fault(tmp_path)
    with pytest.raises(DataError, match=FAULTS[fault]):
        open_dataset(tmp_path).verify()


def test_tasks_may_stand_in_several_files(tmp_path: Path) -> None:
    label_studio_png(tmp_path)
    tasks = json.loads((tmp_path / "tasks.json").read_text())
    (tmp_path / "tasks.json").write_text(json.dumps(tasks[:1]))
    (tmp_path / "z.json").write_text(json.dumps(tasks))
    assert [pair.entry for pair in read_folder(tmp_path).pairs] == ["task 3", "task 12"]


def test_labels_that_mean_the_background_are_value_0(tmp_path: Path) -> None:
    label_studio_png(tmp_path)
    corner = np.zeros(SIZE, np.uint8)
    corner[-2:, :2] = 255
    save(corner, tmp_path / "masks" / "task-12-annotation-7-by-me@my-firm.org-tag-Background-0.png")
    data = open_dataset(tmp_path, holdout=0)
    data.verify()
    assert data.labels.names == ("background", "road-side", "tree")


@pytest.mark.parametrize("fault", [_two_annotations, _tasks_of_two_projects])
def test_check_calls_it_a_contradiction(tmp_path: Path, fault: Callable[[Path], None]) -> None:
    label_studio_png(tmp_path)
    fault(tmp_path)
    assert {one.kind for one in examine_dataset(tmp_path).errors} == {"contradiction"}
