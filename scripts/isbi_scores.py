"""Scores of networks on ISBI's stack: pixel error, and the challenge's foreground-restricted Rand and information.

    python scripts/isbi_scores.py DATA RUN [RUN ...]

DATA is what `scripts/isbi_em.py` wrote. Maps are cut where the probability of `cell` is above a threshold, as the
challenge does: for the pixel error, over all pixels of `test`, at each network's threshold of least error on `val`; for
the partition, its 4-connected regions, at that of the best mean Rand F-score on `val`. Every later run is compared with
the first, slice by slice: the mean difference and how many of the slices are better. Six slices make no interval worth
its name.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy import ndimage

from atrous.errors import AtrousError, DataError
from atrous.evaluate.data import choose_pictures
from atrous.metrics import partition_scores
from atrous.segmenter import load

CELL = 1
THRESHOLDS = np.linspace(0.1, 0.99, 90)  # by hundredths


def regions(cells: np.ndarray) -> np.ndarray:
    """(H, W) bool -> labels of its 4-connected regions, 0 elsewhere."""
    return ndimage.label(cells)[0]


def scores(cell: np.ndarray, mask: np.ndarray, threshold: float) -> tuple[float, float]:
    """Rand and information F-scores of a probability map (H, W) of `cell`, cut at a threshold."""
    found = partition_scores(regions(cell > threshold), regions(mask == CELL))
    return found["rand_f"], found["info_f"]


def wrong(cell: np.ndarray, mask: np.ndarray, threshold: float) -> float:
    """The share of a slice's pixels that are on the wrong side of a threshold."""
    return float(((cell > threshold) != (mask == CELL)).mean())


def judge(run: Path, data: Path) -> tuple[float, float, np.ndarray]:
    """The thresholds of pixels and of partitions, and per test slice (pixel error, Rand F, information F)."""
    segmenter = load(run)
    splits = choose_pictures(data, "test", [segmenter.card]).data.splits
    if missing := {"val", "test"} - splits.keys():
        raise DataError(f"{data}: has no split {', '.join(sorted(missing))}; make it with scripts/isbi_em.py")

    def maps(split: str) -> list[tuple[np.ndarray, np.ndarray]]:
        samples = [splits[split][index] for index in range(len(splits[split]))]
        return [(segmenter.predictor(one.image).probabilities[CELL], one.mask) for one in samples]

    held_out, last = maps("val"), maps("test")
    pixels = min(THRESHOLDS, key=lambda t: np.mean([wrong(cell, mask, t) for cell, mask in held_out]))
    partition = max(THRESHOLDS[::3], key=lambda t: np.mean([scores(cell, mask, t)[0] for cell, mask in held_out]))
    return pixels, partition, np.array([[wrong(*one, pixels), *scores(*one, partition)] for one in last])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    asked = parser.parse_args(arguments)
    print("| run | thresholds | pixel error | Rand F | information F |\n|---|---|---|---|---|")
    first = None
    for run in asked.runs:
        try:
            pixels, partition, rows = judge(run, asked.data)
        except AtrousError as error:
            sys.exit(f"error: {error}")
        cells = [f"{mean:.4f}" for mean in rows.mean(0)]
        if first is None:
            first = rows
        else:
            moved = (rows - first).T
            cells = [
                f"{cell} ({by.mean():+.4f}, better on {(sign * by > 0).sum()} of {len(by)})"
                for cell, by, sign in zip(cells, moved, (-1, 1, 1), strict=True)  # a lower error is better
            ]
        print(f"| {run.name} | {pixels:.2f}, {partition:.2f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
