"""The search uses a refiner that helps, leaves one off that does not, and judges no choice where it was made."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from command_line import SMALL, run
from worlds import make_world, picture

from atrous.bundle import load_bundle
from atrous.errors import AtrousError, DataError
from atrous.evaluate import tune_crf
from atrous.evaluate.tune_crf import crf_candidates, search
from atrous.labels import LabelSet
from atrous.metrics import ConfusionMatrix
from atrous.sample import Sample

LABELS = LabelSet(("ground", "disc", "bar"), ignore=(255,))
FEW = [("pydensecrf", {}), ("guided_filter", {"radius": 3}), ("graph_cut", {"smoothness": 0.5})]


def known(card: Any, predict: Any) -> Any:
    """What a search asks of a predictor: its card, and a prediction of an image."""

    class Known:
        def __call__(self, image: np.ndarray) -> Any:
            return predict(image)

    found = Known()
    found.card = card  # type: ignore[attr-defined]
    return found


def pairs(count: int, seed: int = 0) -> list[Sample]:
    rng = np.random.default_rng(seed)
    samples = []
    for _ in range(count):
        image, mask = picture(rng, 24, 32)
        mask[:2] = 255
        samples.append(Sample(image, mask))
    return samples


def predictor(right: float, blobs: bool = False) -> Any:
    """Names the true class of a pixel so often; of blobs, wrongly over whole patches that no colour contradicts."""
    rng = np.random.default_rng(1)

    def predict(image: np.ndarray) -> Any:
        colours = np.array([[90, 60, 30], [220, 40, 40], [40, 90, 220]])
        seen = ((image[..., None, :].astype(float) - colours) ** 2).sum(-1).argmin(-1)
        noise = rng.random(seen.shape) > right
        labels = np.where(noise, rng.integers(0, 3, seen.shape), seen)
        probabilities = np.where(np.arange(3)[:, None, None] == labels, 0.6, 0.2).astype(np.float32)
        return SimpleNamespace(image=image, labels=labels, probabilities=probabilities)

    card = SimpleNamespace(labels=LABELS, dtype="uint8", mean=(0.0,) * 3, std=(1.0,) * 3)
    return known(card, predict)


def test_what_helps_is_used() -> None:
    found = search(predictor(0.6), pairs(12), FEW)
    assert found["use"]
    assert found["difference"] > 0.1
    assert found["held_out"] == pytest.approx(found["before"] + found["difference"], abs=1e-5)
    best = max(found["candidates"], key=lambda row: row["miou"])
    assert (found["name"], found["options"]) == (best["name"], best["options"])
    assert len(found["candidates"]) == 3


def test_what_does_not_help_is_left_off() -> None:
    found = search(predictor(1.0), pairs(12), [("pydensecrf", {"iterations": 10}), ("graph_cut", {"smoothness": 8.0})])
    assert not found["use"]
    assert found["difference"] <= 0
    assert found["held_out"] <= found["before"]


def test_a_fold_is_judged_by_what_was_chosen_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two refiners, each right on one half of the pictures alone: chosen on the other half, each is wrong."""

    class Half:
        def __init__(self, name: str, *_: object) -> None:
            self.name = name

        def __call__(self, image: np.ndarray, probabilities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            late, right = int(image[0, 0, 0]), image[..., 1].astype(int)
            return (right if (self.name == "late") == bool(late) else 1 - right), probabilities

    samples = []
    for index in range(8):
        mask = np.random.default_rng(index).integers(0, 2, (4, 4)).astype(np.uint8)
        image = np.stack([np.full((4, 4), index >= 4, np.uint8), mask, mask], -1)
        samples.append(Sample(image, mask))
    labels = LabelSet(("a", "b"))
    card = SimpleNamespace(labels=labels, dtype="uint8", mean=(0.0,) * 3, std=(1.0,) * 3)

    def predict(image: np.ndarray) -> Any:
        half_right = np.where(np.arange(16).reshape(4, 4) % 2, image[..., 1], 1 - image[..., 1])
        return SimpleNamespace(image=image, labels=half_right, probabilities=np.zeros((2, 4, 4), np.float32))

    monkeypatch.setattr(tune_crf, "Refinement", Half)
    monkeypatch.setattr(tune_crf, "FOLDS", 2)
    found = search(known(card, predict), samples, [("early", {}), ("late", {})])
    assert not found["use"]
    assert found["held_out"] == 0.0
    assert found["difference"] < -0.2


def test_a_video_is_judged_whole_and_few_videos_never_say_yes() -> None:
    samples = pairs(12)
    one = search(predictor(0.6), samples, FEW)
    assert one["use"]
    assert one["videos"] is None
    few = search(predictor(0.6), samples, FEW, videos=["a"] * 6 + ["b"] * 6)
    assert (few["use"], few["videos"], few["difference"]) == (False, 2, one["difference"])
    many = search(predictor(0.6), samples, FEW, videos=[f"film {k // 2}" for k in range(12)])
    assert (many["use"], many["videos"], many["folds"]) == (True, 6, 6)
    assert many["interval"] != one["interval"]


def test_counts_are_those_of_the_labels() -> None:
    samples = pairs(5)
    found = search(predictor(1.0), samples, [("graph_cut", {"smoothness": 1e-6})])
    matrix = ConfusionMatrix(3, ignore=255)
    for sample in samples:
        matrix.update(predictor(1.0)(sample.image).labels, sample.mask)
    assert found["before"] == pytest.approx(float(matrix.compute()["miou"]), abs=1e-6)
    assert found["candidates"][0]["miou"] == found["before"]


def test_few_pictures_are_refused_and_candidates_are_known() -> None:
    with pytest.raises(DataError, match="3 pictures cannot be cut into folds"):
        search(predictor(1.0), pairs(3), FEW)
    names = {name for name, _ in crf_candidates()}
    assert {"deeplab_v2", "pydensecrf", "crf", "graph_cut"} <= names


def test_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tune_crf, "crf_candidates", lambda: FEW)
    world, folder = make_world(tmp_path / "world", val=4), tmp_path / "run"
    assert run("train", world, "-o", folder, *SMALL) == 0
    capsys.readouterr()
    assert run("eval", folder, world, "--refine", "tuned") == 2
    assert "atrous tune-crf" in capsys.readouterr().err
    assert run("tune-crf", folder, world, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["split"] == "val"
    assert load_bundle(folder / "model.safetensors")[1].refinement == found
    assert run("tune-crf", folder) == 0
    said = capsys.readouterr().out
    assert "guided_filter" in said
    assert ("--refine tuned" if found["use"] else "leave it off") in said
    assert run("eval", folder, world, "--refine", "graph_cut", "--refine-option", "smoothness=9", "--json") == 0
    cut = json.loads(capsys.readouterr().out)
    assert run("eval", folder, world, "--json") == 0
    assert json.loads(capsys.readouterr().out)["miou"] != cut["miou"]
    assert cut["refine"] == "graph_cut"
    plain = ["--refine", "crf", "--backend", "torch"]
    picture_of = next((world / "test" / "images").iterdir())
    assert run("predict", picture_of, "--model", folder, "-o", tmp_path / "out", *plain) == 0
    assert (tmp_path / "out" / picture_of.name).exists()
    with pytest.raises(AtrousError, match="was trained on the pictures"):
        tune_crf.tune_crf(folder, world, "train")
