"""One step of gradient descent, and what happens where it cannot be taken.

A step whose loss or gradient is not finite is skipped. Weights, running statistics, moving average
and optimiser stay as they were. The step is counted, and the log names its pictures. A run with
`MOST_SKIPPED` such steps stops.
"""

from math import isfinite

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import nn

from atrous.errors import AtrousError
from atrous.train import processes
from atrous.train.batches import keys_of_step
from atrous.train.optimizer import backward, frozen_at, rate_at, shares_of
from atrous.train.run import Run
from atrous.train.sharding import alike, gathered

MOST_SKIPPED = 20
"""Skipped steps after which a run stops: then it is not a picture, but the learning rate."""


def take_step(
    run: Run, fabric: Fabric, module: nn.Module, optimizer: torch.optim.Optimizer, images: torch.Tensor,
    labels: torch.Tensor,
) -> tuple[float, str]:  # fmt: skip
    """Move the weights by the gradient of one batch. Returns the loss, and why the step was skipped ('' if not)."""
    recipe, model = run.recipe, run.objective.model
    # Dropout masks depend on (seed, step, process) only, so that a resumed run draws the same ones.
    seeds = [recipe.seed, run.step, *([processes.rank()] if processes.rank() else [])]
    torch.manual_seed(int(np.random.SeedSequence(seeds).generate_state(1)[0]))
    for group in optimizer.param_groups:
        group["lr"] = rate_at(recipe, run.step) * group["factor"]
    run.objective.freeze(frozen_at(recipe, run.step))
    before = [buffer.clone() for buffer in model.buffers()]
    weight = torch.tensor(recipe.class_weights, device=labels.device) if recipe.class_weights else None
    shares = shares_of(labels, recipe.accumulate, run.data.labels.ignore_index, weight)
    loss = processes.summed(backward(fabric, module, images, labels, shares)) / processes.size()
    norm = gradient_norm(fabric, module, optimizer, recipe.clip)
    problem = "" if isfinite(loss) and isfinite(norm) else f"loss {loss:.4g}, norm of the gradient {norm:.4g}"
    if not problem:
        optimizer.step()
        alike(list(model.buffers()), before)
        if run.average is not None:
            run.average.update_parameters(model)
    else:
        run.skipped += 1
        for buffer, old in zip(model.buffers(), before, strict=True):
            buffer.copy_(old)
    optimizer.zero_grad()
    return loss, problem


def gradient_norm(fabric: Fabric, module: nn.Module, optimizer: torch.optim.Optimizer, clip: float) -> float:
    """Scale the gradients down to a 2-norm of at most `clip` (0: never). Returns their norm before that."""
    if clip:
        norm = fabric.clip_gradients(module, optimizer, max_norm=clip, error_if_nonfinite=False)
    else:
        norm = torch.nn.utils.get_total_norm([p.grad for p in module.parameters() if p.grad is not None])
    assert norm is not None
    return float(gathered(norm.detach()))


def pictures_of_step(run: Run, step: int) -> list[str]:
    """The file names of a step's pictures, in order, without those that cutmix and mosaic add."""
    pairs = run.data.training
    keys = keys_of_step(step, run.recipe.batch, len(pairs), run.recipe.seed)
    return [pairs.pairs[index].image.name for _, index in keys]


def too_many_skipped(run: Run, problem: str) -> AtrousError:
    """The error that stops a run after `MOST_SKIPPED` skipped steps."""
    names = ", ".join(pictures_of_step(run, run.step - 1)[:4])
    return AtrousError(
        f"{run.folder}: {run.skipped} steps were skipped, as their loss or gradient was not finite; the last was step "
        f"{run.step}, with {names}, ... ({problem}); log.jsonl names the pictures of all; the last checkpoint is kept; "
        f"start a new run with a lower --lr than {run.recipe.lr}, or look at the pictures if they are always the same"
    )
