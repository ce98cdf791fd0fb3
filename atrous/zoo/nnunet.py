"""Turn a checkpoint of nnU-Net v2 into a bundle: its plans tell the network, its dataset.json the classes.

    RESULTS/Dataset003_Liver/nnUNetTrainer__nnUNetPlans__3d_fullres/   the folder of a model
        plans.json  dataset.json
        fold_0/checkpoint_final.pth  fold_0/checkpoint_best.pth  fold_1/...

The two files count; a checkpoint alone has the same inside. A checkpoint is a pickle: it is read with
weights_only=True, which runs no code; numpy's numbers are allowed beside tensors, as nnU-Net's log of losses has them.

Source: nnU-Net 2.8, nnUNetTrainer.py (the checkpoint) and predict_from_raw_data.py (which file counts).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

from atrous import __version__
from atrous.bundle import Card, checked, save_bundle
from atrous.datasets.folder import load_json
from atrous.datasets.nnunet import labels_from_json
from atrous.errors import DataError, WeightsError, let_through
from atrous.files import refuse_stream
from atrous.labels import LabelSet
from atrous.models import build_model
from atrous.zoo.convert import nnunet
from atrous.zoo.importer import fitting, refuse_out
from atrous.zoo.nnunet_plans import MODELS, RESAMPLING, Configuration, Plans, parse_plans, read_plans

CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
"""Names of a checkpoint, the one that nnU-Net predicts with by default first."""
READERS = ("SimpleITKIO", "NibabelIO", "NaturalImage2DIO", "Tiff3DIO")
"""nnU-Net's readers that leave the axes of a file as they are, (z, y, x)."""
_SCALAR = np._core.multiarray.scalar  # type: ignore[attr-defined]
SAFE: list[Any] = [
    np.dtype, _SCALAR, (_SCALAR, "numpy.core.multiarray.scalar"),  # the second of files of numpy 1
    *{type(np.dtype(kind)) for kind in "?bBhHiIlLqQefd"},
]  # fmt: skip
"""Numpy's numbers: what a checkpoint's log holds beside plain data and tensors."""


class InitArgs(BaseModel):
    """The arguments of the trainer."""

    model_config = ConfigDict(extra="ignore")
    plans: dict[StrictStr, Any]
    configuration: StrictStr
    fold: StrictInt | StrictStr
    dataset_json: dict[StrictStr, Any]


class Checkpoint(BaseModel):
    """What is read of a checkpoint beside `network_weights`."""

    model_config = ConfigDict(extra="ignore")
    init_args: InitArgs
    trainer_name: StrictStr = "nnUNetTrainer"
    inference_allowed_mirroring_axes: tuple[StrictInt, ...] | None = Field(default=None, max_length=3)


