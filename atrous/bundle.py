"""One .safetensors file = weights + card: all that is needed to use a trained model, nothing pickled.

The card is JSON in the file's header under the key `atrous`: what network it is, its classes and colours, how raw
pixels are normalised, the recipe that made it, what it scored, and its licence.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr, ValidationError, model_validator
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import nn

from atrous.errors import AtrousError, DataError, ModelError, WeightsError, let_through
from atrous.files import parse_json, refuse_stream, write_atomically
from atrous.labels import LabelSet
from atrous.models import build_model
from atrous.models.former import options_today
from atrous.models.refined import refined
from atrous.volumes import VolumeForm

Schema = TypeVar("Schema", bound=BaseModel)

FORMAT = 2
"""Of the card: 2 since the networks' options have their names of today; a card of 0.1 has none."""

Number = Annotated[StrictFloat, Field(ge=-1e30, le=1e30)]
Deviation = Annotated[StrictFloat, Field(ge=1e-30, le=1e30)]
Offsets = list[Number]


class Decoding(BaseModel):
    """What `evaluate.calibrate` writes into a card."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    temperature: Annotated[StrictFloat, Field(gt=0, le=1e30)]
    vector: dict[Literal["scale", "shift"], Offsets]
    offsets: dict[str, Offsets]
    thresholds: dict[str, list[Annotated[StrictFloat, Field(ge=0, le=1)] | None]]

    def rows(self) -> Iterator[list[Any]]:
        """All lists with a number for each class."""
        for kind in (self.vector, self.offsets, self.thresholds):
            yield from kind.values()


class Refinement(BaseModel):
    """What `evaluate.tune_crf` writes into a card."""

    model_config = ConfigDict(extra="allow")
    use: Annotated[bool, Field(strict=True)]
    name: StrictStr
    options: dict[StrictStr, Any]


class Stated(BaseModel):
    """What stands in a card, with its bounds; keys of newer versions are dropped."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)
    format: Annotated[StrictInt, Field(ge=1)] = 1
    model: StrictStr
    options: dict[StrictStr, Any]
    labels: dict[StrictStr, Any]
    mean: tuple[Number, ...]
    std: tuple[Deviation, ...]
    dtype: Literal["uint8", "uint16", "float32"] = "uint8"
    metrics: dict[StrictStr, Any] = {}
    recipe: dict[StrictStr, Any] = {}
    data: StrictStr = ""
    licence: StrictStr = "not stated"
    atrous: StrictStr = ""
    decoding: dict[str, Any] = {}
    refinement: dict[str, Any] = {}
    layer: dict[StrictStr, Any] = {}
    training: dict[StrictStr, Any] = {}
    sources: tuple[StrictStr, ...] = ()
    seen: tuple[StrictStr, ...] = ()
    volume: dict[StrictStr, Any] = {}

    @model_validator(mode="after")
    def _fits(self) -> "Stated":
        if self.format > FORMAT:
            raise ValueError(f"its format is {self.format}, this atrous reads up to {FORMAT}")
        for key, value in _entries(self.options):
            if key == "classes" or (key == "pretrained" and value is not False):
                raise ValueError(f"options: {key!r} is not for a card, whose file holds all weights")
        channels = self.options.get("in_channels", 3)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != channels:
                raise ValueError(f"{name} has {len(values)} numbers for in_channels {channels!r}; expected one each")
        if self.refinement:
            checked(Refinement, self.refinement)
        if self.decoding:
            classes = len(self.labels.get("names", ()))
            if any(len(row) != classes for row in checked(Decoding, self.decoding).rows()):
                raise ValueError(f"decoding: expected {classes} numbers in each list, one for each class")
        if self.volume and len(checked(VolumeForm, self.volume).normalisation) != len(self.mean):
            raise ValueError(f"volume: normalisation has not {len(self.mean)} entries; expected one for each channel")
        if self.layer and not {"name"} <= set(self.layer) <= {"name", *LAYER_OPTIONS}:
            raise ValueError(f"layer has the keys {sorted(self.layer)}; expected name and {', '.join(LAYER_OPTIONS)}")
        counts = [value for key in LAYER_COUNTS for value in _leaves(self.layer.get(key, 1))]
        if not all(type(count) is int and 1 <= count <= 1000 for count in counts):
            raise ValueError(f"layer: {' or '.join(LAYER_COUNTS)} is not a whole number from 1 to 1000")
        return self


LAYER_COUNTS = ("blur", "iterations", "window")
LAYER_OPTIONS = ("bilateral", "gaussian", "normalisation", "weight", *LAYER_COUNTS)
"""Options of `atrous.models.refined`'s layers."""


def _entries(value: Any) -> Iterator[tuple[str, Any]]:
    """All keys in nested tables, with their values."""
    if isinstance(value, dict):
        yield from value.items()
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _entries(inner)


