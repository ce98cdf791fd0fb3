"""What a training step takes of the memory at hand: the activations that `atrous.inspect` counts, weights, logits."""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch

from atrous.inspect.inspection import kept_for_backward
from atrous.models import create_model

ROOM = 1.5
"""Memory of a step beside the activations that are kept for the backward pass: gradients on their way, buffers."""
COPIES = 5
"""Of the weights: themselves, gradients, two of Adam's, the moving average."""
USED = 0.8
"""Share of the free memory that a run may take."""
LEAST = 64
"""Side below which a crop is not cut."""


@dataclass(frozen=True)
class Fit:
    """How a step is made to fit: crop (height, width), parts of a batch; bytes it needs, and that are free."""

    crop: tuple[int, int]
    accumulate: int
    needs: float
    free: float | None


class Needs:
    """The bytes of a training step of one network."""

    def __init__(self, model: str, classes: int, options: dict[str, Any]) -> None:
        with torch.device("meta"):
            self.model = create_model(model, classes=classes, **options)
        self.classes, self.channels = classes, int(self.model.in_channels)  # type: ignore[arg-type]
        self.weights = sum(4 * weight.numel() for weight in self.model.parameters())

    def of(self, pictures: int, crop: tuple[int, int]) -> float:
        """With so many pictures at once."""
        stages, between = kept_for_backward(self.model, (2, self.channels, *crop))
        picture = (sum(stages.values()) + between) / 2
        logits = 3 * 4 * self.classes * prod(crop)
        return ROOM * pictures * (picture + logits) + COPIES * self.weights


def fit(needs: Needs, batch: int, crop: tuple[int, int], free: float | None) -> Fit:
    """Cut the batch into parts until a step fits into USED of the free memory, then halve the crop. free: bytes; None,
    where they are not known: all fits."""
    accumulate = 1
    while (need := needs.of(-(-batch // accumulate), crop)) > USED * (free or need / USED):
        if accumulate < batch:
            accumulate = min(2 * accumulate, batch)
        elif min(crop) >= 2 * LEAST:
            height, width = (side // 64 * 32 for side in crop)
            crop = height, width
        else:
            break
    return Fit(crop, accumulate, need, free)


def free_memory() -> float | None:
    """Bytes that a run can take on the device it would train on; None where that cannot be told."""
    if torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[0])
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free = 1024.0 * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return None
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = ((group / name).read_text() for name in ("memory.max", "memory.current"))
        return min(free, float(limit) - float(used))
    except (OSError, ValueError):  # no group, or "max"
        return free
