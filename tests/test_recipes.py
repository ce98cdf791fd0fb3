"""The recipes of results: whole headers, known keys, networks that can be built, commands that exist."""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.main import get_command
from worlds import make_world

from atrous.cli import app
from atrous.datasets import open_dataset
from atrous.demo import demo
from atrous.encoders.weights import PACKAGED
from atrous.errors import RecipeError
from atrous.losses import make_loss
from atrous.models import create_model
from atrous.segmenter import FROM_DATA, Segmenter, wishes_of
from atrous.train.recipe import Recipe

ROOT = Path(__file__).parents[1]
RECIPES = sorted((ROOT / "recipes").glob("*.toml"))
CLASSES = {"camvid": 11, "landcover7": 7, "isbi": 2}
HEADER = ("paper", "data", "command", "judged", "time", "expected", "obtained")
sys.path.insert(0, str(ROOT / "scripts"))

import isbi_em  # noqa: E402
import isbi_scores  # noqa: E402


def header(path: Path) -> dict[str, str]:
    """The fields of the comment at the top."""
    lines = [line[1:].strip() for line in path.read_text().split("\n\n")[0].splitlines()]
    return dict(re.split(r":\s+", line, maxsplit=1) for line in lines if re.match(r"[a-z]+:\s", line))


def test_there_are_recipes() -> None:
    names = {path.stem for path in RECIPES}
    streets = {"deeplabv3plus-lite0", "deeplabv3plus-lite0-30m", "unet-lite0", "unet-lite0-60m"}
    others = {"landcover7-unet-lite0", "isbi-em-unet2015-w32", "isbi-em-unet2015-w32-border"}
    assert {f"camvid-{name}" for name in streets} | others <= names


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_a_recipe_is_whole(path: Path) -> None:
    decided, told = Recipe.decided(path), header(path)
    assert [field for field in HEADER if not told.get(field)] == []
    assert set(decided) & FROM_DATA <= {"weights"}
    assert {"model", "weights", "crop", "batch", "lr", "ema"} <= set(decided)
    assert len({"time", "steps"} & set(decided)) == 1  # how long
    assert decided["weights"] == "random" or decided["encoder"] in PACKAGED  # to be had without a network
    classes = CLASSES[path.stem.split("-")[0]]
    network = {key: decided[key] for key in ("encoder", "stride", "channels") if key in decided}
    with torch.device("meta"):
        model = create_model(decided["model"], classes=classes, **network, **decided.get("options", {}))
    assert model.classes == classes
    weights = decided.get("class_weights")
    assert weights is None or len(weights) == classes
    labels = torch.randint(classes, (1, 24, 24))
    loss = make_loss(decided.get("loss", "ce"), 255, torch.tensor(weights) if weights else None)
    assert float(loss(torch.zeros(1, classes, 24, 24), labels)) > 0
    Segmenter(**wishes_of(path))


@pytest.mark.parametrize("path", RECIPES, ids=[path.stem for path in RECIPES])
def test_its_commands_exist(path: Path) -> None:
    commands: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
    told = header(path)
    for text in (told["command"], told["judged"]):
        words = text.split()
        if words[0] != "atrous":
            continue
        known = {name for option in commands[words[1]].params for name in option.opts + option.secondary_opts}
        assert {word for word in words[2:] if word.startswith("-")} <= known, text
    if "--recipe" in told["command"]:
        assert f"recipes/{path.name}" in told["command"].split()
        assert f"runs/{path.stem}" in told["command"].split()


@pytest.mark.parametrize("one, other, keys", [
    ("camvid-deeplabv3plus-lite0", "camvid-deeplabv3plus-lite0-zoom", {"time", "loss", "lr"}),
    ("isbi-em-unet2015-w32", "isbi-em-unet2015-w32-border", {"loss", "elastic"}),
    ("camvid-deeplabv3plus-lite0-30m", "camvid-unet-lite0-60m", {"model", "channels", "time"}),
    ("camvid-deeplabv3plus-lite0-zoom", "camvid-unet-lite0", {"model", "channels", "time", "steps"}),
])  # fmt: skip
def test_what_is_compared_differs_in_that_alone(one: str, other: str, keys: set[str]) -> None:
    a, b = (Recipe.decided(ROOT / "recipes" / f"{name}.toml") for name in (one, other))
    assert {key for key in {*a, *b} if a.get(key) != b.get(key)} == keys


def test_the_demos_recipe_is_the_demos() -> None:
    decided = Recipe.decided(ROOT / "recipes" / "landcover7-unet-lite0.toml")
    assert {key: decided.get(key) for key in demo.RECIPE} == demo.RECIPE
    assert set(decided) - set(demo.RECIPE) == {"model", "encoder", "weights", "time"}


