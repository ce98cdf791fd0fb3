"""`atrous plan`: what a data set is, the recipe for it, and the reason for each of its lines."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from inspect import signature
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from atrous.datasets import DataSet, open_dataset, read_folder
from atrous.models import MODELS
from atrous.plan.rules import drafted
from atrous.plan.wishes import check_wishes
from atrous.progress import At
from atrous.train.autotune import settle
from atrous.train.cases import with_cases
from atrous.train.recipe import Recipe
from atrous.train.run import build
from atrous.train.validation import validation_seconds

NO_REASON = "it belongs to the run, or follows from other lines"
"""The reason of fields that people need not read about; `plan_lines` leaves them out."""


@dataclass(frozen=True)
class Plan:
    """What a data set is, and how it would be trained.

    Attributes:
        fingerprint: facts about the data, by name.
        recipe: field -> value, plain data.
        reasons: field -> one sentence.
        recipe_file: the recipe that `atrous train --recipe` takes.
        notes: sentences to print.
    """

    fingerprint: dict[str, Any]
    recipe: dict[str, Any]
    reasons: dict[str, str]
    recipe_file: Recipe
    notes: list[str]

    def summary(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"fingerprint": self.fingerprint, "recipe": self.recipe, "reasons": self.reasons}


def plan(
    root: Path | str,
    *,
    classes: Path | None = None,
    ignore: Sequence[int] = (),
    valid_area: str | None = None,
    measure: bool = True,
    memory: float | None = None,
    progress: At | None = None,
    say: Callable[[str], None] = print,
    **wishes: Any,
) -> Plan:
    """Make a plan for a folder of images or volumes, in any layout.

    Args:
        root: the folder.
        classes: a classes file; default the folder's own classes.toml, else what the masks say.
        ignore: further values of masks that count nowhere.
        valid_area: as `open_dataset` takes it.
        measure: time some steps on this machine, to know how many fit the time.
        memory: bytes of the GPU that a plan for volumes is made for; default that of this machine.
        progress: called with (files done, files in all).
        say: is told what a person should know, a sentence at a time.
        wishes: as `draft` takes them: model, encoder, pretrained and fields of the recipe.

    Raises:
        DataError: training would refuse the folder.

    Example:
        >>> plan("data/", measure=False, time=1800.0).recipe["crop"]    # doctest: +SKIP
        [320, 320]
    """
    check_wishes(wishes)
    source = read_folder(root, valid_area=valid_area)
    data = open_dataset(root, classes=classes, ignore=ignore, valid_area=valid_area, progress=progress)
    _ = data.training  # raises where there is nothing to train on, before any file is read
    data.verify(progress=progress)
    return data_plan(data, measure=measure, say=say, layout=source.layout, memory=memory, **wishes)


def data_plan(
    data: DataSet, *, measure: bool, say: Callable[[str], None], layout: str, memory: float | None, **wishes: Any
) -> Plan:
    """`plan` for an open data set."""
    own: dict[str, Any] = {key: wishes.pop(key, None) for key in ("model", "encoder", "pretrained")}
    made = drafted(data, **own, say=say, wishes=wishes, memory=memory)
    recipe, reasons = with_stride(made.recipe), dict(made.reasons)
    if measure:
        recipe = measured(recipe, data, say)
        chosen = "the fastest on this machine, measured"
        reasons |= dict.fromkeys(("precision", "channels_last", "fused"), chosen)
        reasons["validate_every"] = "some validations, in at most a tenth of the time"
        if wishes.get("steps") is None:
            reasons["steps"] = f"as many as fit {recipe.time:.0f} s at the speed measured now, with validations"
    fingerprint = {
        "layout": layout,
        "splits": {name: len(pairs) for name, pairs in data.splits.items()},
        **made.facts,
    }
    values = recipe.model_dump(mode="json")
    reasons = {key: reasons.get(key) or DEFAULTS.get(key, NO_REASON) for key in values if values[key] is not None}
    return Plan(fingerprint, {key: values[key] for key in reasons}, reasons, recipe, list(data.notes))


DEFAULTS = {
    "stride": "the model's own: half of it takes far longer and gains little",
    "rotate": "only if images come turned", "flip": "left and right are equal",
    "brightness": "light differs from image to image", "contrast": "light differs from image to image",
    "saturation": "cameras differ", "hue": "cameras differ", "optimizer": "works without a search for the rate",
    "vflip": "they have an up", "weight_decay": "the usual value for AdamW",
    "clip": "a single bad batch does not spoil the weights",
    "schedule": "falls to 0, however long the training is", "power": "the usual value",
    "accumulate": "a step fits into memory", "time": "the time for the whole training", "seed": "any number will do",
    **dict.fromkeys(("shear", "elastic", "gamma", "blur", "noise", "jpeg", "cutmix", "mosaic", "smoothing",
                     "aux_weight", "frozen_norms", "layer_decay", "compile"), "off or as usual, unless asked for"),
    "in_channels": "as the images are", "dtype": "as the images are", "warmup": "a twentieth of the steps",
}  # fmt: skip
"""Reasons of the fields that are the same for all data."""


def with_stride(recipe: Recipe) -> Recipe:
    """The recipe with the output stride that the model takes by default, if it has one."""
    own = signature(MODELS[recipe.model]).parameters.get("stride") if recipe.model in MODELS else None
    if recipe.stride is not None or "stride" in recipe.options or own is None or not isinstance(own.default, int):
        return recipe
    return recipe.model_copy(update={"stride": own.default})


def measured(recipe: Recipe, data: DataSet, say: Callable[[str], None]) -> Recipe:
    """The recipe, completed by what training measures before its first step."""
    began = time.perf_counter()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with TemporaryDirectory() as folder:
        data = with_cases(data, recipe.volume, Path(folder))
        run = build(recipe, data, Path(folder), pretrained=False)
        seconds = (
            0.0 if recipe.steps else validation_seconds(run.evaluated, run.card, run.data.splits.get("val", []), device)
        )
        return settle(recipe, run.objective, data.training, device=device, workers=0, began=began,
                      validation=seconds, say=say)  # fmt: skip


def plan_lines(found: Plan) -> list[str]:
    """The lines that `atrous plan` prints."""
    lines = [*found.notes, ""]
    lines += [f"{key:<16}{shown(value)}" for key, value in found.fingerprint.items()] + [""]
    for key, value in found.recipe.items():
        if found.reasons[key] != NO_REASON:
            lines.append(f"{key:<16}{shown(value):<34}  {found.reasons[key]}")
    return lines


def shown(value: Any) -> str:
    """A value as a line of the plan shows it."""
    if isinstance(value, dict):
        return ", ".join(f"{key} {shown(item)}" for key, item in value.items())
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        inside = [shown(item) for item in value]
        return "[" + ", ".join(inside) + "]" if any(isinstance(item, list | tuple) for item in value) else (
            " x ".join(inside) if len(inside) in (2, 3) else ", ".join(inside))  # fmt: skip
    return str(value)
