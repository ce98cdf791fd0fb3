"""What the loop keeps, skips, freezes, extends, replaces and tells: and a run that was killed ends as if it was not."""

import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from rich.console import Console
from runs import same_tensors
from safetensors import safe_open
from safetensors.torch import load_file
from worlds import make_world

from atrous.bundle import load_bundle
from atrous.cli import explain
from atrous.datasets import open_dataset
from atrous.errors import DataError, RecipeError
from atrous.plan import again, draft
from atrous.train.batches import TrainingSet, augmentation, keys_of_step
from atrous.train.loggers import read_log
from atrous.train.loop import train
from atrous.train.objective import Normalise
from atrous.train.recipe import Recipe
from atrous.train.signals import Interrupted
from atrous.transforms import generator

SMALL = {
    "model": "unet", "encoder": "test_resnet", "channels": (16, 8, 8, 8), "pretrained": False, "batch": 2,
    "crop": (32, 32), "steps": 6, "validate_every": 3, "precision": "fp32", "channels_last": False,
    "fused": True,
}  # fmt: skip


class Killed(BaseException):
    """A stand-in for kill -9: nothing may catch it."""


def die(*_: object) -> None:
    raise Killed


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_world(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def plain(world: Path) -> Path:
    """The bundle of a run that nothing disturbed."""
    return fit(world, world.with_name("plain"))


def fit(world: Path, run: Path, *, extend: int | None = None, **options: Any) -> Path:
    how = {key: options.pop(key) for key in ("workers", "loggers", "console") if key in options}
    data = open_dataset(world)
    held = Recipe.load(run / "recipe.toml") if (run / "recipe.toml").exists() else None
    recipe = again(data, held) if extend and held else draft(data, held=held, **{**SMALL, **options})
    return train(recipe, data, run, extend=extend, **how)


def killed(monkeypatch: pytest.MonkeyPatch, again: Callable[[], Path], counts: tuple[int, ...] = (4,)) -> Path:
    """The bundle of a run that is killed after so many steps, every one saved, started again each time."""
    original = sys.modules["atrous.train.loop"].take_step  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        patch.setattr("atrous.train.loop.SAVE_EVERY", 0.0)
        for count in counts:
            calls = iter(range(count))

            def dying(*arguments: Any, calls: Any = calls) -> Any:
                if next(calls, None) is None:
                    raise Killed
                return original(*arguments)

            patch.setattr("atrous.train.loop.take_step", dying)
            with pytest.raises(Killed):
                again()
    return again()


FEATURES: dict[str, dict[str, Any]] = {
    "parts, one cycle, layers, encoder frozen at first": {
        "accumulate": 2, "schedule": "one_cycle", "layer_decay": 0.7, "freeze": "encoder", "freeze_steps": 3,
        "ema": 0.9,
    },
    "cosine, norms frozen": {"schedule": "cosine", "freeze": "all_norms", "optimizer": "sgd", "fused": False},
    "fused kernels on channels_last": {"channels_last": True},
    "fused SGD on channels_last": {"channels_last": True, "optimizer": "sgd", "accumulate": 2},
    "patience": {"patience": 2, "validate_every": 1, "lr": 1e-12, "freeze": "all_norms", "ema": None},
}  # fmt: skip


DEFAULT = ("parts, one cycle, layers, encoder frozen at first", "fused kernels on channels_last")
"""The others are marked slow."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=() if n in DEFAULT else pytest.mark.slow) for n in FEATURES])
def test_a_killed_run_ends_as_if_it_had_not_been(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    whole = fit(world, tmp_path / "whole", **FEATURES[name])
    counts = (1, 1) if name == "patience" else (2, 1)
    assert same_tensors(killed(monkeypatch, lambda: fit(world, tmp_path / "killed", **FEATURES[name]), counts), whole)
    ends = [max(entry["step"] for entry in read_log(tmp_path / run / "log.jsonl")) for run in ("whole", "killed")]
    assert ends == ([3, 3] if name == "patience" else [6, 6])


def test_early_stop_is_the_end_and_wants_a_validation(world: Path, tmp_path: Path) -> None:
    bundle = fit(world, tmp_path / "run", **FEATURES["patience"])
    before = bundle.stat().st_mtime_ns
    assert fit(world, tmp_path / "run", **FEATURES["patience"]).stat().st_mtime_ns == before
    data = open_dataset(world)
    del data.splits["val"]
    with pytest.raises(RecipeError, match="no val split; leave out patience"):
        train(draft(data, patience=2, **SMALL), data, tmp_path / "other")


def test_parts_of_a_batch_end_in_the_weights_of_the_whole(world: Path, tmp_path: Path) -> None:
    options = {"freeze": "all_norms", "optimizer": "sgd", "steps": 4}
    one = load_file(fit(world, tmp_path / "one", batch=4, **options))
    for parts in (2, 3):
        other = load_file(fit(world, tmp_path / f"in {parts}", accumulate=parts, batch=4, **options))
        assert max(float((one[name] - other[name]).abs().max()) for name in one) < 1e-5


def test_without_class_weights_a_batch_may_pass_in_parts(world: Path, tmp_path: Path) -> None:
    bare = fit(world, tmp_path / "bare", class_weights=(), accumulate=2, batch=2, steps=2)
    alike = fit(world, tmp_path / "alike", class_weights=(1.0, 1.0, 1.0), accumulate=2, batch=2, steps=2)
    assert same_tensors(bare, alike)


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some training batches, always the same ones, hold a value that is not a number."""
    original = Normalise.forward

    def poisoned(self: Normalise, image: torch.Tensor) -> torch.Tensor:
        normal = original(self, image)
        if self.training and len(image) == 2 and int(image.long().sum()) % 3 == 0:
            normal = normal.clone()
            normal[0, 0, 0, 0] = float("nan")
        return normal

    monkeypatch.setattr(Normalise, "forward", poisoned)


@pytest.mark.usefixtures("poison")
def test_a_step_without_a_finite_gradient_is_skipped_and_its_pictures_are_named(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"steps": 12, "ema": 0.9}
    whole = fit(world, tmp_path / "whole", **options)
    log = read_log(tmp_path / "whole" / "log.jsonl")
    skipped = [entry for entry in log if "skipped" in entry]
    assert 1 <= len(skipped) < 10
    assert [entry["skipped"] for entry in skipped] == list(range(1, len(skipped) + 1))
    names = open_dataset(world).splits["train"].pairs
    for entry in skipped:
        keys = keys_of_step(entry["step"] - 1, 2, 6, 0)
        assert entry["pictures"] == [names[index].image.name for _, index in keys]
        assert "nan" in entry["why"]
    assert all(torch.isfinite(tensor).all() for tensor in load_file(whole).values())  # running statistics too
    assert all(np.isfinite(entry["loss"]) for entry in log if "loss" in entry)
    again = killed(monkeypatch, lambda: fit(world, tmp_path / "killed", **options), (7,))
    assert same_tensors(again, whole)
    kept = [entry["skipped"] for entry in read_log(tmp_path / "killed" / "log.jsonl") if "skipped" in entry]
    assert kept == [entry["skipped"] for entry in skipped]


def test_a_finished_run_is_extended_and_that_resumes_too(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit(world, tmp_path / "whole", steps=6)
    shutil.copytree(tmp_path / "whole", tmp_path / "killed")
    short = load_file(tmp_path / "whole" / "model.safetensors")
    whole = fit(world, tmp_path / "whole", extend=5)
    recipe = Recipe.load(tmp_path / "whole" / "recipe.toml")
    assert (recipe.steps, recipe.extended) == (11, ((6, 6),))
    assert load_bundle(whole)[1].recipe["steps"] == 11
    assert not torch.equal(load_file(whole)["head.score.weight"], short["head.score.weight"])
    assert same_tensors(killed(monkeypatch, lambda: fit(world, tmp_path / "killed", extend=5), (2,)), whole)
    before = whole.stat().st_mtime_ns
    assert fit(world, tmp_path / "whole", steps=6).stat().st_mtime_ns == before  # the command of before
    fit(world, tmp_path / "whole", extend=2)
    assert Recipe.load(tmp_path / "whole" / "recipe.toml").extended == ((6, 6), (11, 11))


def test_only_a_finished_run_is_extended_and_an_old_bundle_is_not_its_end(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with pytest.raises(RecipeError, match="holds no run to extend"):
        fit(world, run, extend=5)
    with monkeypatch.context() as patch:
        patch.setattr("atrous.train.loop.loop", die)
        with pytest.raises(Killed):
            fit(world, run, steps=4)
    with pytest.raises(RecipeError, match="is at step 0 of 4; finish it"):
        fit(world, run, extend=5)
    bundle = fit(world, run, steps=4)
    with monkeypatch.context() as patch:
        patch.setattr("atrous.train.loop.save_bundle", die)
        with pytest.raises(Killed):
            fit(world, run, extend=3)
    assert load_bundle(bundle)[1].recipe["steps"] == 4
    with pytest.raises(RecipeError, match="is at step 7 of 7; finish it by"):
        fit(world, run, extend=9)
    assert load_bundle(fit(world, run, extend=3))[1].recipe["steps"] == 7


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("number", "workers", "place"),
    [
        (signal.SIGTERM, 2, "step"),
        (signal.SIGUSR1, 0, "step"),
        (signal.SIGINT, 0, "step"),
        (signal.SIGTERM, 0, "val"),
        (signal.SIGHUP, 0, "step"),
    ],
)
def test_a_signal_saves_and_the_same_call_goes_on(
    world: Path, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, workers: int, place: str
) -> None:
    name = {"step": "atrous.train.loop.take_step", "val": "atrous.train.validation.overlay"}[place]
    module, attribute = name.rsplit(".", 1)
    original, calls = getattr(sys.modules[module], attribute), iter(range(3 if place == "step" else 1))

    def signalled(*arguments: Any) -> Any:
        if next(calls, None) is None:
            for child in multiprocessing.active_children():  # as where a scheduler tells every process of a job
                os.kill(child.pid or 0, number)
            os.kill(os.getpid(), number)
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(name, signalled)
        with pytest.raises(Interrupted, match=r"saved in .*; the same command resumes") as stopped:
            fit(world, tmp_path / "run", workers=workers)
    assert explain(stopped.value) == (130 if number == signal.SIGINT else 0)
    heard: list[str] = []
    console = Console(file=type("Lines", (), {"write": lambda _, text: heard.append(text), "flush": lambda _: None})())
    assert same_tensors(fit(world, tmp_path / "run", workers=workers, console=console), plain)
    assert any("resuming" in text for text in heard)


def test_a_picture_that_vanished_is_replaced_by_the_next_one(world: Path, tmp_path: Path) -> None:
    copy = make_world(tmp_path / "copy")
    data = open_dataset(copy, cache_mb=0)
    pairs = data.splits["train"]
    recipe = draft(data, **SMALL)
    whole = TrainingSet(pairs, augmentation(recipe), 0)
    expected = whole.augment(pairs[3], generator(0, 5, 2, 0))
    file = pairs.pairs[2].image
    file.write_bytes(file.read_bytes()[:100])
    found = whole.__getitems__([(5, 1), (5, 2)])
    assert np.array_equal(found.images[1].numpy().transpose(1, 2, 0), expected.image)
    assert np.array_equal(found.labels[1].numpy(), expected.mask)
    [(name, instead, why)] = found.replaced
    assert (name, instead) == (file.name, pairs.pairs[3].image.name)
    assert file.name in why
    runs = [train(recipe, data, tmp_path / f"run{workers}", workers=workers) for workers in (0, 2)]
    assert same_tensors(*runs)
    bad = [entry for entry in read_log(tmp_path / "run0" / "log.jsonl") if "bad_picture" in entry]
    assert [entry["bad_picture"] for entry in bad] == [file.name]
    assert len(read_log(tmp_path / "run0" / "log.jsonl")) > 1
    other = pairs.pairs[4].image
    other.unlink()
    with pytest.raises(DataError, match=f"2 of 6 training pictures .*{other.name}"):
        train(recipe, data, tmp_path / "run")


class Fake:
    """What a user's logger for some service looks like."""

    def __init__(self) -> None:
        self.heard: list[Any] = []

    def resume(self, step: int) -> None:
        self.heard.append(step)

    def write(self, **entry: Any) -> None:
        self.heard.append(entry)

    def close(self) -> None:
        self.heard.append("closed")


def test_loggers_hear_what_the_files_hold_and_overlays_are_drawn(world: Path, tmp_path: Path) -> None:
    fake = Fake()
    fit(world, tmp_path / "run", steps=20, validate_every=10, loggers=[fake])
    log = read_log(tmp_path / "run" / "log.jsonl")
    assert fake.heard == [0, *log, "closed"]
    assert [entry["step"] for entry in log if "val_loss" in entry] == [10, 20]
    rows = (tmp_path / "run" / "log.csv").read_text().splitlines()
    assert rows[0].startswith("step,seconds,loss,lr")
    assert [int(row.split(",")[0]) for row in rows[1:]] == [entry["step"] for entry in log]
    pictures = sorted((tmp_path / "run" / "overlays").iterdir())
    assert [path.name for path in pictures] == ["step-00000010.jpg", "step-00000020.jpg"]
    assert cv2.imread(str(pictures[0])).shape == (2 * 192, 2 * 256, 3)  # two pictures of 48 x 64, truth and prediction
    assert max(path.stat().st_size for path in pictures) < 200_000


def test_batches_of_one_picture_come_with_advice(world: Path, tmp_path: Path) -> None:
    def said(**options: Any) -> str:
        texts: list[str] = []
        lines = type("Lines", (), {"write": lambda _, text: texts.append(text), "flush": lambda _: None})()
        name = "-".join(f"{value}" for value in options.values())
        fit(world, tmp_path / name, steps=1, console=Console(file=lines, soft_wrap=True), **options)
        return "".join(texts)

    assert "batch norms see one picture at a time" in said(batch=1)
    assert "a smaller accumulate" in said(batch=2, accumulate=2)
    assert "one picture at a time" not in said(batch=2)
    assert "one picture at a time" not in said(batch=1, freeze="all_norms")


def test_a_student_learns_from_a_teacher_that_stays_the_same(
    world: Path, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = fit(world, tmp_path / "teacher", options={"joined": False})
    options = {"distil": str(tmp_path / "teacher"), "distil_weight": 2.0}
    whole = fit(world, tmp_path / "whole", **options)
    assert not same_tensors(whole, plain)
    assert same_tensors(killed(monkeypatch, lambda: fit(world, tmp_path / "killed", **options)), whole)
    with safe_open(whole, framework="pt") as file:
        assert not [name for name in file.keys() if "teacher" in name]  # noqa: SIM118
    teacher.write_bytes(plain.read_bytes())
    with pytest.raises(RecipeError, match="distil_digest"):
        fit(world, tmp_path / "whole", **options)
    more = (world / "classes.toml").read_text()
    try:
        (world / "classes.toml").write_text(more.replace('"bar"', '"rod"'))
        with pytest.raises(RecipeError, match=r"knows the classes ground, disc, bar .*ground, disc, rod"):
            fit(world, tmp_path / "third", **options)
    finally:
        (world / "classes.toml").write_text(more)
