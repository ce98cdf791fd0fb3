"""Norms that accept a single value per channel: batch norm and instance norm."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def safe_norms(module: ModuleT) -> ModuleT:
    """Let every batch norm in `module` accept one value per channel in training.

    A batch of one with a 1x1 map has no variance, and torch refuses it. Here such a call is
    normalised with the running statistics and does not change them. All else stays: classes,
    state-dict keys, and calls with two values or more. timm's fused norms are included.

    Changes `module` in place and returns it; a second call changes nothing.

    Example:
        >>> import torch
        >>> from atrous.layers import safe_norms
        >>> norm = safe_norms(torch.nn.BatchNorm2d(4)).train()
        >>> norm(torch.ones(1, 4, 1, 1)).shape
        torch.Size([1, 4, 1, 1])
    """
    for norm in module.modules():
        if isinstance(norm, _BatchNorm) and norm.track_running_stats and _enter not in norm._forward_pre_hooks.values():
            norm.register_forward_pre_hook(_enter)
            norm.register_forward_hook(_leave, always_call=True)
    return module


@contextmanager
def norms_left_out(module: nn.Module) -> Iterator[None]:
    """Within this context every batch norm of `module` gives its input: for a trial that asks for shapes alone.

    On the meta device torch computes a batch norm in Python, which takes longer than all the convolutions of a ResNet.
    """
    norms = [norm for norm in module.modules() if isinstance(norm, _BatchNorm)]
    for norm in norms:
        norm.forward = lambda x: x  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


class InstanceNorm(nn.Module):
    """(N, C, ...) -> the same, normalised per channel and image, then scaled and shifted.

    Equal to `nn.InstanceNorm2d(channels, affine=True)` and its 3-D form, also in its state-dict
    keys. But torch refuses a map of a single value; here its variance is 0 and the result is the
    shift, up to rounding.
    """

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(channels)), nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.instance_norm(x, self.weight, self.bias, None, None, True, 0.0, self.eps, True)


def _enter(norm: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
    if norm.training and inputs[0].numel() == inputs[0].shape[1]:
        norm.training = False
        norm._single_value = True  # type: ignore[assignment]


def _leave(norm: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
    if norm.__dict__.pop("_single_value", False):
        norm.training = True
