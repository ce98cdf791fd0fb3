import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from worlds import make_world

from atrous.datasets import open_dataset
from atrous.errors import DataError
from atrous.evaluate.evaluation import Evaluation, evaluate, from_folder
from atrous.labels import LabelSet
from atrous.metrics import TrimapCurve


def test_truth_scores_one_and_a_shift_scores_what_brute_force_says(tmp_path: Path) -> None:
    data = open_dataset(make_world(tmp_path))
    pairs = data.splits["test"]
    assert evaluate(lambda sample: sample.mask, pairs, data.labels, "test").summary()["miou"] == 1
    result = evaluate(lambda sample: np.roll(sample.mask, 5, axis=1), pairs, data.labels, "test")
    truth = np.stack([pairs[i].mask for i in range(2)])
    shifted = np.roll(truth, 5, axis=2)
    iou = [((truth == k) & (shifted == k)).sum() / ((truth == k) | (shifted == k)).sum() for k in range(3)]
    summary = result.summary()
    assert summary["miou"] == pytest.approx(np.mean(iou), abs=1e-6)
    assert list(summary["per_class"].values()) == pytest.approx(iou, abs=1e-6)
    assert summary["pixel_accuracy"] == pytest.approx((truth == shifted).mean(), abs=1e-6)
    assert summary["interval"][0] <= summary["miou"] <= summary["interval"][1]
    assert len(result.image_scores()) == summary["images"] == 2


def test_runs_of_frames_are_one_in_the_intervals_of_classes() -> None:
    """Frames that come in pairs of equals: as many images as pairs, so the interval is that of the pairs."""
    rng = np.random.default_rng(0)
    true = rng.integers(50, 100, (12, 2))
    hit = rng.integers(20, 50, (12, 2))
    one = np.stack([true, true, hit], axis=1)
    labels = LabelSet(("a", "b"))

    def intervals(counts: np.ndarray, block: int) -> dict[str, tuple[float, float] | None]:
        return Evaluation(labels, "test", np.zeros(0), counts, [""] * len(counts), 0.0, block=block).intervals()[1]

    single, paired = intervals(one, 1), intervals(one.repeat(2, axis=0), 2)
    assert paired == single
    naive = intervals(one.repeat(2, axis=0), 1)
    assert naive["a"][1] - naive["a"][0] < 0.8 * (single["a"][1] - single["a"][0])


def test_label_maps_of_a_folder(tmp_path: Path) -> None:
    data = open_dataset(make_world(tmp_path / "world"))
    folder = tmp_path / "maps"
    folder.mkdir()
    with pytest.raises(DataError, match="holds no label maps"):
        from_folder(folder, data.labels, data.splits["test"])
    for name in ("test0", "test1"):
        Image.open(tmp_path / "world" / "test" / "masks" / f"{name}.png").save(folder / f"{name}.png")
    predict, surplus = from_folder(folder, data.labels, data.splits["test"])
    assert surplus == []
    assert evaluate(predict, data.splits["test"], data.labels, "test").summary()["miou"] == 1
    values = np.asarray(Image.open(folder / "test0.png")).copy()
    values[:10] = 77  # no class: a miss, never dropped
    Image.fromarray(values).save(folder / "test0.png")
    accuracy = evaluate(
        from_folder(folder, data.labels, data.splits["test"])[0], data.splits["test"], data.labels, "test"
    ).summary()["pixel_accuracy"]
    assert accuracy == pytest.approx(1 - 10 / 96)
    Image.fromarray(values[:5]).save(folder / "test0.png")
    with pytest.raises(DataError, match=r"test0\.png: has 64x5 .*64x48"):
        evaluate(from_folder(folder, data.labels, data.splits["test"])[0], data.splits["test"], data.labels, "test")
    (folder / "test0.png").unlink()
    with pytest.raises(DataError, match=r"no prediction for test0\.png"):
        evaluate(from_folder(folder, data.labels, data.splits["test"])[0], data.splits["test"], data.labels, "test")


def test_as_many_widths_as_classes_are_not_taken_for_classes(tmp_path: Path) -> None:
    data = open_dataset(make_world(tmp_path))
    curve = TrimapCurve(3, widths=(1, 2, 3))
    summary = evaluate(lambda s: s.mask, data.splits["test"], data.labels, "test", metrics={"trimap": curve}).summary()
    assert json.loads(json.dumps(summary))["trimap"]["widths"] == [1, 2, 3]
    assert summary["trimap"]["miou"] == [1, 1, 1]
    assert summary["trimap"]["iou"][0] == {"ground": 1, "disc": 1, "bar": 1}
