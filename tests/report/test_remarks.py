from pathlib import Path

import numpy as np
import pytest
from worlds import make_world

from atrous.datasets import open_dataset
from atrous.evaluate.evaluation import Evaluation
from atrous.labels import LabelSet
from atrous.report import remarks
from atrous.report.remarks import Remark, data_remarks

LABELS = LabelSet(("ground", "disc", "bar"))


def result(true: np.ndarray, split: str = "test") -> Evaluation:
    """An evaluation of images with these true pixels (n, 3), all of them hit."""
    counts = np.stack([true, true, true], axis=1)
    names = [f"{k}.png" for k in range(len(true))]
    return Evaluation(LABELS, split, np.diag(true.sum(0)), counts, names, 0.0)


def test_a_plain_data_set_has_nothing_but_its_size() -> None:
    assert data_remarks(result(np.full((30, 3), 100))) == [Remark("note", "Images: 30 in test")]


def test_absent_rare_and_seldom_shown_classes_are_named() -> None:
    true = np.zeros((1200, 3), int)
    true[:, 0] = 1000
    true[:4, 1] = 50
    found = data_remarks(result(true))
    assert [one.severity for one in found] == ["warning", "warning", "note", "note"], "warnings first"
    assert {one.text for one in found} == {
        "Classes without a true pixel in test: bar",
        "Classes in fewer than 10 of 1200 images, whose intervals say little: disc (4)",
        "Classes with less than 1\u202f% of the pixels of test: disc (0.02\u202f%)",
        "Images: 1\u202f200 in test",
    }


def test_images_without_labels_are_counted() -> None:
    true = np.full((30, 3), 100)
    true[3:5] = 0
    assert Remark("note", "2 of 30 images have no labelled pixel and count nowhere") in data_remarks(result(true))


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return make_world(tmp_path, train=4, val=3, test=2)


def test_the_other_splits_are_looked_at(world: Path) -> None:
    data = open_dataset(world)
    frequencies = data.splits["train"].frequencies()
    true = np.tile(frequencies, (20, 1))
    found = data_remarks(result(true), data.splits, ["a note"])
    assert found == [
        Remark("note", "Images: 4 in train, 3 in val, 20 in test"), Remark("note", "a note")
    ]  # fmt: skip
    true[:, 2] //= 4
    moved = data_remarks(result(true), {"train": data.splits["train"]})[-1].text
    share, here = frequencies[2] / frequencies.sum(), true[0, 2] / true[0].sum()
    assert moved == (
        f"Classes whose share of the pixels differs by a factor of 3 or more: bar ({100 * share:.2f}\u202f% of train, "
        f"{100 * here:.2f}\u202f% of test)"
    )


def test_a_class_that_was_never_trained_on_is_a_warning(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    labels = LabelSet((*LABELS.names, "ghost"))
    splits = open_dataset(world, labels=labels).splits
    true = np.full((20, 4), 100)
    one = Evaluation(labels, "test", np.diag(true.sum(0)), np.stack([true] * 3, axis=1), ["x"] * 20, 0.0)
    assert data_remarks(one, splits)[0] == Remark(
        "warning", "Classes without a true pixel in train, which were never learned: ghost"
    )
    monkeypatch.setattr(remarks, "MOST_MASKS", 2)
    some = [found for found in data_remarks(one, splits) if "ghost" in found.text]
    assert Remark("note", "Classes without a true pixel in one mask in 2 of train: ghost") in some
    assert all(found.severity == "note" for found in some), "what was not read in full is no proof"
