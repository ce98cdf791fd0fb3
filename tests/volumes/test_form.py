"""What a card may say about volumes; cards of images stay as they were."""

import json
from dataclasses import replace

import pytest
import torch

from atrous.bundle import Card
from atrous.errors import ModelError
from atrous.labels import LabelSet
from atrous.predict.backends.graph import Graph
from atrous.predict.backends.torch import TorchBackend
from atrous.predict.predictor import Predictor

CT = {"channel": "CT", "scheme": "ct", "inside_only": False, "clip": [-60.0, 180.0], "mean": 40.0, "std": 20.0}
MRI = {"channel": "T1", "scheme": "z-score", "inside_only": True}
RGB = {"channel": "R", "scheme": "by 255", "inside_only": False}
VOLUME = {
    "spacing": [3.0, 0.8, 0.8], "axes": ["z", "y", "x"], "normalisation": [CT], "patch": [32, 64, 64],
    "orientation": "file", "mirror": [0, 1, 2],
}  # fmt: skip
OPTIONS = {"in_channels": 1, "features": [2, 3]}
CARD = Card("nnunet3d", OPTIONS, LabelSet(("air", "organ")), (40.0,), (20.0,), dtype="float32", volume=VOLUME)


def test_it_is_read_as_it_was_written() -> None:
    assert Card.from_json(CARD.to_json()) == CARD
    slices = replace(CARD, model="nnunet2d", volume=VOLUME | {"spacing": [0.8, 0.8], "patch": [64, 64], "mirror": [1]})
    assert Card.from_json(slices.to_json()) == slices


def test_a_card_without_it_does_not_name_it() -> None:
    assert "volume" not in json.loads(replace(CARD, volume={}).to_json())
    assert Card.from_json(replace(CARD, volume={}).to_json()).volume == {}


@pytest.mark.parametrize("key, value, words", [
    ("spacing", [0.8], "spacing"), ("spacing", [1.0] * 4, "spacing"), ("spacing", [0.0, 1.0, 1.0], r"spacing\.0"),
    ("spacing", [-1.0, 1.0, 1.0], "spacing"), ("spacing", [float("nan"), 1.0, 1.0], "spacing"),
    ("spacing", [1e9, 1.0, 1.0], "spacing"), ("spacing", ["1", 1.0, 1.0], "spacing"), ("spacing", None, "spacing"),
    ("axes", ["z", "y", "y"], "in some order"), ("axes", ["z", "y"], "in some order"), ("axes", ["z", "w"], "axes"),
    ("axes", [0, 1, 2], "axes"), ("patch", [32, 64], "patch has 2"), ("patch", [0, 64, 64], "patch"),
    ("patch", [10**9, 64, 64], "patch"), ("patch", [32.5, 64, 64], "patch"), ("orientation", "RAS", "orientation"),
    ("mirror", [0, 0], "mirror"), ("mirror", [3], "mirror"), ("mirror", "012", "mirror"), ("mirror", [True], "mirror"),
    ("normalisation", [], "has not 1"), ("normalisation", [CT, CT], "has not 1"), ("normalisation", {}, "norm"),
    ("normalisation", [CT | {"scheme": "min-max"}], "scheme"), ("normalisation", [CT | {"clip": [3, 2]}], "lower"),
    ("normalisation", [CT | {"clip": None}], "needs clip"), ("normalisation", [CT | {"std": 0}], "std"),
    ("normalisation", [CT | {"mean": float("inf")}], "mean"), ("normalisation", [CT | {"inside_only": 1}], "inside"),
    ("normalisation", [{"scheme": "none"}], "channel"),
])  # fmt: skip
def test_what_it_cannot_be_is_named(key: str, value: object, words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        Card.from_json(replace(CARD, volume=VOLUME | {key: value}).to_json())
    assert "\n" not in str(caught.value)


def test_slices_have_two_axes_to_mirror() -> None:
    volume = VOLUME | {"spacing": [0.8, 0.8], "patch": [64, 64]}
    with pytest.raises(ValueError, match="from 0 to 1"):
        Card.from_json(replace(CARD, volume=volume).to_json())


@pytest.mark.parametrize("channel", [CT, MRI])
def test_what_two_numbers_cannot_normalise_is_not_normalised_wrongly(channel: dict[str, object]) -> None:
    """Before, such a network would have labelled pictures by numbers that it never saw in training."""
    options = {"in_channels": 1, "features": [2, 3]}
    card = Card("nnunet2d", options, LabelSet(("a", "b")), (0.0,), (1.0,), volume=VOLUME | {"normalisation": [channel]})
    for build in (Graph, TorchBackend):
        with pytest.raises(ModelError, match=f"channel '{channel['channel']}' by '{channel['scheme']}'"):
            build(card.build(), card)
    with pytest.raises(ModelError, match="not done to single pictures"):
        Predictor(card.build(), card)(torch.zeros(16, 16, 1))


def test_what_two_numbers_normalise_is_predicted() -> None:
    volume = VOLUME | {"normalisation": [RGB] * 3, "spacing": [1.0, 1.0], "patch": [64, 64], "mirror": [0]}
    options = {"in_channels": 3, "features": [2, 3]}
    card = Card("nnunet2d", options, LabelSet(("a", "b")), (0.0,) * 3, (255.0,) * 3, volume=volume)
    assert Predictor(card.build(), card)(torch.zeros(16, 20, 3, dtype=torch.uint8)).labels.shape == (16, 20)
