"""Several processes train as one does: the same tensors, one voice, one end."""

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from processes import SMALL, environment, facade, fit, together
from safetensors.torch import load_file
from worlds import make_world

from atrous.bundle import load_card
from atrous.datasets import open_dataset
from atrous.errors import RecipeError
from atrous.models import create_model
from atrous.train import processes
from atrous.train.batches import batches, keys_of_step
from atrous.train.loggers import read_log
from atrous.train.recipe import Recipe
from atrous.train.sharding import gathered, synchronised
from atrous.train.signals import Stop

pytestmark = pytest.mark.skipif(os.name != "posix", reason="gloo between processes, and signals of POSIX")

STILL = {"freeze": "all_norms", "optimizer": "sgd", "lr": 0.01}
"""Norms that do not look at the batch, and steps that rounding does not blow up."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of which some have far more ignored pixels than others, and two nothing else."""
    root = make_world(tmp_path_factory.mktemp("world"), val=3)
    empty = [index for _, index in keys_of_step(0, 4, 6, 0)[2:]]  # the second process's share of the first step
    for index in range(6):
        path = root / "train" / "masks" / f"train{index}.png"
        mask = np.array(Image.open(path))
        mask[: 48 if index in empty else 6 * index] = 255
        Image.fromarray(mask).save(path)
    return root


@pytest.fixture(scope="module")
def plain(world: Path) -> Path:
    """The run of a single process."""
    torch.set_num_threads(1)
    return fit(world, world.with_name(f"{world.name}-plain"), **STILL, class_weights=(0.5, 2.0, 1.0)).parent


def apart(one: Path, other: Path) -> float:
    """The largest difference between the tensors of two bundles or checkpoints."""
    a, b = load_file(one), load_file(other)
    assert a.keys() == b.keys()
    return max(float((a[name].double() - b[name].double()).abs().max()) for name in a)


WEIGHED: dict[str, Any] = {**STILL, "class_weights": (0.5, 2.0, 1.0)}


@pytest.mark.parametrize("launcher", ["torchrun", pytest.param("srun", marks=pytest.mark.slow)])
def test_two_processes_end_as_one_does_and_one_speaks(world: Path, plain: Path, tmp_path: Path, launcher: str) -> None:
    said, silent = together(fit, world, tmp_path / "run", launcher=launcher, **WEIGHED)
    assert (said.code, silent) == (0, (0, ""))
    assert "on cpu, in 2 processes" in said.said
    assert apart(tmp_path / "run" / "model.safetensors", plain / "model.safetensors") < 1e-5
    assert (tmp_path / "run" / "recipe.toml").read_text() == (plain / "recipe.toml").read_text()
    here, there = read_log(tmp_path / "run" / "log.jsonl"), read_log(plain / "log.jsonl")
    assert [entry["step"] for entry in here] == [entry["step"] for entry in there]
    for name in ("loss", "val_loss", "val_miou"):
        pairs = [(a[name], b[name]) for a, b in zip(here, there, strict=True) if name in a]
        assert pairs
        assert all(abs(a - b) < 1e-4 for a, b in pairs), name
    assert load_card(tmp_path / "run" / "model.safetensors").metrics["val"]["images"] == 3  # and none twice
    drawn = [cv2.imread(str(next((run / "overlays").glob("*6.jpg")))) for run in (tmp_path / "run", plain)]
    assert drawn[0].shape == drawn[1].shape


