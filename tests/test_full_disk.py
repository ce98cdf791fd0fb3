"""A disk that fills up or may not be written to costs a run nothing but the time until there is room again."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from runs import COMMAND, fit
from safetensors.torch import load, load_file
from worlds import make_world

from atrous.cli import explain


@pytest.mark.parametrize(
    "when", ["tensors", "best", *(pytest.param(when, marks=pytest.mark.slow) for when in ("manifest", "recipe"))]
)
def test_a_write_that_fails_leaves_the_one_before(
    trained: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    when: str,
) -> None:
    world, whole = trained
    original, run = os.fsync, tmp_path / "run"
    part = {"tensors": "step-*.safetensors*", "manifest": "step-*.json*", "best": "best*", "recipe": "recipe*"}[when]
    seen = []

    def full(handle: int) -> None:
        if Path(os.readlink(f"/proc/self/fd/{handle}")).match(f".{part}.tmp"):
            seen.append(handle)
            if len(seen) == (2 if when in ("tensors", "manifest") else 1):
                raise OSError(28, "No space left on device")
        original(handle)

    monkeypatch.setattr("os.fsync", full)
    monkeypatch.setattr("atrous.train.loop.SAVE_EVERY", 0.0)
    with pytest.raises(OSError) as caught:
        fit(world, run)
    assert explain(caught.value) == 2
    told = capsys.readouterr().err
    assert str(run) in told
    assert "No space left on device; make room" in told
    assert not list(run.rglob("*.tmp"))
    same = load_file(whole / "model.safetensors"), load_file(fit(world, run))
    assert all(torch.equal(tensor, same[1][name]) for name, tensor in same[0].items())


@pytest.mark.torture
@pytest.mark.timeout(1800)
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid(), reason="mounts a small disk, which takes Linux and root")
def test_a_real_disk_fills_up_and_may_not_be_written_to(tmp_path: Path) -> None:
    world, disk = make_world(tmp_path / "world"), tmp_path / "disk"
    whole = fit(world, tmp_path / "whole")
    one = sum(file.stat().st_size for file in (tmp_path / "whole" / "checkpoints").iterdir())
    command = [sys.executable, "-m", "atrous", "train", str(world), "-o", str(disk / "run"), *COMMAND, "--steps", "8"]
    disk.mkdir()
    told = []
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={one // 4}", "tmpfs", str(disk)], check=True)
    try:
        for option in (None, f"size={one // 2}", "ro", "rw,size=1g"):
            if option:
                subprocess.run(["mount", "-o", f"remount,{option}", str(disk)], check=True)
            done = subprocess.run(command, capture_output=True, text=True)
            told.append((done.returncode, done.stderr.strip().splitlines()[-1:]))
        assert [code for code, _ in told] == [2, 2, 2, 0], told
        assert all("No space left on device; make room" in lines[0] for _, lines in told[:2]), told
        assert "Read-only file system" in told[2][1][0], told
        one, other = (load(path.read_bytes()) for path in (whole, disk / "run" / "model.safetensors"))
        assert all(torch.equal(one[name], other[name]) for name in one)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
