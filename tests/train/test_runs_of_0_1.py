"""A run that version 0.1 began goes on: names of its tensors and options are those of then."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from runs import fit, same_tensors
from safetensors.torch import load_file
from worlds import make_world

from atrous.train.checkpoint import save_checkpoint
from atrous.train.recipe import Recipe

OF_THEN = (("model.head.score.", "model.head."), ("model.head.decoder.", "model.decoder."),
           ("ema.head.score.", "ema.head."), ("ema.head.decoder.", "ema.decoder."))  # fmt: skip


class Killed(Exception):
    pass


def then(name: str) -> str:
    """A tensor's name in a checkpoint of a U-Net of 0.1."""
    old = next((old + name.removeprefix(new) for new, old in OF_THEN if name.startswith(new)), name)
    assert old != name or "head" not in name
    return old


def test_a_run_of_0_1_goes_on_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world, run = make_world(tmp_path / "world"), tmp_path / "run"
    options: dict[str, Any] = {"options": {"joined": False}, "ema": 0.9}
    whole = fit(world, tmp_path / "whole", **options)
    step, calls = sys.modules["atrous.train.loop"].take_step, iter(range(5))  # type: ignore[attr-defined]

    def dying(*arguments: Any) -> Any:
        if next(calls, None) is None:
            raise Killed
        return step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("atrous.train.loop.SAVE_EVERY", 0.0)
        patch.setattr("atrous.train.loop.take_step", dying)
        with pytest.raises(Killed):
            fit(world, run, **options)
    for manifest in sorted((run / "checkpoints").glob("step-*.json")):
        state = json.loads(manifest.read_text())
        del state["sha256"]
        tensors = load_file(manifest.with_suffix(".safetensors"))
        save_checkpoint(run / "checkpoints", {then(name): tensor for name, tensor in tensors.items()}, state)
    written = (run / "recipe.toml").read_text()
    assert written.count("joined") == 1
    (run / "recipe.toml").write_text(written.replace("joined", "skips"))
    assert Recipe.load(run / "recipe.toml").options == {"joined": False}
    assert same_tensors(fit(world, run, ema=0.9), whole)
