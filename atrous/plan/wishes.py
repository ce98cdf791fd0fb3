"""Wishes for a recipe, checked before any file of the data is read: a typo must not cost the time that takes."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from atrous.errors import ModelError, RecipeError, WeightsError, nearest
from atrous.models import MODELS, build_model
from atrous.plan.rules import DEFAULT_ENCODER, DEFAULT_MODEL
from atrous.predict.loading import digest
from atrous.train.recipe import ANY, FROM_DATA, Recipe


def check_wishes(wishes: Mapping[str, Any], source: str = "the options", *, resumes: bool = False) -> None:
    """Raise where a wish does not exist or fit, or where two of them exclude one another.

    Args:
        wishes: as `draft` takes them: model, encoder, pretrained and fields of the recipe; None means undecided.
        source: where they come from, for messages.
        resumes: the run has begun, so that it needs no weights to start from.

    Raises:
        RecipeError: two wishes exclude one another, or a value does not fit a recipe.
        ModelError: the network cannot be built with these options.
        WeightsError: a bundle or file to start from is not there.

    Example:
        >>> check_wishes({"model": "unet", "steps": 5, "time": 60.0})
        Traceback (most recent call last):
        ...
        atrous.errors.RecipeError: the options: steps=5 and time=60.0 were both given; give one of them
    """
    given = {key: value for key, value in wishes.items() if value is not None}
    if {"steps", "time"} <= given.keys():
        raise RecipeError(
            f"{source}: steps={given['steps']} and time={given['time']} were both given; give one of them"
        )
    if given.get("warmup", 0) > given.get("steps", given.get("warmup", 0)):
        raise RecipeError(
            f"{source}: warmup={given['warmup']} is longer than steps={given['steps']}; give a shorter one"
        )
    if fixed := sorted(given.keys() & FROM_DATA - {"fold"}):
        raise RecipeError(f"{source}: {fixed[0]!r} cannot be chosen: it follows from data, weights or other options")
    pretrained = given.pop("pretrained", None)
    Recipe.checked(source, **ANY | given)
    if resumes:
        return
    if isinstance(pretrained, str) and not Path(pretrained).is_file():
        raise WeightsError(f"{pretrained}: no such file of encoder weights; check the path")
    for key in given.keys() & {"init", "distil"}:
        digest(Path(given[key]))
    if "init" not in given:
        _check_network(given)


def _check_network(given: dict[str, Any]) -> None:
    """Build the network that is asked for, without memory for its weights."""
    model = given.get("model", DEFAULT_MODEL)
    if model not in MODELS:
        raise ModelError(f"unknown model {model!r}; {nearest(model, list(MODELS))}")
    options = {key: given[key] for key in ("stride", "channels") if key in given} | given.get("options", {})
    if "encoder" in inspect.signature(MODELS[model]).parameters or "encoder" in given:
        options["encoder"] = given.get("encoder", DEFAULT_ENCODER)
    with torch.device("meta"):
        build_model(model, classes=2, **options)
