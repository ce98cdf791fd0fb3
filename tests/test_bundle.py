from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from atrous.bundle import Card, load_bundle, save_bundle
from atrous.errors import WeightsError
from atrous.files import write_atomically
from atrous.labels import CAMVID11

CARD = Card(
    "unet", {"encoder": "test_resnet", "in_channels": 1}, CAMVID11, (3.0,), (2.0,), metrics={"val": {"miou": 0.5}}
)


def test_round_trip(tmp_path: Path) -> None:
    path, model = tmp_path / "model.safetensors", CARD.build().eval()
    save_bundle(path, model, CARD)
    loaded, card = load_bundle(path)
    assert card == CARD
    image = torch.randn(1, 1, 40, 33)
    assert torch.equal(model(image), loaded(image))


def test_half_precision_weights_load_into_float32(tmp_path: Path) -> None:
    path, model = tmp_path / "model.safetensors", CARD.build().half()
    save_bundle(path, model, CARD)
    loaded, _ = load_bundle(path)
    assert {p.dtype for p in loaded.parameters()} == {torch.float32}


def test_damage_is_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_bundle(path, CARD.build(), CARD)
    data = path.read_bytes()
    for content in (b"", data[:100], data[: len(data) // 2], b"no tensors at all" * 9):
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=r"model\.safetensors: not a readable"):
            load_bundle(path)
    save_file({"x": torch.zeros(1)}, path)
    with pytest.raises(WeightsError, match="without an atrous card"):
        load_bundle(path)
    save_file({"x": torch.zeros(1)}, path, metadata={"atrous": CARD.to_json()})
    with pytest.raises(WeightsError, match="do not fit unet"):
        load_bundle(path)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
