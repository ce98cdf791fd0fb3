"""BiSeNet v2: two branches, a wide shallow one for detail and a thin deep one for meaning, that gate one another.

    network     year  arXiv       what is in it
    BiSeNet v2  2020  2004.02147  detail branch to stride 8, semantic branch to stride 32, guided aggregation, and four
                                  booster heads on the semantic branch that only training has (`aux=True`)

Layers and widths are table 1 of the paper. As in mmsegmentation the aggregation has 1x1 with biases in place of norms,
and the booster heads have two 3x3. There is no encoder to choose: the paper trains from random weights.

Axes: N images, C channels, H x W pixels, h x w cells of a map, K classes.
"""

import torch
from torch import nn

from atrous.layers import conv_bn_relu
from atrous.models.options import Count, Share
from atrous.models.page import Page
from atrous.ops.resize import resize

DETAIL = ((64, 64), (64, 64, 64), (128, 128, 128))
"""Widths of the detail branch's 3x3; the first of each stage halves the map (table 1)."""

SEMANTIC = ((32, 2), (64, 2), (128, 4))
"""(width, gather-and-expand layers) of the semantic branch after its stem of 16; the first of each halves the map."""

BOOSTERS = (64, 16, 4, 1)
"""The head's width over those of the booster heads on the stem and the three stages."""


class Stem(nn.Module):
    """(N, C, H, W) -> (N, 16, H/4, W/4): a 3x3 of stride 2, then convolution beside pooling, joined (figure 4a)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = conv_bn_relu(channels, 16, stride=2)
        self.conv = nn.Sequential(conv_bn_relu(16, 8, 1), conv_bn_relu(8, 16, stride=2))
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.join = conv_bn_relu(32, 16)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.first(image)  # (N, 16, H/2, W/2)
        return self.join(torch.cat([self.conv(x), self.pool(x)], 1))  # (N, 16, H/4, W/4)


class GatherExpand(nn.Module):
    """(N, C, h, w) -> (N, out, h/stride, w/stride): a 3x3 gathers, depthwise 3x3 expand to 6 C, a 1x1 projects; added
    to the input, which passes a depthwise 3x3 and a 1x1 where the map is halved (figure 5)."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        wide = 6 * channels
        expand = [_depthwise(channels, wide, stride)] + ([_depthwise(wide, wide)] if stride == 2 else [])
        self.branch = nn.Sequential(conv_bn_relu(channels, channels), *expand, _pointwise(wide, out))
        shortcut = nn.Sequential(_depthwise(channels, channels, stride), _pointwise(channels, out))
        self.shortcut = shortcut if stride == 2 else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.branch(x) + self.shortcut(x)).relu()


class ContextEmbedding(nn.Module):
    """(N, C, h, w) -> the same: the map's mean through batch norm and a 1x1 is added to it, then a 3x3 (figure 4b)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mean = nn.Sequential(nn.BatchNorm2d(channels), *conv_bn_relu(channels, channels, 1))
        self.last = conv_bn_relu(channels, channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(x + self.mean(x.mean((2, 3), keepdim=True)))


class GuidedAggregation(nn.Module):
    """Detail (N, C, h, w), meaning (N, C, h/4, w/4) -> (N, C, h, w): each gates the other at its scale (figure 6)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.detail_fine = nn.Sequential(_depthwise(channels, channels), nn.Conv2d(channels, channels, 1))
        halve = _normed(nn.Conv2d(channels, channels, 3, stride=2, padding=1, bias=False))
        self.detail_coarse = nn.Sequential(*halve, nn.AvgPool2d(3, stride=2, padding=1))
        self.semantic_fine = _normed(nn.Conv2d(channels, channels, 3, padding=1, bias=False))
        self.semantic_coarse = nn.Sequential(_depthwise(channels, channels), nn.Conv2d(channels, channels, 1))
        self.last = _normed(nn.Conv2d(channels, channels, 3, padding=1, bias=False))

    def forward(self, detail: torch.Tensor, semantic: torch.Tensor) -> torch.Tensor:
        size = detail.shape[2:]
        fine = self.detail_fine(detail) * resize(self.semantic_fine(semantic), size).sigmoid()  # (N, C, h, w)
        coarse = self.detail_coarse(detail) * self.semantic_coarse(semantic).sigmoid()  # (N, C, h/4, w/4)
        return self.last(fine + resize(coarse, size))


