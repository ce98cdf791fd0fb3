"""The last step of a network: logits at stride 4 or 8, resized to 1024 x 2048 pixels, to a class each; two threads.

    python benchmarks/tail.py [--rounds 5] [--compile]

Against what a user writes, `interpolate(...).argmax(1)`, and with --compile the same through torch.compile (minutes the
first time). The logits are smooth, as a network's are, with noise on them. Below, the forms that imported networks need
(align_corners), a stride that is no whole number, and the probability of each label too.
"""

import argparse
import os

os.environ.update(OMP_NUM_THREADS="2", MKL_NUM_THREADS="2")

from math import prod

import torch
from parts.timing import interleaved, print_ratios
from torch.nn import functional

from atrous.ops import upsample_argmax, upsample_confidence

SIZE = (1024, 2048)


def logits(classes: int, stride: int) -> torch.Tensor:
    """(1, K, 1024 / stride, 2048 / stride): regions of classes, with noise."""
    torch.manual_seed(0)
    coarse = torch.randn(1, classes, 9, 17)
    size = (SIZE[0] // stride, SIZE[1] // stride)
    return functional.interpolate(3 * coarse, size, mode="bicubic") + 0.2 * torch.randn(1, classes, *size)


def plain(x: torch.Tensor) -> torch.Tensor:
    return functional.interpolate(x, SIZE, mode="bilinear").argmax(1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(2)
    torch.set_grad_enabled(False)
    ratios, compiled = [], []
    print(f"upsample + argmax to {SIZE[0]} x {SIZE[1]}")
    for classes in (19, 21, 150):
        for stride in (4, 8):
            x = logits(classes, stride)
            ways = {"atrous": lambda x=x: upsample_argmax(x, SIZE), "torch": lambda x=x: plain(x)}
            if asked.compile:
                torch._dynamo.reset()
                quick = torch.compile(plain)
                ways["torch.compile"] = lambda x=x, quick=quick: quick(x)
            other = upsample_argmax(x, SIZE) != plain(x)
            print(f" {classes} classes, stride {stride}; {other.double().mean():.1e} of the labels differ (ties)")
            seconds = interleaved(ways, asked.rounds)
            print_ratios(seconds, {"torch": 35, "torch.compile": 7})
            ratios.append(seconds["torch"] / seconds["atrous"])
            if asked.compile:
                compiled.append(seconds["torch.compile"] / seconds["atrous"])
    mean = prod(ratios) ** (1 / len(ratios))
    print(f" geometric mean {mean:.1f} x torch, target 50: {'reached' if mean >= 50 else 'MISSED'}")
    print("other forms, 21 classes")
    x = logits(21, 4)
    size = (1000, 2000)
    aligned = {"mode": "bilinear", "align_corners": True}
    forms = {
        "align_corners": (
            lambda: upsample_argmax(x, SIZE, align_corners=True),
            lambda: functional.interpolate(x, SIZE, **aligned).argmax(1),
        ),
        "no whole stride": (
            lambda: upsample_argmax(x, size),
            lambda: functional.interpolate(x, size, mode="bilinear").argmax(1),
        ),
        "with probabilities": (
            lambda: upsample_confidence(x, SIZE),
            lambda: functional.interpolate(x, SIZE, mode="bilinear").softmax(1).max(1),
        ),
    }
    for name, (ours, theirs) in forms.items():
        print(f" {name}")
        print_ratios(interleaved({"atrous": ours, "torch": theirs}, asked.rounds), {})


if __name__ == "__main__":
    main()
