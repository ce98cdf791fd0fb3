"""Weights that come with the package: made of a run, small, complete, and usable wherever a bundle is."""

import json
import shutil
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from worlds import make_world

import atrous
from atrous.bundle import Card, halved, load_bundle, load_card, save_bundle
from atrous.cli import main
from atrous.errors import AtrousError, WeightsError
from atrous.labels import CAMVID11
from atrous.zoo import shipped as shipping
from atrous.zoo.cards import describe_weights, weights_for_network
from atrous.zoo.shipped import FOLDER, LARGEST, shipped

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import publish  # noqa: E402

NAME = "camvid-unet-tiny"
SHAPE = {"batch": 2, "crop": (32, 32), "precision": "fp32", "channels_last": False, "fused": True}
"""Nothing is left to measure."""


def run(*arguments: object) -> int:
    """Exit code of a command line."""
    with pytest.raises(SystemExit) as stop:
        main([str(argument) for argument in arguments])
    return stop.value.code or 0


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("zoo") / "world")


@pytest.fixture(scope="module")
def trained(world: Path) -> Path:
    """A finished run of a few steps, with a page of scores as `atrous eval --json` prints it beside."""
    folder = world.parent / "run"
    segmenter = atrous.Segmenter("unet", "test_resnet", False, **SHAPE)
    segmenter.fit(world, folder, steps=6)
    scores = {**segmenter.score(world, "test"), "decode": "argmax", "calibration": "none", "refine": None}
    (world.parent / "eval.json").write_text(json.dumps(scores))
    return folder


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of shipped weights, elsewhere."""
    monkeypatch.setattr(shipping, "FOLDER", tmp_path / "weights")
    return tmp_path / "weights"


@pytest.fixture
def named(trained: Path, world: Path, place: Path) -> Path:
    """The run as weights called NAME."""
    pictures = sorted(map(str, (world / "val" / "images").iterdir()))
    metrics = str(trained.parent / "eval.json")
    publish.main([str(trained), NAME, "--metrics", metrics, "--pictures", *pictures, "-o", str(place)])
    return place / f"{NAME}.safetensors"


def test_a_run_becomes_a_whole_small_file(trained: Path, named: Path) -> None:
    whole, card = load_card(trained / "model.safetensors"), load_card(named)
    assert publish.flaws(named) == []
    assert named.stat().st_size < 0.6 * (trained / "model.safetensors").stat().st_size
    with safe_open(named, framework="pt") as file:
        kinds = {file.get_tensor(key).dtype for key in file.keys()}  # noqa: SIM118
    assert kinds == {torch.float16, torch.int64}
    assert (card.model, card.options, card.labels, card.mean) == (whole.model, whole.options, whole.labels, whole.mean)
    assert card.training["steps"] == 6
    assert card.training["seconds"] > 0
    assert card.training["seed"] == 0
    assert card.training["images"] == 6
    assert card.metrics["test"]["miou"] == json.loads((trained.parent / "eval.json").read_text())["miou"]
    assert card.metrics["test"]["interval"][0] <= card.metrics["test"]["miou"] <= card.metrics["test"]["interval"][1]
    assert "non-commercial research data" in card.licence
    assert any("Brostow" in source for source in card.sources)
    assert not any("ImageNet" in source for source in card.sources)  # it started from random weights
    assert str(trained.parent) not in card.to_json()
    assert card.recipe["data"] == card.data == "CamVid, 11 classes, 360 x 480 (Brostow et al. 2009)"
    assert Card.from_json(card.to_json()) == card


def test_the_name_is_known_to_every_command(
    named: Path, trained: Path, world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    picture = world / "test" / "images" / "test0.png"
    for model, kind in ((NAME, "by-name"), (trained, "by-run")):
        assert run("predict", picture, "--model", model, "-o", tmp_path / kind, "--backend", "torch") == 0
    labels = [np.asarray(Image.open(tmp_path / kind / "test0.png")) for kind in ("by-name", "by-run")]
    assert labels[0].shape == (48, 64)
    assert (labels[0] == labels[1]).mean() > 0.999
    capsys.readouterr()
    assert run("eval", NAME, world, "--json") == 0
    whole = json.loads((trained.parent / "eval.json").read_text())
    assert json.loads(capsys.readouterr().out)["miou"] == pytest.approx(whole["miou"], abs=0.01)
    assert run("compare", NAME, trained, "--data", world, "--json") == 0
    assert run("inspect", NAME, "--json", "--no-measure") == 0
    assert run("calibrate", NAME, "--data", world) == 2
    assert f"{NAME}: published weights are not changed" in capsys.readouterr().err


@pytest.mark.slow
def test_float16_weights_are_exported(named: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("export", NAME, "-o", tmp_path / "net.pt2", "--to", "torch-export") == 0
    assert "agrees 100.0000% of the labels at 5 sizes" in capsys.readouterr().out


def test_a_run_starts_from_a_name_and_learns_from_one(named: Path, world: Path, tmp_path: Path) -> None:
    start = atrous.Segmenter(init=NAME, lr=1e-9, ema=0.5, **SHAPE).fit(world, tmp_path / "on", steps=1).model
    for key, tensor in load_bundle(named)[0].state_dict().items():
        if not key.endswith(("running_mean", "running_var", "num_batches_tracked")):
            torch.testing.assert_close(start.state_dict()[key], tensor, atol=1e-5, rtol=0)
    student = atrous.Segmenter("unet", "test_resnet", False, distil=NAME, **SHAPE).fit(world, tmp_path / "to", steps=1)
    assert {tensor.dtype for tensor in student.model.parameters()} == {torch.float32}
    assert f'init = "{NAME}"' in (tmp_path / "on" / "recipe.toml").read_text()


def test_models_lists_what_is_there(named: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    score = load_card(named).metrics["test"]
    line = describe_weights()[0]
    assert line.startswith(f"{NAME:<37}   3 classes  mIoU {score['miou']:.3f} ({score['interval'][0]:.3f} to ")
    assert "non-commercial" in line
    assert weights_for_network("unet")[0] == NAME
    named.unlink()
    assert shipped() == {}
    assert not any(NAME in line for line in describe_weights())


def test_without_the_files_a_name_is_one_sentence(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (8, 8)).save(tmp_path / "photo.png")
    assert run("predict", tmp_path / "photo.png", "--model", NAME) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: {NAME}: no such bundle or run folder, nor the name of published weights;")
    assert line.endswith(f"this installation came without the weights that belong in {place}")
    with pytest.raises(WeightsError, match="came without the weights"):
        atrous.load(NAME)


def test_running_statistics_beyond_float16_stay_float32(tmp_path: Path) -> None:
    card = Card("unet", {"encoder": "test_resnet", "in_channels": 3}, CAMVID11, (0.0,) * 3, (1.0,) * 3)
    model = card.build().eval()
    big, largest, none = (torch.nn.BatchNorm2d(2) for _ in range(3))
    big.running_var.fill_(65505.0)
    largest.running_var.fill_(65504.0)
    none.running_mean.fill_(float("nan"))
    kinds = [halved(layer.state_dict()) for layer in (big, largest, none)]
    assert [kind["running_var"].dtype for kind in kinds[:2]] == [torch.float32, torch.float16]
    assert kinds[2]["running_mean"].dtype == torch.float32
    assert float(kinds[1]["running_var"][0]) == 65504.0
    assert kinds[0]["num_batches_tracked"].dtype == torch.int64

    norm = next(layer for layer in model.modules() if isinstance(layer, torch.nn.BatchNorm2d))
    norm.running_var.mul_(3e5)
    save_bundle(tmp_path / "model.safetensors", model, card, half=True)
    loaded, _ = load_bundle(tmp_path / "model.safetensors")
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float32, torch.int64}
    name = next(name for name, layer in model.named_modules() if layer is norm)
    assert torch.equal(loaded.get_submodule(name).running_var, norm.running_var)
    assert float((norm.running_var > 65504).sum()) > 0
    image = torch.rand(1, 3, 40, 33)
    torch.testing.assert_close(loaded(image), model(image), atol=0.02, rtol=0.02)


def test_a_card_tells_of_no_place(trained: Path) -> None:
    card, scores = load_card(trained / "model.safetensors"), json.loads((trained.parent / "eval.json").read_text())
    card = replace(card, recipe={**card.recipe, "init": "/home/me/model.safetensors", "distil": "../runs/big"})
    logs = [[{"step": 6, "seconds": 3.0}], [{"step": 10, "seconds": 1.5}, {"step": 20, "seconds": 4.5}]]
    made = publish.completed(card, NAME, logs, scores, "a machine")
    assert (made.recipe["init"], made.recipe["distil"]) == ("model.safetensors", "big")
    assert (made.training["seconds"], made.training["steps"]) == (7.5, 26)  # of the run that it began from too


def test_the_time_of_what_it_began_from_counts(trained: Path, world: Path, tmp_path: Path) -> None:
    model, card = load_bundle(trained / "model.safetensors")
    later = tmp_path / "later"
    later.mkdir()
    save_bundle(later / "model.safetensors", model, replace(card, recipe={**card.recipe, "init": "first"}))
    (later / "log.jsonl").write_text('{"step": 6, "seconds": 3.0}\n')
    metrics, picture = trained.parent / "eval.json", world / "val" / "images" / "val0.png"
    with pytest.raises(AtrousError, match="began from first; name that run by --after"):
        publish.publish(later, NAME, metrics, [picture], tmp_path / "out", "a machine")
    path = publish.publish(later, NAME, metrics, [picture], tmp_path / "out", "a machine", [trained])
    assert load_card(path).training["seconds"] > 3


@pytest.mark.parametrize("name, change, message", [
    ("camvid-unet", {}, "expected DATA-unet-REST with DATA one of camvid, landcover7, isbi-em"),
    ("voc-unet-x", {}, "expected DATA-unet-REST"),
    ("camvid-unet2015-x", {}, "expected DATA-unet-REST"),
    (NAME, {"split": "val"}, "judges split 'val'"),
    (NAME, {"refine": "crf"}, "judges split 'test' with ('argmax', 'crf')"),
    (NAME, {"interval": None}, "the card lacks its interval"),
    (NAME, {"per_class": {"sky": 0.5}}, "the scores are of classes sky"),
])  # fmt: skip
def test_what_does_not_hold_is_not_published(
    trained: Path, world: Path, tmp_path: Path, name: str, change: dict[str, object], message: str
) -> None:
    metrics = tmp_path / "eval.json"
    metrics.write_text(json.dumps(json.loads((trained.parent / "eval.json").read_text()) | change))
    with pytest.raises(AtrousError) as error:
        publish.publish(trained, name, metrics, [world / "val" / "images" / "val0.png"], tmp_path / "out", "a machine")
    assert message in str(error.value)
    assert not (tmp_path / "out").exists()


def test_size_labels_and_time_are_checked(
    trained: Path, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture, metrics = world / "val" / "images" / "val0.png", trained.parent / "eval.json"

    def refusal(source: Path = trained) -> str:
        with pytest.raises(AtrousError) as error:
            publish.publish(source, NAME, metrics, [picture], tmp_path / "out", "a machine")
        assert not (tmp_path / "out").exists()
        return str(error.value)

    with monkeypatch.context() as patch:
        patch.setattr(publish, "LARGEST", 100_000)
        assert "MB, more than 0" in refusal()
    with monkeypatch.context() as patch:  # weights that float16 does not hold: everything below 6e-8 is 0 there

        def shrunken(path: Path) -> tuple[torch.nn.Module, Card]:
            model, card = load_bundle(path)
            if path.parent == trained:
                with torch.no_grad():
                    model.head.score.weight.mul_(1e-9)
                    model.head.score.bias.mul_(0)
            return model, card

        patch.setattr(publish, "load_bundle", shrunken)
        assert "float16 changes the labels of" in refusal()
    longer = tmp_path / "longer"
    shutil.copytree(trained, longer)
    with (longer / "log.jsonl").open("a") as log:
        log.write('{"step": 7, "seconds": 9.0}\n')
    assert "the log ends at step 7, the weights at 6" in refusal(longer)


def test_flaws_are_found(named: Path, tmp_path: Path) -> None:
    model, card = load_bundle(named)
    told = replace(card, sources=(), licence="not stated", training={}, recipe={"init": "/home/x/model.safetensors"})
    path = tmp_path / "bad.safetensors"
    with torch.no_grad():
        model.head.score.bias[0] = float("nan")
    save_bundle(path, model, told)
    found = "; ".join(publish.flaws(path))
    for flaw in ("a licence", "sources", "its training time", "a seed", "a path, /home/x",
                 "head.score.weight is float32", "head.score.bias has values that are no number"):  # fmt: skip
        assert flaw in found


def test_what_is_shipped_is_whole_and_has_its_recipe() -> None:
    for name, path in shipped().items():
        assert publish.flaws(path) == [], name
        assert (ROOT / "recipes" / f"{name}.toml").exists(), name
        load_bundle(path)
    assert [path.name for path in FOLDER.glob("*") if path.suffix != ".safetensors"] == []


def test_the_wheel_takes_the_folder() -> None:
    assert LARGEST == 20_000_000
    target = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]
    assert target["wheel"] == {"packages": ["atrous"]}
    assert "atrous" in target["sdist"]["include"]
    if (ROOT / ".git").exists() and shutil.which("git"):  # hatch leaves out what git ignores
        asked = ["git", "-C", str(ROOT), "check-ignore", "-q", "atrous/zoo/weights/x.safetensors"]
        assert subprocess.run(asked, check=False).returncode == 1
