"""`--backend auto`: the fastest backend for a network on this machine that passes the gate.

It is measured once, on a sample image, and kept in the user's cache for each machine, network,
weights and versions. The gate compares labels with those of torch in float32; a backend that does
not pass is never chosen, however fast it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np
import torch
from torch import nn

from atrous.bundle import Card
from atrous.ops.resize import Tail
from atrous.ops.timing import interleaved, remembered, this_machine
from atrous.predict.backends import Backend, open_backend
from atrous.predict.backends.graph import network_fingerprint, sample

GATE, SURE_GATE, MARGIN = 0.995, 0.9999, 0.1
"""Least share of equal labels over all pixels, and over the sure ones.

Sure are the pixels where the best logit of float32 exceeds the second by more than MARGIN.
"""

SIZE = (512, 512)
"""Height and width of the sample image."""
ROUNDS = 5


@dataclass(frozen=True)
class Agreement:
    """Share of labels that equal those of torch in float32, over all and over the sure pixels."""

    all: float
    sure: float

    @property
    def passes(self) -> bool:
        """Whether the backend may be chosen."""
        return self.all >= GATE and self.sure >= SURE_GATE


def agreement(reference: tuple[torch.Tensor, Tail], other: tuple[torch.Tensor, Tail]) -> Agreement:
    """Compare the answers of two backends for one image.

    Args:
        reference: logits (1, K, h, w) and `Tail` of torch in float32.
        other: those of another backend; if a logit is not finite, they agree nowhere.
    """
    truth, found = (tail.apply(logits.float().cpu()) for logits, tail in (reference, other))
    if truth.shape != found.shape or not found.isfinite().all():
        return Agreement(0.0, 0.0)
    equal = truth.argmax(1) == found.argmax(1)
    if truth.shape[1] == 1:
        return Agreement(1.0, 1.0)
    best, second = truth.topk(2, 1).values.unbind(1)
    sure = best - second > MARGIN
    return Agreement(float(equal.double().mean()), float(equal[sure].double().mean()) if sure.any() else 1.0)


def candidates(device: str = "cpu") -> dict[str, dict[str, Any]]:
    """The backends to choose from: name -> options of `open_backend`; bf16 if the device has it."""
    if not device.startswith("cpu"):
        return {"torch": {}, "torch bf16": {"precision": "bf16"}}
    found: dict[str, dict[str, Any]] = {"torch": {}, "onnx": {}, "openvino": {}}
    if torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.cpu._is_avx512_bf16_supported():
        found |= {"torch bf16": {"precision": "bf16"}, "openvino bf16": {"precision": "bf16"}}
    return found


def fastest(model: nn.Module, card: Card, *, device: str = "cpu") -> Backend:
    """Open the fastest backend that passes the gate, by the user's cache or measured now.

    Args:
        model: the network, in eval mode.
        card: its card.
        device: such as `cpu` or `cuda`.

    Returns:
        The backend, ready to run; torch if no other passes.
    """
    ways, opened = candidates(device), dict[str, Backend]()
    what = [*this_machine(device), network_fingerprint(model, card)]
    what += [f"{package} {_version(package)}" for package in ("torch", "onnxruntime", "openvino")]

    def usable(kept: dict[str, Any]) -> bool:
        name, options = kept["backend"], ways[kept["backend"]]
        opened[name] = open_backend(name.split()[0], model, card, device=device, **options)
        return True

    def measure_all() -> dict[str, Any]:
        backends, refused = _open(ways, model, card, device)
        opened.update(backends)
        pixels = as_pixels(sample(card, SIZE if getattr(model, "axes", 2) == 2 else (32, 64, 64)))
        reference = open_backend("torch", model, card, device=device, fold=False)(pixels)
        seconds = measure(backends, pixels, ROUNDS, reference, refused)
        return {"backend": min(seconds, key=seconds.__getitem__), "seconds": seconds, "refused": refused}

    return opened[remembered("backends", what, measure_all, usable)["backend"]]


def measure(
    opened: Mapping[str, Backend],
    pixels: np.ndarray,
    rounds: int,
    reference: tuple[torch.Tensor, Tail],
    refused: dict[str, str],
) -> dict[str, float]:
    """Time the backends that pass the gate.

    Args:
        opened: backends by name; torch passes in any case.
        pixels: of an image, (H, W, C).
        rounds: how often each is timed, after a first call that checks its labels.
        reference: the answer of torch in float32.
        refused: gets the names of those that do not pass or raise, with the reason.

    Returns:
        Median seconds of each, by name.
    """
    passing = {}
    for name, backend in opened.items():
        try:
            found = agreement(reference, backend(pixels))
        except Exception as error:  # each runtime has errors of its own; another one may do
            refused[name] = reason_of(error)
            continue
        if found.passes or name == "torch":
            passing[name] = backend
        else:
            refused[name] = f"labels equal on {found.all:.3%} of the pixels, on {found.sure:.4%} of the sure ones"
    return interleaved({name: partial(backend, pixels) for name, backend in passing.items()}, rounds)


def reason_of(error: Exception) -> str:
    """The first line of an error's message, or the name of its class if it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def as_pixels(image: torch.Tensor) -> np.ndarray:
    """The first image of (N, C, ...) as a backend takes it: (..., C)."""
    return np.ascontiguousarray(image[0].movedim(0, -1).numpy())


def _open(
    ways: Mapping[str, dict[str, Any]], model: nn.Module, card: Card, device: str
) -> tuple[dict[str, Backend], dict[str, str]]:
    opened: dict[str, Backend] = {}
    refused: dict[str, str] = {}
    for name, options in ways.items():
        try:
            opened[name] = open_backend(name.split()[0], model, card, device=device, **options)
        except Exception as error:  # missing extras, models without an export; another one may do
            if name == "torch":
                raise
            refused[name] = reason_of(error)
    return opened, refused


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
