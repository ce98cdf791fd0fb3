"""Pyramid pooling (PSPNet, Zhao et al. 2017, arXiv 1612.01105, section 3.2, figure 3)."""

from collections.abc import Sequence

import torch
from torch import nn

from atrous.layers.conv import conv_bn_relu
from atrous.ops.resize import resize

BINS = (1, 2, 3, 6)
"""Cells per side of each pooled map."""


class PyramidPool(nn.Module):
    """(N, channels, h, w) -> (N, channels + len(bins) * out, h, w): the map and its pooled forms.

    Each pooled form is the mean over b x b bins, through a 1x1 with batch norm and ReLU, resized to
    the map. Any h, w >= 1.

    Args:
        channels: of the input.
        out: channels of each pooled form.
        bins: b of each form.
    """

    def __init__(self, channels: int, out: int, bins: Sequence[int] = BINS) -> None:
        super().__init__()
        self.bins = tuple(bins)
        self.branches = nn.ModuleList(conv_bn_relu(channels, out, 1) for _ in bins)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        size = x.shape[2:]
        pooled = [nn.functional.adaptive_avg_pool2d(x, bins) for bins in self.bins]  # (N, channels, b, b)
        seen = [resize(branch(one), size) for branch, one in zip(self.branches, pooled, strict=True)]
        return torch.cat([x, *seen], 1)
