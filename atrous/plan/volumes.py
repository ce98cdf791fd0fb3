"""From volumes to a recipe: nnU-Net's rules, in the order of the network's axes.

On a GPU the plan is that of nnU-Net v2 for its memory. On a CPU a step of that network takes a
minute: there it has half of the channels, and patches that take about two seconds.
"""

from pathlib import Path
from typing import Any

import torch

from atrous import __version__
from atrous.datasets import DataSet, open_dataset
from atrous.errors import DataError, ModelError
from atrous.evaluate.seen import fingerprint_of
from atrous.plan.cases import Case, Intensities, cases_of, channel_names
from atrous.plan.medical import (
    GIGABYTES,
    WIDTH,
    Network,
    facts_of_cases,
    grid_of,
    network,
    normalisation,
    plan_volumes,
)  # fmt: skip
from atrous.plan.medical import options as network_options
from atrous.train.recipe import Recipe
from atrous.volumes import Channel, VolumeForm
from atrous.volumes.form import STORED

DEFAULT_VOLUME_MODEL = "nnunet3d"
VOLUME_MODELS = ("nnunet3d", "unet3d", "vnet")
ON_CPU = GIGABYTES / 16
"""Bytes for which patches are planned where there is no GPU."""
DEEP = 0.5
"""Each output of deep supervision weighs this much of the finer one."""


