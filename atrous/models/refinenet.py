"""RefineNet: from the deepest features up, blocks of residual convolutions fuse two resolutions and pool in a chain.

    network    year  arXiv       what is in it
    RefineNet  2017  1611.06612  four cascaded blocks on strides 32, 16, 8, 4 (figure 2c): residual convolution units,
                                 multi-resolution fusion, chained residual pooling (figure 3)

512 channels in the first block, 256 in the others, two pooling steps, three units ahead of the classifier, as the paper
has it. No norms: features first go through a 3x3 to the width of their block (the authors' code).

Axes: N images, C channels, H x W pixels, K classes.
"""

from collections.abc import Sequence

import torch
from torch import nn

from atrous.encoders import PYRAMID, Encoder
from atrous.errors import ModelError
from atrous.models.options import Count, Counts, Share
from atrous.models.page import Features, Page, on_encoder
from atrous.ops.resize import resize


class ResidualUnit(nn.Module):
    """RCU: ReLU, 3x3, ReLU, 3x3, added to the input (figure 3b): the unit of a ResNet without its norms."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(channels, channels, 3, padding=1) for _ in range(2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv2(self.conv1(x.relu()).relu())


class Fusion(nn.Module):
    """Maps of several widths and sizes -> one: each a 3x3 to the least width, resized to the largest, summed (3c)."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Conv2d(width, min(channels), 3, padding=1) for width in channels)

    def forward(self, maps: Sequence[torch.Tensor]) -> torch.Tensor:
        """The first of the maps is the finest."""
        first, *others = (conv(x) for conv, x in zip(self.convs, maps, strict=True))
        return sum((resize(x, first.shape[2:]) for x in others), first)


class ChainedPool(nn.Module):
    """Chained residual pooling: after a ReLU, 5x5 max pool and 3x3, again on the result; all added (figure 3d)."""

    def __init__(self, channels: int, steps: int) -> None:
        super().__init__()
        pool, conv = nn.MaxPool2d(5, stride=1, padding=2), nn.Conv2d
        self.steps = nn.ModuleList(nn.Sequential(pool, conv(channels, channels, 3, padding=1)) for _ in range(steps))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = total = x.relu()
        for step in self.steps:
            x = step(x)
            total = total + x
        return total


class Refine(nn.Module):
    """One RefineNet block: the features of a stride, and the coarser block's map where there is one (figure 3a)."""

    def __init__(self, channels: int, coarser: int | None, width: int, steps: int) -> None:
        super().__init__()
        widths = [width] if coarser is None else [width, coarser]
        self.reduce = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.adapt = nn.ModuleList(nn.Sequential(ResidualUnit(w), ResidualUnit(w)) for w in widths)
        self.fuse = Fusion(widths) if coarser is not None else None
        self.pool, self.out = ChainedPool(min(widths), steps), ResidualUnit(min(widths))

    def forward(self, feature: torch.Tensor, coarser: torch.Tensor | None) -> torch.Tensor:
        maps = [self.reduce(feature)] + ([coarser] if coarser is not None else [])
        maps = [adapt(x) for adapt, x in zip(self.adapt, maps, strict=True)]
        x = self.fuse(maps) if self.fuse is not None else maps[0]
        return self.out(self.pool(x))  # (N, width, of the feature)


class Cascade(nn.Module):
    """A block per stride from the deepest to 4, two more residual units, a 3x3 to the classes."""

    def __init__(self, encoder: Encoder, classes: int, *, channels: Sequence[int], pools: int, dropout: float) -> None:
        super().__init__()
        self.levels = encoder.levels()[::-1]  # deep first
        if len(channels) < len(self.levels):
            raise ModelError(
                f"encoder {encoder.name!r} has {len(self.levels)} levels and refinenet {len(channels)} widths "
                f"{tuple(channels)}; give a width for each, the deepest first"
            )
        self.blocks, coarser = nn.ModuleList(), None
        for index, width in zip(self.levels, channels, strict=False):
            self.blocks.append(Refine(encoder.channels[index], coarser, width, pools))
            coarser = width if coarser is None else min(width, coarser)
        last = int(coarser or 0)
        units = (ResidualUnit(last), ResidualUnit(last))
        self.score = nn.Sequential(*units, nn.Dropout(dropout), nn.Conv2d(last, classes, 3, padding=1))

    def forward(self, features: Features) -> torch.Tensor:
        x = None
        for index, block in zip(self.levels, self.blocks, strict=True):
            x = block(features[index], x)  # (N, 512 or 256, H/s, W/s)
        return self.score(x)  # (N, K, H/4, W/4)


@on_encoder("resnet101", strides=PYRAMID)
def refinenet(
    net: Encoder, classes: int, *, channels: Counts = (512, 256, 256, 256), pools: Count = 2, dropout: Share = 0.5
) -> Page:
    """RefineNet on any encoder: a cascade of blocks that fuse its features from the deepest up to stride 4.

    channels: of each block, the deepest first. pools: pooling steps in each chain.
    """
    return Page(net, Cascade(net, classes, channels=channels, pools=pools, dropout=dropout), classes)
