"""Several networks as one, and the folds of a cross-validation."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from worlds import make_world

import atrous
from atrous.bundle import Card, save_bundle
from atrous.cli import main
from atrous.datasets import open_dataset
from atrous.errors import AtrousError, DataError, RecipeError, WeightsError
from atrous.evaluate.evaluation import evaluate, pooled
from atrous.evaluate.sources import held_out, judge
from atrous.labels import LabelSet
from atrous.predict import Predictor
from atrous.predict.loading import digest, load_network
from atrous.train.recipe import Recipe

SMALL = {
    "encoder": "test_resnet",
    "channels": (16, 8, 8, 8),
    "pretrained": False,
    "batch": 2,
    "crop": (32, 32),
    "steps": 2,
}
NORMS = [((100.0, 110.0, 120.0), (50.0, 60.0, 70.0)), ((90.0, 100.0, 140.0), (55.0, 40.0, 80.0))]


@pytest.mark.parametrize("mode", ["exclusive", "multilabel"])
def test_probabilities_are_the_mean_of_those_that_each_gives(tmp_path: Path, mode: str) -> None:
    labels = LabelSet(("a", "b", "c"), mode=mode)  # type: ignore[arg-type]
    options = {"in_channels": 3, "encoder": "test_resnet"}
    image, singles = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8), []
    for fold, (mean, std) in enumerate(NORMS, 1):
        torch.manual_seed(fold)
        card = Card("unet", options, labels, mean=mean, std=std, recipe={"fold": (fold, 2)})
        model = card.build().eval()
        save_bundle(tmp_path / f"fold-{fold}" / "model.safetensors", model, card)
        singles.append(torch.from_numpy(Predictor(model, card)(image).logits.copy()))
    exclusive = mode == "exclusive"
    mean = torch.stack([one.softmax(0) if exclusive else one.sigmoid() for one in singles]).mean(0)
    together = torch.from_numpy(Predictor(*load_network(tmp_path))(image).logits.copy())
    torch.testing.assert_close(together.softmax(0) if exclusive else together.sigmoid(), mean, rtol=1e-4, atol=1e-5)
    assert (singles[0] - singles[1]).abs().max() > 0.01
    name = digest(tmp_path)
    (tmp_path / "fold-2" / "model.safetensors").unlink()
    with pytest.raises(WeightsError, match="fold-2 is not finished"):
        load_network(tmp_path)
    with pytest.raises(WeightsError):
        digest(tmp_path)
    assert name != digest(tmp_path / "fold-1")


def test_pooled_folds_are_one_evaluation(tmp_path: Path) -> None:
    data = open_dataset(make_world(tmp_path))
    guess = lambda sample: (sample.mask + 1) % 3 if "train1" in str(sample.path) else sample.mask  # noqa: E731
    pairs = data.splits["train"]
    parts = [evaluate(guess, pairs.choose(chosen), data.labels, "val") for chosen in ([0, 1], [2, 3, 4, 5])]
    whole = evaluate(guess, pairs, data.labels, "val")
    found = pooled(parts)
    assert found.names == whole.names
    assert {**found.summary(), "seconds": 0} == {**whole.summary(), "seconds": 0}


def test_folds_train_predict_together_and_are_judged_only_on_what_none_has_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    world, run = make_world(tmp_path / "world"), tmp_path / "run"
    segmenter = atrous.Segmenter("unet", **SMALL).fit(world, run, folds=2)
    numbers = json.loads((run / "metrics.json").read_text())
    assert numbers["val"]["images"] == 8
    assert len(numbers["folds"]) == 2
    picture = world / "test" / "images" / "test0.png"
    singles = [atrous.load(run / f"fold-{fold}").predict(picture).probabilities for fold in (1, 2)]
    together = atrous.load(run).predict(picture)
    np.testing.assert_allclose(together.probabilities, np.mean(singles, axis=0), atol=1e-5)
    assert np.array_equal(segmenter.predict(picture).labels, together.labels)
    with pytest.raises(SystemExit):
        main(["predict", str(picture), "--model", str(run), "-o", str(tmp_path / "out"), "--backend", "torch"])
    assert (tmp_path / "out" / "test0.png").exists()
    assert judge(run, world).result.split == "test"
    with pytest.raises(DataError, match="has no split 'val'; it has test"):
        judge(run, world, "val")
    names = [judge(run / f"fold-{fold}", world, "val").result.names for fold in (1, 2)]
    assert sorted(names[0] + names[1]) == sorted(
        f"{split}{i}.png" for split, n in (("train", 6), ("val", 2)) for i in range(n)
    )
    with pytest.raises(AtrousError, match="give one fold"):
        held_out(run, world, None)
    with pytest.raises(WeightsError, match="distil them"):
        segmenter.save(tmp_path / "x.safetensors")
    before = [(run / f"fold-{fold}" / "model.safetensors").stat().st_mtime_ns for fold in (1, 2)]
    atrous.Segmenter("unet", **SMALL).fit(world, run, folds=2)
    assert [(run / f"fold-{fold}" / "model.safetensors").stat().st_mtime_ns for fold in (1, 2)] == before
    for wrong, match in (
        ({}, "holds a cross-validation"),
        ({"folds": 3}, "fold"),
        ({"folds": 2, "extend": 1}, "one by one"),
    ):
        with pytest.raises(RecipeError, match=match):
            atrous.Segmenter("unet", **SMALL).fit(world, run, **wrong)
    atrous.Segmenter().fit(world, run / "fold-2", extend=1)
    assert Recipe.load(run / "fold-2" / "recipe.toml").steps == 3
    student = atrous.Segmenter("unet", **SMALL, distil=str(run)).fit(world, tmp_path / "student")
    assert student.card.recipe["distil"] == str(run)
    capsys.readouterr()


def test_without_pictures_of_its_own_an_ensemble_has_no_score(tmp_path: Path) -> None:
    world = make_world(tmp_path / "world", test=0)
    options = {"in_channels": 3, "encoder": "test_resnet"}
    for fold in (1, 2):
        recipe = {"fold": (fold, 2), "data": str(world)}
        card = Card("unet", options, open_dataset(world).labels, *NORMS[0], recipe=recipe, data=str(world))
        save_bundle(tmp_path / "run" / f"fold-{fold}" / "model.safetensors", card.build(), card)
    with pytest.raises(DataError, match=r"some of the 2 networks saw every picture; .* metrics.json"):
        atrous.load(tmp_path / "run").score(world)
