"""How much memory a window takes, so that `--max-ram` can choose one, or say how much would be enough."""

import re
import resource
import sys
from pathlib import Path

from torch import nn

from atrous.errors import ModelError
from atrous.inspect.walk import walk

ROOM = 1.5
"""Factor on the activations that theory counts, for the kernels' buffers and what the allocator keeps."""
SLACK = 150e6
"""Bytes for everything that does not grow with the window."""
SIDE = 256
"""Sides of the image whose activations are counted. Those of other images are proportional to their pixels."""
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}


def bytes_of(text: str, option: str = "--max-ram") -> int:
    """'2GB', '500 MB' or '1.5GiB' as bytes; ModelError for anything else."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]i?)?b?", text.strip().lower())
    if not match:
        raise ModelError(f"{option} {text}: not an amount of memory; expected for example 2GB or 500MB")
    return int(float(match[1]) * UNITS[match[2] or ""])


def resident() -> int:
    """Bytes of this process's resident set, or its largest so far where the system tells only that."""
    status = Path("/proc/self/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


class PredictionNeeds:
    """How much memory a network's windows take. channels, itemsize: the picture's channels and bytes per value."""

    def __init__(self, model: nn.Module, classes: int, channels: int, itemsize: int) -> None:
        self.classes, self.channels, self.itemsize = classes, channels, itemsize
        self.weights = sum(one.numel() * one.element_size() for one in model.state_dict().values())
        self.per_pixel = walk(model, (1, channels, SIDE, SIDE)).peak / SIDE**2
        self.before = resident()

    def of(self, window: tuple[int, int], width: int, *, blended: bool) -> float:
        """Bytes of the whole process for windows (h, w) over an image of `width`; `blended` ones keep sums of scores.

        It counts a copy of the weights (norms folded), activations, a window's scores twice, three strips
        of the picture and one as float32, a strip's labels and their compression.
        """
        height, across = window
        network = ROOM * self.per_pixel * height * across + 8 * self.classes * height * across
        strip = height * width * (self.channels * (3 * self.itemsize + 4) + 8)
        sums = 4 * self.classes * height * width if blended else 0
        return self.before + self.weights + network + strip + sums + SLACK
