"""Atrous spatial pyramid pooling (DeepLab v3, Chen et al. 2017, arXiv 1706.05587, section 3.3)."""

from collections.abc import Sequence

import torch
from torch import nn

from atrous.layers.conv import conv_bn_relu, separable_conv


class ImagePool(nn.Module):
    """(N, C, h, w) -> (N, out, h, w): the image's mean through a 1x1 convolution, at every cell."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = conv_bn_relu(channels, out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])


class ASPP(nn.Module):
    """(N, channels, h, w) -> (N, out, h, w): parallel branches, concatenated and projected.

    The branches are a 1x1, a 3x3 per dilation rate, and the mean of the image (figure 5).

    Args:
        channels: of the input.
        rates: dilation of each 3x3.
        out: channels of each branch and of the result.
        separable: make the dilated 3x3 depthwise separable, as in DeepLab v3+.
        dropout: rate after the projection.

    Example:
        >>> import torch
        >>> from atrous.layers import ASPP
        >>> ASPP(64, rates=(6, 12, 18), out=32)(torch.zeros(2, 64, 9, 9)).shape
        torch.Size([2, 32, 9, 9])
    """

    def __init__(
        self, channels: int, rates: Sequence[int], out: int = 256, *, separable: bool = False, dropout: float = 0.0
    ) -> None:
        super().__init__()
        atrous = separable_conv if separable else conv_bn_relu
        dilated = [atrous(channels, out, dilation=rate) for rate in rates]
        self.branches = nn.ModuleList([conv_bn_relu(channels, out, 1), *dilated, ImagePool(channels, out)])
        self.project = nn.Sequential(*conv_bn_relu(len(self.branches) * out, out, 1), nn.Dropout(dropout))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.project(torch.cat([branch(x) for branch in self.branches], 1))
