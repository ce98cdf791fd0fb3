"""The real thing: `atrous train` shot with SIGKILL at random moments, again and again, ends in the same tensors."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from worlds import make_world

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


def command(world: Path, run: Path, workers: int, steps: int = 48) -> list[str]:
    return [
        sys.executable, "-m", "atrous", "train", str(world), "-o", str(run), "--model", "unet",
        "--encoder", "test_resnet", "--no-pretrained", "--batch", "2", "--crop", "64", "--steps", str(steps),
        "--workers", str(workers),
    ]  # fmt: skip


def finish(world: Path, run: Path, steps: int = 48) -> tuple[Path, float]:
    began = time.perf_counter()
    subprocess.run(command(world, run, 0, steps), check=True, capture_output=True)
    return run / "model.safetensors", time.perf_counter() - began


@pytest.mark.timeout(900)  # five processes, one after another
@pytest.mark.parametrize(
    "kills",
    [pytest.param(1, marks=pytest.mark.slow), pytest.param(25, marks=[pytest.mark.torture, pytest.mark.timeout(3600)])],
)
def test_kill_9(tmp_path: Path, kills: int) -> None:
    world = make_world(tmp_path / "world")
    finish(world, tmp_path / "first", steps=1)  # compiles kernels and measures what later runs only read
    whole, seconds = finish(world, tmp_path / "whole")
    dice, run, interrupted = random.Random(kills), tmp_path / "killed", 0
    for turn in range(kills):
        process = subprocess.Popen(
            command(world, run, (turn + 1) % 2 * 2), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        try:
            process.wait(dice.uniform(0.4, 0.9) * seconds)
        except subprocess.TimeoutExpired:
            interrupted += 1
        process.kill()
        process.communicate()
    assert interrupted, "no run was still going when it was shot"
    killed, _ = finish(world, run)
    one, other = load_file(whole), load_file(killed)
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