MORE: dict[str, dict[str, Any]] = {
    "parts of parts": {**WEIGHED, "accumulate": 2},
    "AdamW, moving average": {**STILL, "optimizer": "adamw", "lr": 0.0003, "ema": 0.9},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", MORE)
def test_parts_adamw_and_averages_end_the_same_too(world: Path, tmp_path: Path, name: str) -> None:
    fit(world, tmp_path / "one", **MORE[name])
    for size in (2, 4):
        options = MORE[name] | ({"accumulate": 1} if size == 4 else {})
        assert {end.code for end in together(fit, world, tmp_path / f"{size}", size=size, **options)} == {0}
        assert apart(*(tmp_path / run / "model.safetensors" for run in ("one", f"{size}"))) < 1e-5


@pytest.mark.parametrize(
    "fault",
    ["SIGUSR1", *(pytest.param(f"SIGTERM{when}", marks=pytest.mark.slow) for when in ("", " amid a validation"))],
)
def test_a_signal_to_one_stops_all_at_one_step_and_any_number_goes_on(
    world: Path, plain: Path, tmp_path: Path, fault: str
) -> None:
    run, late = tmp_path / "run", fault.endswith("validation")
    ends = together(fit, world, run, fault=fault, after=0 if late else 1, **WEIGHED)
    assert [end.code for end in ends] == [0, 0]
    assert f"stopped after step {3 if late else 2}" in ends[0].said
    assert ends[1].said == ""
    steps = sorted(path.name for path in (run / "checkpoints").glob("step-*.safetensors"))
    assert steps[-1] == f"step-{3 if late else 2:08d}.safetensors"
    size = 1 if fault == "SIGUSR1" else 2
    ends = together(fit, world, run, size=size, **WEIGHED)
    assert {end.code for end in ends} == {0}
    assert "resuming" in ends[0].said
    assert apart(run / "model.safetensors", plain / "model.safetensors") < 1e-5


@pytest.mark.slow
def test_one_process_begins_and_two_go_on(world: Path, plain: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert [end.code for end in together(fit, world, run, size=1, fault="SIGTERM", rank=0, **WEIGHED)] == [0]
    assert [end.code for end in together(fit, world, run, **WEIGHED)] == [0, 0]
    assert apart(run / "model.safetensors", plain / "model.safetensors") < 1e-5


@pytest.mark.parametrize(("fault", "codes", "said"), [
    ("defect", [2, 70], "internal error: RuntimeError: a defect in one process"),
    ("SIGKILL", [2, -9], "error: another process of this run has ended; the same command resumes"),
])  # fmt: skip
def test_one_that_fails_ends_all_and_it_is_said_once(
    world: Path, tmp_path: Path, fault: str, codes: list[int], said: str
) -> None:
    ends = together(fit, world, tmp_path / "run", fault=fault, **WEIGHED)
    assert [end.code for end in ends] == codes
    assert sum(end.said.count("error") for end in ends) == said.count("error")
    assert sum(said in end.said for end in ends) == 1


def test_bad_files_are_everybodys(tmp_path: Path) -> None:
    options: dict[str, Any] = {**STILL, "steps": 1}
    for damaged, code in ((1, 0), (2, 2)):
        world, run = make_world(tmp_path / f"world{damaged}"), tmp_path / f"run{damaged}"
        pairs = open_dataset(world).splits["train"].pairs
        theirs = [pairs[index].image for _, index in keys_of_step(0, 4, 6, 0)[2:]]  # the second process reads them
        ends = together(fit, world, run, damage=theirs[:damaged], **options)
        assert [end.code for end in ends] == [code, code]
        named = [entry["bad_picture"] for entry in read_log(run / "log.jsonl") if "bad_picture" in entry]
        assert named == [file.name for file in theirs[:damaged]]
        said = sum("2 of 6 training pictures cannot be read" in end.said for end in ends)
        assert said == (damaged == 2)


def test_a_step_that_is_not_finite_in_one_is_skipped_in_all(world: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = {"fault": "not a number", "after": 3, "ema": 0.9, "validate_every": 6}
    assert [end.code for end in together(fit, world, run, **options)] == [0, 0]
    [entry] = [entry for entry in read_log(run / "log.jsonl") if "skipped" in entry]
    names = [pair.image.name for pair in open_dataset(world).splits["train"].pairs]
    assert entry["pictures"] == [names[index] for _, index in keys_of_step(3, 4, 6, 0)]
    assert "nan" in entry["why"]
    saved = load_file(run / "checkpoints" / "step-00000006.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in saved.values())


def watched(world: Path, run: Path, **options: Any) -> None:
    """Train and tell what weights and running statistics this process has after each step."""
    loop = sys.modules["atrous.train.loop"]
    original = loop.take_step  # type: ignore[attr-defined]

    def told(run: Any, *arguments: Any) -> Any:
        found = original(run, *arguments)
        tensors = {name: gathered(tensor) for name, tensor in run.objective.model.state_dict().items()}
        print("tensors", *(f"{name}={float(tensor.double().sum()):.17g}" for name, tensor in tensors.items()))
        return found

    loop.take_step = told  # type: ignore[attr-defined]
    fit(world, run, **options)


@pytest.mark.parametrize("strategy", ["ddp", pytest.param("fsdp", marks=pytest.mark.slow)])
def test_norms_and_what_thaws_stay_the_same_in_all(world: Path, tmp_path: Path, strategy: str) -> None:
    options = {"steps": 4, "validate_every": 4, "freeze": "encoder", "freeze_steps": 2, "strategy": strategy}
    ends = together(watched, world, tmp_path / "run", **options)
    here, there = ([line for line in end.said.splitlines() if line.startswith("tensors")] for end in ends)
    assert here == there
    moved = [{pair.split("=")[0] for pair in set(new.split()) - set(old.split())} for old, new in pairwise(here)]
    for step, thawed in enumerate([False, True, True]):
        assert "head.score.weight" in moved[step]
        assert any(name.endswith("running_mean") for name in moved[step])
        assert any(name.startswith("encoder.") for name in moved[step]) == thawed
    assert "batch norms see 2 pictures at a time: those of one process" in ends[0].said


@pytest.mark.parametrize(
    ("optimizer", "first", "then"),
    [
        ("sgd", "fsdp", "fsdp"),
        pytest.param("adamw", "ddp", "fsdp", marks=pytest.mark.slow),
        pytest.param("adamw", "fsdp", "ddp", marks=pytest.mark.slow),
    ],
)
def test_weights_in_shares_end_as_whole_ones(
    world: Path, tmp_path: Path, optimizer: str, first: str, then: str
) -> None:
    options = {**WEIGHED, "ema": 0.9, "optimizer": optimizer, "lr": 0.01 if optimizer == "sgd" else 0.0003}
    fit(world, tmp_path / "one", **options)
    ends = together(fit, world, tmp_path / "run", fault="SIGTERM", strategy=first, **options)
    assert [end.code for end in ends] == [0, 0]
    ends = together(fit, world, tmp_path / "run", strategy=then, **options)
    assert [end.code for end in ends] == [0, 0]
    assert apart(*(tmp_path / run / "model.safetensors" for run in ("run", "one"))) < 1e-5
    last = "checkpoints/step-00000006.safetensors"
    assert apart(*(tmp_path / run / last for run in ("run", "one"))) < 1e-5


def test_who_is_who(monkeypatch: pytest.MonkeyPatch) -> None:
    assert processes.place() == processes.Place(0, 1, 1)
    for name, value in environment("srun", 5, 8, 1).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_NTASKS_PER_NODE", "4")
    assert processes.place() == processes.Place(5, 8, 4)
    shares = []
    for rank in range(8):
        monkeypatch.setenv("SLURM_PROCID", str(rank))
        shares += processes.mine(range(11))
    assert shares == list(range(11))
    monkeypatch.delenv("SLURM_NTASKS_PER_NODE")
    with pytest.raises(RecipeError, match="by --ntasks-per-node"):
        processes.place()
    monkeypatch.setenv("SLURM_JOB_NAME", "interactive")
    assert processes.size() == 1
    monkeypatch.setenv("SLURM_JOB_NAME", "train")
    monkeypatch.delenv("SLURM_STEP_ID")  # a line of the script itself, which srun has not started
    assert processes.size() == 1


def test_a_batch_is_dealt_out(world: Path, plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, recipe = open_dataset(world).splits["train"], Recipe.load(plain / "recipe.toml")
    gathered, shares = next(batches(pairs, recipe, 1, 2)), []
    for rank in range(2):
        for name, value in environment("torchrun", rank, 2, 1).items():
            monkeypatch.setenv(name, value)
        shares.append(next(batches(pairs, recipe, 1, 2)))
    assert [len(share.images) for share in shares] == [2, 2]
    assert torch.equal(torch.cat([share.images for share in shares]), gathered.images)
    assert torch.equal(torch.cat([share.labels for share in shares]), gathered.labels)


def test_a_ctrl_c_that_torchrun_echoes_is_one() -> None:
    with Stop(echoed=True) as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert stop.asked == signal.SIGINT
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_batch_that_cannot_be_dealt_out(monkeypatch: pytest.MonkeyPatch) -> None:
    processes.check_batch(3, 3)
    for name, value in environment("torchrun", 0, 4, 1).items():
        monkeypatch.setenv(name, value)
    processes.check_batch(8, 2)
    with pytest.raises(RecipeError, match=r"batch=6 pictures .* 4 processes; take --batch 4 or --batch 8"):
        processes.check_batch(6, 1)
    with pytest.raises(RecipeError, match=r"take --batch 4$"):
        processes.check_batch(2, 1)
    with pytest.raises(RecipeError, match="2 pictures, too few for accumulate=4 parts"):
        processes.check_batch(8, 4)


def test_synchronised_norms_keep_parameters_names_and_answers() -> None:
    """What a CPU can tell of them: torch trains them on GPUs only."""
    torch.manual_seed(0)
    model = create_model("unet", classes=3, encoder="test_resnet", pretrained=False, channels=(16, 8, 8, 8)).eval()
    image, own = torch.randn(1, 3, 32, 32), [id(parameter) for parameter in model.parameters()]
    with torch.no_grad():
        before = model(image)
        names = list(model.state_dict())
        model = synchronised(model)
        assert any(isinstance(layer, torch.nn.SyncBatchNorm) for layer in model.modules())
        assert not any(type(layer) is torch.nn.BatchNorm2d for layer in model.modules())
        assert torch.equal(model(image), before)
    assert (list(model.state_dict()), [id(parameter) for parameter in model.parameters()]) == (names, own)


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_bf16_in_channels_last_is_near(world: Path, plain: Path, tmp_path: Path, strategy: str) -> None:
    options = {**WEIGHED, "precision": "bf16", "channels_last": True, "clip": 0.0, "strategy": strategy}
    assert [end.code for end in together(fit, world, tmp_path / "run", **options)] == [0, 0]
    assert apart(tmp_path / "run" / "model.safetensors", plain / "model.safetensors") < 0.2


@pytest.mark.slow
def test_time_is_shared_out(world: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    options = {"steps": None, "time": 4.0, "precision": None, "channels_last": None, "validate_every": None}
    ends = together(fit, world, run, **options)
    assert [end.code for end in ends] == [0, 0]
    assert Recipe.load(run / "recipe.toml").steps == max(entry["step"] for entry in read_log(run / "log.jsonl"))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_torchrun_itself_stops_by_sigterm_and_goes_on(world: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "atrous", "train",
        str(world), "-o", str(run), "--model", "unet", "--encoder", "test_resnet", "--no-pretrained", "--batch", "4",
        "--crop", "32", "--steps", "200", "--workers", "1",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    while process.poll() is None and not read_log(run / "log.jsonl"):
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate()
    assert said.count("saved in") == 1, said
    assert "atrous/train.py" not in said  # the one traceback is torchrun's own
    stopped = int(said.split("stopped after step ")[1].split()[0])
    assert 10 <= stopped < 200
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"after step {stopped} of 200" in done.stdout
    assert done.stdout.count("next   atrous eval") == 1
    assert {path.name for path in run.iterdir()} >= {"model.safetensors", "report.html", "metrics.json"}


@pytest.mark.slow
def test_folds_and_an_extension_in_two_processes(world: Path, tmp_path: Path) -> None:
    for options in ({"folds": 2}, {"folds": 2}):
        ends = together(facade, world, tmp_path / "folds", **options)
        assert [end.code for end in ends] == [0, 0]
        assert ends[1].said == ""
    assert json.loads((tmp_path / "folds" / "metrics.json").read_text())["val"]["images"] == 9
    for options in ({}, {"extend": 2}):
        assert [end.code for end in together(facade, world, tmp_path / "run", **options)] == [0, 0]
    assert Recipe.load(tmp_path / "run" / "recipe.toml").extended == ((3, 3),)
    first, second = together(facade, tmp_path / "nowhere", tmp_path / "other")
    assert (first.code, second.code) == (2, 2)
    assert (first.said + second.said).count("error") == 1


assert SMALL["batch"] == 4  # what the places of pictures above rest on
