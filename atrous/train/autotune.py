"""What a machine decides by measuring, once, before step 1: precision, layout, optimiser, steps.

Choices that change the arithmetic are kept in the user's cache for each machine, network and shape.
So two runs of one command on one machine compute the same.
"""

import copy
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from atrous.datasets import Pairs
from atrous.errors import RecipeError, let_through
from atrous.ops.timing import interleaved, remembered, this_machine
from atrous.train import processes
from atrous.train.batches import Batch, Transform, batches
from atrous.train.objective import Objective
from atrous.train.optimizer import backward, make_optimizer
from atrous.train.recipe import Recipe

Choice = tuple[str, bool]
"""(precision, channels_last)"""


def candidates(device: torch.device) -> list[Choice]:
    """The choices for a device; bf16 is one only if the device multiplies it natively."""
    if device.type == "cpu":
        native = torch.backends.cpu.get_cpu_capability() == "AVX512" and torch.cpu._is_avx512_bf16_supported()
    else:
        native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return [("fp32", False), ("fp32", True), *([("bf16", True)] if native else [])]


def layout_of(recipe: Recipe, channels_last: bool | None) -> torch.memory_format:
    """The memory layout of a network and its batches."""
    if not channels_last:
        return torch.contiguous_format
    return torch.channels_last_3d if recipe.volume else torch.channels_last


def options_of(recipe: Recipe, device: torch.device) -> list[Choice]:
    """The candidates that agree with the recipe; if none does, what the recipe asks for, alone."""
    asked = (recipe.precision, recipe.channels_last)
    fitting = [
        choice for choice in candidates(device) if all(a in (None, b) for a, b in zip(asked, choice, strict=True))
    ]
    return fitting or [(recipe.precision or "fp32", bool(recipe.channels_last))]


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
    say: Callable[[str], None],
) -> Recipe:
    """Fill in what the recipe leaves open: precision, layout, optimiser, steps that fit its time.

    With several processes the first one chooses, and its clock counts. All of them take the timed
    steps, so that they wait for one another as in training.

    Args:
        recipe: with `steps` or `time`.
        objective: is not changed, but for what is frozen.
        pairs: the training images.
        device: to train on.
        workers: loader processes.
        began: `time.perf_counter()` at the start of the run; the time since then counts.
        validation: seconds of one validation.
        transform: of torchvision, for each crop.
        say: is told what was measured, and if torch.compile was asked for and fails.

    Returns:
        The recipe with nothing left open.
    """
    # With `freeze_steps` most steps train the whole network, so these are the ones to measure.
    objective.freeze(recipe.freeze if recipe.freeze_steps is None else None)
    batch = next(batches(pairs, recipe, 0, 1, then=transform))
    if recipe.compile is True and (why := processes.from_first(lambda: not_compiled(recipe, objective, batch, device))):
        say(f"torch.compile was asked for and fails here ({why}); training goes on without it")
        recipe = recipe.model_copy(update={"compile": "failed"})
    if None in (recipe.precision, recipe.channels_last, recipe.fused):
        chosen = processes.from_first(lambda: _measured_once(recipe, objective, batch, device))
        say("a step measured: " + ", ".join(f"{name} {1000 * s:.3g} ms" for name, s in chosen["seconds"].items()))
        recipe = recipe.model_copy(update={key: chosen[key] for key in ("precision", "channels_last", "fused")})
    elif recipe.steps is not None and recipe.compile is not True:  # nothing else would find a mistake before step 1
        choice = options_of(recipe, device)[0]
        Trial(recipe, objective, choice, _alone(device, choice)).step(batch.images, batch.labels)
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
    return processes.from_first(lambda: settled)


VALIDATIONS = 8
"""Validations in a run; fewer, at least two, if they would take over a tenth of the time."""


def _measured_once(recipe: Recipe, objective: Objective, batch: Batch, device: torch.device) -> dict[str, Any]:
    """The fastest choice: {"precision", "channels_last", "fused", "seconds"}, kept or measured."""
    what = [*this_machine(device), torch.__version__]
    what += [recipe.model, str(recipe.model_options()), str(tuple(batch.images.shape)), recipe.optimizer]
    what += [recipe.refine] if recipe.refine else []
    unlike = {"accumulate": recipe.accumulate, "freeze": recipe.freeze, "distil": recipe.distil_digest}
    unlike |= {key: getattr(recipe, key) for key in ("precision", "channels_last", "fused")}
    unlike |= {"compile": recipe.compile is True or None}
    what += [f"{key}={value}" for key, value in unlike.items() if value not in (None, 1) or value is True]
    options = options_of(recipe, device)

    def measure() -> dict[str, Any]:
        best, seconds = options[0], dict[str, float]()
        if len(options) > 1:
            best, seconds = _fastest(recipe, objective, batch, device, options)
        fused = recipe.fused
        if fused is None:
            taken = optimizer_seconds(recipe, objective, best, device)
            fused = min(taken, key=taken.__getitem__)
            seconds |= {"fused optimiser" if one else "optimiser": value for one, value in taken.items()}
        return {"precision": best[0], "channels_last": best[1], "fused": fused, "seconds": seconds}

    def usable(kept: dict[str, Any]) -> bool:
        return (kept["precision"], kept["channels_last"]) in options and {"fused", "seconds"} <= set(kept)

    return remembered("choices", what, measure, usable)


