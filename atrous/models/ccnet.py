"""CCNet: every cell attends to its own row and column; done twice, with the same weights, it has seen the whole map.

    network  year  arXiv       what is in it
    CCNet    2019  1811.11721  criss-cross attention (section 3.2), recurrence R = 2 (section 3.3)

Of the h + w - 1 cells of a cross the cell itself is counted once. Attention is exact and takes memory with
h w (h + w), not with (h w)^2. The layout of the head is mmsegmentation's: 23,934,100 parameters with 19 classes.

Axes: N images, C channels, H x W pixels, h x w cells at the encoder's stride s, K classes.
"""

import torch
from torch import nn

from atrous.encoders import Encoder
from atrous.layers import conv_bn_relu
from atrous.models.options import Count, Share
from atrous.models.page import Features, Page, fcn_aux, on_encoder


class CrissCross(nn.Module):
    """(N, C, h, w) -> the same: each cell adds gamma times a mean over its row and column, by their likeness."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(1, channels // 8)
        self.query, self.key = nn.Conv2d(channels, narrow, 1), nn.Conv2d(channels, narrow, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.gamma = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = self.query(x), self.key(x), self.value(x)
        height, width = x.shape[2:]
        column = torch.einsum("nchw,ncgw->nhwg", query, key)  # (N, h, w, h): cell (h, w) and cells (g, w)
        row = torch.einsum("nchw,nchv->nhwv", query, key)  # (N, h, w, w): and cells (h, v)
        itself = torch.eye(height, dtype=torch.bool, device=x.device)[:, None]  # (h, 1, h): counted in the row
        column = column.masked_fill(itself, -torch.inf)
        column, row = torch.cat([column, row], 3).softmax(3).split([height, width], 3)
        seen = torch.einsum("nhwg,ncgw->nchw", column, value) + torch.einsum("nhwv,nchv->nchw", row, value)
        return self.gamma * seen + x


class CrissCrossHead(nn.Module):
    """A 3x3, criss-cross attention `recurrence` times, a 3x3; with the features, a 3x3 and a 1x1."""

    def __init__(self, deep: int, classes: int, *, channels: int, recurrence: int, dropout: float) -> None:
        super().__init__()
        self.recurrence = recurrence
        self.before, self.after = conv_bn_relu(deep, channels), conv_bn_relu(channels, channels)
        self.attention = CrissCross(channels)
        self.score = nn.Sequential(
            *conv_bn_relu(deep + channels, channels), nn.Dropout(dropout), nn.Conv2d(channels, classes, 1)
        )

    def forward(self, features: Features) -> torch.Tensor:
        x = self.before(features[-1])  # (N, 512, H/s, W/s)
        for _ in range(self.recurrence):
            x = self.attention(x)
        return self.score(torch.cat([features[-1], self.after(x)], 1))  # (N, K, H/s, W/s)


@on_encoder("resnet50", stride=8)
def ccnet(
    net: Encoder, classes: int, *, channels: Count = 512, recurrence: Count = 2, dropout: Share = 0.1, aux: bool = False
) -> Page:
    """CCNet on any encoder: each place attends to its own row and column, and does so twice.

    The paper has stride 8. recurrence: how often. aux: an FCN head on the features before the deepest.
    """
    head = CrissCrossHead(net.channels[-1], classes, channels=channels, recurrence=recurrence, dropout=dropout)
    return Page(net, head, classes, fcn_aux(net, classes) if aux else None)
