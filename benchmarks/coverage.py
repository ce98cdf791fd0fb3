"""Does a 95 % interval hold the truth 95 times in a hundred?

    python benchmarks/coverage.py [--repeats 2000]

A population of 30,000 small pictures with eight classes, which 100 % to 2 % of them show, and a prediction whose errors
are those of a network: borders displaced in waves, objects lost, confused and invented, more of all of them in a
difficult picture, so that the pixels of a picture are far from independent. Samples of 100 and 500 pictures are drawn
from it again and again, and judged as `atrous eval` does. Prints how often each interval holds the population's IoU,
beside the plain percentile bootstrap for the classes, as the table of docs/evaluation.md.
"""

import argparse

import cv2
import numpy as np

from atrous.evaluate.evaluation import Evaluation
from atrous.labels import LabelSet
from atrous.ops import count_pairs
from atrous.ops.stats import bootstrap, iou_of_sums

SHARES = (1.0, 0.8, 0.5, 0.3, 0.15, 0.07, 0.04, 0.02)
LABELS = LabelSet(tuple(f"in {share:.0%} of images" for share in SHARES))
HEIGHT, WIDTH, IMAGES = 48, 64, 30_000
Blob = tuple[int, tuple[int, int], tuple[int, int], float]


def picture(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(prediction, target) uint8 (48, 64)."""
    blobs: list[Blob] = []
    for k, share in enumerate(SHARES[1:], start=1):
        if rng.random() < share:
            for _ in range(1 + rng.poisson(0.6)):
                axes = np.clip(np.exp(rng.normal(np.log(7 - 0.5 * k), 0.45, 2)), 1.5, 30)
                blobs.append((k, _place(rng), (int(np.ceil(axes[0])), int(np.ceil(axes[1]))), rng.uniform(0, 180)))
    blobs = [blobs[i] for i in rng.permutation(len(blobs))]
    target = _draw(blobs)
    difficulty = rng.beta(1.2, 3)
    seen = []
    for k, *rest in blobs:
        luck = rng.random()
        lost, confused = luck < 0.45 * difficulty, luck < 0.75 * difficulty
        seen.append((0 if lost else int(rng.integers(1, len(SHARES))) if confused else k, *rest))
    while rng.random() < 0.02 + 0.25 * difficulty:
        seen.append((int(rng.integers(1, len(SHARES))), _place(rng), tuple(rng.integers(2, 7, 2).tolist()), 0.0))
    rows, columns = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    far = 0.3 + 2.4 * difficulty
    columns, rows = columns + far * _waves(rng), rows + far * _waves(rng)
    return cv2.remap(_draw(seen), columns, rows, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE), target


def _place(rng: np.random.Generator) -> tuple[int, int]:
    return int(rng.integers(0, WIDTH)), int(rng.integers(0, HEIGHT))


def _draw(blobs: list[Blob]) -> np.ndarray:
    labels = np.zeros((HEIGHT, WIDTH), np.uint8)
    for k, centre, axes, angle in blobs:
        cv2.ellipse(labels, centre, axes, angle, 0, 360, k, -1)
    return labels


def _waves(rng: np.random.Generator) -> np.ndarray:
    return cv2.resize(rng.standard_normal((6, 8), dtype=np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)


def population() -> np.ndarray:
    """(30000, 3, K) true, predicted and hit pixels."""
    rng = np.random.default_rng(0)
    counts = np.zeros((IMAGES, 3, len(SHARES)), np.int64)
    for row in counts:
        prediction, target = picture(rng)
        table = count_pairs(target, prediction, len(SHARES))
        row[:] = table.sum(1), table[:, :-1].sum(0), np.diagonal(table)
    return counts


def held(counts: np.ndarray, n: int, repeats: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(K + 1,) shares of intervals that hold the truth, mIoU first; the same of percentiles; shares without any."""
    true, predicted, hit = counts.sum(0)
    iou = hit / (true + predicted - hit)
    truth = np.array([iou.mean(), *iou])
    rng = np.random.default_rng(1)
    ours, percentile = (np.full((repeats, len(truth)), np.nan) for _ in range(2))
    for repeat in range(repeats):
        sample = counts[rng.integers(0, len(counts), n)]
        result = Evaluation(LABELS, "test", np.zeros(0), sample, [""] * n, 0.0)
        mean, classes, _, _ = result.intervals()
        for k, found in enumerate([mean, *classes.values()]):
            if found is not None:
                ours[repeat, k] = found[0] <= truth[k] <= found[1]
        draws = bootstrap(sample, score=iou_of_sums, resamples=1000, seed=repeat)
        for k, column in enumerate(draws.T, start=1):
            if not np.isnan(column).all():
                low, high = np.nanquantile(column, [0.025, 0.975])
                percentile[repeat, k] = low <= truth[k] <= high
    percentile[:, 0] = ours[:, 0]
    return np.nanmean(ours, axis=0), np.nanmean(percentile, axis=0), np.isnan(ours).mean(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2000)
    repeats = parser.parse_args().repeats
    print(
        f"Coverage of 95 % intervals, {repeats} samples each (a standard error of {(0.95 * 0.05 / repeats) ** 0.5:.1%})"
    )
    counts = population()
    true, predicted, hit = counts.sum(0)
    iou = hit / (true + predicted - hit)
    found = {n: held(counts, n, repeats) for n in (100, 500)}
    print("| | IoU | n = 100 | percentiles | none given | n = 500 | percentiles | none given |")
    print("|---|---|---|---|---|---|---|---|")
    for k, name in enumerate(["mean of all", *LABELS.names]):
        cells = [name, f"{iou.mean() if k == 0 else iou[k - 1]:.3f}"]
        for ours, percentile, none in found.values():
            cells += [f"{ours[k]:.1%}", f"{percentile[k]:.1%}", f"{none[k]:.1%}"]
        print("| " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
