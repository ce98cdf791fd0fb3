"""Windows over 4096 x 4096 pixels, 21 classes, window 512: what it takes outside the network; two threads.

    python benchmarks/tiles.py [--rounds 3]

The network is one 1x1 convolution, whose time is subtracted, so that all that is left is cutting, weighting, adding and
deciding. Against MONAI's sliding_window_inference with Gaussian weights, which gets a normalised float tensor and
returns the (K, H, W) scores of the whole; ours gets the uint8 picture and returns labels. Below, the same with MONAI's
argmax counted too. Memory is the peak of the resident set above what it is before the first window, each way in a
process of its own; the kernels are compiled and the libraries loaded by a small picture before.
"""

import argparse
import os

os.environ.update(OMP_NUM_THREADS="2", MKL_NUM_THREADS="2")

import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from parts.memory import peak_above
from parts.timing import there
from torch import nn

from atrous.bundle import Card
from atrous.labels import LabelSet
from atrous.predict import Predictor

SIDE, CLASSES, WINDOW = 4096, 21, 512
TARGETS = {0.25: 0.40, 0.5: 0.45}
MEMORY = 0.3


class Clocked(nn.Module):
    """One 1x1 convolution; all copies add up their time in one place."""

    classes, in_channels, seconds = CLASSES, 3, 0.0

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, CLASSES, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        start = time.perf_counter()
        logits = self.convolution(image)
        Clocked.seconds += time.perf_counter() - start
        return logits

    def logits_at_stride(self, image: torch.Tensor) -> None:
        return None


def picture(side: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)


def ours(overlap: float, side: int = SIDE) -> Callable[[], Any]:
    """A call that labels the picture."""
    image = picture(side)
    names = tuple(f"class {k}" for k in range(CLASSES))
    card = Card("unet", {}, LabelSet(names), (127.5,) * 3, (127.5,) * 3)
    predictor = Predictor(Clocked(), card, window=WINDOW, overlap=overlap)
    return lambda: predictor.labels(image)


def monais(overlap: float, side: int = SIDE) -> Callable[[], Any]:
    """The same by MONAI, without the argmax."""
    from monai.inferers import sliding_window_inference

    network = Clocked().eval()
    image = torch.from_numpy(picture(side)).permute(2, 0, 1)[None].float().sub_(127.5).div_(127.5)

    @torch.inference_mode()
    def call() -> Any:
        return sliding_window_inference(image, (WINDOW, WINDOW), 1, network, overlap, mode="gaussian")

    return call


WAYS = {"atrous": ours, "MONAI": monais}


def outside(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds of one call without those of its network, and what it returned."""
    Clocked.seconds, start = 0.0, time.perf_counter()
    result = call()
    return time.perf_counter() - start - Clocked.seconds, result


def memory(way: str, overlap: float) -> float:
    """Bytes of the peak above the start, in a process of its own."""
    command = [sys.executable, __file__, "--memory", way, "--overlap", str(overlap)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--memory", choices=WAYS)
    parser.add_argument("--overlap", type=float)
    asked = parser.parse_args()
    torch.set_num_threads(2)
    if asked.memory:
        WAYS[asked.memory](asked.overlap, WINDOW + 8)()
        print(peak_above(WAYS[asked.memory](asked.overlap)))
        return
    ways = WAYS if there("monai", "monai") else {"atrous": ours}
    for overlap in [asked.overlap] if asked.overlap else TARGETS:
        calls = {name: way(overlap) for name, way in ways.items()}
        taken: dict[str, list[float]] = {name: [] for name in calls}
        deciding, result = [], None
        for turn in range(asked.rounds + 1):
            for name, call in calls.items():
                result = None  # so that one way's result is not in the other's way
                seconds, result = outside(call)
                if turn:
                    taken[name].append(seconds)
            if "MONAI" in ways and turn == 1:  # seconds: once is enough
                start = time.perf_counter()
                result.argmax(1)  # type: ignore[attr-defined]
                deciding.append(time.perf_counter() - start)
        result, calls = None, {}
        mine = median(taken["atrous"])
        print(f"overlap {overlap}: atrous {mine:.2f} s outside the network", end="")
        if "MONAI" in ways:
            peer = median(taken["MONAI"])
            reached = "reached" if mine / peer <= TARGETS.get(overlap, 0.45) else "MISSED"
            print(f", MONAI {peer:.2f} s: {mine / peer:.2f} x, target {TARGETS.get(overlap, 0.45)}: {reached}", end="")
            print(f"; with its argmax {mine / (peer + median(deciding)):.2f} x", end="")
        print()
        held = {name: memory(name, overlap) for name in ways}
        line = ", ".join(f"{name} {value / 1e6:.0f} MB" for name, value in held.items())
        if "MONAI" in ways:
            share = held["atrous"] / held["MONAI"]
            line += f": {share:.2f} x, target {MEMORY}: {'reached' if share <= MEMORY else 'MISSED'}"
        print(f"  above the start {line}")


if __name__ == "__main__":
    main()
