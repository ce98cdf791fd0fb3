"""A training step of DeepLab v3+ on EfficientNet-lite0, 8 x 256 x 256: `atrous train`'s against a plain loop on smp.

    python benchmarks/train_step.py [--rounds 25] [--learn 150] [--seeds 2]

Ours is `train.step.take_step` with the precision, layout and optimiser that `atrous train` measures and chooses here:
normalisation of 8-bit pictures, forward, backward, clipping, AdamW, moving average. The peer is smp 0.6.0's
DeepLabV3Plus in float32, contiguous: zero_grad, CrossEntropyLoss, backward, torch.optim.AdamW at its defaults, its
pictures normalised beforehand. Each side is a process of its own (ours changes how the C library keeps memory), and
they take steps in turn; the medians are compared. --learn: both train so many steps on the same batches of drawn street
scenes from the same ImageNet weights ([demo] extra) at the peer's constant rate, and the mean cross-entropy of the last
tenth is printed per seed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import torch
from parts.street import street
from parts.timing import print_ratios, there
from PIL import Image
from rich.console import Console

from atrous.datasets import open_dataset
from atrous.encoders.weights import has_packaged_weights, load_pretrained
from atrous.files import write_atomically
from atrous.plan import draft
from atrous.train.autotune import FABRIC_PRECISION, settle
from atrous.train.batches import batches
from atrous.train.recipe import Recipe
from atrous.train.run import build
from atrous.train.step import take_step
from atrous.train.surroundings import keep_freed_memory

ENCODER, SIZE, BATCH, CLASSES, PICTURES = "tf_efficientnet_lite0", 256, 8, 19, 32
RATE = 1e-3
TARGET = 1.9
Step = Callable[[int], float]
"""The number of a step -> its loss, after the weights have moved."""


def write_streets(root: Path) -> Path:
    """Drawn street scenes of 320 x 640 in colours with noise, and their 19 classes."""
    colours = np.random.default_rng(1).integers(40, 216, (256, 3))
    for index in range(PICTURES):
        rng = np.random.default_rng(index)
        _, labels = street(rng, 320, 640)
        picture = colours[labels] + rng.normal(0, 20, (*labels.shape, 3)) + rng.uniform(-30, 30, 3)
        for kind, array in (("images", np.clip(picture, 0, 255).astype(np.uint8)), ("masks", labels)):
            (root / "train" / kind).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / "train" / kind / f"{index:02}.png")
    classes = "".join(f'[[class]]\nname = "class {k}"\nvalue = {k}\n' for k in range(CLASSES))
    write_atomically(root / "classes.toml", f"ignore = [255]\n{classes}".encode())
    return root


def recipe_of(root: Path, steps: int, seed: int) -> tuple[Recipe, Any]:
    data = open_dataset(root)
    plain: dict[str, Any] = {"batch": BATCH, "crop": (SIZE, SIZE), "steps": steps, "seed": seed, "accumulate": 1}
    plain |= {"loss": "ce", "class_weights": (1.0,) * CLASSES}  # what the peer minimises
    plain |= {"lr": RATE, "encoder_lr": 1.0, "warmup": 0, "power": 1e-9}  # and at its rate: of all weights, to the end
    pretrained = has_packaged_weights(ENCODER)
    return draft(data, model="deeplabv3plus", encoder=ENCODER, pretrained=pretrained, say=say, **plain), data


def ours(root: Path, steps: int, seed: int) -> Step:
    """Steps of `atrous train` on the batches of its own loader."""
    keep_freed_memory()
    recipe, data = recipe_of(root, steps, seed)
    run, pairs = build(recipe, data, root / "run", pretrained=True), data.splits["train"]
    device = torch.device("cpu")
    run.recipe = settle(
        recipe, run.objective, pairs, device=device, workers=0, began=time.perf_counter(), validation=0.0, say=say
    )
    run = build(run.recipe, data, root / "run", pretrained=True)  # as a run that is resumed has it
    layout = torch.channels_last if run.recipe.channels_last else torch.contiguous_format
    run.objective.model.to(memory_format=layout)
    fabric = _fabric(run.recipe)
    module, optimizer = fabric.setup(run.objective, run.optimizer)
    module.train()
    loaded = [(images, labels) for images, labels, _ in batches(pairs, run.recipe, 0, steps)]
    names = ("precision", "channels_last", "fused", "compile")
    chosen = {name: value for name in names if (value := getattr(run.recipe, name, None))}
    say(f"ours: {_size(run.objective.model)}, chosen {chosen}")

    def step(index: int) -> float:
        images, labels = loaded[index % len(loaded)]
        loss, problem = take_step(run, fabric, module, optimizer, images.contiguous(memory_format=layout), labels)
        assert not problem, problem
        run.step = min(run.step + 1, steps - 1)
        return loss

    return step


def theirs(root: Path, steps: int, seed: int) -> Step:
    """Steps as smp's own examples write them, on the same batches."""
    import segmentation_models_pytorch as smp

    recipe, data = recipe_of(root, steps, seed)
    torch.manual_seed(seed)
    model = smp.DeepLabV3Plus(f"tu-{ENCODER}", encoder_weights=None, classes=CLASSES)
    if has_packaged_weights(ENCODER):
        load_pretrained(model.encoder, ENCODER, 3, True)
    model.train()
    criterion = torch.nn.CrossEntropyLoss(ignore_index=255)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    loaded = [
        ((images.float() / 255 - 0.5) / 0.5, labels.long())
        for images, labels, _ in batches(data.splits["train"], recipe, 0, steps)
    ]
    say(f"smp {smp.__version__}: {_size(model)}, float32, contiguous")

    def step(index: int) -> float:
        images, labels = loaded[index % len(loaded)]
        optimizer.zero_grad()
        loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _fabric(recipe: Recipe) -> Any:
    from lightning_fabric import Fabric

    return Fabric(accelerator="cpu", devices=1, precision=FABRIC_PRECISION[recipe.precision or "fp32"])


