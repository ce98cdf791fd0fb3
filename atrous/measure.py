"""What a machine decides by measuring, once, before step 1: precision, memory layout, and the steps that fit a time.

Choices that change the arithmetic are kept in the user's cache per machine, network and shape, so that two runs of one
command on one machine compute the same.
"""

import copy
import ctypes
import json
import platform
import statistics
import time
from collections.abc import Iterator
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

import torch
from lightning_fabric import Fabric
from platformdirs import user_cache_path

from atrous import ranks
from atrous.batches import Batch, Transform, batches
from atrous.datasets import Pairs
from atrous.files import write_atomically
from atrous.objective import Objective
from atrous.optimise import backward
from atrous.recipe import Recipe

Choice = tuple[str, bool]
"""(precision, channels_last)"""


def candidates(device: torch.device) -> list[Choice]:
    """What may be chosen on a device; bf16 only where the processor multiplies it natively."""
    if device.type == "cpu":
        native = torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.cpu._is_avx512_bf16_supported()
    else:
        native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return [("fp32", False), ("fp32", True), *([("bf16", True)] if native else [])]


def settle(
    recipe: Recipe,
    objective: Objective,
    pairs: Pairs,
    *,
    device: torch.device,
    workers: int,
    began: float,
    validation: float,
    transform: Transform | None = None,
) -> Recipe:
    """Fill in what the recipe leaves open: precision and layout, then steps from the time budget.

    began: `time.perf_counter()` at the start of the run, what has passed counts. validation: seconds of one validation.
    Of several processes the first chooses and its clock counts; all take the timed steps, so that they wait for one
    another as in training.
    """
    objective.freeze(recipe.freeze if recipe.freeze_steps is None else None)  # what costs most of the run
    batch = next(batches(pairs, recipe, 0, 1, then=transform))
    if recipe.precision is None or recipe.channels_last is None:
        precision, channels_last = ranks.from_first(lambda: _remembered(recipe, objective, batch, device))
        recipe = recipe.model_copy(update={"precision": precision, "channels_last": channels_last})
    validations = VALIDATIONS
    if recipe.steps is None:
        assert recipe.time is not None
        loading = batches(pairs, recipe, 0, 12, workers=workers, then=transform)
        seconds = _step_seconds(recipe, objective, loading, device)
        validations = max(2, min(VALIDATIONS, int(0.1 * recipe.time / max(validation, 1e-6))))
        left = recipe.time - (time.perf_counter() - began) - validations * validation
        recipe = recipe.model_copy(update={"steps": max(10, int(0.97 * left / seconds))})
    assert recipe.steps is not None
    rise = round(0.3 * recipe.steps) if recipe.schedule == "one_cycle" else min(500, recipe.steps // 20)
    updates = {
        "validate_every": recipe.validate_every or max(1, -(-recipe.steps // validations)),
        "warmup": recipe.warmup if recipe.warmup is not None else rise,
    }
    settled = recipe.model_copy(update=updates)
    return ranks.from_first(lambda: settled)


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory for the next step; elsewhere nothing happens.

    By default it gives every large block back and asks for it again: on two cores a fifth of a training step went into
    clearing those pages. The process stays as large as its largest step.
    """
    trim, mmap, most = -1, -3, 2**31 - 1  # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD of mallopt(3)
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim, most)
        mallopt(mmap, most)


VALIDATIONS = 8
"""Validations in a run; fewer, at least two, where they would take over a tenth of the time."""


def _remembered(recipe: Recipe, objective: Objective, batch: Batch, device: torch.device) -> Choice:
    """The fastest choice, from the cache or measured now: three interleaved rounds after one that is not counted."""
    what = [platform.node(), platform.processor(), str(device), str(torch.get_num_threads()), torch.__version__]
    what += [recipe.model, str(recipe.model_options()), str(tuple(batch.images.shape)), recipe.optimizer]
    what += [recipe.refine] if recipe.refine else []
    unlike = {"accumulate": recipe.accumulate, "freeze": recipe.freeze, "distil": recipe.distil_digest}
    what += [f"{key}={value}" for key, value in unlike.items() if value not in (None, 1)]
    path = Path(user_cache_path("atrous")) / "choices" / f"{sha256('|'.join(what).encode()).hexdigest()[:16]}.json"
    options = candidates(device)
    try:
        kept = json.loads(path.read_text())
        if (choice := (kept["precision"], kept["channels_last"])) in options:
            return choice
    except (OSError, ValueError, KeyError, TypeError):
        pass
    trials = {choice: Trial(objective, choice, recipe.accumulate, _alone(device, choice)) for choice in options}
    seconds: dict[Choice, list[float]] = {choice: [] for choice in options}
    for _ in range(4):
        for choice, trial in trials.items():
            seconds[choice].append(trial.step(batch.images, batch.labels))
    best = min(options, key=lambda choice: statistics.median(seconds[choice][1:]))
    medians = {f"{p}{' channels_last' if c else ''}": statistics.median(seconds[p, c][1:]) for p, c in options}
    kept = {"precision": best[0], "channels_last": best[1], "seconds": medians, "what": what}
    write_atomically(path, json.dumps(kept, indent=1).encode())
    return best


def _alone(device: torch.device, choice: Choice) -> Fabric:
    return Fabric(accelerator=device.type, devices=1, precision=FABRIC_PRECISION[choice[0]])  # type: ignore[arg-type]


def _step_seconds(recipe: Recipe, objective: Objective, loading: Iterator[Batch], device: torch.device) -> float:
    """Median seconds of a step with its loading, after two that are not counted."""
    assert recipe.precision is not None
    assert recipe.channels_last is not None
    choice = (recipe.precision, recipe.channels_last)
    trial = Trial(objective, choice, recipe.accumulate, ranks.fabric(device, FABRIC_PRECISION[choice[0]]))
    seconds, last = [], time.perf_counter()
    for images, labels, _ in loading:
        trial.step(images, labels)
        now = time.perf_counter()
        seconds.append(now - last)
        last = now
    return statistics.median(seconds[2:])


class Trial:
    """A throw-away copy of the objective that takes steps of gradient descent with a rate of zero."""

    def __init__(self, objective: Objective, choice: Choice, parts: int, fabric: Fabric) -> None:
        self.fabric = fabric
        model = copy.deepcopy(objective)
        model.model.to(memory_format=torch.channels_last if choice[1] else torch.contiguous_format)
        self.channels_last, self.shares = choice[1], [1 / parts] * parts
        self.module, self.optimizer = self.fabric.setup(model, torch.optim.AdamW(model.parameters(), lr=0.0))

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> float:
        """Seconds of one training step."""
        start = time.perf_counter()
        images, labels = self.fabric.to_device((images, labels))
        backward(self.fabric, self.module, images, labels, self.shares)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return time.perf_counter() - start


FABRIC_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed"}
