"""Runs of a few steps, and whether two of them ended in the same weights."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from atrous.datasets import open_dataset
from atrous.plan import draft
from atrous.train.loop import train
from atrous.train.recipe import Recipe

SMALL = {"model": "unet", "encoder": "test_resnet", "pretrained": False, "batch": 2, "crop": (32, 32)}


def fit(world: Path, run: Path, **more: object) -> Path:
    options = {**SMALL, "steps": 8, **more}
    workers = options.pop("workers", 0)
    data = open_dataset(world)
    held = Recipe.load(run / "recipe.toml") if (run / "recipe.toml").exists() else None
    return train(draft(data, held=held, **options), data, run, workers=workers)


def same_tensors(one: Path, other: Path) -> bool:
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
