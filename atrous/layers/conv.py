"""Blocks of convolution, batch norm and ReLU; sides are divided by the stride and rounded up."""

from typing import TypeVar

from torch import nn
from torch.nn.modules.conv import _ConvNd

Convolution = TypeVar("Convolution", bound=_ConvNd)


def gaussian(layer: Convolution, std: float) -> Convolution:
    """Let the weights of a convolution start as N(0, std^2) and its biases as 0; return it."""
    nn.init.normal_(layer.weight, std=std)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def conv_bn_relu(
    channels: int, out: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    """A convolution without bias, batch norm and ReLU.

    (N, channels, H, W) -> (N, out, ceil(H / stride), ceil(W / stride)).

    Args:
        channels: of the input; a multiple of `groups`.
        out: channels of the result.
        kernel: side, odd.
        stride: of the convolution.
        dilation: rate of the convolution.
        groups: of channels that are convolved apart.
    """
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(channels, out, kernel, stride, padding, dilation, groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU(inplace=True))


def separable_conv(channels: int, out: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """A depthwise 3x3, then a 1x1, each with batch norm and ReLU; sizes as in `conv_bn_relu`.

    This is the form of DeepLab v3+ (Chen et al. 2018, arXiv 1802.02611, section 3.1); other
    networks have no norm after the 3x3.
    """
    depthwise = conv_bn_relu(channels, channels, 3, stride=stride, dilation=dilation, groups=channels)
    return nn.Sequential(*depthwise, *conv_bn_relu(channels, out, 1))


def fcn_head(channels: int, classes: int, dropout: float = 0.1) -> nn.Sequential:
    """(N, channels, h, w) -> (N, classes, h, w): scores by a 3x3 and a 1x1.

    The 3x3 has a quarter of the channels, batch norm, ReLU and dropout. It is torchvision's head of
    FCN on ResNet, and auxiliary head of its FCN and DeepLab v3.
    """
    width = max(1, channels // 4)
    return nn.Sequential(*conv_bn_relu(channels, width), nn.Dropout(dropout), nn.Conv2d(width, classes, 1))