class TwoBranches(nn.Module):
    """Both branches, their aggregation and a head of `head` channels, at stride 8: image -> (N, K, H/8, W/8).

    Convolutions start as He et al. 2015, normal, as in the paper.
    """

    def __init__(self, classes: int, in_channels: int, *, head: int, dropout: float, aux: bool) -> None:
        super().__init__()
        self.detail, channels = nn.Sequential(), in_channels
        for widths in DETAIL:
            for place, width in enumerate(widths):
                self.detail.append(conv_bn_relu(channels, width, stride=2 if place == 0 else 1))
                channels = width
        self.stem, self.semantic, narrow = Stem(in_channels), nn.ModuleList(), 16
        for width, depth in SEMANTIC:
            later = (GatherExpand(width, width, 1) for _ in range(depth - 1))
            self.semantic.append(nn.Sequential(GatherExpand(narrow, width, 2), *later))
            narrow = width
        self.context = ContextEmbedding(narrow)
        self.aggregate = GuidedAggregation(channels)
        self.score = _head(channels, head, classes, 1, dropout)
        levels = (16, *(width for width, _ in SEMANTIC))
        boosters = [
            _head(level, max(1, head // share), classes, 2, dropout)
            for level, share in zip(levels, BOOSTERS, strict=True)
        ]
        self.aux = nn.ModuleList(boosters) if aux else None
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self._decode(image, self._semantic(image))

    def outputs(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The logits, then those of the four boosters where asked for, shallow first."""
        levels = self._semantic(image)
        own = (booster(level) for booster, level in zip(self.aux or (), levels, strict=self.aux is not None))
        return self._decode(image, levels), *own

    def _semantic(self, image: torch.Tensor) -> list[torch.Tensor]:
        levels = [self.stem(image)]  # (N, 16, H/4, W/4)
        for stage in self.semantic:
            levels.append(stage(levels[-1]))  # (N, 32, H/8, W/8), (N, 64, H/16, W/16), (N, 128, H/32, W/32)
        return levels

    def _decode(self, image: torch.Tensor, levels: list[torch.Tensor]) -> torch.Tensor:
        x = self.aggregate(self.detail(image), self.context(levels[-1]))  # (N, 128, H/8, W/8)
        return self.score(x)  # (N, K, H/8, W/8)


def bisenetv2(
    classes: Count = 21, *, in_channels: Count = 3, channels: Count = 1024, dropout: Share = 0.1, aux: bool = False
) -> Page:
    """BiSeNet v2: a wide, shallow branch for detail and a thin, deep branch for meaning, which gate each other.

    3,358,883 parameters with 19 classes. channels: width of the head; the booster heads have a 64th, a 16th, a quarter
    and all of it. aux: the four booster heads, 11,445,372 parameters more.
    """
    net = TwoBranches(classes, in_channels, head=channels, dropout=dropout, aux=aux)
    return Page(None, net, classes, in_channels=in_channels)


def _normed(convolution: nn.Conv2d) -> nn.Sequential:
    return nn.Sequential(convolution, nn.BatchNorm2d(convolution.out_channels))


def _depthwise(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    """A depthwise 3x3 that may have several filters for each channel, and batch norm."""
    return _normed(nn.Conv2d(channels, out, 3, stride, padding=1, groups=channels, bias=False))


def _pointwise(channels: int, out: int) -> nn.Sequential:
    return _normed(nn.Conv2d(channels, out, 1, bias=False))


def _head(channels: int, width: int, classes: int, depth: int, dropout: float) -> nn.Sequential:
    """(N, channels, h, w) -> (N, K, h, w): `depth` 3x3 of the width, dropout, 1x1."""
    convolutions = (conv_bn_relu(channels if place == 0 else width, width) for place in range(depth))
    return nn.Sequential(*convolutions, nn.Dropout(dropout), nn.Conv2d(width, classes, 1))
