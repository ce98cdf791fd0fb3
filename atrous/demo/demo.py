"""`atrous demo`: land cover of the whole Earth from satellite colours, trained, judged and mapped in minutes."""

import json
import time
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from atrous.datasets import open_dataset
from atrous.demo import landcover
from atrous.demo.landcover import LABELS
from atrous.files import write_atomically
from atrous.io import write_image
from atrous.io.claims import refuse_foreign
from atrous.metrics import scores
from atrous.predict import Cutting
from atrous.progress import command, say
from atrous.report import report_run
from atrous.sample import Sample
from atrous.segmenter import Segmenter

WINDOW = 480
"""Side of the windows in which the world is predicted, in pixels of 1/15 degree."""

RECIPE: dict[str, Any] = {
    "channels": (64, 48, 32, 24), "frozen_norms": True,
    "crop": (96, 96), "scale": (1.0, 1.0), "vflip": 0.5,
    "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0,
    "batch": 16, "lr": 3e-3, "encoder_lr": 0.1, "ema": 0.98,
}  # fmt: skip
"""Satellite pictures have one scale, no up, and their colour is what tells the classes apart: it is not jittered.

A picture shows one or two kinds of ground, and the statistics of a few of them are far from the world's: the encoder
keeps those of its weights, and batches are of many small crops. A narrow decoder takes more steps in the time. The
decoder, new and with little time, learns ten times as fast as the encoder.
"""
MOST_WATER = 0.8
"""Training tiles with a larger share of water are left out: there is enough of it in the others."""

NEXT = """next
  atrous predict {picture} --model {run} -o world/     the same map from the command line
  atrous eval {run} {data}     the same numbers again
  atrous train YOUR_FOLDER     a folder with images/ and masks/
  atrous models                the networks to choose from (--model)"""


def run_demo(folder: Path, budget: float, console: Console) -> None:
    """Prepare the data, train for `budget` seconds, evaluate beside the look-up table, predict the world, report."""
    began = time.perf_counter()
    tell = partial(say, to=console)
    tell("data: NASA Blue Marble, MODIS land cover (Friedl & Sulla-Menashe, doi 10.5067/MODIS/MCD12C1.006)")
    data = open_dataset(landcover.prepare())
    tell(
        ", ".join(f"{len(pairs)} {name}" for name, pairs in data.splits.items())
        + " tiles of 10 x 10 degrees and what lies around them"
    )
    tests = data.splits["test"]
    shown = range(0, len(tests), max(1, len(tests) // 12))
    overlays = {index: folder / "overlays" / f"{Path(tests.names[index]).stem}.jpg" for index in shown}
    for written in (folder / "world.png", folder / "world-overlay.jpg", *overlays.values()):
        refuse_foreign(written)
    tiles = data.splits["train"]
    data.splits["train"] = tiles.choose([index for index, tile in enumerate(tiles) if water(tile) < MOST_WATER])
    tell(f"{len(data.splits['train'])} training tiles are not mostly sea; the others are left out of training")
    data.splits["val"] = data.splits["val"].choose(range(0, len(data.splits["val"]), 4))  # enough to watch it learn
    segmenter = Segmenter("unet", "tf_efficientnet_lite0", True, **RECIPE)
    segmenter.fit(data, folder, time=budget, console=console)

    result = segmenter.evaluate(data, "test")
    baseline = landcover.look_up_table(landcover.blocks("train"), tests)
    table = scores(baseline)
    ours = scores(result.confusion)
    tell("")
    tell(f"test tiles ({len(result.names)}), IoU per class")
    tell(f"{'class':<10}{'atrous':>8}{'look-up table':>15}")
    for k, name in enumerate(data.labels.names):
        tell(f"{name:<10}{ours['iou'][k]:>8.3f}{table['iou'][k]:>15.3f}")
    tell(f"{'mIoU':<10}{ours['miou']:>8.3f}{table['miou']:>15.3f}", style="bold")

    tell("")
    tell("mapping the world ...")
    picture = landcover.world_image()
    segmenter.predictor.cutting = Cutting(window=WINDOW)
    world = segmenter.predict(picture)
    world.save(folder / "world.png")
    write_image(folder / "world-overlay.jpg", world.overlay_array(0.6), mark=True)
    for index, target in overlays.items():
        write_image(target, segmenter.predict(tests[index].image).overlay_array(), mark=True)

    numbers = {
        "test": result.summary(),
        "baseline": {
            "what": "32x32x32 RGB look-up table, fitted on the training tiles, on the same test pixels",
            "miou": float(table["miou"]),
            "per_class": dict(zip(data.labels.names, map(float, table["iou"]), strict=True)),
            "pixel_accuracy": table["pixel_accuracy"],
        },
        "val": segmenter.card.metrics.get("val", {}),
        "seconds": round(time.perf_counter() - began, 1),
    }
    write_atomically(folder / "metrics.json", json.dumps(numbers, indent=1).encode())
    following = NEXT.format(picture=command(picture), run=command(folder), data=command(data.root))
    report_run(
        folder,
        result,
        tests,
        segmenter.predictor.labels,
        segmenter.card,
        title="Land cover of the Earth",
        baseline=("RGB look-up table", baseline),
        picture=("The world as predicted", data.labels.to_colours(world.labels)),
        command=command("atrous", "demo", "-o", folder),
        following=[line.strip() for line in following.splitlines()[1:]],
    )
    for line in ("", f"run     {folder}", f"report  {folder / 'report.html'}", f"map     {folder / 'world.png'}", ""):
        tell(line)
    for line in following.splitlines():
        tell(line)


def water(tile: Sample) -> float:
    """The share of a tile's labelled pixels that is water."""
    assert tile.mask is not None
    return float((tile.mask == LABELS.names.index("water")).sum() / (tile.mask != LABELS.ignore_index).sum())
