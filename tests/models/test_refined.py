"""A page with a CRF as its last layer: raw colours, the model contract, training, bundle, resume bit for bit."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from worlds import make_world

import atrous
from atrous.bundle import Card, load_bundle, save_bundle
from atrous.cli import main
from atrous.datasets import open_dataset
from atrous.errors import ModelError, RecipeError
from atrous.labels import CAMVID11
from atrous.losses import LOSSES
from atrous.models import create_model
from atrous.models.refined import LAYERS, Refined, refined
from atrous.plan import draft
from atrous.refine import CRFRNN, ConvCRF
from atrous.report.build import train_command
from atrous.train.loggers import read_log
from atrous.train.loop import train
from atrous.train.objective import Normalise, Objective
from atrous.train.optimizer import make_optimizer
from atrous.train.recipe import Recipe
from atrous.train.run import build

MEAN, STD = (100.0, 110.0, 120.0), (50.0, 60.0, 70.0)
PAGES = [
    ("unet", {"encoder": "test_resnet"}),
    ("deeplabv3", {"encoder": "test_resnet", "aux": True}),
    ("unetpp", {"encoder": "test_resnet", "channels": (16, 12, 8, 8), "aux": True}),
    ("segnet_basic", {"width": 2}),
]

every_layer = pytest.mark.parametrize("layer", sorted(LAYERS))
every_page = pytest.mark.parametrize("page, options", PAGES, ids=[name for name, _ in PAGES])


class Spy(nn.Module):
    """A refiner that remembers what it was given."""

    def forward(self, image: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        self.image, self.logits = image, logits
        return logits + 1


@pytest.mark.parametrize("dtype, highest", [("uint8", 255), ("uint16", 65535)])
@torch.no_grad()
def test_the_layer_sees_raw_colours(monkeypatch: pytest.MonkeyPatch, dtype: str, highest: int) -> None:
    monkeypatch.setitem(LAYERS, "spy", lambda classes: Spy())
    page, raw = create_model("unet", 4, encoder="test_resnet").eval(), torch.randint(0, highest + 1, (2, 3, 33, 40))
    mean, std = (tuple(v * highest / 255 for v in values) for values in (MEAN, STD))
    model, image = refined(page, "spy", mean=mean, std=std, dtype=dtype), Normalise(mean, std)(raw)
    assert torch.equal(model(image), page(image) + 1)
    spy = model.layer
    assert torch.equal(spy.logits, page(image))
    torch.testing.assert_close(spy.image, raw * 255 / highest, rtol=0, atol=1e-3)


@torch.no_grad()
def test_of_other_images_two_deviations_from_the_mean_are_black_and_white(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LAYERS, "spy", lambda classes: Spy())
    page = create_model("unet", 4, encoder="test_resnet", in_channels=1)
    raw = torch.tensor([-9.0, 1, 3, 5, 7, 11, 99]).view(1, 1, 1, 7)
    model = refined(page, "spy", mean=(5.0,), std=(3.0,), dtype="float32").eval()
    model(Normalise((5.0,), (3.0,))(raw))
    torch.testing.assert_close(model.layer.image.flatten(), torch.tensor([0, 42.5, 85, 127.5, 170, 255, 255]))


@every_layer
@every_page
def test_it_is_a_model(layer: str, page: str, options: dict[str, object]) -> None:
    torch.manual_seed(0)
    inner = create_model(page, 4, **options)
    model = refined(inner, layer, mean=MEAN, std=STD, dtype="uint8")
    assert (model.classes, model.in_channels) == (4, 3)
    assert getattr(model, "encoder", None) is getattr(inner, "encoder", None)
    assert hasattr(model, "encoder") == (page != "segnet_basic")
    for size in ((1, 1), (33, 65)):
        image = torch.randn(1, 3, *size)
        assert model.train()(image).shape == (1, 4, *size)
        with torch.no_grad():
            logits = model.eval()(image)
        assert logits.shape == (1, 4, *size)
        assert logits.isfinite().all()
        assert model.logits_at_stride(image) is None
    outputs, plain = model.outputs(image), inner.outputs(image) if hasattr(inner, "outputs") else (inner(image),)
    torch.testing.assert_close(outputs[0], logits)
    assert not torch.equal(outputs[0], plain[0])
    assert len(outputs) == len(plain)
    assert all(torch.equal(one, other) for one, other in zip(outputs[1:], plain[1:], strict=True))


@every_layer
def test_everything_learns_through_the_objective_and_frozen_norms_stay(layer: str) -> None:
    torch.manual_seed(0)
    model = refined(create_model("unet", 4, encoder="test_resnet"), layer, mean=MEAN, std=STD, dtype="uint8")
    objective = Objective(model, LOSSES["ce"](), Normalise(MEAN, STD), frozen_norms=True)
    before = {name: value.clone() for name, value in model.encoder.state_dict().items() if "running_" in name}
    raw = torch.randint(0, 256, (2, 3, 40, 48), dtype=torch.uint8)
    objective(raw, torch.randint(0, 4, (2, 40, 48))).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []
    assert all(p.grad.any() for p in (*model.layer.parameters(), *model.model.head.parameters()))
    assert all(torch.equal(value, model.encoder.state_dict()[name]) for name, value in before.items())


def test_what_cannot_be_refined_is_one_sentence() -> None:
    unet, pointrend = (create_model(name, 4, encoder="test_resnet") for name in ("unet", "pointrend"))
    with pytest.raises(ModelError, match=r"PointRend trains on points.*refine another model"):
        refined(pointrend, "crfrnn", mean=MEAN, std=STD, dtype="uint8")
    with pytest.raises(ModelError, match="unknown trainable refiner 'crfrn'; did you mean 'crfrnn'"):
        refined(unet, "crfrn", mean=MEAN, std=STD, dtype="uint8")
    with pytest.raises(ModelError, match="colour has 1 values for a model of 3 channels"):
        refined(unet, "crfrnn", mean=(1.0,), std=(1.0,), dtype="uint8")
    with pytest.raises(ModelError, match="CRF of 1 classes"):
        refined(create_model("unet", 1, encoder="test_resnet"), "convcrf", mean=MEAN, std=STD, dtype="uint8")


def test_a_bundle_keeps_the_layer_and_its_options(tmp_path: Path) -> None:
    options = {"iterations": [1, 3], "bilateral": [20.0, 9.0, 2.0]}
    card = Card("unet", {"encoder": "test_resnet", "in_channels": 3}, CAMVID11, MEAN, STD,
                layer={"name": "crfrnn", **options})  # fmt: skip
    model = card.build()
    assert isinstance(model, Refined)
    assert isinstance(model.layer, CRFRNN)
    nn.init.normal_(model.layer.compatibility)
    save_bundle(tmp_path / "b.safetensors", model, card)
    loaded, same = load_bundle(tmp_path / "b.safetensors")
    assert same == card
    assert loaded.layer.iterations == (1, 3)
    image = torch.randn(1, 3, 20, 30)
    assert torch.equal(loaded(image), model.eval()(image))


SMALL = {"model": "unet", "encoder": "test_resnet", "pretrained": False, "batch": 2, "crop": (32, 32),
         "precision": "fp32", "channels_last": False}  # fmt: skip


def fit(world: Path, run: Path, **more: object) -> Path:
    options = {**SMALL, "steps": 6, **more}
    data = open_dataset(world)
    held = Recipe.load(run / "recipe.toml") if (run / "recipe.toml").exists() else None
    return train(draft(data, held=held, **options), data, run)


def test_the_layer_has_its_own_rate_and_no_decay(tmp_path: Path) -> None:
    data = open_dataset(make_world(tmp_path / "world"))
    drawn = draft(data, **SMALL, steps=6, refine="crfrnn")
    assert drawn.refine_lr == 10
    run = build(drawn, data, tmp_path / "run", pretrained=True)
    layer = {id(parameter) for parameter in run.objective.model.layer.parameters()}
    encoder = {id(parameter) for parameter in run.objective.model.encoder.parameters()}
    for recipe, factor in ((drawn, 10.0), (drawn.model_copy(update={"refine_lr": 1.0}), 1.0)):
        groups = make_optimizer(recipe, run.objective.model).param_groups
        own = [group for group in groups if layer & {id(p) for p in group["params"]}]
        assert {(group["factor"], group["weight_decay"]) for group in own} == {(factor, 0.0)}
        assert {id(p) for group in groups if group["factor"] == 0.5 for p in group["params"]} == encoder
        counted = [id(p) for group in groups for p in group["params"]]
        assert sorted(counted) == sorted(id(p) for p in run.objective.model.parameters())


@pytest.mark.parametrize("layer", ["crfrnn", pytest.param("convcrf", marks=pytest.mark.slow)])
def test_training_learns_and_the_bundle_predicts_the_same(tmp_path: Path, layer: str) -> None:
    world, run = make_world(tmp_path / "world", train=8), tmp_path / "run"
    fit(world, run, steps=30, lr=3e-3, ema=0.9, refine=layer, validate_every=15)
    losses = [entry["loss"] for entry in read_log(run / "log.jsonl") if "loss" in entry]
    assert losses[-1] < 0.7 * losses[0]
    segmenter = atrous.load(run)
    assert segmenter.card.layer == {"name": layer}
    assert isinstance(segmenter.model.layer, LAYERS[layer])
    start = LAYERS[layer](3).state_dict()
    assert all((value != start[name]).any() for name, value in segmenter.model.layer.state_dict().items())
    best = segmenter.card.metrics["val"]["miou"]
    assert segmenter.score(world, "val")["miou"] == pytest.approx(best, abs=1e-6)
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    raw = torch.from_numpy(image).permute(2, 0, 1)[None]
    normalised = Normalise(segmenter.card.mean, segmenter.card.std)(raw)
    with torch.no_grad():
        plain = segmenter.model.model(normalised)
        expected = LAYERS[layer](3).eval()
        expected.load_state_dict(segmenter.model.layer.state_dict())
        expected = expected(raw.float(), plain).softmax(1)[0]
    torch.testing.assert_close(torch.tensor(segmenter.predict(image).probabilities), expected, rtol=1e-3, atol=1e-3)
    assert (plain.softmax(1)[0] - expected).abs().max() > 0.05
    assert f"--refine {layer}" in train_command(segmenter.card, run)


class Killed(BaseException):
    """A stand-in for kill -9."""


@pytest.mark.parametrize("layer", ["convcrf", "crfrnn"])
@pytest.mark.slow
def test_a_refined_run_that_was_killed_ends_as_if_it_had_not_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, layer: str
) -> None:
    world = make_world(tmp_path / "world")
    whole = load_file(fit(world, tmp_path / "whole", refine=layer))
    original, calls = sys.modules["atrous.train.loop"].take_step, iter(range(3))

    def dying(*arguments: object) -> object:
        if next(calls, None) is None:
            raise Killed
        return original(*arguments)

    monkeypatch.setattr("atrous.train.loop.SAVE_EVERY", 0.0)
    monkeypatch.setattr("atrous.train.loop.take_step", dying)
    with pytest.raises(Killed):
        fit(world, tmp_path / "killed", refine=layer)
    monkeypatch.setattr("atrous.train.loop.take_step", original)
    again = load_file(fit(world, tmp_path / "killed"))  # the run's own layer
    assert again.keys() == whole.keys()
    assert all(torch.equal(again[name], whole[name]) for name in whole)
    with pytest.raises(RecipeError, match=f"a run with refine = {layer}"):
        fit(world, tmp_path / "killed", refine=next(name for name in LAYERS if name != layer))


def run_cli(arguments: list[str]) -> int:
    """The exit code of a command line."""
    try:
        main(arguments)
    except SystemExit as end:
        return int(end.code or 0)
    return 0


@pytest.mark.slow
def test_the_command_line_trains_and_judges_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world, run = make_world(tmp_path / "world"), tmp_path / "run"
    command = ["train", str(world), "-o", str(run), "--model", "unet", "--encoder", "test_resnet", "--no-pretrained",
               "--batch", "2", "--crop", "32", "--steps", "2", "--set", "precision=fp32",
               "--set", "channels_last=false", "--set", "fused=true"]  # fmt: skip
    assert run_cli([*command, "--refine", "convcrf"]) == 0
    assert isinstance(atrous.load(run).model.layer, ConvCRF)
    assert run_cli(["eval", str(run), str(world), "--json"]) == 0
    assert run_cli(["predict", str(world / "test" / "images"), "--model", str(run), "-o", str(tmp_path / "out"),
                    "--backend", "torch"]) == 0  # fmt: skip
    assert len(list((tmp_path / "out").glob("*.png"))) == 2
    capsys.readouterr()
    assert run_cli([*command, "--refine", "crfnn"]) == 2
    assert "'refine'" in capsys.readouterr().err
