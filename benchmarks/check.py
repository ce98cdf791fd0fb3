"""`atrous check` on 10,000 pairs of 512 x 512: JPEG images and index masks, all that it finds included.

    python benchmarks/check.py [--pairs 10000] [--distinct 200] [--seconds 60]

The distinct files are drawn once and linked under as many names; what is read is read anew for each name. With
--seconds the pairs are as many as fit into that time by the first 400. Target: 150 pairs/s on two cores.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from atrous.doctor import examine_dataset

TARGET = 150


def scene(seed: int, side: int = 512, classes: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """A picture with texture and the mask of its shapes."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((side, side), np.uint8)
    for _ in range(24):
        centre, axes = rng.integers(0, side, 2).tolist(), rng.integers(10, 90, 2).tolist()
        cv2.ellipse(mask, centre, axes, float(rng.integers(180)), 0, 360, int(rng.integers(1, classes)), -1)
    colours = rng.integers(30, 220, (classes, 3))
    texture = cv2.resize(rng.normal(0, 24, (side // 4, side // 4, 3)).astype(np.float32), (side, side))
    return np.clip(colours[mask] + texture + rng.normal(0, 4, (side, side, 3)), 0, 255).astype(np.uint8), mask


def make(root: Path, distinct: int, pairs: int) -> None:
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for k in range(distinct):
        image, mask = scene(k)
        Image.fromarray(image).save(root / f"{k}.jpg", quality=90)
        Image.fromarray(mask).save(root / f"{k}.png")
    for k in range(pairs):
        os.link(root / f"{k % distinct}.jpg", root / "images" / f"{k:06x}z.jpg")
        os.link(root / f"{k % distinct}.png", root / "masks" / f"{k:06x}z.png")


def rate(pairs: int, distinct: int) -> tuple[float, float]:
    """Pairs per second of a whole examination, and processor time of one pair in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), distinct, pairs)
        began, busy = time.perf_counter(), time.process_time()
        found = examine_dataset(folder)
        seconds, busy = time.perf_counter() - began, time.process_time() - busy
    assert len(found.looks) == pairs
    return pairs / seconds, 1000 * busy / pairs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=10_000)
    parser.add_argument("--distinct", type=int, default=200)
    parser.add_argument("--seconds", type=float)
    options = parser.parse_args()
    rate(20, 20)  # kernels are compiled, or read
    pairs = options.pairs
    if options.seconds:
        pairs = min(pairs, int(rate(400, options.distinct)[0] * options.seconds))
    found, busy = rate(pairs, options.distinct)
    print(f"atrous check, {pairs:,} pairs of 512 x 512 on {os.cpu_count()} cores")
    print(f" {found:6.0f} pairs/s (target {TARGET}), {busy:.1f} ms of the processor for a pair")


if __name__ == "__main__":
    main()
