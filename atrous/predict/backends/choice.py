"""`--backend auto`: which backend is fastest on this machine for this network, among those that pass the gate.

Measured once, on a sample image, and kept in the user's cache per machine, network, weights and versions. A backend
that labels pixels differently from float32 torch is never chosen, however fast.
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
"""Share of equal labels over all pixels, and over those where float32's best logit leads the second by MARGIN."""

SIZE = (512, 512)
ROUNDS = 5


@dataclass(frozen=True)
class Agreement:
    """How far labels equal those of float32 torch: over all pixels, and where its margin is over MARGIN; 0..1."""

    all: float
    sure: float

    @property
    def passes(self) -> bool:
        return self.all >= GATE and self.sure >= SURE_GATE


def agreement(reference: tuple[torch.Tensor, Tail], other: tuple[torch.Tensor, Tail]) -> Agreement:
    """Of two backends' answers for one image; logits that are not finite agree nowhere."""
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
    """What may be chosen: a backend with its options, by the name it gives itself; bf16 where it is native."""
    if not device.startswith("cpu"):
        return {"torch": {}, "torch bf16": {"precision": "bf16"}}
    found: dict[str, dict[str, Any]] = {"torch": {}, "onnx": {}, "openvino": {}}
    if torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.cpu._is_avx512_bf16_supported():
        found |= {"torch bf16": {"precision": "bf16"}, "openvino bf16": {"precision": "bf16"}}
    return found


def fastest(model: nn.Module, card: Card, *, device: str = "cpu") -> Backend:
    """The fastest backend that passes the gate, from the cache or measured now; torch where nothing else does."""
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
    """Median seconds of each backend that passes the gate, in turn, after a first call that is not counted.

    The others are named in `refused` with the reason; a backend that raises is refused too. Torch stays in any case.
    """
    passing = {}
    for name, backend in opened.items():
        try:
            found = agreement(reference, backend(pixels))
        except Exception as error:  # a runtime's own errors share no base
            refused[name] = reason_of(error)
            continue
        if found.passes or name == "torch":
            passing[name] = backend
        else:
            refused[name] = f"labels equal on {found.all:.3%} of the pixels, on {found.sure:.4%} of the sure ones"
    return interleaved({name: partial(backend, pixels) for name, backend in passing.items()}, rounds)


def reason_of(error: Exception) -> str:
    """The first line of what an error says, or its kind where it says nothing."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def as_pixels(image: torch.Tensor) -> np.ndarray:
    """The first of (N, C, ...) as a backend takes it: (..., C) float32."""
    return np.ascontiguousarray(image[0].movedim(0, -1).numpy())


def _open(
    ways: Mapping[str, dict[str, Any]], model: nn.Module, card: Card, device: str
) -> tuple[dict[str, Backend], dict[str, str]]:
    opened: dict[str, Backend] = {}
    refused: dict[str, str] = {}
    for name, options in ways.items():
        try:
            opened[name] = open_backend(name.split()[0], model, card, device=device, **options)
        except Exception as error:  # missing extras, pages that cannot be exported, a runtime that fails
            if name == "torch":
                raise
            refused[name] = reason_of(error)
    return opened, refused


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
