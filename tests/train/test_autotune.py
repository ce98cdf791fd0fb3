"""What is settled by measuring, once for all: precision, layout, optimiser, and whether to compile."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from platformdirs import user_cache_path
from rich.console import Console
from runs import same_tensors
from safetensors.torch import load_file
from torch import nn
from worlds import make_world

from atrous.datasets import DataSet, open_dataset
from atrous.errors import RecipeError
from atrous.ops import timing
from atrous.plan import draft
from atrous.train import autotune
from atrous.train.autotune import optimizer_seconds, options_of, settle
from atrous.train.loop import train
from atrous.train.optimizer import make_optimizer
from atrous.train.recipe import Recipe
from atrous.train.run import build

CPU = torch.device("cpu")
SMALL: dict[str, Any] = {
    "model": "unet", "encoder": "test_resnet", "channels": (8, 8, 8, 8), "pretrained": False, "batch": 2,
    "crop": (32, 32), "steps": 4, "validate_every": 2,
}  # fmt: skip


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> DataSet:
    return open_dataset(make_world(tmp_path_factory.mktemp("measure") / "world"))


def settled(world: DataSet, folder: Path, said: list[str] | None = None, **wishes: Any) -> Recipe:
    """What a fresh run of these wishes would settle for."""
    recipe = draft(world, **{**SMALL, **wishes})
    objective = build(recipe, world, folder, pretrained=False).objective
    say = (said if said is not None else []).append
    return settle(recipe, objective, world.splits["train"], device=CPU, workers=0, began=0.0, validation=0.0, say=say)


def clock(monkeypatch: pytest.MonkeyPatch, steps: dict[tuple[str, bool], float], optimisers: dict[bool, float]) -> list:
    """Steps and optimisers that take so many seconds; the choices whose steps were asked for."""
    asked, now = list[tuple[str, bool]](), [0.0]

    class Timed:
        def __init__(self, recipe: Recipe, objective: nn.Module, choice: tuple[str, bool], fabric: object) -> None:
            self.choice = choice

        def step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
            asked.append(self.choice)
            now[0] += steps[self.choice]

    monkeypatch.setattr(autotune, "Trial", Timed)
    monkeypatch.setattr(timing, "perf_counter", lambda: now[0])
    monkeypatch.setattr(autotune, "candidates", lambda device: list(steps))
    monkeypatch.setattr(autotune, "optimizer_seconds", lambda *arguments: optimisers)
    return asked


def test_the_fastest_is_chosen_said_and_remembered(
    world: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = clock(monkeypatch, {("fp32", False): 0.2, ("bf16", True): 0.1}, {False: 0.03, True: 0.0105})
    said: list[str] = []
    chosen = settled(world, tmp_path, said)
    assert (chosen.precision, chosen.channels_last, chosen.fused, chosen.compile) == ("bf16", True, True, False)
    line = "a step measured: fp32 200 ms, bf16 channels_last 100 ms, optimiser 30 ms, fused optimiser 10.5 ms"
    assert said == [line]
    assert len(asked) == 8
    clock(monkeypatch, {("fp32", False): 0.1, ("bf16", True): 0.2}, {False: 0.01, True: 0.02})  # another day
    assert settled(world, tmp_path, said) == chosen
    assert said == [line, line]
    other = settled(world, tmp_path, batch=3)  # another shape is another question
    assert (other.precision, other.channels_last, other.fused) == ("fp32", False, False)
    (file,) = [path for path in (Path(user_cache_path("atrous")) / "choices").iterdir()
               if json.loads(path.read_text())["precision"] == "bf16"]  # fmt: skip
    file.write_text('{"precision": "bf16", "channels_last": true}')  # as it was kept before
    assert settled(world, tmp_path).fused is False


def test_what_is_asked_for_is_not_measured(world: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = {("fp32", False): 0.1, ("fp32", True): 0.3, ("bf16", True): 0.2}
    asked = clock(monkeypatch, steps, {False: 0.01, True: 0.02})
    chosen = settled(world, tmp_path, channels_last=True, fused=True)
    assert (chosen.precision, chosen.channels_last, chosen.fused) == ("bf16", True, True)
    assert set(asked) == {("fp32", True), ("bf16", True)}
    asked.clear()
    assert settled(world, tmp_path, precision="bf16", channels_last=True).fused is False
    assert settled(world, tmp_path, precision="fp32").channels_last is False
    assert set(asked) == {("fp32", False), ("fp32", True)}
    recipe = draft(world, **SMALL, precision="bf16", channels_last=False)
    assert options_of(recipe, CPU) == [("bf16", False)]  # no candidate, but asked for


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_the_fused_optimiser_moves_as_the_other_does(world: DataSet, tmp_path: Path, optimizer: str) -> None:
    ends = []
    for fused in (False, True):
        recipe = draft(world, **SMALL, optimizer=optimizer, fused=fused, lr=0.01)
        model = build(recipe, world, tmp_path, pretrained=False).objective.model
        mover = make_optimizer(recipe, model)
        assert {group["fused"] for group in mover.param_groups} == {True if fused else None}
        generator = torch.Generator().manual_seed(0)
        for _ in range(3):
            for parameter in model.parameters():
                parameter.grad = torch.randn(parameter.shape, generator=generator)
            mover.step()
        ends.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    torch.testing.assert_close(ends[0], ends[1], atol=1e-6, rtol=1e-5)


def test_optimisers_are_timed_and_nothing_moves(
    world: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = draft(world, **SMALL)
    objective = build(recipe, world, tmp_path, pretrained=False).objective
    before = {name: tensor.clone() for name, tensor in objective.model.state_dict().items()}
    taken = optimizer_seconds(recipe, objective, ("fp32", True), CPU)
    assert set(taken) == {False, True}
    assert all(0 < seconds < 1 for seconds in taken.values())
    assert all(torch.equal(tensor, before[name]) for name, tensor in objective.model.state_dict().items())
    assert all(parameter.grad is None for parameter in objective.model.parameters())

    def without_kernels(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
        if recipe.fused:
            raise RuntimeError("`fused=True` requires all the params to be on supported devices")
        return make_optimizer(recipe, model)

    monkeypatch.setattr(autotune, "make_optimizer", without_kernels)
    assert set(optimizer_seconds(recipe, objective, ("fp32", False), CPU)) == {False}


def fit(world: DataSet, folder: Path, **wishes: Any) -> tuple[Path, str]:
    """The bundle of a run, and what it said."""
    held = Recipe.load(folder / "recipe.toml") if (folder / "recipe.toml").exists() else None
    console = Console(width=200, file=io.StringIO())
    fixed = {"precision": "fp32", "channels_last": True, "fused": True}
    bundle = train(draft(world, held=held, **{**SMALL, **fixed, **wishes}), world, folder, console=console)
    return bundle, console.file.getvalue()  # type: ignore[attr-defined]


def test_what_was_chosen_moves_the_weights_from_the_first_step(
    world: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(autotune, "optimizer_seconds", lambda *_: {False: 0.2, True: 0.1})
    original, seen = sys.modules["atrous.train.loop"].take_step, []  # type: ignore[attr-defined]

    def watched(run: Any, fabric: object, module: object, optimizer: Any, *batch: torch.Tensor) -> Any:
        groups = optimizer.param_groups
        seen.append(({group["fused"] for group in groups}, sum(len(group["params"]) for group in groups)))
        return original(run, fabric, module, optimizer, *batch)

    monkeypatch.setattr("atrous.train.loop.take_step", watched)
    bundle, _ = fit(world, tmp_path / "run", fused=None, freeze="encoder", freeze_steps=2)
    learned = sum(
        not name.endswith(("running_mean", "running_var", "num_batches_tracked")) for name in load_file(bundle)
    )
    assert seen == [({True}, learned)] * 4  # the encoder, frozen while the steps were timed, too


def uncompiled(*_: object, **__: object) -> Any:
    def broken(*_: object) -> None:
        raise torch._dynamo.exc.TorchDynamoException("no C++ compiler\n\nmany more lines")

    return broken


def test_where_compiling_fails_training_says_so_and_goes_on(
    world: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, said = fit(world, tmp_path / "plain")
    assert "4 steps of 2 x 32x32, fp32, channels_last, fused, on cpu" in said
    monkeypatch.setattr(torch, "compile", uncompiled)
    bundle, said = fit(world, tmp_path / "run", compile=True)
    assert "torch.compile was asked for and fails here (no C++ compiler); training goes on without it" in said
    assert Recipe.load(tmp_path / "run" / "recipe.toml").compile == "failed"
    assert same_tensors(bundle, plain)
    bundle.unlink()
    assert same_tensors(fit(world, tmp_path / "run", compile=True)[0], plain)  # the same command again
    assert same_tensors(fit(world, tmp_path / "run")[0], plain)  # and one that does not ask
    with pytest.raises(RecipeError, match="holds a run with compile = failed, this command asks for False"):
        fit(world, tmp_path / "run", compile=False)


def test_a_compiled_run_that_cannot_be_any_more_is_one_sentence(
    world: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "compile", lambda function, *_, **__: function)  # "compiled" as it is
    with monkeypatch.context() as patch:
        patch.setattr("atrous.train.loop.take_step", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            fit(world, tmp_path / "run", compile=True)
    assert Recipe.load(tmp_path / "run" / "recipe.toml").compile is True
    monkeypatch.setattr(torch, "compile", uncompiled)
    with pytest.raises(RecipeError, match=r"compiled so far, and torch.compile fails .* now \(no C\+\+ compiler\)"):
        fit(world, tmp_path / "run", compile=True)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of torch's own compiler
def test_a_compiled_run_is_exact_too(world: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, said = fit(world, tmp_path / "whole", compile=True)
    assert "fused, compiled, on cpu" in said
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    original, calls = sys.modules["atrous.train.loop"].take_step, iter(range(2))  # type: ignore[attr-defined]

    def dying(*arguments: Any) -> Any:
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return original(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("atrous.train.loop.SAVE_EVERY", 0.0)
        patch.setattr("atrous.train.loop.take_step", dying)
        with pytest.raises(KeyboardInterrupt):
            fit(world, tmp_path / "killed", compile=True)
    assert same_tensors(fit(world, tmp_path / "killed", compile=True)[0], whole)
    plain = load_file(fit(world, tmp_path / "plain")[0])
    for name, tensor in load_file(whole).items():
        torch.testing.assert_close(tensor, plain[name], atol=0.05, rtol=0.05)


FAULTS = """
import resource, torch
from atrous.train.surroundings import keep_freed_memory
if {keep}:
    keep_freed_memory()
for turn in range(30):  # blocks are aligned, and it takes some until one that was freed fits the next
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = torch.ones(12_000_000)
    del block
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep: bool) -> int:
    return int(subprocess.run([sys.executable, "-c", FAULTS.format(keep=keep)], capture_output=True, text=True).stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")
@pytest.mark.slow
def test_memory_that_is_kept_is_not_cleared_again() -> None:
    given_back = faults(False)
    if given_back < 1000:
        pytest.skip("this system's malloc keeps large blocks by itself")
    assert faults(True) < given_back / 10
