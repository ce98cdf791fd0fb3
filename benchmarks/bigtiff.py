"""A TIFF of 30,000 x 30,000 x 3 bytes through `atrous predict --max-ram 2GB`: it finishes, and the resident set stays.

    python benchmarks/bigtiff.py [--side 30000] [--max-ram 2GB] [--folder /tmp]

The picture (2.7 GB as an array, packed into strips) is written by rows and removed afterwards. The network is one 1x1
convolution with 21 classes, so that nearly all of the memory is the tiler's own. The process does what `atrous predict`
does; its largest resident set is what the system counted (VmHWM), imports and compilation of the kernels included.
"""

import argparse
import os

os.environ.update(OMP_NUM_THREADS="2", MKL_NUM_THREADS="2")

import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

CLASSES, ROWS = 21, 64


def write(path: Path, side: int) -> None:
    """The picture, a strip of rows at a time."""
    import tifffile

    tile = np.random.default_rng(0).integers(0, 256, (ROWS, 251, 3), np.uint8)

    def strips() -> Iterator[bytes]:
        for top in range(0, side, ROWS):
            rows = min(ROWS, side - top)
            pixels = np.tile(tile + np.uint8(top // ROWS % 256), (1, -(-side // 251), 1))[:rows, :side]
            yield zlib.compress(pixels.tobytes(), 1)

    with tifffile.TiffWriter(path, bigtiff=True) as file:
        file.write(
            strips(), shape=(side, side, 3), dtype=np.uint8, rowsperstrip=ROWS, photometric="rgb", compression="zlib",
        )  # fmt: skip


def predict(path: Path, out: Path, limit: str) -> None:
    """What `atrous predict` does, with a network that no bundle holds; the last line is the largest resident set."""
    import torch
    from parts.memory import resident
    from torch import nn

    from atrous.bundle import Card
    from atrous.labels import LabelSet
    from atrous.predict import Predictor
    from atrous.predict.memory import bytes_of
    from atrous.predict.stream import predict_files

    class Pixelwise(nn.Module):
        classes, in_channels = CLASSES, 3

        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.convolution = nn.Conv2d(3, CLASSES, 1)

        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return self.convolution(image)

        def logits_at_stride(self, image: torch.Tensor) -> None:
            return None

    torch.set_num_threads(2)
    card = Card("unet", {}, LabelSet(tuple(f"class {k}" for k in range(CLASSES))), (127.5,) * 3, (127.5,) * 3)
    predictor = Predictor(Pixelwise(), card, max_ram=bytes_of(limit))
    done, failed = predict_files(predictor, [path], out)
    assert (done, failed) == (1, []), failed
    print(resident("VmHWM"))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--side", type=int, default=30_000)
    parser.add_argument("--max-ram", default="2GB")
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--predict", type=Path)
    asked = parser.parse_args()
    if asked.predict:
        predict(asked.predict, asked.predict.parent / "out", asked.max_ram)
        return
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        path = Path(folder) / "large.tif"
        write(path, asked.side)
        print(f"{asked.side} x {asked.side} x 3, {path.stat().st_size / 1e9:.2f} GB on disk, --max-ram {asked.max_ram}")
        start = time.perf_counter()
        command = [sys.executable, __file__, "--predict", str(path), "--max-ram", asked.max_ram]
        held = int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])
        seconds = time.perf_counter() - start
        from atrous.predict.memory import bytes_of

        word = "reached" if held <= bytes_of(asked.max_ram) else "MISSED"
        size = (Path(folder) / "out" / "large.png").stat().st_size
        print(f"  {seconds:.0f} s, at most {held / 1e9:.2f} GB resident: {word}; label map of {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
