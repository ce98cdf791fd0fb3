"""Atrous spatial pyramid pooling (DeepLab v3, Chen et al. 2017, arXiv 1706.05587, section 3.3, figure 5)."""

from collections.abc import Sequence

import torch
from torch import nn

from atrous.layers.conv import conv_bn_relu, separable_conv


class ImagePool(nn.Module):
    """(N, C, h, w) -> (N, out, h, w): the mean over the image through a 1x1 convolution, spread back over the map."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = conv_bn_relu(channels, out, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x.mean((2, 3), keepdim=True)).expand(-1, -1, *x.shape[2:])


class ASPP(nn.Module):
    """(N, channels, h, w) -> (N, out, h, w): a 1x1, a 3x3 per dilation rate, the image's mean; concatenated, projected.

    separable: the dilated 3x3 are depthwise separable (v3+). dropout: after the projection.
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
