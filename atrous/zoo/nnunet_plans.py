"""nnU-Net v2's plans: what `nnUNetPlans.json`, or plans.json beside trained weights, says about data and networks.

Axes are nnU-Net's: the array of its readers is (z, y, x), and `transpose_forward` turns it. Sizes are in voxels,
spacings in mm. Older plans name depth and widths instead of an architecture; they are read as those of today.

Source: nnU-Net 2.8, default_experiment_planner.py and plans_handler.py; Isensee et al. 2021 (1904.08128).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr, model_validator

from atrous.bundle import checked
from atrous.errors import DataError
from atrous.files import parse_json, read_text

SCHEMES = {
    "CTNormalization": "ct", "ZScoreNormalization": "z-score", "RGBTo01Normalization": "by 255",
    "NoNormalization": "none", "RescaleTo01Normalization": "to 0..1",
}  # fmt: skip
"""nnU-Net's classes -> the schemes of a recipe and of `Card.volume`."""
RESAMPLING = "resample_data_or_seg_to_shape"
"""nnU-Net's usual function, whose rules are those of `plan.medical.resampling`."""
NETWORKS = {"PlainConvUNet": False, "ResidualEncoderUNet": True}
"""Its networks -> whether they are residual; `nnunet2d` and `nnunet3d` are both."""
MODELS = {2: "nnunet2d", 3: "nnunet3d"}

Side = Annotated[StrictInt, Field(ge=1, le=100_000)]
Sides = Annotated[list[Side], Field(min_length=2, max_length=3)]
Spacing = Annotated[list[Annotated[StrictFloat, Field(ge=1e-6, le=1e6)]], Field(min_length=2, max_length=3)]
Finite = Annotated[StrictFloat, Field(ge=-1e30, le=1e30)]
Small = Annotated[StrictInt, Field(ge=1, le=100)]
PerStage = Small | Annotated[list[Small], Field(max_length=16)]
PerAxis = Small | Annotated[list[Small | Annotated[list[Small], Field(max_length=3)]], Field(max_length=16)]
Width = Annotated[StrictInt, Field(ge=1, le=8192)]
Yes = Annotated[bool, Field(strict=True)]


class Intensities(BaseModel):
    """One channel's values over the foreground of the training data."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    mean: Finite
    std: Annotated[Finite, Field(ge=0)]
    percentile_00_5: Finite
    percentile_99_5: Finite


class Arguments(BaseModel):
    """`arch_kwargs`: how a network is built. Other arguments than these must be off, as ours has no such thing."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    n_stages: Annotated[StrictInt, Field(ge=2, le=16)]
    features_per_stage: Width | Annotated[list[Width], Field(max_length=16)]
    conv_op: StrictStr
    kernel_sizes: PerAxis
    strides: PerAxis
    n_conv_per_stage: PerStage | None = None
    n_blocks_per_stage: PerStage | None = None
    n_conv_per_stage_decoder: PerStage
    conv_bias: Yes = False
    norm_op: StrictStr | None = None
    norm_op_kwargs: dict[StrictStr, Any] | None = None
    nonlin: StrictStr | None = None
    nonlin_kwargs: dict[StrictStr, Any] | None = None
    stem_channels: Width | None = None