def _leaves(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def checked(schema: type[Schema], held: Any) -> Schema:
    """What a schema makes of plain data; ValueError with the place of the first fault, what is allowed and given."""
    try:
        return schema.model_validate(held)
    except ValidationError as error:
        raise ValueError(_first(error)) from None


def _first(error: ValidationError) -> str:
    first = error.errors()[0]
    hint = first["msg"].removeprefix("Value error, ")
    place = ".".join(map(str, first["loc"]))
    given = repr(first["input"])
    given = given if len(given) <= 60 else given[:57] + "..."
    return f"{place}: {hint[0].lower()}{hint[1:]}, got {given}" if place else hint


@dataclass(frozen=True)
class Card:
    """What a bundle says about itself.

    model, options: the arguments of `build_model`. mean, std: per channel, in the raw units of `dtype` images.
    metrics: e.g. {"val": {"miou": 0.61, ...}}. data: where the training data came from. decoding: what
    `evaluate.calibrate` found for it, {} before. refinement: what `evaluate.tune_crf` found, {} before.
    layer: the trainable refiner at the network's end, its name and options (`atrous.models.refined`), {} for none.
    training: of published weights what it took, e.g. {"seconds": 1800.0, "steps": 1206, "seed": 0}. sources: the
    papers and packages behind data and initial weights, as they want to be cited. seen: traces of the training pictures
    (`atrous.evaluate.seen`), () in files of before. volume: in what form the network sees volumes
    (`atrous.volumes.VolumeForm`), {} for images.
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
    volume: dict[str, Any] = field(default_factory=dict)

    @property
    def form(self) -> VolumeForm | None:
        """In what form the network sees volumes; None for one of images."""
        return VolumeForm.model_validate(self.volume) if self.volume else None

    def to_json(self) -> str:
        """The card as it stands in the file's header; without the key `volume` for images."""
        held = {**asdict(self), "labels": self.labels.to_dict(), "format": FORMAT}
        return json.dumps({key: value for key, value in held.items() if value or key != "volume"}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "Card":
        """The inverse of `to_json`; keys of newer versions are dropped, options of 0.1 get their names of today.

        Raises DataError or ValueError, with the key and what it allows, for a card that holds anything else.
        """
        held = parse_json(text)
        stated = checked(Stated, held)
        data = {key: value for key, value in stated.model_dump().items() if key in cls.__dataclass_fields__}
        if stated.format < 2:
            data["options"] = options_today(data["model"], data["options"])
        return cls(**data | {"labels": LabelSet.from_dict(data["labels"])})

    def statistics(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and std that normalise any image; ModelError where each case or channel is treated in another way."""
        other = [one for one in self.volume.get("normalisation", ()) if one["scheme"] not in ("by 255", "none")]
        if other:
            channel, scheme = other[0]["channel"], other[0]["scheme"]
            raise ModelError(
                f"the model normalises its channel {channel!r} by {scheme!r}, which is not done to single pictures "
                "and in exported files yet; use the network itself, `atrous.bundle.load_bundle`"
            )
        return self.mean, self.std

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
    model = _built(path, card)
    try:
        model.load_state_dict(tensors)  # copied into float32
    except RuntimeError as error:
        let_through(error)
        raise _misfit(path, card, error) from error
    return model.eval(), card


def _built(path: Path | str, card: Card) -> nn.Module:
    try:
        return card.build()
    except AtrousError as error:
        raise type(error)(f"{path}: its card cannot be built: {error}") from error
    except Exception as error:  # torch and timm raise whatever they meet
        let_through(error)
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(f"{path}: its card cannot be built: {card.model} {card.options} ({reason})") from error


def _misfit(path: Path | str, card: Card, error: Exception) -> WeightsError:
    reason = str(error).splitlines()[-1].strip()[:300]
    return WeightsError(f"{path}: the weights do not fit {card.model} {card.options} ({reason})")


META = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "I32": torch.int32, "I16": torch.int16, "I8": torch.int8, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
"""safetensors' names of types -> torch's."""


def _compare(path: Path, card: Card, header: Mapping[str, tuple[list[int], str]]) -> None:
    """Compare the card's network with the shapes and types in the file's header before memory is taken for either.

    Both are built without memory. Where a network cannot be, loading the weights compares them.

    header: name of a tensor -> its shape, and its type as safetensors calls it.
    """
    try:
        with torch.device("meta"):
            model = card.build().requires_grad_(False)
            stored = {name: torch.empty(shape, dtype=META.get(kind, torch.bool)) for name, (shape, kind) in
                      header.items()}  # fmt: skip
    except Exception as error:  # a network of timm may read values that it has not; building it in memory tells
        let_through(error)
        return
    expected = {name: tensor.is_floating_point() for name, tensor in model.state_dict().items()}
    try:
        model.load_state_dict(stored, assign=True)
    except RuntimeError as error:
        raise _misfit(path, card, error) from error
    for name, tensor in model.state_dict().items():
        if tensor.is_floating_point() != expected[name]:
            kind = "numbers with a point" if expected[name] else "whole numbers"
            raise WeightsError(f"{path}: tensor {name} has the type {tensor.dtype}; {card.model} expects {kind}")


def _read(path: Path, *, weights: bool) -> tuple[dict[str, torch.Tensor], Card]:
    """The tensors of a bundle, none unless asked for, and its card."""
    try:
        refuse_stream(path)
        with safe_open(path, framework="pt") as file:
            card = _stated(path, file.metadata() or {})
            if not weights:
                return {}, card
            parts = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            _compare(path, card, {name: (part.get_shape(), part.get_dtype()) for name, part in parts.items()})
            return {name: file.get_tensor(name) for name in parts}, card
    except (DataError, OSError, SafetensorError) as error:
        raise WeightsError(
            f"{path}: not a readable .safetensors bundle ({error}); make one with `atrous train`"
        ) from None


def _stated(path: Path, metadata: Mapping[str, str]) -> Card:
    if "atrous" not in metadata:
        raise WeightsError(f"{path}: a .safetensors file without an atrous card; make a bundle with `atrous train`")
    try:
        return Card.from_json(metadata["atrous"])
    except (DataError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"{path}: its card cannot be read ({error}); it may come from a newer atrous") from error
