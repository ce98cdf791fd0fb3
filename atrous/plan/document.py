"""`atrous plan`: what a data set is, the recipe for it, and why each line is as it is."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from atrous.datasets import DataSet, open_dataset, read_folder
from atrous.datasets.classes import Progress
from atrous.datasets.folder import Folder
from atrous.models import MODELS
from atrous.plan.cases import cases_of, channel_names
from atrous.plan.medical import plan_volumes
from atrous.plan.rules import drafted
from atrous.train.autotune import settle
from atrous.train.recipe import Recipe
from atrous.train.run import build
from atrous.train.validation import validation_seconds

NO_REASON = "what belongs to the run or follows from other lines"


@dataclass(frozen=True)
class Plan:
    """fingerprint: of the data; recipe: field -> value; reasons: field -> one sentence. recipe_file: what
    `atrous train --recipe` takes; None for volumes. notes: sentences to print."""

    fingerprint: dict[str, Any]
    recipe: dict[str, Any]
    reasons: dict[str, str]
    recipe_file: Recipe | None
    notes: list[str]

    def summary(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"fingerprint": self.fingerprint, "recipe": self.recipe, "reasons": self.reasons}


def plan(
    root: Path | str,
    *,
    classes: Path | None = None,
    ignore: Sequence[int] = (),
    measure: bool = True,
    memory: float = 8e9,
    progress: Progress | None = None,
    say: Callable[[str], None] = print,
    **wishes: Any,
) -> Plan:
    """A plan for a folder in any layout. measure: take some steps, so that those that fit the time are known.

    memory: bytes of the GPU that a plan for volumes is made for. wishes: as `draft` takes them. Raises DataError for a
    folder that training would refuse.
    """
    source = read_folder(root)
    if source.dimensions > 2:
        source.refuse_incomplete()
        return volume_plan(source, memory, progress)
    data = open_dataset(root, classes=classes, ignore=ignore, progress=progress)
    data.verify([split for split in ("train", "val") if split in data.splits], progress)
    return picture_plan(data, measure=measure, say=say, layout=source.layout, **wishes)


def picture_plan(data: DataSet, *, measure: bool, say: Callable[[str], None], layout: str, **wishes: Any) -> Plan:
    """`plan` of pictures."""
    own: dict[str, Any] = {key: wishes.pop(key, None) for key in ("model", "encoder", "pretrained")}
    made = drafted(data, **own, held=None, say=say, wishes=wishes)
    recipe, reasons = with_stride(made.recipe), dict(made.reasons)
    if measure:
        recipe = measured(recipe, data, say)
        chosen = "the fastest on this machine, measured"
        reasons |= dict.fromkeys(("precision", "channels_last", "fused"), chosen)
        reasons["validate_every"] = "some validations, in a tenth of the time at most"
        if wishes.get("steps") is None:
            reasons["steps"] = f"as many as fit {recipe.time:.0f} s at the speed measured now, with validations"
    fingerprint = {
        "layout": layout,
        "splits": {name: len(pairs) for name, pairs in data.splits.items()},
        **made.facts.summary(data.labels.names),
    }
    values = recipe.model_dump(mode="json")
    reasons = {key: reasons.get(key) or DEFAULTS.get(key, NO_REASON) for key in values if values[key] is not None}
    return Plan(fingerprint, {key: values[key] for key in reasons}, reasons, recipe, list(data.notes))


DEFAULTS = {
    "stride": "the page's own: half of it takes far longer for a little more",
    "rotate": "only where pictures come turned", "flip": "left and right are equal",
    "brightness": "light differs from picture to picture", "contrast": "light differs from picture to picture",
    "saturation": "cameras differ", "hue": "cameras differ", "optimizer": "needs no search for the rate",
    "vflip": "they have an up", "weight_decay": "AdamW's usual one", "clip": "one bad batch does not throw the weights",
    "schedule": "falls all the way, in whatever time there is", "power": "the usual fall",
    "accumulate": "a step fits into memory", "time": "the time for the whole training", "seed": "any number will do",
    **dict.fromkeys(("shear", "elastic", "gamma", "blur", "noise", "jpeg", "cutmix", "mosaic", "smoothing",
                     "aux_weight", "frozen_norms", "layer_decay", "compile"), "off or as usual, unless asked for"),
    "in_channels": "what the pictures have", "dtype": "what the pictures have", "warmup": "a twentieth of the steps",
}  # fmt: skip
"""Reasons of what is the same for all data."""


def with_stride(recipe: Recipe) -> Recipe:
    """The recipe with the output stride that the page takes by itself, where it has one."""
    own = signature(MODELS[recipe.model]).parameters.get("stride") if recipe.model in MODELS else None
    if recipe.stride is not None or "stride" in recipe.options or own is None or not isinstance(own.default, int):
        return recipe
    return recipe.model_copy(update={"stride": own.default})


def measured(recipe: Recipe, data: DataSet, say: Callable[[str], None]) -> Recipe:
    """The recipe with what training measures before its first step."""
    began = time.perf_counter()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with TemporaryDirectory() as folder:
        run = build(recipe, data, Path(folder), pretrained=False)
        seconds = validation_seconds(run, device) if recipe.steps is None else 0.0
        return settle(recipe, run.objective, data.splits["train"], device=device, workers=0, began=began,
                      validation=seconds, say=say)  # fmt: skip


def volume_plan(source: Folder, memory: float, progress: Progress | None) -> Plan:
    """`plan` of volumes: nnU-Net's, which nothing here trains on as yet."""
    cases, intensities = cases_of(source, progress)
    names = channel_names(source)
    classes = len(source.labels) if source.labels else 2
    fingerprint, recipe, reasons = plan_volumes(cases, intensities, names, classes, memory)
    fingerprint = {"layout": source.layout, "splits": {name: len(pairs) for name, pairs in source.splits.items()},
                   **fingerprint}  # fmt: skip
    note = "training on volumes is not there yet: this is what nnU-Net's rules give, for the network nnunet3d"
    return Plan(fingerprint, recipe, reasons, None, [*source.notes, note])


def describe(found: Plan) -> list[str]:
    """Lines to print."""
    lines = [*found.notes, ""]
    lines += [f"{key:<16}{text(value)}" for key, value in found.fingerprint.items()] + [""]
    for key, value in found.recipe.items():
        if found.reasons[key] != NO_REASON:
            lines.append(f"{key:<16}{text(value):<34}  {found.reasons[key]}")
    return lines


def text(value: Any) -> str:
    """A value as a line shows it."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {text(item)}" for key, item in value.items())
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        inside = [text(item) for item in value]
        return "[" + ", ".join(inside) + "]" if any(isinstance(item, list | tuple) for item in value) else (
            " x ".join(inside) if len(inside) in (2, 3) else ", ".join(inside))  # fmt: skip
    return str(value)
