"""Scores of networks on ISBI's stack: pixel error, and the challenge's foreground-restricted Rand and information.

    python recipes/isbi_scores.py DATA RUN [RUN ...]

DATA is what `recipes/isbi_em.py` wrote. The pixel error is that of the labels, over all pixels of `test`. A partition
is the 4-connected regions of pixels whose probability of `cell` is above a threshold; each network's threshold is the
one with the best mean Rand F-score on `val`. Every later run is compared with the first, slice by slice: the mean
difference and how many of the slices are better. Six slices make no interval worth its name.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy import ndimage

from atrous.errors import AtrousError, DataError
from atrous.metrics import partition_scores
from atrous.segmenter import load, open_like_run

CELL = 1
THRESHOLDS = np.linspace(0.3, 0.99, 24)


def regions(cells: np.ndarray) -> np.ndarray:
    """(H, W) bool -> labels of its 4-connected regions, 0 elsewhere."""
    return ndimage.label(cells)[0]


def scores(cell: np.ndarray, mask: np.ndarray, threshold: float) -> tuple[float, float]:
    """Rand and information F-scores of a probability map (H, W) of `cell`, cut at a threshold."""
    found = partition_scores(regions(cell > threshold), regions(mask == CELL))
    return found["rand_f"], found["info_f"]


def judge(run: Path, data: Path) -> tuple[float, np.ndarray]:
    """The threshold, and per test slice (pixel error, Rand F, information F)."""
    segmenter = load(run)
    splits = open_like_run(segmenter.card, data).splits
    if missing := {"val", "test"} - splits.keys():
        raise DataError(f"{data}: has no split {', '.join(sorted(missing))}; make it with recipes/isbi_em.py")

    def maps(split: str) -> list[tuple[np.ndarray, np.ndarray]]:
        samples = [splits[split][index] for index in range(len(splits[split]))]
        return [(segmenter.predictor(one.image).probabilities[CELL], one.mask) for one in samples]

    held_out = maps("val")
    means = [np.mean([scores(cell, mask, threshold)[0] for cell, mask in held_out]) for threshold in THRESHOLDS]
    best = float(THRESHOLDS[int(np.argmax(means))])
    return best, np.array([[((c > 0.5) != (mask == CELL)).mean(), *scores(c, mask, best)] for c, mask in maps("test")])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN")
    asked = parser.parse_args(arguments)
    print("| run | threshold | pixel error | Rand F | information F |\n|---|---|---|---|---|")
    first = None
    for run in asked.runs:
        try:
            threshold, rows = judge(run, asked.data)
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
        print(f"| {run.name} | {threshold:.2f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
