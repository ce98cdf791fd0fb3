"""How the weights move: groups of parameters, the learning rate of a step, what is frozen at it, gradients in parts.

All of it is a function of the recipe and the step, so that there is nothing to keep for a run that goes on.
"""

import re
from collections.abc import Sequence
from math import cos, pi
from typing import Any

import torch
from lightning_fabric import Fabric
from torch import nn

from atrous.models.refined import Refined, page_of
from atrous.train import processes
from atrous.train.objective import Frozen
from atrous.train.recipe import Recipe

ENCODER = ("encoder.", "base.encoder.")
LAYER = re.compile(r"(.*?\.\d+(?:\.\d+)*)\.")
RISE_FROM, FALL_TO = 1 / 25, 1 / 25e4
"""Of one cycle: the first and the last rate as shares of the highest, those of torch's OneCycleLR."""


def make_optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """AdamW or SGD, fused or not; no weight decay on biases and norms, `encoder_lr` times the rate for the encoder.

    With `layer_decay` d below 1 the encoder's layer i of n has d^(n - i) times that, i from 0 on (`encoder_layers`).
    A refiner behind the network has `refine_lr` times the rate and no decay, which would pull it to no refinement.
    """
    page, layer = page_of(model), model.layer if isinstance(model, Refined) else nn.Identity()
    layers = encoder_layers([name for name, _ in page.named_parameters() if name.startswith(ENCODER)])
    depth = max(layers.values(), default=-1) + 1
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in page.named_parameters():
        if parameter.requires_grad:
            factor = recipe.encoder_lr * recipe.layer_decay ** (depth - layers[name]) if name in layers else 1.0
            decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((factor, decay), []).append(parameter)
    for parameter in layer.parameters():
        groups.setdefault((recipe.refine_lr, 0.0), []).append(parameter)
    parts = [{"params": p, "factor": factor, "weight_decay": decay} for (factor, decay), p in groups.items()]
    fused = recipe.fused or None  # None: torch's own choice among the others
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(parts, lr=recipe.lr, momentum=0.9, nesterov=True, fused=fused)
    return torch.optim.AdamW(parts, lr=recipe.lr, fused=fused)


def encoder_layers(names: Sequence[str]) -> dict[str, int]:
    """The layer of each of an encoder's parameters, which stand in the order of depth: 0 for the first.

    A layer is what shares its name up to the first run of numbers (`layer1.0`, `blocks.3.1`, `stages_2.blocks.4`);
    what has no number (a stem, a norm between) belongs to the layer before it.
    """
    layers: dict[str, int] = {}
    known: dict[str, int] = {}
    last = 0
    for name in names:
        if found := LAYER.match(name):
            last = known.setdefault(found[1], max(known.values(), default=-1) + 1)
        layers[name] = last
    return layers


def rate_at(recipe: Recipe, step: int) -> float:
    """The learning rate of a step from 0 on, T the steps of the schedule, t the share of them after the warm-up.

    poly: a linear warm-up, then lr (1 - t)^power (Chen et al. 2017). cosine: the same, then lr (1 + cos(pi t)) / 2
    (Loshchilov & Hutter 2017, without restarts). one_cycle: from lr / 25 up by half a cosine within the warm-up, down
    to lr / 250000 by another (Smith & Topin 2019, as torch's OneCycleLR has it; the momentum stays).
    A run that was extended follows, from where it had ended, the schedule of as many steps as it has now.
    """
    total = next((length for end, length in recipe.extended if step < end), recipe.steps)
    assert total is not None
    warmup = recipe.warmup or 0
    if recipe.schedule == "one_cycle":
        top = max(warmup - 1, 0)
        if step < top:
            return recipe.lr * _cosine(RISE_FROM, 1.0, step / top)
        return recipe.lr * _cosine(1.0, FALL_TO, (step - top) / max(total - 1 - top, 1))
    if step < warmup:
        return recipe.lr * (step + 1) / (warmup + 1)
    share = (step - warmup) / max(total - warmup, 1)
    return recipe.lr * (_cosine(1.0, 0.0, share) if recipe.schedule == "cosine" else (1 - share) ** recipe.power)


def _cosine(first: float, last: float, share: float) -> float:
    return last + (first - last) * (1 + cos(pi * share)) / 2


def frozen_at(recipe: Recipe, step: int) -> Frozen:
    """What does not train at a step from 0 on."""
    return recipe.freeze if recipe.freeze_steps is None or step < recipe.freeze_steps else None


def backward(
    fabric: Fabric, module: Any, images: torch.Tensor, labels: torch.Tensor, shares: Sequence[float] = (1.0,)
) -> float:
    """Gradients of a batch that passes in as many parts as there are shares; returns the loss.

    shares: what the loss of each part counts, together 1 (`shares_of`).
    """
    total, last = 0.0, len(shares) - 1
    parts = zip(images.tensor_split(len(shares)), labels.tensor_split(len(shares)), shares, strict=True)
    for part, (image, truth, share) in enumerate(parts):
        with fabric.no_backward_sync(module, enabled=part < last):
            loss = module(image, truth)
            fabric.backward(loss if share == 1 else share * loss)
        total += share * float(loss.detach())
    return total


def shares_of(labels: torch.Tensor, parts: int, ignore: int, weight: torch.Tensor | None) -> list[float]:
    """What each part of a batch counts: its share of the labels that are not ignored, each with its class's weight.

    labels: (N, H, W) indices, or (N, K, H, W) of 0 and 1. So the cross-entropy of the parts is that of the whole, and
    of losses that are no mean over pixels (Dice, Lovasz, ...) it is a mean of the parts' values. Of several processes
    all parts of all count, together as much as there are processes: the gradient is the mean over them.
    """
    if parts == 1 and processes.size() == 1:
        return [1.0]
    counted = labels != ignore
    if weight is None:
        weights = counted.double()
    elif labels.ndim == 3:
        weights = weight.double()[torch.where(counted, labels, 0)] * counted
    else:
        weights = weight.double().view(1, -1, 1, 1) * counted
    sums = torch.stack([part.sum() for part in weights.tensor_split(parts)])
    total = processes.summed(float(sums.sum()))
    return (sums / total * processes.size()).tolist() if total > 0 else [1 / parts] * parts
