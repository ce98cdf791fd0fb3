"""Peak memory and time of a prediction of a CT of 512 x 512 x 600 voxels with 60 classes.

python benchmarks/volume.py [--shape 600x512x512] [--classes 60] [--patch 96x96x96]

The network is a small nnunet3d with random weights: what is measured is everything around it (reading,
preparing, windows, sums of scores, resampling to the file's voxels, labels), which a larger network
only makes slower. The CT is random numbers in a file of NIfTI.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np


def sides(text: str) -> tuple[int, int, int]:
    """'600x512x512' -> (600, 512, 512)."""
    depth, height, width = map(int, text.split("x"))
    return depth, height, width


def make(folder: Path, shape: tuple[int, int, int], classes: int, patch: tuple[int, int, int]) -> None:
    """Write the CT and the bundle."""
    from atrous.bundle import Card, save_bundle
    from atrous.io.geometry import Geometry
    from atrous.io.volumes import write_volume
    from atrous.labels import LabelSet

    rng = np.random.default_rng(0)
    rough = rng.integers(-1000, 1000, tuple(-(-n // 8) for n in shape)).astype(np.int16)
    write_volume(folder / "ct.nii", rough.repeat(8, 0).repeat(8, 1).repeat(8, 2)[: shape[0], : shape[1], : shape[2]],
                 Geometry((1.0, 0.8, 0.8)))  # fmt: skip
    options = {"in_channels": 1, "features": [8, 16, 32], "strides": [[1] * 3, [2] * 3, [2] * 3]}
    seen = {
        "spacing": [1.5, 1.5, 1.5], "patch": list(patch),
        "normalisation": [{"channel": "CT", "scheme": "ct", "clip": [-900.0, 900.0], "mean": 0.0, "std": 400.0}],
    }  # fmt: skip
    labels = LabelSet.numbered([f"class {k}" for k in range(classes)])
    card = Card("nnunet3d", options, labels, (0.0,), (1.0,), "float32", volume=seen)
    save_bundle(folder / "net.safetensors", card.build(), card)


PREDICT = """
import resource, sys, time
from pathlib import Path
from atrous.predict.loading import load_predictor
folder = Path(sys.argv[1])
predictor = load_predictor(folder / "net.safetensors")
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
began = time.perf_counter()
prediction = predictor(folder / "ct.nii")
prediction.save(folder / "labels.nii.gz")
print(f"{time.perf_counter() - began:.0f} s, peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB "
      f"({before:.2f} GB before)")
"""


def main() -> None:
    """Measure in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", type=sides, default=(600, 512, 512))
    parser.add_argument("--classes", type=int, default=60)
    parser.add_argument("--patch", type=sides, default=(96, 96, 96))
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        make(Path(folder), asked.shape, asked.classes, asked.patch)
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", PREDICT, folder], check=True)
        print(f"{'x'.join(map(str, asked.shape))}, {asked.classes} classes: {time.perf_counter() - began:.0f} s in all")


if __name__ == "__main__":
    main()
