"""Where a dilated network of timm keeps its strides and rates; the weights are the same in every form.

timm, as torchvision's ResNets, leaves the convolution that lost its stride at the rate of the stage before. The
DeepLab nets of Caffe and TensorFlow and torchvision's MobileNetV3 give it the new rate, as all that follow it.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from atrous.errors import ModelError


def dilate_first(net: nn.Module, native: nn.Module) -> None:
    """Give every convolution that lost its stride, against `native`, the network undilated, its stage's new rate."""
    for layer, before in zip(_wide(net), _wide(native), strict=True):
        if (lost := before.stride[0] // layer.stride[0]) > 1:
            set_rate(layer, lost * layer.dilation[0])


def stride_first(net: nn.Module) -> None:
    """Move the stride of each bottleneck from its 3x3 to the 1x1 before, as in Caffe's ResNets (He et al. 2015)."""
    for block in net.modules():
        first, second = getattr(block, "conv1", None), getattr(block, "conv2", None)
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.Conv2d) and first.kernel_size == (1, 1):
            first.stride, second.stride = second.stride, first.stride


def multigrid(net: Any, grid: Sequence[int], name: str) -> None:
    """Multiply the rate of the last stage by grid[i] in its unit i (DeepLab v3, section 4.2.1).

    Raises ModelError where the last stage of encoder `name` has not as many units, each with a 3x3, as the grid.
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
    """Let a convolution of odd kernel run at a rate, its padding with it; one that pads by itself still does."""
    layer.dilation = (rate, rate)
    if layer.padding != (0, 0):
        layer.padding = (rate * (layer.kernel_size[0] // 2), rate * (layer.kernel_size[1] // 2))


def _wide(module: nn.Module) -> Iterator[nn.Conv2d]:
    """The convolutions of odd kernels beyond 1x1, in order."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size[0] > 1 and layer.kernel_size[0] % 2 == 1:
            yield layer
