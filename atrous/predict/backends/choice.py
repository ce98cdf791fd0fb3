"""`--backend auto`: which backend is fastest on this machine for this network, among those that pass the gate.

Measured once, on a sample image, and kept in the user's cache per machine, network, weights and versions. A backend
that labels pixels differently from float32 torch is never chosen, however fast.
"""

import json
import platform
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from platformdirs import user_cache_path
from torch import nn

from atrous.bundle import Card
from atrous.errors import AtrousError
from atrous.files import write_atomically
from atrous.ops.resize import Tail
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
    ways = candidates(device)
    what = [
        platform.node(),
        platform.processor(),
        device,
        str(torch.get_num_threads()),
        network_fingerprint(model, card),
    ]
    what += [f"{package} {_version(package)}" for package in ("torch", "onnxruntime", "openvino")]
    path = Path(user_cache_path("atrous")) / "backends" / f"{sha256('|'.join(what).encode()).hexdigest()[:16]}.json"
    try:
        chosen = json.loads(path.read_text())["backend"]
        if chosen in ways:
            return open_backend(chosen.split()[0], model, card, device=device, **ways[chosen])
    except (OSError, ValueError, KeyError, TypeError, AtrousError):
        pass
    opened, refused = _open(ways, model, card, device)
    pixels = as_pixels(sample(card, SIZE if getattr(model, "axes", 2) == 2 else (32, 64, 64)))
    reference = open_backend("torch", model, card, device=device, fold=False)(pixels)
    seconds = {}
    for name, times in measure(opened, pixels, ROUNDS, reference, refused).items():
        seconds[name] = statistics.median(times)
    best = min(seconds, key=lambda name: seconds[name])
    kept = {"backend": best, "seconds": seconds, "refused": refused, "what": what}
    write_atomically(path, json.dumps(kept, indent=1).encode())
    return opened[best]


def measure(
    opened: Mapping[str, Backend],
    pixels: np.ndarray,
    rounds: int,
    reference: tuple[torch.Tensor, Tail],
    refused: dict[str, str],
) -> dict[str, list[float]]:
    """Seconds of each backend that passes the gate, in turn, after a first call that is not counted.

    The others are named in `refused` with the reason; a backend that raises is refused too. Torch stays in any case.
    """
    passing = {}
    for name, backend in opened.items():
        try:
            found = agreement(reference, backend(pixels))
        except Exception as error:  # a runtime's own errors share no base
            refused[name] = str(error).splitlines()[0] if str(error) else type(error).__name__
            continue
        if found.passes or name == "torch":
            passing[name] = backend
        else:
            refused[name] = f"labels equal on {found.all:.3%} of the pixels, on {found.sure:.4%} of the sure ones"
    seconds: dict[str, list[float]] = {name: [] for name in passing}
    for _ in range(rounds):
        for name, backend in passing.items():
            start = time.perf_counter()
            backend(pixels)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            seconds[name].append(time.perf_counter() - start)
    return seconds


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
            refused[name] = str(error).splitlines()[0] if str(error) else type(error).__name__
    return opened, refused


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "absent"
