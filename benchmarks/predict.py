"""One image file to one label file: atrous predict's way against eager code as a user of smp or torchvision writes it.

    python benchmarks/predict.py [--rounds 3] [--only NAME] [--height 512] [--int8] [--cold]

Both decode the same PNG, run the same network (21 classes, weights of a start), and write the same index PNG; two
threads. `auto` is what `atrous predict` does where the extras are installed, `torch` what it does without them,
`careful` the user's network in OpenVINO (bf16 where native) with full logits and torch's argmax. The same files are
labelled by both; the share of equal labels stands beside. --int8: OpenVINO in 8 bits too, calibrated on the picture
(what that costs a trained network, `atrous export --int8` measures). --cold: from the start of a process to the first
512 x 512 label map on disk, and the most memory held, of the emitted runner, `atrous predict` on the exported file and
the eager script.
"""

import argparse
import os
import sys
import tempfile
import textwrap

os.environ.update(OMP_NUM_THREADS="2", MKL_NUM_THREADS="2")

import json
import subprocess
from collections.abc import Callable
from functools import partial
from math import prod
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from parts.timing import interleaved, print_ratios, there
from PIL import Image
from torch import nn

from atrous.bundle import Card
from atrous.export.files import export_network
from atrous.export.int8 import by_nncf
from atrous.labels import LabelSet
from atrous.models import create_model
from atrous.predict import Predictor
from atrous.predict.backends.choice import candidates
from atrous.predict.backends.exported import Exported
from atrous.predict.backends.graph import Graph, describe_graph, tail_rule
from atrous.predict.backends.onnx import kept_onnx

CLASSES = 21
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
LABELS = LabelSet(tuple(f"class {k}" for k in range(CLASSES)))
SIZES = ((512, 512), (1024, 2048))
CASES = {
    "v3+ lite0": ("deeplabv3plus", "tf_efficientnet_lite0", ("DeepLabV3Plus", "timm-tf_efficientnet_lite0")),
    "v3+ resnet50": ("deeplabv3plus", "resnet50", ("DeepLabV3Plus", "resnet50")),
    "unet resnet34": ("unet", "resnet34", ("Unet", "resnet34")),
    "torchvision deeplabv3": ("deeplabv3", "resnet50", None),
}


def picture(size: tuple[int, int], path: Path) -> Path:
    """A photograph-like PNG: smooth regions with noise."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 24, 3), np.uint8)).resize(size[::-1], Image.Resampling.BICUBIC)
    Image.fromarray(np.clip(np.asarray(coarse) + rng.normal(0, 8, (*size, 3)), 0, 255).astype(np.uint8)).save(path)
    return path


def ours(name: str, encoder: str) -> tuple[nn.Module, Card]:
    torch.manual_seed(0)
    model = create_model(name, classes=CLASSES, encoder=encoder).eval()
    return model, Card(name, {"encoder": encoder}, LABELS, MEAN, STD)


def theirs(peer: tuple[str, str] | None) -> nn.Module | None:
    torch.manual_seed(0)
    if peer is None:
        from torchvision.models.segmentation import deeplabv3_resnet50

        return deeplabv3_resnet50(weights=None, weights_backbone=None, num_classes=CLASSES).eval()
    if not there("segmentation_models_pytorch", "segmentation-models-pytorch"):
        return None
    import segmentation_models_pytorch as smp

    try:
        return getattr(smp, peer[0])(peer[1], encoder_weights=None, classes=CLASSES).eval()
    except KeyError:
        return getattr(smp, peer[0])(peer[1].replace("timm-", "tu-"), encoder_weights=None, classes=CLASSES).eval()


def label(predictor: Predictor, source: Path, target: Path) -> None:
    predictor(source).save(target)


def eager(model: Callable[[torch.Tensor], Any], source: Path, target: Path) -> None:
    """As the projects' own examples do it."""
    image = np.asarray(Image.open(source).convert("RGB"))
    x = torch.from_numpy(image).permute(2, 0, 1).float()
    x = ((x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None])[None]
    side = 32  # smp's networks take no others
    x = nn.functional.pad(x, (0, -x.shape[3] % side, 0, -x.shape[2] % side))
    with torch.no_grad():
        y = model(x)
    y = y["out"] if isinstance(y, dict) else y
    labels = y[0, :, : image.shape[0], : image.shape[1]].argmax(0).to(torch.uint8).numpy()
    Image.fromarray(labels).save(target)


