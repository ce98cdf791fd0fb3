"""A recipe: everything that decides a training run, as one flat TOML file without inheritance.

`RUN/recipe.toml` is written before step 1 and only read afterwards, so that the same command resumes the same run.
"""

import json
import tomllib
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from atrous.errors import RecipeError, nearest
from atrous.files import write_atomically
from atrous.losses import parse_loss
from atrous.models.former import options_today

Positive = Field(gt=0)


class Recipe(BaseModel):
    """The complete recipe. Sizes in pixels, times in seconds, `mean` and `std` in the raw units of `dtype` images."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    atrous: str
    data: str
    fingerprint: str
    train_images: int = Positive
    val_images: int = 0
    # the network
    model: str
    encoder: str | None = None
    stride: int | None = None
    channels: tuple[int, ...] | None = None
    options: dict[str, Any] = Field(default_factory=dict)
    """Further arguments of the page's builder, such as {"skips": [16, 8]}; in TOML `options.skips = [16, 8]`."""
    frozen_norms: bool = False
    in_channels: int = Positive
    weights: str = "random"
    init: str | None = None
    """A bundle whose tensors the network starts from, as far as they fit."""
    refine: Literal["convcrf", "crfrnn"] | None = None
    # the pixels
    dtype: str = "uint8"
    mean: tuple[float, ...]
    std: tuple[float, ...]
    crop: tuple[int, int]
    scale: tuple[float, float] = (0.5, 2.0)
    rotate: float = Field(0.0, ge=0, le=180)
    flip: float = Field(0.5, ge=0, le=1)
    vflip: float = Field(0.0, ge=0, le=1)
    brightness: float = Field(0.2, ge=0, le=1)
    contrast: float = Field(0.2, ge=0, le=1)
    saturation: float = Field(0.2, ge=0, le=1)
    hue: float = Field(5.0, ge=0, le=180)
    shear: float = Field(0.0, ge=0, le=60)
    elastic: float = Field(0.0, ge=0)
    gamma: float = Field(0.0, ge=0, le=9)
    blur: float = Field(0.0, ge=0)
    noise: float = Field(0.0, ge=0)
    jpeg: int = Field(100, ge=1, le=100)
    cutmix: float = Field(0.0, ge=0, le=1)
    mosaic: float = Field(0.0, ge=0, le=1)
    transform: str | None = None
    """The name of a transform given from Python, which a recipe cannot hold."""
    # the objective
    loss: str = "ce"
    class_weights: tuple[float, ...] | None = None
    smoothing: float = Field(0.0, ge=0, lt=1)
    aux_weight: float | tuple[float, ...] = 0.4
    """Of the auxiliary outputs: of each, or one value each; nnU-Net's are [0.5, 0.25, ...]."""
    distil: str | None = None
    """A bundle, run or folder of folds with the same classes, from whose answers the network learns too."""
    distil_digest: str | None = None
    distil_weight: float = Field(1.0, gt=0)
    distil_temperature: float = Field(2.0, gt=0)
    # the optimiser
    optimizer: Literal["adamw", "sgd"] = "adamw"
    lr: float = Positive
    encoder_lr: float = Field(1.0, gt=0)
    layer_decay: float = Field(1.0, gt=0, le=1)
    """Each layer of the encoder learns at this share of the rate of the one behind it."""
    freeze: Literal["encoder", "norms", "all_norms"] | None = None
    freeze_steps: int | None = Field(None, gt=0)
    """For how many steps; None: for all."""
    refine_lr: float = Field(10.0, gt=0)
    weight_decay: float = Field(0.01, ge=0)
    clip: float = Field(1.0, ge=0)
    warmup: int | None = Field(None, ge=0)
    schedule: Literal["poly", "cosine", "one_cycle"] = "poly"
    power: float = Field(0.9, gt=0)
    ema: float | None = Field(None, gt=0, lt=1)
    batch: int = Positive
    """Pictures of a step, which pass through the network in `accumulate` parts."""
    accumulate: int = Field(1, gt=0)
    seed: int = Field(0, ge=0)
    patience: int | None = Field(None, gt=0)
    """Stop after so many validations in a row that were not the best."""
    fold: tuple[int, int] | None = None
    """(i, K): the i-th, from 1 on, of K folds is `val`."""
    extended: tuple[tuple[int, int], ...] = ()
    """For each extension the step at which the run had ended, and of how many its schedule was."""
    # measured once, fixed before step 1; None: still open
    time: float | None = Field(None, gt=0)
    steps: int | None = Field(None, gt=0)
    validate_every: int | None = Field(None, gt=0)
    precision: Literal["fp32", "bf16"] | None = None
    channels_last: bool | None = None
    fused: bool | None = None
    """Whether the optimiser moves all weights in one kernel."""
    compile: bool | Literal["failed"] = False
    """Whether torch.compile makes kernels of the network and its loss; "failed": it was asked for and could not."""

    @field_validator("loss")
    @classmethod
    def _known_loss(cls, text: str) -> str:
        parse_loss(text)
        return text

    @field_validator("options")
    @classmethod
    def _further(cls, options: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted({"classes", "encoder", "in_channels", "pretrained"} & set(options)):
            raise ValueError(f"{taken[0]!r} is not for options; the recipe has a key of its own for it")
        return options

    @model_validator(mode="after")
    def _one_mix(self) -> "Recipe":
        if self.cutmix + self.mosaic > 1:
            raise ValueError(f"cutmix={self.cutmix} and mosaic={self.mosaic} are chances of one thing or the other; "
                             "together at most 1")  # fmt: skip
        return self

    @model_validator(mode="after")
    def _parts(self) -> "Recipe":
        if self.accumulate > self.batch:
            raise ValueError(f"accumulate={self.accumulate} parts cannot be made of batch={self.batch} pictures")
        if self.freeze_steps is not None and self.freeze is None:
            raise ValueError("freeze_steps without freeze; say what: encoder, norms or all_norms")
        return self

    @property
    def ends(self) -> list[int]:
        """The steps at which the run had ended before it was extended."""
        return [end for end, _ in self.extended]

    def model_options(self) -> dict[str, Any]:
        """The arguments of `create_model` besides the name and the classes."""
        options = {"in_channels": self.in_channels, "encoder": self.encoder, "stride": self.stride,
                   "channels": self.channels, **self.options}  # fmt: skip
        return {key: value for key, value in options.items() if value is not None}

    def save(self, path: Path | str) -> None:
        """Write the recipe as TOML, atomically."""
        lines = ["# atrous recipe: written before step 1, only read on resume."]
        entries = {key: value for key, value in self.model_dump().items() if value is not None and key != "options"}
        entries |= {f"options.{json.dumps(key)}": value for key, value in self.options.items()}
        lines += [f"{key} = {_toml(value)}" for key, value in entries.items()]
        write_atomically(Path(path), ("\n".join(lines) + "\n").encode())

    @classmethod
    def load(cls, path: Path | str) -> "Recipe":
        """Read a recipe; an unknown key is an error that offers the nearest one."""
        return cls.checked(str(path), **_read(Path(path)))

    @classmethod
    def decided(cls, path: Path | str) -> dict[str, Any]:
        """The fields that a file decides, as few as they may be, checked as those of a whole recipe."""
        values = _read(Path(path))
        whole = cls.checked(str(path), **ANY | values)
        return {key: getattr(whole, key) for key in values}

    @classmethod
    def checked(cls, source: str, **values: Any) -> "Recipe":
        """A recipe of `values`; RecipeError names the first that does not fit, and `source`."""
        try:
            return cls(**values)
        except ValidationError as error:
            first = min(error.errors(), key=lambda entry: entry["type"] != "extra_forbidden")
            key = ".".join(str(part) for part in first["loc"])
            hint = nearest(key, list(cls.model_fields)) if first["type"] == "extra_forbidden" else first["msg"]
            raise RecipeError(f"{source}: key {key!r} does not fit a recipe; {hint}") from error


ANY: dict[str, Any] = {
    "atrous": "", "data": "", "fingerprint": "", "train_images": 1, "model": "", "in_channels": 1, "mean": (0.0,),
    "std": (1.0,), "crop": (1, 1), "lr": 1.0, "batch": 2**31,
}  # fmt: skip
"""Values for the fields that every recipe has, under which those of a part of one can be checked."""


def _read(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as TOML ({error})") from error
    if "atrous" in values and isinstance(values.get("options"), dict):  # a run's, perhaps of 0.1
        values["options"] = options_today(str(values.get("model")), values["options"])
    return values


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (tuple, list)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return repr(float(value)) if isinstance(value, float) else str(value)
