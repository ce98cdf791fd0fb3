"""The real thing: `atrous train` shot with SIGKILL at random moments, again and again, ends in the same tensors."""

import os
import random
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from runs import same_tensors
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


def shot(world: Path, run: Path, workers: int, seconds: float) -> bool:
    """Start or go on, and kill after so many seconds; whether it was still going then."""
    process = subprocess.Popen(command(world, run, workers), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return True
    finally:
        process.kill()
        process.communicate()
    return False


def uninterrupted(folder: Path) -> tuple[Path, Path, float]:
    """The world, the bundle of a run that nothing stopped, and the seconds that it took."""
    world = make_world(folder / "world")
    finish(world, folder / "first", steps=1)  # compiles kernels and measures what later runs only read
    return world, *finish(world, folder / "whole")


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(900)]),  # five processes, one after another
        pytest.param(50, marks=[pytest.mark.torture, pytest.mark.timeout(7200)]),
    ],
)
def test_kill_9(tmp_path: Path, kills: int) -> None:
    """Each time a run of its own, shot anywhere from its start to its end, then the same command again."""
    world, whole, seconds = uninterrupted(tmp_path)
    dice, interrupted, steps, damaged, other = random.Random(kills), 0, [], [], []
    for turn in range(kills):
        run = tmp_path / f"run-{turn}"
        interrupted += shot(world, run, turn % 2 * 2, seconds * (dice.uniform(0, 1) if kills > 1 else 0.7))
        again = subprocess.run(command(world, run, 0), check=True, capture_output=True, text=True)
        said = again.stdout + again.stderr
        steps.append(int(found[1]) if (found := re.search(r"after step (\d+) of", said)) else 0)
        damaged += [turn] if "damaged" in said else []
        other += [] if same_tensors(whole, run / "model.safetensors") else [turn]
        shutil.rmtree(run)
    print(f"{kills} kills, {interrupted} amid a run, went on from steps {sorted(steps)}")
    assert interrupted, "no run was still going when it was shot"
    assert not damaged
    assert not other


@pytest.mark.torture
@pytest.mark.timeout(7200)
def test_kill_9_again_and_again(tmp_path: Path) -> None:
    """One run, shot until it is done."""
    world, whole, seconds = uninterrupted(tmp_path)
    dice, run = random.Random(0), tmp_path / "run"
    for turn in range(25):
        shot(world, run, turn % 2 * 2, dice.uniform(0.4, 0.9) * seconds)
        if (run / "model.safetensors").exists():
            break
    finish(world, run)
    assert turn, "the first shot came too late"
    assert same_tensors(whole, run / "model.safetensors")
