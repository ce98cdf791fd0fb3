"""Runs of a few steps, and whether two of them ended in the same weights."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from atrous.datasets import open_dataset
from atrous.plan import draft
from atrous.train.loop import train
from atrous.train.recipe import Recipe

SMALL = {
    "model": "unet", "encoder": "test_resnet", "channels": (16, 8, 8, 8), "pretrained": False, "batch": 2,
    "crop": (32, 32), "validate_every": 4, "precision": "fp32", "channels_last": False, "fused": True,
}  # fmt: skip
"""Precision, layout and optimiser are given: every run would measure them anew. What is given as None is measured."""
COMMAND = [
    "--model", "unet", "--encoder", "test_resnet", "--no-pretrained", "--batch", "2", "--crop", "32",
    *("--set", "channels=[16,8,8,8]", "--set", "validate_every=4"),
    *("--set", "precision=fp32", "--set", "channels_last=false", "--set", "fused=true"),
]  # fmt: skip
"""The same on the command line."""


def fit(world: Path, run: Path, **more: object) -> Path:
    options = {**SMALL, "steps": 8, **more}
    workers = options.pop("workers", 0)
    data = open_dataset(world)
    held = Recipe.load(run / "recipe.toml") if (run / "recipe.toml").exists() else None
    return train(draft(data, held=held, **options), data, run, workers=workers)


def same_tensors(one: Path, other: Path) -> bool:
    a, b = load_file(one), load_file(other)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def recipe(**fields: object) -> Recipe:
    """A recipe of five steps of four crops of six images, with other fields as given."""
    known = {
        "atrous": "0", "data": "d", "fingerprint": "f", "train_images": 6, "model": "unet", "in_channels": 3,
        "mean": (0, 0, 0), "std": (1, 1, 1), "crop": (32, 48), "lr": 1e-3, "batch": 4, "steps": 5,
    }  # fmt: skip
    return Recipe(**(known | fields))
