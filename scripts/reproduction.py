"""Do the papers' comparisons show in the small? Eight networks on one encoder, the same steps over the same pictures.

    python scripts/reproduction.py $CAMVID [-o runs/reproduction] [--seeds 2] [--steps 250]

Every network sits on tf_efficientnet_lite0 with ImageNet weights and is trained as `atrous train` does by default, on
crops of 256 x 256, 4 a step: about five minutes each on two quiet cores. A finished run is left alone and a killed one
goes on, so that the command can be given again and again. Then the pairs that the papers compare are judged on the test
split, paired over seeds and over runs of ten neighbouring frames, and the tables of docs/reproduction.md are printed.
$CAMVID: see docs/data.md.
"""

import argparse
from pathlib import Path
from typing import Any

from rich.console import Console

from atrous.evaluate.sources import compare_results, judge
from atrous.segmenter import Segmenter

VARIANTS: dict[str, dict[str, Any]] = {
    "fcn32s": {"model": "fcn", "options": {"stride": 32}},
    "fcn16s": {"model": "fcn", "options": {"stride": 32, "skips": [16]}},
    "fcn8s": {"model": "fcn", "options": {"stride": 32, "skips": [16, 8]}},
    "dilated": {"model": "fcn", "options": {"stride": 16}},
    "deeplabv3": {"model": "deeplabv3", "options": {"stride": 16}},
    "deeplabv3plus": {"model": "deeplabv3plus", "options": {"stride": 16}},
    "unet_without_skips": {"model": "unet", "options": {"joined": False}},
    "unet": {"model": "unet"},
}
"""fcn32s is also the head at output stride 32 without dilation, `dilated` the same head at 16, and v3 without ASPP."""

CLAIMS = [
    ("FCN-16s over FCN-32s", "Shelhamer et al. 2017: 63.6 to 65.0", "fcn32s", "fcn16s"),
    ("FCN-8s over FCN-16s", "Shelhamer et al. 2017: 65.0 to 65.5", "fcn16s", "fcn8s"),
    ("output stride 16 over 32, by dilation", "Chen et al. 2017 (v3)", "fcn32s", "dilated"),
    ("ASPP over none", "Chen et al. 2017 (v3)", "dilated", "deeplabv3"),
    ("v3+ over v3", "Chen et al. 2018 (v3+)", "deeplabv3", "deeplabv3plus"),
    ("U-Net with skips over none", "Ronneberger et al. 2015", "unet_without_skips", "unet"),
]

BLOCK = 10
"""Frames of a video that are drawn together: neighbours look alike."""


def train_all(data: Path, out: Path, seeds: int, steps: int) -> None:
    """One run a variant and seed, in `out`; those that are there are left or go on."""
    for seed in range(seeds):
        for name, variant in VARIANTS.items():
            wishes = {"encoder": "tf_efficientnet_lite0", "pretrained": True, "crop": (256, 256), "batch": 4}
            segmenter = Segmenter(**wishes, **variant, seed=seed, validate_every=steps)
            segmenter.fit(data, out / f"{name}-{seed}", steps=steps, console=Console(quiet=True))
            print(f"{name}, seed {seed}: {segmenter.card.metrics['val']['miou']:.3f} on validation", flush=True)


def table(data: Path, out: Path, seeds: int) -> str:
    """Every network's test mIoU, then one row a claim: the paired difference with its interval, and what it says."""
    judged = {name: [judge(out / f"{name}-{seed}", data, "test").result for seed in range(seeds)] for name in VARIANTS}
    lines = [f"| network | mIoU, mean of {seeds} | each seed |", "|---|---|---|"]
    for name, results in judged.items():
        each = [result.summary()["miou"] for result in results]
        lines.append(f"| `{name}` | {sum(each) / seeds:.3f} | {' '.join(f'{score:.3f}' for score in each)} |")
    lines += ["", "| claim | paper | without | with | difference, 95 % | verdict |", "|---|---|---|---|---|---|"]
    for claim, paper, without, having in CLAIMS:
        found = compare_results([having, without], [judged[having], judged[without]], block=BLOCK)
        pair, scores = found["pairs"][0], found["scores"]
        low, high = pair["interval"]
        verdict = (
            ("shows" if pair["difference"] > 0 else "the reverse shows") if pair["told_apart"] else "not told apart"
        )
        lines.append(
            f"| {claim} | {paper} | {scores[without]:.3f} | {scores[having]:.3f} "
            f"| {pair['difference']:+.3f} [{low:+.3f}, {high:+.3f}] | {verdict} |"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("runs/reproduction"))
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--steps", type=int, default=250)
    arguments = parser.parse_args()
    train_all(arguments.data, arguments.out, arguments.seeds, arguments.steps)
    print(table(arguments.data, arguments.out, arguments.seeds))
