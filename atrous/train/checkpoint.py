"""Checkpoints that survive a crash: tensors in safetensors, a manifest with their SHA-256; the newest two are kept.

RUN/checkpoints/step-00000500.safetensors   model.*, ema.*, optimizer.<index>.<key>
RUN/checkpoints/step-00000500.json          {"step": 500, ..., "sha256": of both files' content}, written last
"""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import BaseModel, ConfigDict, Field, StrictFloat, StrictInt, StrictStr
from safetensors import SafetensorError
from safetensors.torch import load as from_bytes

from atrous.bundle import checked, save_tensors
from atrous.files import parse_json, refuse_stream, write_atomically

KEPT = 2
Steps = Annotated[StrictInt, Field(ge=0, le=2**31)]


class State(BaseModel):
    """The entries of a manifest that a run goes on from, with their bounds."""

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)
    step: Steps
    validated: Annotated[StrictInt, Field(ge=-1, le=2**31)] = 0
    best: StrictFloat = -1.0
    seconds: Annotated[StrictFloat, Field(ge=0)] = 0.0
    averaged: Steps = 0
    stale: Steps = 0
    skipped: Steps = 0
    bad: list[StrictStr] = []


def save_checkpoint(folder: Path, tensors: dict[str, torch.Tensor], state: dict[str, Any]) -> None:
    """Write a checkpoint of `state["step"]` atomically, then drop all but the newest two."""
    path = folder / f"step-{state['step']:08d}.safetensors"
    data = save_tensors(path, tensors, {})
    write_atomically(path.with_suffix(".json"), json.dumps({**state, "sha256": _digest(data, state)}).encode())
    for old in sorted(folder.glob("step-*.json"))[:-KEPT]:
        old.unlink()
        old.with_suffix(".safetensors").unlink(missing_ok=True)
    for rest in [*folder.glob(".*.tmp"), *folder.glob("step-*.safetensors")]:
        if rest.suffix == ".tmp" or not rest.with_suffix(".json").exists():
            rest.unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, Any], list[str]] | None:
    """The newest checkpoint that is whole; None if there is none.

    Returns:
        (tensors, state, the names of newer checkpoints that are damaged).
    """
    damaged: list[str] = []
    for manifest in sorted(folder.glob("step-*.json"), reverse=True):
        try:
            for part in (manifest, manifest.with_suffix(".safetensors")):
                refuse_stream(part)
            state = parse_json(manifest.read_text())
            data = manifest.with_suffix(".safetensors").read_bytes()
            if state.pop("sha256") == _digest(data, state) and checked(State, state):
                return from_bytes(data), state, damaged
        except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError):
            pass
        damaged.append(manifest.with_suffix(".safetensors").name)
    return None


def _digest(data: bytes, state: dict[str, Any]) -> str:
    """The SHA-256 of the tensors' file and the manifest's other entries."""
    return hashlib.sha256(data + json.dumps(state, sort_keys=True).encode()).hexdigest()


def pack_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """An optimiser's state as named tensors, `optimizer.<parameter index>.<key>`."""
    return {
        f"optimizer.{index}.{key}": torch.as_tensor(value)
        for index, entry in optimizer.state_dict()["state"].items()
        for key, value in entry.items()
        if value is not None
    }


def unpack_optimizer(optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor]) -> None:
    """Put the tensors of `pack_optimizer` back. Learning rates and other settings stay the optimiser's own."""
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})
