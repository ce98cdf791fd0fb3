"""Dilated depthwise convolution with fast gradients on the CPU.

oneDNN has no fast kernel for the gradients of a dilated depthwise convolution; what replaces it
took a seventh of a training step of a dilated EfficientNet. Both gradients can be computed with
fast kernels:

- of the input: the same dilated convolution, of the output's gradient with the flipped kernel;
- of the weight: "space to batch". The d x d phases of the maps, stacked along the batch axis, are
  a plain convolution.
"""

from typing import Any, TypeVar

import torch
from torch import nn
from torch.nn import functional

ModuleT = TypeVar("ModuleT", bound=nn.Module)

MOST = 4
"""The largest rate that is faster in phases: beyond it they are mostly padding, because they are
smaller than the kernel's reach.
"""


class DilatedDepthwise(nn.Conv2d):
    """A depthwise `nn.Conv2d` of stride 1, odd kernel and rate 2..4 that keeps the size.

    Its output is that of `nn.Conv2d`; only the way to the gradients differs.
    """

    def _conv_forward(self, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if input.device.type != "cpu" or not torch.is_grad_enabled():
            return super()._conv_forward(input, weight, bias)
        y: torch.Tensor = _Convolve.apply(input, weight, self.dilation[0])
        return y if bias is None else y + bias.to(y.dtype)[:, None, None]


def quick_depthwise(module: ModuleT) -> ModuleT:
    """Give every dilated depthwise convolution in `module` fast gradients on the CPU.

    Changes `module` in place and returns it; parameters and their names stay. Convolutions that
    `DilatedDepthwise` does not fit stay as they are.
    """
    for layer in module.modules():
        if type(layer) is nn.Conv2d and _fits(layer):
            layer.__class__ = DilatedDepthwise
    return module


def _fits(layer: nn.Conv2d) -> bool:
    (kernel, other), (rate, _) = layer.kernel_size, layer.dilation
    return (
        layer.groups == layer.in_channels == layer.out_channels
        and kernel == other
        and kernel % 2 == 1
        and layer.dilation == (rate, rate)
        and 2 <= rate <= MOST
        and layer.stride == (1, 1)
        and layer.padding == (rate * (kernel // 2),) * 2
        and layer.padding_mode == "zeros"
    )


class _Convolve(torch.autograd.Function):
    """(N, C, H, W), weight (C, 1, k, k), rate d -> (N, C, H, W).

    The gradients are made of operations that torch can differentiate again.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(x: torch.Tensor, weight: torch.Tensor, rate: int) -> torch.Tensor:
        return _same(x, weight, rate)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[torch.Tensor, torch.Tensor, int], output: torch.Tensor) -> None:
        x, weight, ctx.rate = inputs
        ctx.save_for_backward(x, weight)
        ctx.save_for_forward(x, weight)

    @staticmethod
    def jvp(ctx: Any, of_x: torch.Tensor | None, of_weight: torch.Tensor | None, _: None) -> torch.Tensor:
        x, weight = ctx.saved_tensors
        parts = [] if of_x is None else [_same(of_x, weight, ctx.rate)]
        parts += [] if of_weight is None else [_same(x, of_weight, ctx.rate)]
        return torch.stack(parts).sum(0)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor | None, None]:
        x, weight = ctx.saved_tensors
        of_x = of_weight = None
        if ctx.needs_input_grad[0]:
            of_x = _same(gradient, weight.flip(2, 3).to(gradient.dtype), ctx.rate)
        if ctx.needs_input_grad[1]:
            phases, under = _phases(x.to(gradient.dtype), ctx.rate), _phases(gradient, ctx.rate)
            reach, channels = weight.shape[2] // 2, weight.shape[0]
            of_weight = torch.ops.aten.convolution_backward(
                under, phases, weight.to(gradient.dtype), None, [1, 1], [reach, reach], [1, 1], False, [0, 0], channels,
                [False, True, False],
            )[1]  # fmt: skip
        return of_x, of_weight, None


def _same(x: torch.Tensor, weight: torch.Tensor, rate: int) -> torch.Tensor:
    padding = rate * (weight.shape[2] // 2)
    return functional.conv2d(x, weight, padding=padding, dilation=rate, groups=weight.shape[0])


def _phases(x: torch.Tensor, rate: int) -> torch.Tensor:
    """(N, C, H, W) -> (d d N, C, ceil(H / d), ceil(W / d)): every d-th row and column.

    The d d phases start at different pixels. Zeros fill up where H or W is not a multiple of d.
    """
    height, width = x.shape[2:]
    x = functional.pad(x, (0, -width % rate, 0, -height % rate))
    return torch.cat([x[:, :, i::rate, j::rate] for i in range(rate) for j in range(rate)])