class Architecture(BaseModel):
    """The class of a network, and its arguments, which are judged when it is asked for: other classes have others."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    network_class_name: StrictStr
    arch_kwargs: dict[StrictStr, Any]


class Configuration(BaseModel):
    """One configuration, such as `3d_fullres`, with what it inherits.

    Attributes:
        batch_size: patches per step.
        patch_size: what the network sees at once, in voxels: two or three sides.
        spacing: of its axes, in mm.
        median_image_size_in_voxels: of the cases, at this spacing.
        normalization_schemes: nnU-Net's class for each channel.
        use_mask_for_norm: for each channel, whether the empty margin is left out.
        previous_stage: the configuration whose labels are further inputs, in a cascade.
    """

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    batch_size: Annotated[StrictInt, Field(ge=1, le=100_000)]
    patch_size: Sides
    spacing: Spacing
    median_image_size_in_voxels: list[Annotated[StrictFloat, Field(ge=0, le=1e6)]] | None = None
    normalization_schemes: Annotated[list[StrictStr], Field(min_length=1, max_length=1000)]
    use_mask_for_norm: list[Yes | None]
    resampling_fn_data: StrictStr = RESAMPLING
    architecture: Architecture
    batch_dice: Yes = False
    previous_stage: StrictStr | None = None

    @model_validator(mode="before")
    @classmethod
    def _today(cls, held: Any) -> Any:
        return _with_architecture(held) if isinstance(held, dict) and "UNet_class_name" in held else held

    @model_validator(mode="after")
    def _fits(self) -> "Configuration":
        if len(self.patch_size) != len(self.spacing):
            raise ValueError(f"patch_size {self.patch_size} and spacing {self.spacing} should have as many numbers")
        if len(self.use_mask_for_norm) != len(self.normalization_schemes):
            raise ValueError("use_mask_for_norm and normalization_schemes should have an entry for each channel")
        return self

    @property
    def axes(self) -> int:
        """How many axes the network has, 2 or 3."""
        return len(self.patch_size)

    def options(self) -> dict[str, Any]:
        """The options of our network, plain data, as `plan.medical.options` gives them.

        Raises:
            ValueError: it is another network than nnU-Net's plain and residual ones as its planners make them.
        """
        name = self.architecture.network_class_name.rsplit(".", 1)[-1]
        if name not in NETWORKS:
            raise ValueError(f"architecture {name!r} is not among ours; expected {' or '.join(NETWORKS)}")
        own, axes, residual = checked(Arguments, self.architecture.arch_kwargs), self.axes, NETWORKS[name]
        _usual(own, axes, residual)
        stages = own.n_stages
        wanted = own.n_blocks_per_stage if residual else own.n_conv_per_stage
        if wanted is None:
            raise ValueError(f"{'n_blocks' if residual else 'n_conv'}_per_stage is missing")
        features = _repeated("features_per_stage", own.features_per_stage, stages)
        if own.stem_channels not in (None, features[0]):
            raise ValueError(f"stem_channels {own.stem_channels}; ours has as many as the first stage, {features[0]}")
        found: dict[str, Any] = {"features": features}
        for ours, theirs, steps in (("kernels", "kernel_sizes", own.kernel_sizes), ("strides", "strides", own.strides)):
            found[ours] = [_repeated(theirs, step, axes) for step in _repeated(theirs, steps, stages)]
        blocks = _repeated("n_conv_per_stage", wanted, stages)
        up_blocks = _repeated("n_conv_per_stage_decoder", own.n_conv_per_stage_decoder, stages - 1)
        if residual:
            found["residual"] = True
        if blocks != usual_blocks(stages, residual=residual):
            found["blocks"] = blocks
        if up_blocks != usual_blocks(stages, residual=residual, up=True):
            found["up_blocks"] = up_blocks
        return found | {"aux": True}


class Plans(BaseModel):
    """All of nnU-Net's plans; keys that are not listed are kept.

    Attributes:
        dataset_name: such as `Dataset003_Liver`.
        plans_name: the file is called so.
        original_median_spacing_after_transp: of the cases before they are resampled, in mm, in the turned order.
        original_median_shape_after_transp: of the cases, in voxels, in the turned order.
        image_reader_writer: nnU-Net's class that reads the files.
        transpose_forward: the axes of the reader's array in the order of the network's.
        transpose_backward: the inverse.
        configurations: by name, as they stand in the file; `stage` gives one with what it inherits.
        foreground_intensity_properties_per_channel: channel, from "0" -> its values over the foreground.
    """

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)
    dataset_name: StrictStr
    plans_name: StrictStr = "nnUNetPlans"
    original_median_spacing_after_transp: Spacing | None = None
    original_median_shape_after_transp: Sides | None = None
    image_reader_writer: StrictStr = "SimpleITKIO"
    transpose_forward: list[StrictInt]
    transpose_backward: list[StrictInt]
    configurations: Annotated[dict[StrictStr, dict[StrictStr, Any]], Field(min_length=1, max_length=100)]
    foreground_intensity_properties_per_channel: dict[StrictStr, Intensities] = {}

    @model_validator(mode="before")
    @classmethod
    def _today(cls, held: Any) -> Any:
        old, new = "foreground_intensity_properties_by_modality", "foreground_intensity_properties_per_channel"
        if isinstance(held, dict) and old in held and new not in held:
            held = {new if key == old else key: value for key, value in held.items()}
        return held

    @model_validator(mode="after")
    def _fits(self) -> "Plans":
        if sorted(self.transpose_forward) != [0, 1, 2]:
            raise ValueError(f"transpose_forward is {self.transpose_forward}; expected 0, 1 and 2 in some order")
        inverse = [self.transpose_forward.index(axis) for axis in range(3)]
        if self.transpose_backward != inverse:
            raise ValueError(f"transpose_backward is {self.transpose_backward}; the inverse of transpose_forward "
                             f"{self.transpose_forward} is {inverse}")  # fmt: skip
        for name in self.configurations:
            self.stage(name)
        return self

    def stage(self, name: str) -> Configuration:
        """A configuration with what it inherits; ValueError if there is none, or if it is not nnU-Net's."""
        try:
            return checked(Configuration, self._whole(name, ()))
        except ValueError as error:
            text = str(error)
            raise ValueError(text if text.startswith("configuration") else f"configuration {name}: {text}") from None

    def _whole(self, name: str, heirs: tuple[str, ...]) -> dict[str, Any]:
        if name not in self.configurations:
            raise ValueError(f"there is no configuration {name!r}; there are {', '.join(self.configurations)}")
        if name in heirs:
            raise ValueError(f"configurations inherit in a circle: {' <- '.join([*heirs, name])}")
        own = self.configurations[name]
        if "inherits_from" not in own:
            return own
        return self._whole(str(own["inherits_from"]), (*heirs, name)) | own

    def normalisation(self, stage: Configuration, names: Sequence[str]) -> list[dict[str, Any]]:
        """How each channel is normalised, as in a recipe: `plan.medical.normalisation`.

        Args:
            stage: the configuration.
            names: of the channels, in order.

        Raises:
            ValueError: the number of channels differs, a scheme is not among ours, or a CT channel has no statistics.
        """
        schemes = stage.normalization_schemes
        if len(names) != len(schemes):
            raise ValueError(f"normalization_schemes has {len(schemes)} entries for {len(names)} channels")
        found = []
        for number, (name, theirs, mask) in enumerate(zip(names, schemes, stage.use_mask_for_norm, strict=True)):
            if theirs not in SCHEMES:
                raise ValueError(f"normalisation {theirs!r} is not among ours; expected {', '.join(SCHEMES)}")
            scheme = SCHEMES[theirs]
            one: dict[str, Any] = {"channel": name, "scheme": scheme, "inside_only": scheme == "z-score" and bool(mask)}
            if scheme == "ct":
                held = self.foreground_intensity_properties_per_channel.get(str(number))
                if held is None:
                    raise ValueError(f"foreground_intensity_properties_per_channel has no entry '{number}' for {name}")
                one |= {"clip": [held.percentile_00_5, held.percentile_99_5], "mean": held.mean,
                        "std": max(held.std, 1e-8)}  # fmt: skip
            found.append(one)
        return found

    @property
    def turned(self) -> list[str]:
        """The axes z, y, x of the reader's array in the order of the network's."""
        return ["zyx"[axis] for axis in self.transpose_forward]

    def to_json(self) -> str:
        """The text of the file."""
        return (
            json.dumps({key: value for key, value in self.model_dump().items() if value is not None}, indent=4) + "\n"
        )