def test_a_part_of_a_recipe_trains(tmp_path: Path) -> None:
    world, file = make_world(tmp_path / "world"), tmp_path / "part.toml"
    file.write_text('model = "unet"\nencoder = "test_resnet"\nweights = "random"\nbatch = 2\ncrop = [32, 32]\n'
                    'time = 3600.0\nelastic = 3\nchannels = [8, 8, 8, 8]\n')  # fmt: skip
    assert wishes_of(file, length=False) == {
        "model": "unet", "encoder": "test_resnet", "pretrained": False, "batch": 2, "crop": (32, 32), "elastic": 3.0,
        "channels": (8, 8, 8, 8),
    }  # fmt: skip
    Segmenter(**wishes_of(file, length=False), seed=3).fit(world, tmp_path / "run", steps=2)
    made = Recipe.load(tmp_path / "run" / "recipe.toml")
    assert (made.channels, made.crop, made.elastic, made.seed, made.steps) == ((8, 8, 8, 8), (32, 32), 3.0, 3, 2)
    assert (made.time, made.weights, made.train_images) == (None, "random", 6)
    file.write_text("batsh = 2\n")
    with pytest.raises(RecipeError, match=r"part.toml: key 'batsh' does not fit a recipe; did you mean 'batch'"):
        wishes_of(file)
    file.write_text("accumulate = 0\n")
    with pytest.raises(
        RecipeError, match=r"part.toml: key 'accumulate' does not fit a recipe; Input should be greater"
    ):
        wishes_of(file)


def write_volume(folder: Path, count: int = 30) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, 12, 14), dtype=np.uint8)
    masks = rng.choice(np.array([0, 255], np.uint8), images.shape)
    folder.mkdir()
    for name, volume in (("train-volume.tif", images), ("train-labels.tif", masks)):
        first, *rest = map(Image.fromarray, volume)
        first.save(folder / name, save_all=True, append_images=rest)
    return images, masks


def test_isbis_stack_is_split_by_slice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, masks = write_volume(tmp_path / "source")
    isbi_em.main([str(tmp_path / "source"), str(tmp_path / "out")])
    assert capsys.readouterr().out.endswith("20 train, 4 val, 6 test\n")
    data = open_dataset(tmp_path / "out")
    assert data.labels.names == ("membrane", "cell")
    seen = 0
    for split, first, count in (("train", 0, 20), ("val", 20, 4), ("test", 24, 6)):
        assert len(data.splits[split]) == count
        for number, sample in enumerate(data.splits[split], first):
            assert np.array_equal(sample.image[..., 0], images[number])
            assert np.array_equal(sample.mask, masks[number] // 255)
            seen += 1
    assert seen == 30
    (tmp_path / "again").mkdir()
    for kind in ("images", "masks"):  # the same from one file a slice
        (tmp_path / "again" / kind).mkdir()
        for path in (tmp_path / "out").glob(f"*/{kind}/*.png"):
            (tmp_path / "again" / kind / path.name).write_bytes(path.read_bytes())
    isbi_em.main([str(tmp_path / "again"), str(tmp_path / "second")])
    for path in (tmp_path / "out").rglob("*.png"):
        assert (tmp_path / "second" / path.relative_to(tmp_path / "out")).read_bytes() == path.read_bytes()


def test_another_stack_is_one_sentence(tmp_path: Path) -> None:
    write_volume(tmp_path / "short", 29)
    for source, message in (
        ("short", "29 slices in train-volume.tif or images/, expected 30"),
        ("none", "holds neither"),
    ):
        with pytest.raises(SystemExit, match=message):
            isbi_em.main([str(tmp_path / source), str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_isbis_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mask = np.ones((9, 9), np.uint8)
    mask[:, 4] = 0  # a membrane between two cells
    cell = np.where(mask, 0.9, 0.1)
    assert isbi_scores.scores(cell, mask, 0.5) == (1.0, 1.0)
    cell[0, 4] = 0.6  # a hole in it, closed by a higher threshold
    assert isbi_scores.scores(cell, mask, 0.7) == (1.0, 1.0)
    assert isbi_scores.scores(cell, mask, 0.5)[0] == pytest.approx(2 / 3)  # merged: 2 * 0.5 / (0.5 + 1)
    write_volume(tmp_path / "source")
    isbi_em.main([str(tmp_path / "source"), str(tmp_path / "data")])
    Segmenter(model="segnet_basic", options={"width": 2}, crop=(12, 12), batch=2).fit(
        tmp_path / "data", tmp_path / "run", steps=2
    )
    capsys.readouterr()
    isbi_scores.main([str(tmp_path / "data"), str(tmp_path / "run"), str(tmp_path / "run")])
    *_, first, again = capsys.readouterr().out.splitlines()
    error = float(first.split("|")[3])
    assert 0 < error < 1
    assert again.split("|")[3].strip() == f"{error:.4f} (+0.0000, better on 0 of 6)"
