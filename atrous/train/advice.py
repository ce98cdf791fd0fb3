"""What a training says while it runs: its speed, and what to do where the network waits or norms see too little."""

import os
import time
from collections.abc import Iterator
from typing import TypeVar

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from atrous.datasets import Pairs
from atrous.train import processes
from atrous.train.objective import Objective

T = TypeVar("T")
STARVED = 0.1
"""Share of the time that the network may wait for pictures before training gives advice."""


def learning_norms(objective: Objective) -> int:
    """How many batch norms take their statistics from the batch."""
    return sum(isinstance(layer, _BatchNorm) and layer.training for layer in objective.model.modules())


def norm_advice(objective: Objective, batch: int, accumulate: int, device: torch.device) -> str:
    """A sentence where batch norms see few pictures at a time, with what to do if it is one; else ''."""
    many = processes.size()
    if (many > 1 and device.type == "cuda") or not (norms := learning_norms(objective)):
        return ""  # on GPUs batch norms are synchronised over all processes
    if (seen := batch // many // accumulate) > 1:
        return f"{norms} batch norms see {seen} pictures at a time: those of one process" if many > 1 else ""
    way = "a smaller accumulate" if accumulate > 1 else "--batch 2 or more"
    return (
        f"{norms} batch norms see one picture at a time and train with its statistics, but prediction uses averages "
        f"over all: take {way}, or --set frozen_norms=true if the weights are pretrained"
    )


class Speed:
    """How fast a training is.

    Attributes:
        rate: images per second, smoothed.
        waiting: the share of the time in which the network waits for images, smoothed, in 0..1.
        steps: how many steps were counted.
    """

    def __init__(self) -> None:
        self.rate = self.waiting = 0.0
        self.steps = 0
        self._waited = self._seconds = self._now = 0.0
        self.go_on()

    def __str__(self) -> str:
        return f"{self.rate:.1f} img/s, waiting {self.waiting:.0%}"

    def go_on(self) -> None:
        """Start the clock anew: the time until now does not count."""
        self._last = time.perf_counter()

    def wait_for(self, stream: Iterator[T]) -> T:
        """The stream's next item."""
        start = time.perf_counter()
        item = next(stream)
        self._now = time.perf_counter() - start
        return item

    def count(self, images: int) -> None:
        """Count a finished step of so many images."""
        now = time.perf_counter()
        seconds = max(now - self._last, 1e-9)
        rate, waiting = images / seconds, self._now / seconds
        self.rate = 0.9 * self.rate + 0.1 * rate if self.steps else rate
        self.waiting = 0.9 * self.waiting + 0.1 * waiting if self.steps else waiting
        if self.steps:  # the first step waits for the workers to start
            self._waited, self._seconds = self._waited + self._now, self._seconds + seconds
        self._last, self.steps = now, self.steps + 1

    @property
    def waiting_in_all(self) -> float:
        """The share of the time in which the network waited, over all steps but the first."""
        return self._waited / max(self._seconds, 1e-9)


def advice(waiting: float, workers: int, pairs: Pairs) -> str:
    """What to do about a network that waits for its pictures."""
    remedies = []
    if (held := pairs.held) < 1:
        remedies.append(f"--cache 4GB keeps more of them decoded (now {held:.0%})")
    if workers < (cores := os.cpu_count() or 1):
        remedies.append(f"--workers {min(max(2, 2 * workers), cores)} loads them in processes of their own")
    remedies.append("smaller picture files or fewer augmentations take less time")
    return f"the network waits {waiting:.0%} of the time for pictures: {'; '.join(remedies[:2])}"
