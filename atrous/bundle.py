"""One .safetensors file = weights + card: all that is needed to use a trained model, nothing pickled.

The card is JSON in the file's header under the key `atrous`: what network it is, its classes and colours, how raw
pixels are normalised, the recipe that made it, what it scored, and its licence.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import nn

from atrous.errors import DataError, WeightsError, let_through
from atrous.files import write_atomically
from atrous.labels import LabelSet
from atrous.models import build_model
from atrous.models.former import options_today
from atrous.models.refined import refined

FORMAT = 2
"""Of the card: 2 since the networks' options have their names of today; a card of 0.1 has none."""


@dataclass(frozen=True)
class Card:
    """What a bundle says about itself.

    model, options: the arguments of `build_model`. mean, std: per channel, in the raw units of `dtype` images.
    metrics: e.g. {"val": {"miou": 0.61, ...}}. data: where the training data came from. decoding: what
    `evaluate.calibrate` found for it, {} before. refinement: what `evaluate.tune_crf` found, {} before.
    layer: the trainable refiner at the network's end, its name and options (`atrous.models.refined`), {} for none.
    training: of published weights what it took, e.g. {"seconds": 1800.0, "steps": 1206, "seed": 0}. sources: the
    papers and packages behind data and initial weights, as they want to be cited. seen: traces of the training pictures
    (`atrous.evaluate.seen`), () in files of before.
    """

    model: str
    options: dict[str, Any]
    labels: LabelSet
    mean: tuple[float, ...]
    std: tuple[float, ...]
    dtype: str = "uint8"
    metrics: dict[str, Any] = field(default_factory=dict)
    recipe: dict[str, Any] = field(default_factory=dict)
    data: str = ""
    licence: str = "not stated"
    atrous: str = ""
    decoding: dict[str, Any] = field(default_factory=dict)
    refinement: dict[str, Any] = field(default_factory=dict)
    layer: dict[str, Any] = field(default_factory=dict)
    training: dict[str, Any] = field(default_factory=dict)
    sources: tuple[str, ...] = ()
    seen: tuple[str, ...] = ()

    def to_json(self) -> str:
        """The card as it stands in the file's header."""
        return json.dumps({**asdict(self), "labels": self.labels.to_dict(), "format": FORMAT}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Card":
        """The inverse of `to_json`; keys of newer versions are dropped, options of 0.1 get their names of today."""
        held = json.loads(text)
        data = {key: value for key, value in held.items() if key in cls.__dataclass_fields__}
        if held.get("format", 1) > FORMAT:
            raise ValueError(f"its format is {held['format']}, this atrous reads up to {FORMAT}")
        if held.get("format", 1) < 2:
            data["options"] = options_today(data["model"], data["options"])
        data.update(labels=LabelSet.from_dict(data["labels"]), mean=tuple(data["mean"]), std=tuple(data["std"]))
        return cls(**data | {key: tuple(data.get(key, ())) for key in ("sources", "seen")})

    def build(self) -> nn.Module:
        """The network of this card, weights random."""
        model = build_model(self.model, classes=len(self.labels), **self.options)
        return refined(model, mean=self.mean, std=self.std, dtype=self.dtype, **self.layer) if self.layer else model


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    """Write tensors and string metadata as one safetensors file, atomically; returns the bytes written."""
    own, places = dict[str, torch.Tensor](), set[int]()
    for name, tensor in tensors.items():
        plain = tensor.detach().cpu().contiguous()
        place = plain.untyped_storage().data_ptr()
        own[name] = plain.clone() if place in places else plain  # safetensors refuses memory that two names share
        places.add(place)
    data = to_bytes(own, metadata=dict(metadata))
    write_atomically(path, data)
    return data


LARGEST_HALF = torch.finfo(torch.float16).max
"""65504; running variances of a batch norm can be beyond."""


def halved(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """float32 tensors as float16 where all their values are numbers of at most 65504; whatever else as it is."""

    def fits(tensor: torch.Tensor) -> bool:
        return tensor.dtype == torch.float32 and bool((tensor.abs() <= LARGEST_HALF).all())

    return {name: tensor.half() if fits(tensor) else tensor for name, tensor in tensors.items()}


def save_bundle(path: Path | str, model: nn.Module, card: Card, *, half: bool = False) -> None:
    """Write a model's weights with their card; half: in float16 as far as they fit (`halved`)."""
    tensors = model.state_dict()
    save_tensors(Path(path), halved(tensors) if half else tensors, {"atrous": card.to_json(), "format": "pt"})


def load_card(path: Path | str) -> Card:
    """The card of a bundle, its weights left unread. Raises WeightsError with the file and the reason."""
    return _read(Path(path), weights=False)[1]


def load_bundle(path: Path | str) -> tuple[nn.Module, Card]:
    """Read a bundle: the network in eval mode, in float32 however the file keeps it, and its card.

    Raises WeightsError with the file and the reason.
    """
    tensors, card = _read(Path(path), weights=True)
    model = card.build()
    try:
        model.load_state_dict(tensors)  # copied into float32
    except RuntimeError as error:
        let_through(error)
        reason = str(error).splitlines()[-1].strip()
        raise WeightsError(f"{path}: the weights do not fit {card.model} {card.options} ({reason})") from error
    return model.eval(), card


def _read(path: Path, *, weights: bool) -> tuple[dict[str, torch.Tensor], Card]:
    """The tensors of a bundle, none unless asked for, and its card."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()} if weights else {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise WeightsError(
            f"{path}: not a readable .safetensors bundle ({error}); make one with `atrous train`"
        ) from None
    if "atrous" not in metadata:
        raise WeightsError(f"{path}: a .safetensors file without an atrous card; make a bundle with `atrous train`")
    try:
        return tensors, Card.from_json(metadata["atrous"])
    except (DataError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: its card cannot be read ({error}); it may come from a newer atrous") from error
