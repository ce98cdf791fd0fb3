"""Blocks of convolution, batch norm and ReLU that keep the size of the map, or divide it by their stride."""

from torch import nn


def conv_bn_relu(
    channels: int, out: int, kernel: int = 3, *, stride: int = 1, dilation: int = 1, groups: int = 1
) -> nn.Sequential:
    """(N, channels, H, W) -> (N, out, ceil(H / stride), ceil(W / stride)): an odd kernel x kernel convolution without
    bias, batch norm, ReLU."""
    padding = dilation * (kernel // 2)
    convolution = nn.Conv2d(channels, out, kernel, stride, padding, dilation, groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(out), nn.ReLU(inplace=True))


def separable_conv(channels: int, out: int, *, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """(N, channels, H, W) -> (N, out, ceil(H / stride), ceil(W / stride)): depthwise 3x3, then pointwise 1x1, each with
    batch norm and ReLU.

    The form of DeepLab v3+ (Chen et al. 2018, section 3.1: atrous separable convolution); others norm only once.
    """
    depthwise = conv_bn_relu(channels, channels, 3, stride=stride, dilation=dilation, groups=channels)
    return nn.Sequential(*depthwise, *conv_bn_relu(channels, out, 1))


def fcn_head(channels: int, classes: int, dropout: float = 0.1) -> nn.Sequential:
    """(N, channels, h, w) -> (N, classes, h, w): 3x3 to a quarter of the channels, batch norm, ReLU, dropout, 1x1.

    The head of torchvision's FCN on ResNet, and the auxiliary head of its FCN and DeepLab v3.
    """
    width = max(1, channels // 4)
    return nn.Sequential(*conv_bn_relu(channels, width), nn.Dropout(dropout), nn.Conv2d(width, classes, 1))