def _fastest(
    recipe: Recipe, objective: Objective, batch: Batch, device: torch.device, options: list[Choice]
) -> tuple[Choice, dict[str, float]]:
    """The choice with the shortest step, and the median seconds of a step with each, by name."""
    trials = {choice: Trial(recipe, objective, choice, _alone(device, choice)) for choice in options}
    steps = {choice: partial(trial.step, batch.images, batch.labels) for choice, trial in trials.items()}
    seconds = interleaved(steps, 3, warm_up=1)
    named = {f"{p}{' channels_last' if c else ''}": seconds[p, c] for p, c in options}
    return min(options, key=seconds.__getitem__), named


def optimizer_seconds(recipe: Recipe, objective: Objective, choice: Choice, device: torch.device) -> dict[bool, float]:
    """{fused: seconds} of a step of the optimiser alone, the shortest of seven.

    True is missing if the device has no fused kernels.
    """
    model = copy.deepcopy(objective.model).to(device)
    model.to(memory_format=layout_of(recipe, choice[1]))
    model.requires_grad_(True)
    for parameter in model.parameters():
        parameter.grad = torch.full_like(parameter, 1e-3)
    optimizers = {False: make_optimizer(_still(recipe, False), model)}
    with suppress(RuntimeError):  # torch raises it on a device without fused kernels
        kernel = make_optimizer(_still(recipe, True), model)
        kernel.step()
        optimizers[True] = kernel
    return interleaved({fused: one.step for fused, one in optimizers.items()}, 7, warm_up=1, summary=min)


def not_compiled(recipe: Recipe, objective: Objective, batch: Batch, device: torch.device) -> str:
    """Why torch.compile cannot be used for this network on this machine; '' if it can."""
    choice = options_of(recipe, device)[0]
    try:
        Trial(recipe, objective, choice, _alone(device, choice)).step(batch.images, batch.labels)
    except Exception as error:  # tracer, code generator and compiler have errors of their own
        let_through(error)
        return _reason(error)
    return ""


def compile_network(objective: Objective) -> None:
    """Have torch.compile build kernels for this network, and forget those it built before."""
    torch.compiler.reset()
    objective.compile(dynamic=False)


@contextmanager
def compiled(recipe: Recipe, folder: Path) -> Iterator[None]:
    """Raise RecipeError if a run that was compiled so far can no longer be compiled."""
    try:
        yield
    except RuntimeError as error:
        if recipe.compile is True and type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise RecipeError(
                f"{folder}: the run was compiled so far, and torch.compile fails on this machine now "
                f"({_reason(error)}); install what it needs, such as a C++ compiler, or begin a run in another -o"
            ) from error
        raise


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".:")[:200]


def _still(recipe: Recipe, fused: bool | None) -> Recipe:
    """The recipe with a rate of 0: its optimiser moves nothing."""
    return recipe.model_copy(update={"lr": 0.0, "fused": fused})


def _alone(device: torch.device, choice: Choice) -> Fabric:
    return Fabric(accelerator=device.type, devices=1, precision=FABRIC_PRECISION[choice[0]])  # type: ignore[arg-type]


def _step_seconds(recipe: Recipe, objective: Objective, loading: Iterator[Batch], device: torch.device) -> float:
    """Median seconds of a step with its loading; the first two steps are not counted."""
    assert recipe.precision is not None
    assert recipe.channels_last is not None
    choice = (recipe.precision, recipe.channels_last)
    trial = Trial(recipe, objective, choice, processes.fabric(device, FABRIC_PRECISION[choice[0]]))
    seconds, last = [], time.perf_counter()
    for images, labels, _ in loading:
        trial.step(images, labels)
        now = time.perf_counter()
        seconds.append(now - last)
        last = now
    return statistics.median(seconds[2:])


class Trial:
    """A copy of the objective that takes training steps with a rate of 0, to be timed."""

    def __init__(self, recipe: Recipe, objective: Objective, choice: Choice, fabric: Fabric) -> None:
        self.fabric = fabric
        model = copy.deepcopy(objective)
        self.layout = layout_of(recipe, choice[1])
        model.model.to(memory_format=self.layout)
        self.shares = [1 / recipe.accumulate] * recipe.accumulate
        self.module, self.optimizer = self.fabric.setup(
            model, make_optimizer(_still(recipe, recipe.fused), model.model)
        )
        if recipe.compile is True:
            compile_network(model)

    def step(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """One training step on a batch of raw images."""
        images, labels = self.fabric.to_device((images, labels))
        images = images.contiguous(memory_format=self.layout)
        backward(self.fabric, self.module, images, labels, self.shares)
        self.optimizer.step()
        self.optimizer.zero_grad()


FABRIC_PRECISION = {"fp32": "32-true", "bf16": "bf16-mixed"}
"""Precision of a recipe -> its name in Fabric."""