def read_plans(path: Path | str) -> Plans:
    """Read nnU-Net's plans.

    Args:
        path: nnUNetPlans.json, nnUNetResEncUNetLPlans.json, ..., or plans.json beside trained weights.

    Raises:
        DataError: the file cannot be read, is not JSON, or does not hold plans of nnU-Net v2.
    """
    try:
        return parse_plans(parse_json(read_text(path)))
    except DataError:
        raise
    except ValueError as error:
        raise DataError(f"{path}: not the plans of nnU-Net v2 ({error}); plan with nnU-Net again") from error


def parse_plans(held: Any) -> Plans:
    """Plans from plain data; ValueError with the place of the first fault, what is allowed and given."""
    return checked(Plans, held)


def usual_blocks(stages: int, *, residual: bool, up: bool = False) -> list[int]:
    """Convolutions or blocks of each stage, as nnU-Net's planners choose them, and our networks by default.

    Args:
        stages: how many.
        residual: of the residual network.
        up: on the way up, which has one stage less.
    """
    if up:
        return [1 if residual else 2] * (stages - 1)
    return ([1, 3, 4] + [6] * stages)[:stages] if residual else [2] * stages


def _with_architecture(held: dict[str, Any]) -> dict[str, Any]:
    """A configuration of older plans with the architecture that its depth and widths stand for."""
    keys = ("UNet_class_name", "UNet_base_num_features", "unet_max_num_features", "n_conv_per_stage_encoder",
            "n_conv_per_stage_decoder", "conv_kernel_sizes", "pool_op_kernel_sizes", "patch_size")  # fmt: skip
    if "architecture" in held:
        return held
    if missing := [key for key in keys if key not in held]:
        raise ValueError(f"{missing[0]} is missing")
    name, base, most, down, up, kernels, strides, patch = (held[key] for key in keys)
    if not (type(base) is type(most) is int and isinstance(down, list) and 1 <= base <= 8192 and len(down) <= 16):
        raise ValueError(f"widths from {base!r} to {most!r} over {down!r} are not whole numbers of up to 16 stages")
    axes = len(patch) if isinstance(patch, list) else 0
    architecture = {
        "network_class_name": name,
        "arch_kwargs": architecture_kwargs(
            [min(base * 2**stage, most) for stage in range(len(down))], kernels, strides, axes,
            blocks=down, up_blocks=up, residual=name == "ResidualEncoderUNet",
        ),
    }  # fmt: skip
    return {key: value for key, value in held.items() if key == "patch_size" or key not in keys} | {
        "architecture": architecture
    }


