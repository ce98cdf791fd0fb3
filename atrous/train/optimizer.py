"""How weights move: groups of parameters, rates, what is frozen, gradients in parts.

All of it is a function of the recipe and the step, so that a checkpoint need not hold any of it.
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
"""First and last rate of one cycle, as shares of the highest; the same as in torch's OneCycleLR."""


def make_optimizer(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser of a recipe: AdamW, or SGD with Nesterov momentum 0.9; fused or not.

    Biases and norms have no weight decay. The encoder has `encoder_lr` times the rate; with
    `layer_decay` d below 1 its layer i of n has d^(n - i) times that, where i counts from 0
    (`encoder_layers`). A CRF behind the network has `refine_lr` times the rate, and no decay: decay
    would weaken the refinement until there is none.

    Each group of parameters keeps its factor of the rate in `factor`.
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
    """The layer of each parameter of an encoder, 0 for the first.

    Parameters of one layer share their name up to the first run of numbers (`layer1.0`,
    `blocks.3.1`, `stages_2.blocks.4`). A parameter without a number (of a stem, or of a norm
    between layers) belongs to the layer before it.

    Args:
        names: of the parameters, in the order of their depth.
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
    """The learning rate of a step; t runs from 0 to 1 over the steps after the warm-up.

    - poly: a linear warm-up, then lr (1 - t)^power (Chen et al. 2017).
    - cosine: a linear warm-up, then lr (1 + cos(pi t)) / 2 (Loshchilov & Hutter 2017, without
      restarts).
    - one_cycle: half a cosine from lr / 25 up within the warm-up, then another down to lr / 250000
      (Smith & Topin 2019, as torch's OneCycleLR; the momentum does not change).

    A run that was extended follows the longer schedule from the step at which it had ended.

    Args:
        recipe: with its `steps`.
        step: counted from 0.
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
    """What is not trained at a step, counted from 0."""
    return recipe.freeze if recipe.freeze_steps is None or step < recipe.freeze_steps else None


def backward(
    fabric: Fabric, module: Any, images: torch.Tensor, labels: torch.Tensor, shares: Sequence[float] = (1.0,)
) -> float:
    """Add up the gradients of a batch that passes through the network in parts.

    Args:
        fabric: that `module` was set up with.
        module: the objective, (images, labels) -> loss.
        images: raw, (N, C, H, W).
        labels: (N, H, W), or (N, K, H, W) of 0 and 1.
        shares: weight of each part's loss (`shares_of`); there are as many parts as shares.

    Returns:
        The loss of the batch.
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
    """The weight of each part of a batch: its share of the labels, with their classes' weights.

    With these weights the cross-entropy of the parts is that of the whole batch. Losses that are no
    mean over pixels (Dice, Lovasz, ...) become a mean of the parts' values. With several processes
    the weights of all parts in all of them add up to the number of processes, since the gradient is
    the mean over the processes.

    Args:
        labels: (N, H, W) class indices, or (N, K, H, W) of 0 and 1.
        parts: how many.
        ignore: the index that does not count.
        weight: of each class, (K,); None: all weigh the same.
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
