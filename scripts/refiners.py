"""What refiners do to a trained network: mIoU, trimap mIoU and boundary F before and after, paired, on a test split.

    python scripts/refiners.py RUN DATA [--split test] [--with NAME ...] [--run CRFRNN_RUN]

NAME is what `atrous predict --refine` takes; default the published parameters, what `atrous tune-crf` found (which may
be nothing), graph cut, ICM and the guided filter. --run judges another run beside them, such as one that was trained on
with `--refine crfrnn`. Differences are to the network alone, with 95 % intervals over images: of the mIoU and the mIoU
within 5 pixels of a true boundary by the paired bootstrap of `atrous compare`, of the boundary F (one to one, 0.75 % of
the diagonal, mean over images) by a bootstrap of the images' differences. Prints the table of docs/crf.md.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from atrous.evaluate.data import choose_pictures
from atrous.metrics import BoundaryF, ConfusionMatrix, TrimapCurve
from atrous.ops.stats import compare, interval, miou_of_sums
from atrous.segmenter import load

DEFAULT = ("deeplab_v2", "pydensecrf", "tuned", "graph_cut", "icm", "guided_filter")
NEAR = 5.0


def judge(predictor: Any, pairs: Any, classes: int, ignored: int) -> dict[str, Any]:
    """Per image: (3, K) counts everywhere and near a boundary, boundary F; and the milliseconds of an image."""
    everywhere, near = ConfusionMatrix(classes, ignored), TrimapCurve(classes, ignored, widths=(NEAR,))
    boundary = BoundaryF(classes, ignored)
    counts, band, f, taken = [], [], [], []
    for index in range(len(pairs)):
        sample = pairs[index]
        began = time.perf_counter()
        labels = predictor(sample.image).labels
        taken.append(time.perf_counter() - began)
        counts.append(everywhere.update(labels, sample.mask))
        table = near.update(labels, sample.mask)[0]
        band.append(np.stack([table.sum(1), table[:, :-1].sum(0), np.diagonal(table)]))
        f.append(np.nanmean(boundary.update(labels, sample.mask)[2]))
    return {"counts": np.stack(counts), "near": np.stack(band), "f": np.array(f), "ms": 1000 * float(np.median(taken))}


def row(name: str, found: dict[str, Any], plain: dict[str, Any]) -> str:
    """Three scores, each with its difference to the network alone, and the time."""
    cells = []
    for kind in ("counts", "near"):
        true, predicted, hit = found[kind].sum(0)
        score = float(miou_of_sums(hit, true + predicted - hit))
        paired = compare([found[kind]], [plain[kind]])
        cells.append(cell(score, paired.difference, paired.interval, found is plain))
    gain = found["f"] - plain["f"]
    draws = np.random.default_rng(0).choice(gain, (2000, len(gain))).mean(1)
    cells.append(cell(float(found["f"].mean()), float(gain.mean()), interval(draws), found is plain))
    return f"| {name} | {' | '.join(cells)} | {found['ms']:.0f} |"


def cell(score: float, difference: float, between: tuple[float, float], first: bool) -> str:
    return f"{score:.3f}" if first else f"{score:.3f} ({difference:+.3f} [{between[0]:+.3f}, {between[1]:+.3f}])"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path, metavar="RUN")
    parser.add_argument("data", type=Path)
    parser.add_argument("--split")
    parser.add_argument("--with", nargs="*", default=DEFAULT, dest="refiners")
    parser.add_argument("--run", type=Path, nargs="*", default=[])
    asked = parser.parse_args()
    segmenter = load(asked.source)
    chosen = choose_pictures(asked.data, asked.split, [segmenter.card])
    pairs = chosen.pairs
    size = len(segmenter.labels), segmenter.labels.ignore_index
    plain = judge(segmenter.predictor, pairs, *size)
    print(f"{len(pairs)} images of {chosen.split}\n")
    print(f"| refiner | mIoU | mIoU within {NEAR:g} px | boundary F | ms an image |\n|---|---|---|---|---|")
    print(row("none", plain, plain), flush=True)
    others = [(name, asked.source, {"refine": name}) for name in asked.refiners]
    others += [(str(path), path, {}) for path in asked.run]
    for name, source, wishes in others:
        predictor = load(source, **wishes).predictor
        if name == "tuned" and predictor.refinement is None:
            print("| tuned: leave it off | | | | |", flush=True)
            continue
        shown = f"tuned: {predictor.refinement.name} {dict(predictor.refinement.options)}" if name == "tuned" else name
        print(row(shown, judge(predictor, pairs, *size), plain), flush=True)


if __name__ == "__main__":
    sys.exit(main())
