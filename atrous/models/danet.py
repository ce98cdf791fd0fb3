"""DANet: on dilated features, attention between places and attention between channels, each a branch; their sum.

    network  year  arXiv       what is in it
    DANet    2019  1809.02983  position attention (section 3.2), channel attention (section 3.3), sum (figure 2)

Affinities are not scaled, and the channels' are turned round: softmax(max - energy), as the authors' code has it. Both
branches start at nothing: their weights alpha and beta are 0. Affinities between places take memory with the square of
the map's cells where torch has no fused attention, as on the CPU; predict large images in tiles.

Axes: N images, C channels, H x W pixels, T = h x w cells at the encoder's stride s, K classes.
"""

import torch
from torch import nn

from atrous.encoders import Encoder
from atrous.layers import conv_bn_relu
from atrous.models.options import Count, Share
from atrous.models.page import Features, Page, on_encoder


class PositionAttention(nn.Module):
    """(N, C, h, w) -> the same: each place adds alpha times a mean over all places, by their likeness (equation 2)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(1, channels // 8)
        self.query, self.key = nn.Conv2d(channels, narrow, 1), nn.Conv2d(channels, narrow, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.alpha = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        query, key, value = (layer(x).flatten(2).transpose(1, 2) for layer in (self.query, self.key, self.value))
        seen = nn.functional.scaled_dot_product_attention(query, key, value, scale=1.0)  # (N, T, C)
        return self.alpha * seen.transpose(1, 2).unflatten(2, x.shape[2:]) + x


class ChannelAttention(nn.Module):
    """(N, C, h, w) -> the same: each channel adds beta times a mean over all channels, by their unlikeness."""

    def __init__(self) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        flat = x.flatten(2)  # (N, C, T)
        energy = flat @ flat.transpose(1, 2)  # (N, C, C)
        weights = (energy.amax(2, keepdim=True) - energy).softmax(2)
        return self.beta * (weights @ flat).unflatten(2, x.shape[2:]) + x


class DualAttention(nn.Module):
    """Two branches of 3x3, attention, 3x3 on the last features; a 1x1 on their sum.

    aux: the branches' own classifiers, after the sum's: places, then channels.
    """

    def __init__(self, deep: int, classes: int, *, channels: int, dropout: float, aux: bool) -> None:
        super().__init__()
        self.position = nn.Sequential(
            conv_bn_relu(deep, channels), PositionAttention(channels), conv_bn_relu(channels, channels)
        )
        self.channel = nn.Sequential(conv_bn_relu(deep, channels), ChannelAttention(), conv_bn_relu(channels, channels))
        self.score = _classifier(channels, classes, dropout)
        self.aux = nn.ModuleList(_classifier(channels, classes, dropout) for _ in range(2)) if aux else None

    def forward(self, features: Features) -> torch.Tensor:
        return self.score(self.position(features[-1]) + self.channel(features[-1]))  # (N, K, H/s, W/s)

    def outputs(self, features: Features) -> tuple[torch.Tensor, ...]:
        """The logits of the sum, then those of the two branches where asked for."""
        branches = self.position(features[-1]), self.channel(features[-1])  # (N, 512, H/s, W/s) each
        own = (score(x) for score, x in zip(self.aux or (), branches, strict=self.aux is not None))
        return self.score(branches[0] + branches[1]), *own


@on_encoder("resnet50", stride=8)
def danet(net: Encoder, classes: int, *, channels: Count = 512, dropout: Share = 0.1, aux: bool = False) -> Page:
    """DANet on any encoder: the sum of attention between places and attention between channels.

    The paper has stride 8. aux: a classifier on each of the two branches, so two outputs more.
    """
    head = DualAttention(net.channels[-1], classes, channels=channels, dropout=dropout, aux=aux)
    return Page(net, head, classes)


def _classifier(channels: int, classes: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Dropout(dropout), nn.Conv2d(channels, classes, 1))
