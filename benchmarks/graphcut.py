"""Alpha-expansion of 500 x 500 pixels with 21 labels against PyMaxflow's loop, one thread, same energy function.

    python benchmarks/graphcut.py [--photo china|flower] [--smoothness 1] [--rounds 2] [--ours]

Scikit-learn's photos; the classes are 21 clusters of colour, three in ten blocks of 4 x 4 pixels are mislabelled, and
the probabilities a softmax of the blurred labels, as soft as a network's. PyMaxflow (GPL: in the [bench] extra) has
one weight for all pairs of four neighbours, so that is what is compared; `--ours` times what it has not: contrast
weights, eight neighbours, TRW-S and ICM.
"""

import argparse
import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", NUMBA_NUM_THREADS="1")

import cv2
import numpy as np
from parts.timing import interleaved, print_ratios, there

from atrous.refine import graph_cut, icm, trws
from atrous.refine.potts import potts

SIZE, CLASSES = 500, 21


def photo_and_probabilities(name: str) -> tuple[np.ndarray, np.ndarray]:
    """(500, 500, 3) uint8 and (21, 500, 500) float32."""
    from sklearn.datasets import load_sample_image

    rng = np.random.default_rng(0)
    cv2.setRNGSeed(0)
    image = cv2.resize(load_sample_image(f"{name}.jpg"), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    colours = cv2.GaussianBlur(image, (0, 0), 3).reshape(-1, 3).astype(np.float32)
    _, labels, _ = cv2.kmeans(colours, CLASSES, None, (3, 20, 1.0), 1, cv2.KMEANS_PP_CENTERS)
    blocks = (SIZE // 4, SIZE // 4)
    wrong, other = rng.random(blocks) < 0.3, rng.integers(0, CLASSES, blocks)
    wrong, other = (np.kron(part, np.ones((4, 4), int)) for part in (wrong, other))
    noisy = np.where(wrong, other, labels.reshape(SIZE, SIZE))
    score = np.stack([cv2.GaussianBlur((noisy == k).astype(np.float32), (0, 0), 2.0) for k in range(CLASSES)])
    odds = np.exp(6 * score)
    return image, odds / odds.sum(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", default="china", choices=["china", "flower"])
    parser.add_argument("--smoothness", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--ours", action="store_true")
    given = parser.parse_args()
    if not there("sklearn", "scikit-learn"):
        return
    image, p = photo_and_probabilities(given.photo)
    print(f"{given.photo}, 500 x 500, 21 labels, smoothness {given.smoothness:g}, one thread")
    found: dict[str, np.ndarray] = {}

    def keeping(name: str, way):  # type: ignore[no-untyped-def]
        def run() -> None:
            found[name] = way()

        return run

    if given.ours:
        options = {"image": image, "smoothness": given.smoothness}
        ways = {
            "expansion": lambda: graph_cut(p, **options),
            "swap": lambda: graph_cut(p, method="swap", **options),
            "TRW-S, 30 rounds": lambda: trws(p, **options).labels,
            "ICM": lambda: icm(p, **options),
        }
    else:
        options = {"smoothness": given.smoothness, "neighbours": 4}
        ways = {
            "atrous": lambda: graph_cut(p, **options),
            "atrous, rounds=0": lambda: graph_cut(p, rounds=0, **options),
        }
        if there("maxflow", "PyMaxflow"):
            from maxflow.fastmin import aexpansion_grid

            unary = np.ascontiguousarray(np.moveaxis(potts(p, **options).unary, 0, -1), np.float64)
            pairs = given.smoothness * (1 - np.eye(CLASSES))
            ways["PyMaxflow"] = lambda: aexpansion_grid(unary, pairs, labels=unary.argmin(-1))
    seconds = interleaved({name: keeping(name, way) for name, way in ways.items()}, given.rounds)
    print_ratios(seconds, {"PyMaxflow": 0.7})
    model = potts(p, **options)
    for name, labels in found.items():
        print(f"  energy of {name:30}{model.energy(labels):14.1f}")
    print(f"  no labelling is below         {trws(p, rounds=100, **options).bound:20.1f}")


if __name__ == "__main__":
    main()
