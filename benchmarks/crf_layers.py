"""CRF-RNN and ConvCRF, one training step and one prediction: 240 x 320 pixels, 21 classes, one image, two threads.

    python benchmarks/crf_layers.py [--rounds 5] [--layer CRF-RNN|ConvCRF]

CRF-RNN's filters by numba, as on any CPU, against the same by torch, as on a GPU; ConvCRF's windows against torch's
unfold. Results are compared, so that none wins by computing something else.
"""

import argparse
import os

os.environ.update(OMP_NUM_THREADS="2", OPENBLAS_NUM_THREADS="2", MKL_NUM_THREADS="2")

from collections.abc import Callable
from unittest.mock import patch

import cv2
import numpy as np
import torch
from parts.timing import interleaved, print_ratios
from torch import nn
from torch.nn import functional

from atrous.ops import lattice_torch
from atrous.refine import CRFRNN, ConvCRF

HEIGHT, WIDTH, CLASSES = 240, 320, 21


def by_unfold(kernel: torch.Tensor, values: torch.Tensor, window: int) -> torch.Tensor:
    """What `window_sum` does, with every window copied."""
    (batch, count, height, width), reach = values.shape, window // 2
    copied = functional.unfold(values, window, padding=reach).view(batch, count, -1, height, width)
    return (copied * kernel[:, None]).sum(2)


def training(layer: nn.Module, image: torch.Tensor, logits: torch.Tensor, truth: torch.Tensor) -> Callable[[], float]:
    def step() -> float:
        layer.train().zero_grad()
        loss = functional.cross_entropy(layer(image, logits.requires_grad_()), truth)
        loss.backward()
        return float(loss.detach())

    return step


def predicting(layer: nn.Module, image: torch.Tensor, logits: torch.Tensor) -> Callable[[], float]:
    @torch.no_grad()
    def predict() -> float:
        return float(layer.eval()(image, logits).mean())

    return predict


def patched(target: str, replacement: object, run: Callable[[], float]) -> Callable[[], float]:
    def call() -> float:
        with patch(target, replacement):
            return run()

    return call


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--layer", choices=["CRF-RNN", "ConvCRF"], help="One of the two; default both.")
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    rng = np.random.default_rng(0)
    blobs = cv2.resize(rng.normal(0, 1, (20, 30, 3)), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    photo = np.clip(120 + 50 * blobs + rng.normal(0, 6, blobs.shape), 0, 255).astype(np.float32)
    image = torch.from_numpy(photo).permute(2, 0, 1)[None].contiguous()
    logits, truth = torch.randn(1, CLASSES, HEIGHT, WIDTH), torch.randint(0, CLASSES, (1, HEIGHT, WIDTH))
    slow = {
        "CRF-RNN": (CRFRNN(CLASSES), "torch's lattice", "atrous.refine.crfrnn.lattice.build_lattice", _torchs),
        "ConvCRF": (ConvCRF(CLASSES), "unfold", "atrous.refine.crfrnn.window_sum", by_unfold),
    }
    for name, (layer, other, target, replacement) in slow.items():
        if arguments.layer not in (None, name):
            continue
        for what, run in (("training step", training(layer, image, logits, truth)),
                          ("prediction", predicting(layer, image, logits))):  # fmt: skip
            ways = {"atrous": run, other: patched(target, replacement, run)}
            first = {way: call() for way, call in ways.items()}
            assert abs(first["atrous"] - first[other]) < 1e-3 * max(1, abs(first[other])), first
            print(f"{name}, {what}, {HEIGHT} x {WIDTH}, {CLASSES} classes, two threads")
            print_ratios(interleaved(ways, arguments.rounds), {})


def _torchs(features: np.ndarray, threads: int | None = None) -> lattice_torch.Lattice:
    return lattice_torch.Lattice(torch.from_numpy(features))


if __name__ == "__main__":
    main()
