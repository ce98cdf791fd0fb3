"""Surface scores of all classes of a label volume: 256 x 256 x 256 voxels of 3 x 0.8 x 0.8 mm, five organs.

    python benchmarks/surface.py [--against monai] [--against surface-distance] [--rounds 5] [--size 256]

HD95, HD, ASSD and NSD at 2 mm, on one thread, in turn with the peer in one process. The truth is five lumpy organs of
1500, 200, 160, 160 and 80 ml; the prediction is the same, smoothly moved by about 1.5 voxels. Every number of MONAI
must be equal. surface-distance has its surface between the voxels: its numbers are printed beside ours.
"""

import argparse
import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from parts.timing import interleaved, print_ratios, there

from atrous.metrics import label_surface_scores

SPACING, TOLERANCE = (3.0, 0.8, 0.8), 2.0
CLASSES = (1, 2, 3, 4, 5)
ORGANS = (
    (1500, (0.35, 0.43, 0.35), (1, 1.1, 0.8)), (200, (0.33, 0.74, 0.74), (1, 1, 1.2)),
    (160, (0.58, 0.70, 0.27), (1.5, 0.8, 0.8)), (160, (0.58, 0.24, 0.74), (1.5, 0.8, 0.8)),
    (80, (0.49, 0.59, 0.55), (0.6, 1.8, 0.7)),
)  # fmt: skip
"""ml, the centre as shares of the sides, and the form."""
TARGETS = {"monai": 6.0, "monai's HD95 and NSD": 6.0}


def waves(rng: np.random.Generator, size: int) -> np.ndarray:
    """(size, size, size) smooth noise of spread 1: twelve waves, each at least an eighth of the volume long."""
    places = np.arange(size, dtype=np.float32) / size
    total = np.zeros((size,) * 3, np.float32)
    for _ in range(12):
        turns, phases = rng.uniform(1, 8, 3), rng.uniform(0, 2 * np.pi, 3)
        z, y, x = (np.cos(2 * np.pi * n * places + p).astype(np.float32) for n, p in zip(turns, phases, strict=True))
        total += z[:, None, None] * y[:, None] * x
    return np.asarray(total / total.std())


def organs(size: int) -> tuple[np.ndarray, np.ndarray]:
    """(prediction, truth), uint8; organs shrink with the size."""
    rng = np.random.default_rng(0)
    moves, lumps = [waves(rng, size) for _ in range(3)], waves(rng, size)
    places = np.meshgrid(*(np.arange(size, dtype=np.float32),) * 3, indexing="ij", sparse=True)
    volumes = []
    for moved in (1.5, 0.0):
        labels = np.zeros((size,) * 3, np.uint8)
        for k, (ml, centre, form) in zip(CLASSES, ORGANS, strict=True):
            radius = (ml * 1000 * 3 / 4 / np.pi / np.prod(form)) ** (1 / 3) * size / 256
            far = sum(
                ((places[i] + moved * moves[i] - centre[i] * size) * (SPACING[i] / (radius * form[i]))) ** 2
                for i in range(3)
            )
            labels[far * (1 + 0.15 * lumps) ** 2 < 1] = k
        volumes.append(labels)
    return volumes[0], volumes[1]


def ours(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(K, 4) HD95, HD, ASSD, NSD."""
    found = label_surface_scores(prediction, target, CLASSES, SPACING).values()
    return np.array([(one.hd95(), one.hausdorff(), one.assd(), one.nsd(TOLERANCE)) for one in found])


def monai(prediction: np.ndarray, target: np.ndarray, *, all_four: bool = True) -> np.ndarray:
    """(K, 4), or HD95 and NSD only (K, 2), from the masks of the classes, which it takes."""
    from monai import metrics

    pair = [torch.from_numpy(np.stack([labels == k for k in CLASSES])[None]) for labels in (prediction, target)]
    options: dict[str, Any] = {"include_background": True, "spacing": list(SPACING)}
    found = [metrics.compute_hausdorff_distance(*pair, percentile=95, **options)]
    if all_four:
        found.append(metrics.compute_hausdorff_distance(*pair, **options))
        found.append(metrics.compute_average_surface_distance(*pair, symmetric=True, **options))
    found.append(metrics.compute_surface_dice(*pair, [TOLERANCE] * len(CLASSES), **options))
    return np.stack([one[0].numpy() for one in found], axis=1)


def surface_distance(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(K, 4); its ASSD is the mean over both directions, weighted by area."""
    import surface_distance as package

    rows = []
    for k in CLASSES:
        found = package.compute_surface_distances(target == k, prediction == k, SPACING)
        apart = [found[f"distances_{way}"] for way in ("gt_to_pred", "pred_to_gt")]
        areas = [found[f"surfel_areas_{kind}"] for kind in ("gt", "pred")]
        mean = sum((a * b).sum() for a, b in zip(apart, areas, strict=True)) / sum(b.sum() for b in areas)
        robust = [package.compute_robust_hausdorff(found, percentile) for percentile in (95, 100)]
        rows.append((*robust, mean, package.compute_surface_dice_at_tolerance(found, TOLERANCE)))
    return np.array(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", action="append", choices=("monai", "surface-distance"), help="default: both")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=256)
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    pair = organs(given.size)
    own = ours(*pair)
    voxels = np.bincount(pair[1].ravel(), minlength=6)[1:]
    print(f"Surface scores of {len(CLASSES)} classes, {given.size}^3 voxels ({voxels.tolist()} of them), one thread")
    ways: dict[str, Callable[[], object]] = {"atrous": lambda: ours(*pair)}
    peers = given.against or ["monai", "surface-distance"]
    if "monai" in peers and there("monai", "monai"):
        np.testing.assert_allclose(own, monai(*pair), rtol=1e-5)
        ways["monai"] = lambda: monai(*pair)
        ways["monai's HD95 and NSD"] = lambda: monai(*pair, all_four=False)
    if "surface-distance" in peers and there("surface_distance", "surface-distance"):
        print("  largest difference from surface-distance: ", end="")
        apart = abs(own - surface_distance(*pair)).max(0)
        print("HD95 {:.2f} mm, HD {:.2f} mm, ASSD {:.2f} mm, NSD {:.3f}".format(*apart))
        ways["surface-distance"] = lambda: surface_distance(*pair)
    print_ratios(interleaved(ways, given.rounds), TARGETS)


if __name__ == "__main__":
    main()