def _size(model: torch.nn.Module) -> str:
    return f"{sum(p.numel() for p in model.parameters()) / 1e6:.2f} million parameters"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def side(name: str, root: Path, steps: int, seed: int) -> None:
    """The child's part: `step I` on stdin is answered by the seconds of that step and its loss."""
    step = {"ours": ours, "smp": theirs}[name](root, steps, seed)
    print("ready", flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        loss = step(int(line))
        print(time.perf_counter() - start, loss, flush=True)


class Side:
    """A process that takes steps when told to."""

    def __init__(self, name: str, root: Path, steps: int, seed: int) -> None:
        command = [sys.executable, __file__, "--side", name, str(root), str(steps), str(seed)]
        environment = {**os.environ, "XDG_CACHE_HOME": str(root / "cache")}  # choices are measured now
        self.process = subprocess.Popen(command, env=environment, text=True, stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)  # fmt: skip
        self._read()

    def step(self, index: int) -> tuple[float, float]:
        """(seconds, loss) of one step."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{index}\n")
        self.process.stdin.flush()
        seconds, loss = self._read().split()
        return float(seconds), float(loss)

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def _read(self) -> str:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"a side ended with {self.process.wait()}")
        return line


def timed(root: Path, rounds: int) -> dict[str, float]:
    """Median seconds of a step of each side, in turn, after three that are not counted."""
    sides = {name: Side(name, root, 8, 0) for name in ("ours", "smp")}
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(rounds + 3):
        for name, one in sides.items():
            taken[name].append(one.step(turn)[0])
    for one in sides.values():
        one.close()
    return {name: median(times[3:]) for name, times in taken.items()}


def learned(root: Path, name: str, steps: int, seed: int) -> float:
    """The mean loss of the last tenth of so many steps."""
    one = Side(name, root, steps, seed)
    losses = [one.step(index)[1] for index in range(steps)]
    one.close()
    return mean(losses[-max(1, steps // 10) :])


def main() -> None:
    if sys.argv[1:2] == ["--side"]:
        side(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--learn", type=int, default=150, help="steps; 0: time only")
    parser.add_argument("--seeds", type=int, default=2)
    asked = parser.parse_args()
    if not there("segmentation_models_pytorch", "segmentation-models-pytorch"):
        return
    console = Console(highlight=False)
    with tempfile.TemporaryDirectory() as scratch:
        root = write_streets(Path(scratch) / "streets")
        console.print(f"{BATCH} x {SIZE} x {SIZE}, {torch.get_num_threads()} threads, torch {torch.__version__}")
        seconds = timed(root, asked.rounds)
        print_ratios(seconds, {"smp": TARGET})
        for seed in range(asked.seeds if asked.learn else 0):
            ends = {name: learned(root, name, asked.learn, seed) for name in ("ours", "smp")}
            told = ", ".join(f"{name} {loss:.4f}" for name, loss in ends.items())
            console.print(f"  seed {seed}, mean loss of the last tenth of {asked.learn} steps: {told}")


if __name__ == "__main__":
    main()
