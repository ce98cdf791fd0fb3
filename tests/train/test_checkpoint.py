import json
import random
from pathlib import Path

import pytest
import torch

from atrous.train.checkpoint import load_checkpoint, pack_optimizer, save_checkpoint, unpack_optimizer


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


@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.torture)])
def test_random_damage_is_never_loaded(tmp_path: Path, count: int) -> None:
    """Bits, bytes, cuts, foreign bytes in tensors or manifest: the one before is loaded, the damaged one named."""
    save_checkpoint(tmp_path, {"x": torch.arange(50.0)}, {"step": 1, "best": 0.5, "bad": [], "seconds": 1.25})
    state = {"step": 2, "best": 0.625, "bad": ["a.png"], "seconds": 7.5, "validated": 0}
    save_checkpoint(tmp_path, {"x": torch.arange(50.0) + 1}, state)
    path, dice = tmp_path / "step-00000002.safetensors", random.Random(count)
    whole = {file: file.read_bytes() for file in (path, path.with_suffix(".json"))}
    for _ in range(count):
        file = dice.choice([*whole])
        data, at = bytearray(whole[file]), dice.randrange(len(whole[file]))
        match dice.choice(["bit", "byte", "cut", "insert", "splice"]):
            case "bit":
                data[at] ^= 1 << dice.randrange(8)
            case "byte":
                data[at] = (data[at] + dice.randrange(1, 256)) % 256
            case "cut":
                del data[at:]
            case "insert":
                data[at:at] = dice.randbytes(dice.randrange(1, 9))
            case "splice":
                data[at : at + 16] = dice.randbytes(16)
        file.write_bytes(data)
        tensors, state, damaged = load_checkpoint(tmp_path)
        assert (tensors["x"][1].item(), state["step"], damaged) == (1, 1, [path.name]), bytes(data)
        file.write_bytes(whole[file])
    assert load_checkpoint(tmp_path)[1]["step"] == 2


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
