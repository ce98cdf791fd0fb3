"""Weights of version 0.1 load under its names, with its logits, wherever a page is."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from former import FILE, filled, seen
from safetensors import safe_open
from torch import nn

from atrous.bundle import FORMAT, Card, load_bundle, save_bundle, save_tensors
from atrous.errors import WeightsError
from atrous.labels import LabelSet
from atrous.models import create_model, former
from atrous.models.zoomed import Zoomed

ROWS = json.loads(FILE.read_text())


def names(row: dict[str, Any]) -> str:
    return "-".join([row["name"], *(str(value) for value in row["options"].values())])


def tensors(row: dict[str, Any], model: nn.Module) -> dict[str, torch.Tensor]:
    """A state dict of 0.1: encoders kept their names, all else is named in the row."""
    shapes = {key: tuple(value.shape) for key, value in model.state_dict().items() if "encoder." in key}
    return filled(shapes | {key: tuple(shape) for key, shape in row["tensors"].items()})


@pytest.mark.parametrize("row", ROWS, ids=names)
def test_a_state_dict_of_0_1_gives_its_logits(row: dict[str, Any]) -> None:
    model = create_model(row["name"], classes=3, **former.options_today(row["name"], row["options"]))
    state = tensors(row, model)
    given = dict(state)
    model.load_state_dict(state)
    assert state.keys() == given.keys()  # the caller's is left alone
    torch.testing.assert_close(torch.tensor(seen(model)), torch.tensor(row["logits"]), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("row", [row for row in ROWS if row["name"] in ("deeplabv1", "lraspp", "unet")], ids=names)
def test_a_bundle_of_0_1_gives_its_logits(row: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    card = Card(row["name"], row["options"], LabelSet(("a", "b", "c")), (0.0,) * 3, (1.0,) * 3)
    told = json.loads(card.to_json())
    assert told.pop("format") == FORMAT
    options = former.options_today(row["name"], row["options"])
    save_tensors(path, tensors(row, create_model(row["name"], classes=3, **options)), {"atrous": json.dumps(told)})
    model, read = load_bundle(path)
    torch.testing.assert_close(torch.tensor(seen(model)), torch.tensor(row["logits"]), rtol=1e-3, atol=1e-3)
    assert read.options == options
    save_bundle(path, model, read)  # and so it is one of today
    with safe_open(path, framework="pt") as file:
        assert json.loads(file.metadata()["atrous"])["format"] == FORMAT
        assert set(file.keys()) == set(model.state_dict())
    assert load_bundle(path)[1] == read


def test_a_card_of_a_later_format_is_refused(tmp_path: Path) -> None:
    card = Card("fcn", {"encoder": "test_resnet"}, LabelSet(("a", "b")), (0.0,) * 3, (1.0,) * 3)
    told = json.loads(card.to_json()) | {"format": FORMAT + 1}
    save_tensors(tmp_path / "new.safetensors", {"x": torch.zeros(1)}, {"atrous": json.dumps(told)})
    with pytest.raises(WeightsError, match=f"its format is {FORMAT + 1}, this atrous reads up to {FORMAT}.*newer"):
        load_bundle(tmp_path / "new.safetensors")


@pytest.mark.parametrize("model, options, today", [
    ("unet", {"skips": False, "stride": 16}, {"joined": False, "stride": 16}),
    ("fcn", {"stride": 32, "skips": [16, 8]}, {"stride": 32, "skips": [16, 8]}),
    ("bisenetv2", {"head": 64}, {"channels": 64}),
    ("hrnet_ocr", {"head": "hrnet"}, {"head": "hrnet"}),
    ("lraspp", {"width": 16}, {"channels": 16}),
    ("reseg", {"width": 8, "units": [4]}, {"channels": 8, "units": [4]}),
    ("unet2015", {"width": 8}, {"width": 8}),
    ("enet", {"dropout": [0.01, 0.2]}, {"early_dropout": 0.01, "dropout": 0.2}),
    ("pointrend", {"width": 8, "base": "lraspp", "base_options": {"width": 16}},
     {"channels": 8, "base": "lraspp", "base_options": {"channels": 16}}),
])  # fmt: skip
def test_options_have_their_names_of_today(model: str, options: dict[str, Any], today: dict[str, Any]) -> None:
    given = dict(options)
    assert former.options_today(model, options) == today
    assert former.options_today(model, today) == today
    assert options == given
    with torch.device("meta"):
        create_model(model, **today)


def test_names_of_today_stay() -> None:
    model = create_model("unet", classes=3, encoder="test_efficientnet", zoom=2.0)
    assert isinstance(model, Zoomed)
    state = model.state_dict()
    known = {key.removeprefix("model.") for key in state}
    before = dict(state)
    former.move_keys(state, "model.", known)
    assert list(state) == list(before)


def test_a_name_that_was_never_there_is_still_told() -> None:
    model = create_model("unet", classes=3, encoder="test_efficientnet")
    state = model.state_dict()
    state["neck.weight"] = state.pop("head.score.weight")
    with pytest.raises(RuntimeError, match=r'(?s)Missing key.*"head.score.weight".*Unexpected key.*"neck.weight"'):
        model.load_state_dict(state)
