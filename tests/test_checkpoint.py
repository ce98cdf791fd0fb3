import json
from pathlib import Path

import pytest
import torch

from atrous.checkpoint import load_checkpoint, pack_optimizer, save_checkpoint, unpack_optimizer


def save(folder: Path, *steps: int) -> None:
    for step in steps:
        save_checkpoint(folder, {"x": torch.tensor([step])}, {"step": step})


def test_two_are_kept_and_the_newest_is_loaded(tmp_path: Path) -> None:
    save(tmp_path, 1, 2, 3)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"step-0000000{step}.{kind}" for step in (2, 3) for kind in ("json", "safetensors")
    ]
    tensors, state, damaged = load_checkpoint(tmp_path)
    assert (tensors["x"].item(), state["step"], damaged) == (3, 3, [])


@pytest.mark.parametrize("damage", ["truncate", "flip", "empty", "gone", "manifest"])
def test_a_damaged_one_is_passed_over(tmp_path: Path, damage: str) -> None:
    save(tmp_path, 1, 2)
    path = tmp_path / "step-00000002.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    {
        "truncate": lambda: path.write_bytes(data[:-3]),
        "flip": lambda: path.write_bytes(data),
        "empty": lambda: path.write_bytes(b""),
        "gone": path.unlink,
        "manifest": lambda: path.with_suffix(".json").write_text("{"),
    }[damage]()
    tensors, state, damaged = load_checkpoint(tmp_path)
    assert (tensors["x"].item(), state["step"], damaged) == (1, 1, [path.name])


def test_left_overs_of_a_crash_are_swept_and_nothing_is_nothing(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path) is None
    (tmp_path / ".step-00000001.safetensors.99.tmp").write_bytes(b"half")
    (tmp_path / "step-00000001.safetensors").write_bytes(b"tensors without a manifest")
    save(tmp_path, 5)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000005.json", "step-00000005.safetensors"]
    assert set(json.loads((tmp_path / "step-00000005.json").read_text())) == {"step", "sha256"}


@pytest.mark.parametrize("make", [torch.optim.AdamW, lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9)])
def test_an_optimiser_goes_on_as_if_nothing_had_happened(make) -> None:
    def parameters() -> list[torch.nn.Parameter]:
        return [torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.full((2, 2), 0.5))]

    def step(optimizer: torch.optim.Optimizer, params: list[torch.nn.Parameter]) -> None:
        sum((p**3).sum() for p in params).backward()
        optimizer.step()
        optimizer.zero_grad()

    one = parameters()
    first = make(one)
    step(first, one)
    other = [torch.nn.Parameter(p.detach().clone()) for p in one]
    second = make(other)
    unpack_optimizer(second, {name: tensor.clone() for name, tensor in pack_optimizer(first).items()})
    step(first, one)
    step(second, other)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
