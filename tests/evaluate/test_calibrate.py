"""Fitting the decoding of a bundle on a split, end to end."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from runs import SMALL
from worlds import make_world

from atrous.bundle import load_card, save_bundle
from atrous.cli import main
from atrous.errors import AtrousError, DataError, RecipeError
from atrous.evaluate.calibrate import calibrate
from atrous.evaluate.sources import judge
from atrous.evaluate.tune_crf import tune_crf
from atrous.files import alone
from atrous.predict import Predictor
from atrous.segmenter import Segmenter, load


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A run that has hardly learned, and its world."""
    root = tmp_path_factory.mktemp("calibrate")
    world = make_world(root / "world", val=12, test=3)
    Segmenter(**SMALL | {"crop": (48, 48), "lr": 3e-3, "validate_every": 16}).fit(world, root / "run", steps=16)
    return root / "run", world


@pytest.fixture
def run(trained: tuple[Path, Path], tmp_path: Path) -> tuple[Path, Path]:
    return shutil.copytree(trained[0], tmp_path / "run"), trained[1]


def test_the_bundle_learns_to_decide_and_stays_the_same_network(run: tuple[Path, Path]) -> None:
    folder, world = run
    image = next((world / "val" / "images").iterdir())
    before = load(folder).predict(image)
    found = calibrate(folder, recalls=(0.9, 0.8))
    after = load(folder, decode="iou", calibration="vector").predict(image)
    np.testing.assert_array_equal(after.logits, before.logits)
    assert load(folder).card.decoding == json.loads(json.dumps(found))
    assert (found["split"], found["images"]) == ("val", 12)
    for name, better in (("iou", 1), ("dice", 1), ("temperature", -1), ("vector", -1)):
        row = found["scores"][name]
        assert better * (row["fitted"] - row["before"]) >= 0, name
        assert row["held_out"] is not None
    assert found["scores"]["temperature"]["before"] > 0
    offsets = np.array(found["offsets"]["iou"], np.float32)[:, None, None]
    np.testing.assert_array_equal(after.labels, (before.logits + offsets).argmax(0))


def test_all_pixels_of_the_split_give_the_scores_that_eval_gives(run: tuple[Path, Path]) -> None:
    folder, world = run
    found = calibrate(folder)  # 12 pictures of 48 x 64: all pixels are kept
    assert found["pixels"] == 12 * 48 * 64
    assert found["scores"]["iou"]["before"] == pytest.approx(
        judge(folder, world, "val").result.summary()["miou"], abs=1e-5
    )
    decided = judge(folder, world, "val", decode="iou").result.summary()["miou"]
    assert decided == pytest.approx(found["scores"]["iou"]["fitted"], abs=1e-4)
    plain, scaled = (
        judge(folder, world, "val", full=True, calibration=name).result.summary()["calibration"]["nll"]
        for name in ("none", "temperature")
    )
    assert scaled <= plain + 1e-6


def test_sets_keep_their_share_on_the_pictures_fitted_on(run: tuple[Path, Path]) -> None:
    folder, world = run
    found = calibrate(folder, recalls=(0.8,))
    thresholds = found["thresholds"]["0.8"]
    segmenter = load(folder)
    for k, t in enumerate(thresholds):
        if t is None:
            continue
        kept = []
        for path in sorted((world / "val" / "images").iterdir()):
            mask = true_mask(world, path)
            if (mask == k).any():
                kept.append((segmenter.predict(path).probabilities[k][mask == k] >= t).mean())
        assert np.mean(kept) >= 0.8
    assert any(t is not None for t in thresholds)


def true_mask(world: Path, image: Path) -> np.ndarray:
    return np.asarray(Image.open(world / "val" / "masks" / f"{image.stem}.png"))


def test_the_command_line(run: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, world = run
    main_ok(["calibrate", str(folder), "--recall", "0.8"])
    said = capsys.readouterr().out
    assert "held out" in said
    assert "atrous predict" in said
    image = next((world / "test" / "images").iterdir())
    asked = ["predict", str(image), "--model", str(folder), "--decode", "iou", "--recall", "0.8",
             "--backend", "torch"]  # fmt: skip
    main_ok([*asked, "-o", str(tmp_path / "out")])
    assert (tmp_path / "out" / "uncertain" / f"{image.stem}.png").exists()
    capsys.readouterr()
    main_ok(["eval", str(folder), str(world), "--decode", "dice", "--json"])
    assert json.loads(capsys.readouterr().out)["decode"] == "dice"


def main_ok(arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert not stopped.value.code


def test_what_cannot_be(run: tuple[Path, Path], tmp_path: Path) -> None:
    folder, _ = run
    with pytest.raises(AtrousError, match="was trained on the pictures of `train`"):
        calibrate(folder, split="train")
    with pytest.raises(AtrousError, match="--recall 90: must be between 0 and 1"):
        calibrate(folder, recalls=(90,))
    with pytest.raises(DataError, match="nowhere: "):
        calibrate(folder, tmp_path / "nowhere")
    assert load(folder).card.decoding == {}, "nothing is written when it fails"


def test_what_was_written_into_the_card_meanwhile_stays(
    run: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = run
    bundle = folder / "model.safetensors"

    def fit(predictor: Predictor, *_: object, **__: object) -> dict[str, object]:
        save_bundle(bundle, predictor.model, replace(predictor.card, licence="meanwhile"))
        return {"temperature": 2.0, "vector": {}, "offsets": {}, "thresholds": {}}

    monkeypatch.setattr("atrous.evaluate.calibrate.fit_decoding", fit)
    calibrate(folder)
    assert (load_card(bundle).licence, load_card(bundle).decoding["temperature"]) == ("meanwhile", 2.0)


def test_two_never_work_in_one_run_at_once(run: tuple[Path, Path]) -> None:
    folder, world = run
    before = (folder / "model.safetensors").read_bytes()
    with alone(folder):
        for work in (
            lambda: calibrate(folder),
            lambda: tune_crf(folder, tried=[("graph_cut", {})]),
            lambda: Segmenter(**SMALL | {"crop": (48, 48), "lr": 3e-3, "validate_every": 16}).fit(
                world, folder, steps=16
            ),
        ):
            with pytest.raises(RecipeError, match="works in this folder"):
                work()
    assert (folder / "model.safetensors").read_bytes() == before