def import_nnunet(path: Path | str, out: Path | str, *, overwrite: bool = False, **told: Any) -> Card:
    """Turn a trained network of nnU-Net v2 into a bundle that gives the same logits.

    Args:
        path: the folder of a model with one fold, the folder of a fold, or a checkpoint, a .pth file.
        out: where the bundle is written, a .safetensors file.
        overwrite: `out` may be replaced, whoever wrote it.
        told: further fields of the card, such as `licence` and `metrics`.

    Returns:
        The card of the bundle: nnunet2d or nnunet3d with the options of the plans, the classes of dataset.json, and as
        `volume` what a prediction needs: spacing, axes, normalisation, patch, mirror axes.

    Raises:
        DataError: plans.json or dataset.json cannot be used.
        WeightsError: there is no checkpoint, or several; it cannot be read, or its tensors do not fit its plans; the
            classes are regions, or the configuration is the second stage of a cascade. Nothing is written then.

    Example:
        >>> import_nnunet("nnUNetTrainer__nnUNetPlans__2d/fold_0", "own.safetensors").model    # doctest: +SKIP
        'nnunet2d'
    """
    path, out = Path(path), Path(out)
    refuse_out(out, overwrite=overwrite)
    file = find_checkpoint(path)
    state, about = read_checkpoint(file)
    plans, dataset, stated = _stated(file, about)
    labels = _labels(dataset, stated)
    try:
        names = channel_names(dataset)
        stage = plans.stage(about.init_args.configuration)
        options = {"in_channels": len(names), **stage.options()}
        volume = volume_of(plans, stage, names, about.inference_allowed_mirroring_axes or ())
        model = MODELS[stage.axes]
        with torch.device("meta"):  # widths of a damaged file take no memory before its tensors agree with them
            shell = build_model(model, classes=len(labels), **options)
    except ValueError as error:  # a ModelError is one
        raise WeightsError(f"{stated}: {error}; such a network cannot be imported") from error
    given, misfit = fitting(shell, state, nnunet, model)
    if misfit:
        raise WeightsError(
            f"{file}: not the weights of {about.init_args.configuration} in {stated}: {misfit}; give the checkpoint "
            "with its own plans.json and dataset.json"
        )
    network = build_model(model, classes=len(labels), **options)
    network.load_state_dict(given)
    mean, std = _statistics(volume["normalisation"])
    dtype = "uint8" if {one["scheme"] for one in volume["normalisation"]} == {"by 255"} else "float32"
    told = {"data": _origin(file, plans, stage, about), "sources": ("nnU-Net, Isensee et al. 2021, 1904.08128",)} | told
    card = Card(model, options, labels, mean, std, dtype=dtype, atrous=__version__, volume=volume, **told)
    save_bundle(out, network, card)
    return card


def find_checkpoint(path: Path) -> Path:
    """The checkpoint that a file or folder stands for; WeightsError if there is none, or one of several folds."""
    if not path.is_dir():
        return path
    for folder in ([path], sorted(path.glob("fold_*"))):
        found = [
            folds[0] for one in folder if (folds := [one / name for name in CHECKPOINTS if (one / name).is_file()])
        ]
        if len(found) > 1:
            raise WeightsError(f"{path}: holds {len(found)} folds; give the checkpoint of one, such as {found[0]}")
        if found:
            return found[0]
    raise WeightsError(
        f"{path}: no {CHECKPOINTS[0]} in it or in its fold_0, fold_1, ...; give the folder "
        "TRAINER__PLANS__CONFIGURATION of nnU-Net's results, or a checkpoint"
    )


def read_checkpoint(path: Path) -> tuple[dict[str, torch.Tensor], Checkpoint]:
    """Read a checkpoint's tensors, onto the CPU, and what it says about itself.

    It is read with weights_only=True: no code of the file runs.

    Raises:
        DataError: it is a pipe or a device.
        WeightsError: it cannot be read, holds objects of other kinds, or is no checkpoint of nnU-Net v2.
    """
    refuse_stream(path)
    try:
        with torch.serialization.safe_globals(SAFE):
            held = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error}); give a checkpoint, .pth") from error
    except Exception as error:  # a damaged pickle can raise anything
        let_through(error)
        raise WeightsError(
            f"{path}: refused, because it is damaged or holds more than tensors, numbers and text, which could "
            "run code; give a checkpoint as nnU-Net's own trainer saves it"
        ) from error
    state = held.get("network_weights") if isinstance(held, dict) else None
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(
            f"{path}: holds no tensors called network_weights; give a checkpoint of nnU-Net v2, not of v1"
        )
    try:
        about = checked(Checkpoint, {key: held[key] for key in Checkpoint.model_fields if key in held})
    except ValueError as error:
        raise WeightsError(f"{path}: not a checkpoint of nnU-Net v2 ({error}); give one as nnU-Net saves it") from error
    return {str(key).removeprefix("module."): value for key, value in state.items()}, about


