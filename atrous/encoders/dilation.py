"""Strides and rates inside dilated networks of timm; the weights are the same in every form.

In timm, as in torchvision's ResNets, the convolution that lost its stride keeps the rate of the
stage before. In the DeepLab nets of Caffe and TensorFlow, and in torchvision's MobileNetV3, it has
the new rate, like all that follow it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from atrous.errors import ModelError


def dilate_first(net: nn.Module, native: nn.Module) -> None:
    """Give every convolution that lost its stride the new rate of its stage, in place.

    native: the same network undilated, to tell which lost it.
    """
    for layer, before in zip(_wide(net), _wide(native), strict=True):
        if (lost := before.stride[0] // layer.stride[0]) > 1:
            set_rate(layer, lost * layer.dilation[0])


def stride_first(net: nn.Module) -> None:
    """Move each bottleneck's stride from its 3x3 to the 1x1 before it, in place.

    So it stands in Caffe's ResNets (He et al. 2015).
    """
    for block in net.modules():
        first, second = getattr(block, "conv1", None), getattr(block, "conv2", None)
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.Conv2d) and first.kernel_size == (1, 1):
            first.stride, second.stride = second.stride, first.stride


def multigrid(net: Any, grid: Sequence[int], name: str) -> None:
    """Multiply the rate of unit i of the last stage by grid[i], in place.

    DeepLab v3, section 4.2.1. Raises ModelError if the last stage of encoder `name` does not have
    one unit with a 3x3 per number of the grid.
    """
    try:
        units = [list(_wide(unit)) for unit in net.get_submodule(net.feature_info[-1]["module"]).children()]
    except AttributeError:
        units = []
    if len(units) != len(grid) or not all(units) or any(not isinstance(r, int) or r < 1 for r in grid):
        raise ModelError(
            f"grid {tuple(grid)} does not fit encoder {name!r}, whose last stage has {len(units)} units that dilate; "
            "give a whole number from 1 on for each, such as (1, 2, 4) for 'resnet50', or no grid"
        )
    rate = max(layer.dilation[0] for unit in units for layer in unit)
    for unit, factor in zip(units, grid, strict=True):
        for layer in unit:
            set_rate(layer, rate * factor)


def set_rate(layer: nn.Conv2d, rate: int) -> None:
    """Set the rate of a convolution with an odd kernel, and its padding where it has one."""
    layer.dilation = (rate, rate)
    if layer.padding != (0, 0):
        layer.padding = (rate * (layer.kernel_size[0] // 2), rate * (layer.kernel_size[1] // 2))


def _wide(module: nn.Module) -> Iterator[nn.Conv2d]:
    """The convolutions with an odd kernel larger than 1x1, in order."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size[0] > 1 and layer.kernel_size[0] % 2 == 1:
            yield layer
