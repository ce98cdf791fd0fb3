"""The fields of a recipe that a caller may choose, as keyword arguments with their types."""

from typing import Any, Literal, TypedDict


class RecipeOptions(TypedDict, total=False):
    """Fields of `Recipe`, without those that follow from the data (docs/recipe.md). A test keeps the two equal."""

    stride: int | None
    channels: tuple[int, ...] | None
    options: dict[str, Any]
    frozen_norms: bool
    init: str | None
    refine: Literal["convcrf", "crfrnn"] | None
    crop: tuple[int, ...]
    scale: tuple[float, float]
    rotate: float
    flip: float
    vflip: float
    brightness: float
    contrast: float
    saturation: float
    hue: float
    shear: float
    elastic: float
    gamma: float
    blur: float
    noise: float
    jpeg: int
    cutmix: float
    mosaic: float
    lowres: float
    foreground: float
    loss: str
    class_weights: tuple[float, ...] | None
    smoothing: float
    aux_weight: float | tuple[float, ...]
    distil: str | None
    distil_weight: float
    distil_temperature: float
    optimizer: Literal["adamw", "sgd"]
    lr: float
    encoder_lr: float
    layer_decay: float
    freeze: Literal["encoder", "norms", "all_norms"] | None
    freeze_steps: int | None
    refine_lr: float
    weight_decay: float
    clip: float
    warmup: int | None
    schedule: Literal["poly", "cosine", "one_cycle"]
    power: float
    ema: float | None
    batch: int
    accumulate: int
    seed: int
    patience: int | None
    time: float | None
    steps: int | None
    validate_every: int | None
    precision: Literal["fp32", "bf16"] | None
    channels_last: bool | None
    fused: bool | None
    compile: bool | Literal["failed"]
