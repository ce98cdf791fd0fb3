"""The memory of a training step: activations as `atrous.inspect` counts them, weights, logits."""

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import torch

from atrous.inspect.inspection import kept_for_backward
from atrous.models import build_model

ROOM = 1.5
"""Factor on the activations kept for the backward pass: gradients and buffers need memory too."""
COPIES = 5
"""Copies of the weights: the weights, their gradients, Adam's two moments, the moving average."""
USED = 0.8
"""Share of the free memory that a run may use."""
LEAST = 64
"""No side of a crop is cut to less than this, in pixels."""


@dataclass(frozen=True)
class Fit:
    """A step that fits into memory, as far as it can.

    Attributes:
        crop: (height, width).
        accumulate: number of parts of a batch.
        needs: bytes that the step needs.
        free: bytes that are free; None if that is not known.
    """

    crop: tuple[int, int]
    accumulate: int
    needs: float
    free: float | None


class Needs:
    """The memory of one network's training step."""

    def __init__(self, model: str, classes: int, options: dict[str, Any]) -> None:
        with torch.device("meta"):
            self.model = build_model(model, classes=classes, **options)
        self.classes, self.channels = classes, int(self.model.in_channels)  # type: ignore[arg-type]
        self.weights = sum(4 * weight.numel() for weight in self.model.parameters())

    def of(self, pictures: int, crop: tuple[int, int]) -> float:
        """Bytes of a step with so many images at once."""
        stages, between = kept_for_backward(self.model, (2, self.channels, *crop))
        picture = (sum(stages.values()) + between) / 2
        logits = 3 * 4 * self.classes * prod(crop)
        return ROOM * pictures * (picture + logits) + COPIES * self.weights


def fit(needs: Needs, batch: int, crop: tuple[int, int], free: float | None) -> Fit:
    """Cut the batch into parts until a step fits into USED of the free memory, then the crop.

    The crop is halved, at most to LEAST.

    Args:
        needs: the memory of the network.
        batch: images of a step.
        crop: (height, width).
        free: bytes that are free; None if that is not known: then everything fits.
    """
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
    """Bytes that are free on the device that would train; None if the system does not say."""
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
