"""One update of a confusion matrix: 1024 x 2048 pixels, 19 classes, uint8 with 255 ignored, one thread.

    python benchmarks/confusion.py [--rounds 25]

Against torchmetrics' matrix and numpy's bincount, the two that training loops use, on a street scene and, the worst
case of a counter that reads runs, on noise.
"""

import argparse
import os

os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1")

import numpy as np
import torch
from parts.street import CLASSES, IGNORE, street
from parts.timing import interleaved, print_ratios, there

from atrous.metrics import ConfusionMatrix

TARGETS = {"torchmetrics": 80, "numpy bincount": 8}


def by_bincount(prediction: np.ndarray, target: np.ndarray) -> np.ndarray:
    """As in the scripts that came with FCN, and in most since."""
    counted = target != IGNORE
    places = CLASSES * target[counted].astype(int) + prediction[counted]
    return np.bincount(places, minlength=CLASSES**2).reshape(CLASSES, CLASSES)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    noise = rng.integers(0, CLASSES, (2, 1024, 2048)).astype(np.uint8)
    noise[1][rng.random((1024, 2048)) < 0.1] = IGNORE
    print("Confusion matrix, one update of 1024 x 2048, 19 classes, one thread")
    compared = there("torchmetrics", "torchmetrics")
    for kind, (prediction, target) in (("street", street(rng)), ("noise", (noise[0], noise[1]))):
        ours = ConfusionMatrix(CLASSES, IGNORE)
        ways = {
            "atrous": lambda ours=ours, pair=(prediction, target): ours.update(*pair),
            "numpy bincount": lambda pair=(prediction, target): by_bincount(*pair),
        }
        if compared:
            from torchmetrics.classification import MulticlassConfusionMatrix

            theirs = MulticlassConfusionMatrix(CLASSES, ignore_index=IGNORE)
            tensors = torch.from_numpy(prediction), torch.from_numpy(target)
            ways["torchmetrics"] = lambda theirs=theirs, pair=tensors: theirs.update(*pair)
            longs = [labels.long() for labels in tensors]
            ways["torchmetrics, int64 labels"] = lambda theirs=theirs, pair=longs: theirs.update(*pair)
        seconds = interleaved(ways, rounds)
        assert (ours.matrix == (rounds + 1) * by_bincount(prediction, target)).all()
        if compared:
            assert (theirs.compute().numpy() == 2 * ours.matrix).all()
        print(f" {kind}")
        print_ratios(seconds, TARGETS if kind == "street" else {})


if __name__ == "__main__":
    main()