def draft_volumes(
    data: DataSet, *, model: str | None, wishes: dict[str, Any], memory: float | None = None
) -> tuple[Recipe, dict[str, Any], dict[str, str]]:
    """Make a recipe for a data set of volumes, with the facts behind it, and the reasons by field.

    Args:
        data: the data set, with something to train on.
        model: nnunet3d (the default), unet3d or vnet.
        wishes: fields of the recipe; None means undecided.
        memory: bytes of the GPU that is planned for; default that of this machine.

    Raises:
        DataError: no voxel is labelled as foreground.
        ModelError: the model is one for images.
    """
    model = model or DEFAULT_VOLUME_MODEL
    if model not in VOLUME_MODELS:
        raise ModelError(f"{model} is a network for images, the data are volumes; expected {', '.join(VOLUME_MODELS)}")
    try:
        cases, found = cases_of(data.training, data.labels)
    except DataError as error:
        raise DataError(f"{data.root}: {error}") from error
    names = channel_names(data.root, cases)
    gpu = memory is not None or torch.cuda.is_available()
    if memory is None:
        memory = float(torch.cuda.get_device_properties(0).total_memory) if gpu else ON_CPU
    form, made = formed(cases, found, names, len(data.labels), memory, WIDTH if gpu else WIDTH // 2)
    fields: dict[str, Any] = {key: value for key, value in wishes.items() if value is not None}
    patch = tuple(fields.pop("crop", made.patch))
    if len(patch) != 3:
        raise ModelError(f"crop {'x'.join(map(str, patch))}: volumes are cropped to three sides, such as 64x96x96")
    form = form.model_copy(update={"patch": patch})
    planned = network_options(made) if model == DEFAULT_VOLUME_MODEL else {}
    options = planned | fields.get("options", {})
    chosen: dict[str, Any] = {
        "batch": 2 if not gpu else made.batch, "scale": (0.7, 1.4), "rotate": 30.0, "brightness": 0.25,
        "contrast": 0.25, "saturation": 0.0, "hue": 0.0, "gamma": 0.5, "noise": 0.3, "blur": 1.0, "lowres": 0.5,
        "loss": "ce + dice", "class_weights": (), "lr": 1e-3, "ema": 0.99,
    }  # fmt: skip
    if planned and options["aux"]:
        outputs = len(options["features"]) - 2  # of deep supervision; the coarsest counts nothing
        chosen["aux_weight"] = tuple(DEEP ** (k + 1) if k + 1 < outputs else 0.0 for k in range(outputs))
    if "steps" not in fields:
        fields.setdefault("time", 3600.0)
    fields["options"] = options
    train, val = data.training, data.splits.get("val", ())
    recipe = Recipe.checked(
        str(data.root), atrous=__version__, data=str(data.root), fingerprint=fingerprint_of(data.labels, train.names),
        train_images=len(train), val_images=len(val), model=model, in_channels=data.channels, dtype="float32",
        mean=(0.0,) * data.channels, std=(1.0,) * data.channels, crop=patch, volume=form, **chosen | fields,
    )  # fmt: skip
    facts = facts_of_cases(cases, found, names) | {"channels": names}
    asked = {key for key, value in wishes.items() if value is not None} & set(Recipe.model_fields)
    return recipe, facts, _reasons(recipe, gpu, memory) | dict.fromkeys(asked, "as asked")


def formed(
    cases: list[Case], found: list[Intensities], names: list[str], classes: int, memory: float, width: int
) -> tuple[VolumeForm, Network]:
    """The form in which volumes are seen, and the network for it."""
    target, axes, median, voxels, kept = grid_of(cases)
    made = network(target[axes].tolist(), median.tolist(), voxels, classes, memory, width)
    channels = tuple(
        Channel.model_validate(scheme | ({"clip": (one.low, max(one.high, one.low + 1)), "mean": one.mean,
                                          "std": max(one.std, 1e-8)} if scheme["scheme"] == "ct" else {}))
        for scheme, one in zip(normalisation(names, kept), found, strict=True)
    )  # fmt: skip
    letters = [STORED[axis] for axis in axes]
    seen = {"spacing": made.spacing, "axes": letters, "normalisation": channels, "patch": made.patch}
    return VolumeForm.model_validate(seen), made


def _reasons(recipe: Recipe, gpu: bool, memory: float) -> dict[str, str]:
    """One sentence for each field that the rules decide."""
    where = f"{memory / 1e9:.0f} GB of the GPU" if gpu else "about two seconds a step without a GPU"
    return {
        "model": "for volumes a plain U-Net that is fitted to the data beats newer ones that are not (2404.09556)",
        "volume": "the median spacing, the coarsest axis first; CT is clipped to the foreground's percentiles, "
        "everything else is scored by each case's own mean and deviation",
        "crop": f"the largest patch for {where}",
        "batch": "two patches at least, one of them about a labelled voxel",
        "options": "axes are halved until four voxels are left, the coarse ones last; every level is supervised",
        "aux_weight": "each coarser output weighs half of the finer one, the coarsest nothing",
        "rotate": "bodies lie turned; thick slices are turned in their plane alone",
        "scale": "bodies differ in size", "gamma": "scanners differ", "noise": "scanners differ",
        "blur": "scanners differ", "lowres": "some scans are coarse", "brightness": "scanners differ",
        "contrast": "scanners differ", "saturation": "there are no colours", "hue": "there are no colours",
        "foreground": "a third of the patches are drawn around a labelled voxel; else most would be empty",
        "loss": "small structures count by their overlap, and the gradient stays smooth",
        "class_weights": "Dice counts each class alike", "lr": "AdamW at this rate needs no search",
        "ema": "a moving average of the weights makes short runs more accurate at no cost",
    }  # fmt: skip


def nnunet_plan(root: Path, memory: float = GIGABYTES) -> tuple[dict[str, Any], dict[str, Any]]:
    """The plan of nnU-Net for a folder of volumes, with its coarse and flat stages: (recipe, fingerprint).

    Raises:
        DataError: the folder cannot be used, or holds images.
    """
    data = open_dataset(root)
    if data.dimensions < 3:
        raise DataError(f"{root}: holds images; plans for nnU-Net are made of volumes")
    cases, found = cases_of(data.training, data.labels)
    names = channel_names(data.root, cases)
    fingerprint, recipe, _ = plan_volumes(cases, found, names, len(data.labels), memory)
    return recipe, fingerprint