def volume_of(plans: Plans, stage: Configuration, names: Sequence[str], mirror: Sequence[int]) -> dict[str, Any]:
    """What the card says about volumes, see `atrous.io.volume_card.Volume`.

    Args:
        plans: nnU-Net's.
        stage: the configuration.
        names: of the channels.
        mirror: axes whose mirror images nnU-Net averages.

    Raises:
        ValueError: the network needs the labels of another one, or files are read in a way that is not ours.
    """
    if stage.previous_stage is not None:
        raise ValueError(f"the network refines the labels of {stage.previous_stage}, as the second of a cascade; "
                         f"import {stage.previous_stage} or 3d_fullres")  # fmt: skip
    if plans.image_reader_writer not in READERS:
        raise ValueError(f"image_reader_writer is {plans.image_reader_writer}; expected one of {', '.join(READERS)}, "
                         "which leave the axes of a file as they are")  # fmt: skip
    if wrong := [axis for axis in mirror if not 0 <= axis < stage.axes]:
        raise ValueError(f"mirroring axis {wrong[0]} is not among the {stage.axes} of the network")
    return {
        "spacing": stage.spacing, "axes": plans.turned, "normalisation": plans.normalisation(stage, names),
        "patch": stage.patch_size, "orientation": "file", "mirror": list(mirror),
    }  # fmt: skip


def channel_names(dataset: Mapping[str, Any]) -> list[str]:
    """The names of the channels in dataset.json, such as `CT` or `T1`, in order; ValueError if there are none."""
    named = dataset.get("channel_names") or dataset.get("modality")
    if not isinstance(named, dict) or not all(str(key).isdecimal() for key in named):
        raise ValueError(f"dataset.json: channel_names is {named!r}; expected names by number, such as 0 for CT")
    return [str(named[key]) for key in sorted(named, key=int)]


def _stated(file: Path, about: Checkpoint) -> tuple[Plans, dict[str, Any], Path]:
    """(plans, dataset.json, where the plans stand): the files above the fold, or what the checkpoint holds."""
    folder = file.absolute().parent
    root = folder.parent if folder.name.startswith("fold_") else folder
    plans, dataset = root / "plans.json", root / "dataset.json"
    held = load_json(dataset) if dataset.is_file() else about.init_args.dataset_json
    if not isinstance(held, dict):
        raise DataError(f"{dataset}: holds {type(held).__name__}; expected an object with labels, as nnU-Net writes it")
    if plans.is_file():
        return read_plans(plans), held, plans
    try:
        return parse_plans(about.init_args.plans), held, file
    except ValueError as error:
        raise WeightsError(f"{file}: its plans are not those of nnU-Net v2 ({error}); put plans.json beside") from error


def _labels(dataset: Mapping[str, Any], file: Path) -> LabelSet:
    """The classes of dataset.json; their values must be 0, 1, ..., which are the channels of the logits."""
    held = dataset.get("labels")
    if not isinstance(held, dict):
        raise WeightsError(f"{file}: its dataset.json has no labels; expected each name with its value")
    if any(isinstance(value, list) for value in held.values()):
        raise WeightsError(
            f"{file}: its labels are regions, which overlap; only networks of exclusive classes can be imported yet"
        )
    labels, _ = labels_from_json(dict(dataset), file)
    assert labels is not None  # no value is a list
    if labels.values != tuple(range(len(labels))):
        raise WeightsError(f"{file}: its labels have the values {list(labels.values)}; nnU-Net's are 0, 1, 2, ...")
    return labels


def _statistics(normalisation: Sequence[Mapping[str, Any]]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of each channel, as far as numbers can say it."""
    means = tuple(float(one.get("mean", 0.0)) for one in normalisation)
    stds = tuple(float(one.get("std", 255.0 if one["scheme"] == "by 255" else 1.0)) for one in normalisation)
    return means, stds


def _origin(file: Path, plans: Plans, stage: Configuration, about: Checkpoint) -> str:
    init = about.init_args
    parts = [f"nnU-Net {plans.dataset_name}", about.trainer_name, plans.plans_name, init.configuration,
             f"fold {init.fold}", f"file {file.name}"]  # fmt: skip
    if stage.resampling_fn_data != RESAMPLING:
        parts.append(f"resampled by {stage.resampling_fn_data}, which is not ours")
    return ", ".join(parts)