def careful(model: nn.Module, size: tuple[int, int]) -> Callable[[torch.Tensor], torch.Tensor]:
    """The eager network compiled by OpenVINO at this size, full logits out."""
    import openvino

    class Logits(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = model

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            y = self.network(x)
            return y["out"] if isinstance(y, dict) else y

    native = "openvino bf16" in candidates()
    settings = {"INFERENCE_NUM_THREADS": 2, "PERFORMANCE_HINT": "LATENCY",
                "INFERENCE_PRECISION_HINT": "bf16" if native else "f32"}  # fmt: skip
    converted = openvino.convert_model(Logits().eval(), example_input=torch.zeros(1, 3, *size))
    network = openvino.Core().compile_model(converted, "CPU", settings)
    return lambda x: torch.from_numpy(network([x.contiguous().numpy()])[0])


def eight_bits(model: nn.Module, card: Card, source: Path, folder: Path) -> Predictor:
    graph = Graph(model, card)
    pixels = np.asarray(Image.open(source).convert("RGB"), np.float32).transpose(2, 0, 1)[None]
    _, run = by_nncf(kept_onnx(graph, card), [np.ascontiguousarray(pixels)], folder)
    about = json.loads(describe_graph(graph, card, tail_rule(graph, card), precision="int8"))
    return Predictor(Exported("openvino int8", run, about), card, window=0)


def warm(rounds: int, only: str | None, height: int | None, int8: bool) -> None:
    ratios: dict[str, list[float]] = {"auto": [], "torch": [], "int8": [], "auto against careful": []}
    with tempfile.TemporaryDirectory() as folder:
        for case, (name, encoder, peer) in CASES.items():
            if only and only not in case:
                continue
            model, card = ours(name, encoder)
            predictors = {way: Predictor(model, card, backend=way, window=0) for way in ("auto", "torch")}
            other = theirs(peer)
            for size in (one for one in SIZES if height in (None, one[0])):
                source = picture(size, Path(folder) / "image.png")
                target = Path(folder) / "labels.png"
                ways: dict[str, Callable[[], object]] = {
                    way: partial(label, p, source, target) for way, p in predictors.items()
                }
                plain = Predictor(model, card, backend="torch", window=0)(source).labels
                same = (predictors["auto"](source).labels == plain).mean()
                print(f"{case}, {size[0]} x {size[1]}: auto is {predictors['auto'].network.name}, {same:.4%} as torch")
                if int8:
                    ways["int8"] = partial(label, eight_bits(model, card, source, Path(folder)), source, target)
                if other is not None:
                    ways["eager"] = partial(eager, other, source, target)
                    if there("openvino", "openvino"):
                        ways["careful"] = partial(eager, careful(other, size), source, target)
                seconds = interleaved(ways, rounds)
                print_ratios(seconds, {})
                if other is not None:
                    for way in ratios.keys() & seconds.keys():
                        ratios[way].append(seconds["eager"] / seconds[way])
                    if "careful" in seconds:
                        ratios["auto against careful"].append(seconds["careful"] / seconds["auto"])
                    print("  eager / " + ", ".join(f"{way} {seconds['eager'] / seconds[way]:.2f} x" for way in seconds))
    for way, found in ratios.items():
        if found:
            print(f"geometric mean, {way}: {prod(found) ** (1 / len(found)):.2f} x; least {min(found):.2f} x")


EAGER = """
import numpy as np, torch, segmentation_models_pytorch as smp
from PIL import Image
torch.manual_seed(0)
model = smp.DeepLabV3Plus("tu-tf_efficientnet_lite0", encoder_weights=None, classes=21).eval()
image = np.asarray(Image.open({source!r}).convert("RGB"))
x = (torch.from_numpy(image).permute(2, 0, 1).float()[None] - 120) / 60
with torch.no_grad():
    Image.fromarray(model(x)[0].argmax(0).to(torch.uint8).numpy()).save({target!r})
"""


LAUNCHER = """
import resource, subprocess, sys, time
start = time.perf_counter()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
"""A small parent: what a large one holds would be counted as its child's."""


def cold(rounds: int) -> None:
    """Processes from start to end, in turn."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model, card = ours("deeplabv3plus", "tf_efficientnet_lite0")
        export_network(model, card, folder / "net.onnx")
        source = picture((512, 512), folder / "image.png")
        script = folder / "eager.py"
        script.write_text(textwrap.dedent(EAGER).format(source=str(source), target=str(folder / "eager.png")))
        ways = {
            "runner": [sys.executable, folder / "net_run.py", source, "-o", folder / "a"],
            "atrous predict": [sys.executable, "-m", "atrous", "predict", source, "--model", folder / "net.onnx",
                               "-o", folder / "b"],
        }  # fmt: skip
        if there("segmentation_models_pytorch", "segmentation-models-pytorch"):
            ways["eager smp"] = [sys.executable, script]
        taken: dict[str, list[float]] = {way: [] for way in ways}
        held: dict[str, int] = {}
        for turn in range(rounds + 1):
            for way, command in ways.items():
                told = subprocess.run(
                    [sys.executable, "-c", LAUNCHER, *map(str, command)], capture_output=True, text=True, check=True
                ).stdout.split()
                held[way] = int(told[-1]) * 1024
                if turn:
                    taken[way].append(float(told[-2]))
    print("process start to the first 512 x 512 label map")
    last = median(taken.get("eager smp", [float("nan")]))
    for way, seconds in taken.items():
        share = median(seconds) / last
        print(f"  {way:18}{median(seconds):8.2f} s {share:8.2f} of eager {held[way] / 1e6:8.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=list(CASES))
    parser.add_argument("--height", type=int, choices=[size[0] for size in SIZES])
    parser.add_argument("--int8", action="store_true")
    parser.add_argument("--cold", action="store_true")
    asked = parser.parse_args()
    torch.set_num_threads(2)
    if asked.cold:
        cold(asked.rounds)
    else:
        warm(asked.rounds, asked.only, asked.height, asked.int8)


if __name__ == "__main__":
    main()
