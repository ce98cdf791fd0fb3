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
"""Share of the memory that a run may use: the rest is for the system, the data and torch itself."""
LEAST = 64
"""No side of a crop is cut to less than this, in pixels."""


@dataclass(frozen=True)
class Fit:
    """A step that fits into memory, as far as it can.

    Attributes:
        crop: (height, width).
        accumulate: number of parts of a batch.
        needs: bytes that the step needs.
        total: bytes that there are; None if that is not known.
    """

    crop: tuple[int, int]
    accumulate: int
    needs: float
    total: float | None


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


def fit(needs: Needs, batch: int, crop: tuple[int, int], total: float | None) -> Fit:
    """Cut the batch into parts until a step fits into USED of the memory, then the crop.

    The crop is halved, at most to LEAST.

    Args:
        needs: the memory of the network.
        batch: images of a step.
        crop: (height, width).
        total: bytes that there are; None if that is not known: then everything fits.
    """
    accumulate = 1
    while (need := needs.of(-(-batch // accumulate), crop)) > USED * (total or need / USED):
        if accumulate < batch:
            accumulate = min(2 * accumulate, batch)
        elif min(crop) >= 2 * LEAST:
            height, width = (side // 64 * 32 for side in crop)
            crop = height, width
        else:
            break
    return Fit(crop, accumulate, need, total)


def total_memory() -> float | None:
    """Bytes of memory of the device that would train; None if the system does not say.

    Not those that are free: a recipe must not depend on what else runs at the moment.
    """
    if torch.cuda.is_available():
        return float(torch.cuda.mem_get_info()[1])
    try:
        lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        total = 1024.0 * int(lines["MemTotal"].split()[0])
    except (OSError, KeyError, ValueError):
        return None
    try:
        return min(total, float(Path("/sys/fs/cgroup/memory.max").read_text()))
    except (OSError, ValueError):  # no group, or "max"
        return total
