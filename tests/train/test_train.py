"""Training ends in the same tensors however often it is killed, and says what it does."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from runs import COMMAND, fit, same_tensors
from safetensors.torch import load_file
from worlds import make_world

import atrous
from atrous.datasets import open_dataset
from atrous.errors import AtrousError, ModelError, RecipeError, WeightsError
from atrous.plan import draft
from atrous.train.checkpoint import load_checkpoint
from atrous.train.loggers import read_log
from atrous.train.loop import train
from atrous.train.optimizer import rate_at
from atrous.train.recipe import Recipe
from atrous.train.run import build


@pytest.mark.parametrize("before", [(False, False), (True, True), (True, False)])
def test_torch_is_left_as_it_was(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: tuple[bool, bool]
) -> None:
    original, seen = sys.modules["atrous.train.loop"].take_step, []  # type: ignore[attr-defined]

    def watched(*arguments: Any) -> Any:
        seen.append(torch.are_deterministic_algorithms_enabled())
        return original(*arguments)

    monkeypatch.setattr("atrous.train.loop.take_step", watched)
    torch.use_deterministic_algorithms(before[0], warn_only=before[1])
    try:
        fit(trained[0], tmp_path / "run", steps=1)
        after = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert (seen, after) == ([True], before)


def test_same_tensors_for_any_number_of_workers(trained: tuple[Path, Path], tmp_path: Path) -> None:
    world, run = trained
    one, two = run / "model.safetensors", fit(world, tmp_path / "b", workers=2)
    assert same_tensors(one, two)
    assert not same_tensors(one, fit(world, tmp_path / "c", seed=1))


class Killed(BaseException):
    """A stand-in for kill -9: nothing may catch it."""


@pytest.mark.parametrize(
    "place", ["step", *(pytest.param(place, marks=pytest.mark.slow) for place in ("save", "validate"))]
)
def test_a_run_that_was_killed_ends_as_if_it_had_not_been(
    trained: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    world, whole = trained
    name = {"step": "take_step", "save": "save_run", "validate": "validate"}[place]
    original = getattr(sys.modules["atrous.train.loop"], name)
    for count in (1, 3, 2):
        calls = iter(range(count))

        def dying(*arguments: object, calls=calls) -> object:
            if next(calls, None) is None:
                raise Killed
            return original(*arguments)

        monkeypatch.setattr(f"atrous.train.loop.{name}", dying)
        monkeypatch.setattr("atrous.train.loop.SAVE_EVERY", 0.0)
        with pytest.raises(Killed):
            fit(world, tmp_path / "killed")
    monkeypatch.setattr(f"atrous.train.loop.{name}", original)
    assert same_tensors(fit(world, tmp_path / "killed"), whole / "model.safetensors")


def test_a_finished_run_is_left_alone_and_another_command_is_refused(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    world, run = (shutil.copytree(folder, tmp_path / folder.name) for folder in trained)
    bundle = run / "model.safetensors"
    before = bundle.stat().st_mtime_ns
    assert fit(world, run).stat().st_mtime_ns == before
    with pytest.raises(RecipeError, match=r"steps = 8, this command asks for 9; use another -o"):
        fit(world, run, steps=9)
    (world / "train" / "images" / "train0.png").rename(world / "train" / "images" / "new.png")
    (world / "train" / "masks" / "train0.png").rename(world / "train" / "masks" / "new.png")
    with pytest.raises(RecipeError, match="other images"):
        fit(world, run)


def test_it_learns_logs_and_keeps_the_best(tmp_path: Path) -> None:
    world, run = make_world(tmp_path / "world", train=8), tmp_path / "run"
    fit(world, run, steps=60, lr=3e-3, ema=0.9, validate_every=None)
    log = read_log(run / "log.jsonl")
    losses = [entry["loss"] for entry in log if "loss" in entry]
    validations = [entry["val_miou"] for entry in log if "val_miou" in entry]
    assert losses[-1] < 0.7 * losses[0]
    assert len(validations) == 8
    card = atrous.load(run).card
    assert card.metrics["val"]["miou"] == max(validations)
    assert atrous.load(run).score(world, "val")["miou"] == pytest.approx(max(validations), abs=1e-6)


def test_a_time_budget_becomes_steps_before_step_one(tmp_path: Path) -> None:
    world, run = make_world(tmp_path / "world"), tmp_path / "run"
    began = time.perf_counter()
    fit(world, run, steps=None, time=1.0, fused=None)
    recipe = Recipe.load(run / "recipe.toml")
    assert recipe.steps >= 10
    assert recipe.time == 1
    assert recipe.fused is not None  # measured too
    assert time.perf_counter() - began < 60  # a bound against runaway budgets, not a measurement


def test_losses_that_are_not_finite_stop_with_advice(tmp_path: Path) -> None:
    world, run = make_world(tmp_path / "world"), tmp_path / "run"
    with pytest.raises(AtrousError, match=r"20 steps were skipped.* with train\d.png.*lower --lr"):
        fit(world, run, lr=1e6, optimizer="sgd", clip=0.0, steps=60, validate_every=60)
    skipped = [entry for entry in read_log(run / "log.jsonl") if "skipped" in entry]
    assert [entry["skipped"] for entry in skipped] == list(range(1, 21))
    assert all(len(entry["pictures"]) == 2 for entry in skipped)


def test_a_network_that_has_diverged_is_told_at_its_validation(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"the network answers nan.*its training has diverged"):
        fit(make_world(tmp_path / "world"), tmp_path / "run", lr=1e6, optimizer="sgd", clip=0.0)


def test_learning_rate_table() -> None:
    recipe = Recipe(
        atrous="0", data="d", fingerprint="f", train_images=1, model="unet", in_channels=3, mean=(0,), std=(1,),
        crop=(8, 8), lr=1.0, batch=1, steps=10, warmup=2, power=1.0,
    )  # fmt: skip
    assert [round(rate_at(recipe, step), 4) for step in (0, 1, 2, 6, 9)] == [0.3333, 0.6667, 1.0, 0.5, 0.125]


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_ctrl_c_saves_and_says_so(tmp_path: Path) -> None:
    world = make_world(tmp_path / "world")
    words = ["train", str(world), "-o", str(tmp_path / "run"), *COMMAND, "--steps", "3000"]
    command = [sys.executable, "-m", "atrous", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "run" / "log.jsonl"
    for _ in range(600):
        if log.exists() and log.read_text():
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "saved in" in errors
    assert "Traceback" not in errors
    saved = load_checkpoint(tmp_path / "run" / "checkpoints")
    assert saved is not None
    assert saved[1]["step"] > 0


def test_a_run_starts_from_a_bundle_as_far_as_it_fits(tmp_path: Path) -> None:
    world, said = make_world(tmp_path / "world"), []
    first = fit(world, tmp_path / "first", options={"joined": False})
    data = open_dataset(world)
    wishes = {"pretrained": True, "batch": 2, "crop": (32, 32), "steps": 4, "lr": 1e-12, "ema": None}
    drawn = draft(data, init=str(tmp_path / "first"), say=said.append, **wishes)
    assert (drawn.model, drawn.encoder, drawn.options) == ("unet", "test_resnet", {"joined": False})
    assert len(said) == 1
    assert re.search(r"starting from .*: (\d+) of \1 tensors$", said[0])
    second = train(drawn, data, tmp_path / "second")
    old, new = load_file(first), load_file(second)
    for name in old:
        if "running" not in name and "num_batches" not in name:  # norms see pictures whatever the rate
            torch.testing.assert_close(new[name], old[name], rtol=0, atol=1e-9)
    held = Recipe.load(tmp_path / "second" / "recipe.toml")
    assert train(draft(data, held=held, init=str(first), **wishes), data, tmp_path / "second") == second
    with pytest.raises(RecipeError, match="init"):
        train(draft(data, held=held, init=str(second), **wishes), data, tmp_path / "second")


def test_other_classes_start_with_a_new_head_and_a_refiner_starts_behind_its_page(
    trained: tuple[Path, Path], tmp_path: Path
) -> None:
    (world, first), said = (shutil.copytree(folder, tmp_path / folder.name) for folder in trained), []
    old = load_file(first / "model.safetensors")
    more = (world / "classes.toml").read_text() + '[[class]]\nname = "more"\nvalue = 7\ncolor = [1, 2, 3]\n'
    (world / "classes.toml").write_text(more)
    drawn = draft(
        open_dataset(world), init=str(first), say=said.append, refine="convcrf", batch=2, crop=(32, 32), steps=1
    )
    assert said[0].endswith("new: head.score.weight, head.score.bias")
    model = build(drawn, open_dataset(world), tmp_path / "second", pretrained=True).objective.model
    state = model.state_dict()
    assert state["model.head.score.weight"].shape[0] == 4
    for name, tensor in old.items():
        if not name.startswith("head.score"):
            assert torch.equal(state[f"model.{name}"], tensor)
    again = build(drawn, open_dataset(world), tmp_path / "second", pretrained=False).objective.model.state_dict()
    name = "model.head.decoder.0.0.0.weight"
    assert not torch.equal(again[name], state[name])  # a checkpoint's


def test_a_bundle_that_contradicts_is_refused(trained: tuple[Path, Path], tmp_path: Path) -> None:
    data, init = open_dataset(trained[0]), str(trained[1])
    for wishes in ({"model": "fcn"}, {"encoder": "resnet18"}):
        with pytest.raises(RecipeError, match=r"(unet|test_resnet) there and (fcn|resnet18) here"):
            draft(data, init=init, **wishes)
    with pytest.raises(WeightsError, match="nowhere"):
        draft(data, init=str(tmp_path / "nowhere.safetensors"))


def test_checkpoints_without_their_recipe_are_not_gone_on_with(tmp_path: Path) -> None:
    world, run = make_world(tmp_path / "world"), tmp_path / "run"
    fit(world, run)
    recipe = (run / "recipe.toml").read_text()
    (run / "recipe.toml").unlink()
    for more in ({"seed": 7}, {}):
        with pytest.raises(RecipeError, match=r"run: holds checkpoints but no recipe.toml; put the recipe back, or"):
            fit(world, run, **more)
    (run / "recipe.toml").write_text(recipe)
    fit(world, run)


@pytest.mark.parametrize("name", ["model.safetensors", "report.html", "metrics.json", "log.csv", "overlays/a.jpg"])
def test_a_run_never_loses_files_of_others(tmp_path: Path, name: str) -> None:
    world, mine = make_world(tmp_path / "world"), tmp_path / "run" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(RecipeError, match=f"run: holds {name.partition('/')[0]} but no recipe.toml of a run; give"):
        fit(world, tmp_path / "run")
    assert [path for path in (tmp_path / "run").rglob("*") if path.is_file()] == [mine]
    assert mine.read_text() == "mine"


def test_a_run_that_was_killed_before_its_recipe_was_written_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world, run = make_world(tmp_path / "world"), tmp_path / "run"

    def killed(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(Recipe, "save", killed)
        with pytest.raises(Killed):
            fit(world, run, seed=3)
    assert same_tensors(fit(world, run), fit(world, tmp_path / "other"))