def architecture_kwargs(
    features: list[int], kernels: Any, strides: Any, axes: int, *, blocks: Any, up_blocks: Any, residual: bool
) -> dict[str, Any]:
    """`arch_kwargs` of a network on so many axes, as nnU-Net's planners write them."""
    return {
        "n_stages": len(features), "features_per_stage": features, "conv_op": f"torch.nn.modules.conv.Conv{axes}d",
        "kernel_sizes": kernels, "strides": strides, "n_blocks_per_stage" if residual else "n_conv_per_stage": blocks,
        "n_conv_per_stage_decoder": up_blocks, "conv_bias": True,
        "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{axes}d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True}, "dropout_op": None, "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU", "nonlin_kwargs": {"inplace": True},
    }  # fmt: skip


def _usual(own: Arguments, axes: int, residual: bool) -> None:
    """Refuse an argument that makes another network than ours."""
    norm, act = own.norm_op_kwargs or {}, own.nonlin_kwargs or {}
    found = {
        "conv_op": (own.conv_op.rsplit(".", 1)[-1], f"Conv{axes}d"),
        "norm_op": ((own.norm_op or "none").rsplit(".", 1)[-1], f"InstanceNorm{axes}d"),
        "nonlin": ((own.nonlin or "none").rsplit(".", 1)[-1], "LeakyReLU"),
        "conv_bias": (own.conv_bias, True),
        "norm_op_kwargs": ({"eps": norm.get("eps", 1e-5), "affine": norm.get("affine", False)},
                           {"eps": 1e-5, "affine": True}),
        "nonlin_kwargs": (act.get("negative_slope", 0.01), 0.01),
        **{key: (value, None) for key, value in (own.model_extra or {}).items()
           if value not in (None, False, 0) and key not in ("dropout_op_kwargs", "deep_supervision")},
    }  # fmt: skip
    for key, (given, expected) in found.items():
        if given != expected:
            wish = "it off" if expected is None else repr(expected)
            raise ValueError(f"{key} is {given!r}; {'the residual' if residual else 'the plain'} network has {wish}")


def _repeated(name: str, value: Any, count: int) -> list[Any]:
    """A value for each stage or axis."""
    found = value if isinstance(value, list) else [value] * count
    if len(found) != count:
        raise ValueError(f"{name} {found} should have {count} entries")
    return found
