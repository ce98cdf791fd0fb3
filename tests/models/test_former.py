"""Weights of version 0.1 load under its names, with its logits, wherever a page is."""

import json
from typing import Any

import pytest
import torch
from former import FILE, filled, seen
from forms import SMALL
from torch import nn

from atrous.models import create_model, former
from atrous.models.page import Page
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
    model = create_model(row["name"], classes=3, **row["options"])
    state = tensors(row, model)
    given = dict(state)
    model.load_state_dict(state)
    assert state.keys() == given.keys()  # the caller's is left alone
    torch.testing.assert_close(torch.tensor(seen(model)), torch.tensor(row["logits"]), rtol=1e-3, atol=1e-3)


def test_every_page_of_an_encoder_and_a_head_is_recorded() -> None:
    """Pages that came after 0.1 have no former names; those of then are all in the file."""
    recorded = {row["name"] for row in ROWS}
    later: set[str] = set()
    pages = {name for name in SMALL if isinstance(create_model(name, classes=2, **SMALL[name]), Page)}
    assert pages - later <= recorded


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
