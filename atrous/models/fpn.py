"""Semantic FPN: a pyramid of maps with one meaning; every level is brought to stride 4 and all are summed.

    network       year  arXiv       what is in it
    FPN           2017  1612.03144  1x1 laterals, the coarser map added from above (`Pyramid`)
    Panoptic FPN  2019  1901.02446  the semantic branch: per level 3x3, group norm, ReLU, twice the size; sum; 1x1

The FPN of 2017 smooths each sum by a 3x3, and so does the paper; the common implementation (smp's, 26,118,613
parameters on resnet50) does not, and this is the default; `smooth=True` gives the paper's. Every upsampling is to the
size of the finer map, so that no size is refused.

Axes: N images, C channels, H x W pixels, K classes.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from atrous.encoders import PYRAMID, Encoder
from atrous.models.options import Share
from atrous.models.page import Features, Page, on_encoder
from atrous.ops.resize import resize


class Pyramid(nn.Module):
    """Features of rising strides -> as many maps of `out` channels at their sizes, fine first (FPN, figure 3)."""

    def __init__(self, channels: Sequence[int], out: int, *, smooth: bool) -> None:
        super().__init__()
        self.laterals = nn.ModuleList(nn.Conv2d(width, out, 1) for width in channels)
        self.smooth = nn.ModuleList(nn.Conv2d(out, out, 3, padding=1) if smooth else nn.Identity() for _ in channels)

    def forward(self, features: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        maps = [lateral(feature) for lateral, feature in zip(self.laterals, features, strict=True)]
        for index in reversed(range(len(maps) - 1)):
            above = resize(maps[index + 1], maps[index].shape[2:], mode="nearest")
            maps[index] = maps[index] + above
        return [smooth(x) for smooth, x in zip(self.smooth, maps, strict=True)]


class Rise(nn.Module):
    """(N, channels, h, w) -> (N, out, at the last of `sizes`): a 3x3, group norm, ReLU and a resize per size.

    `steps` of them; where it is 0, one 3x3 and no resize (panoptic FPN, figure 3). smp's has `align_corners`.
    """

    def __init__(self, channels: int, out: int, steps: int, *, align_corners: bool = False) -> None:
        super().__init__()
        self.align_corners = align_corners
        widths = [channels, *[out] * max(1, steps)]
        self.convs = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, padding=1, bias=False), nn.GroupNorm(32, b), nn.ReLU(inplace=True))
            for a, b in pairwise(widths)
        )

    def forward(self, x: torch.Tensor, sizes: Sequence[torch.Size]) -> torch.Tensor:
        if not sizes:
            return self.convs[0](x)
        for conv, size in zip(self.convs, sizes, strict=True):
            x = resize(conv(x), size, align_corners=self.align_corners)
        return x


class SemanticFPN(nn.Module):
    """A pyramid on the encoder's strides from 4 on, each level raised to 4, summed, classified."""

    def __init__(self, encoder: Encoder, classes: int, *, smooth: bool, dropout: float) -> None:
        super().__init__()
        self.levels = encoder.levels()
        self.pyramid = Pyramid([encoder.channels[index] for index in self.levels], 256, smooth=smooth)
        self.rise = nn.ModuleList(Rise(256, 128, steps) for steps in range(len(self.levels)))
        self.score = nn.Sequential(nn.Dropout2d(dropout), nn.Conv2d(128, classes, 1))

    def forward(self, features: Features) -> torch.Tensor:
        maps = self.pyramid([features[index] for index in self.levels])  # (N, 256, H/s, W/s)
        sizes = [x.shape[2:] for x in maps]
        raised = [rise(x, sizes[:index][::-1]) for index, (rise, x) in enumerate(zip(self.rise, maps, strict=True))]
        return self.score(sum(raised[1:], raised[0]))  # (N, K, H/4, W/4)


@on_encoder("resnet50", strides=PYRAMID)
def fpn(net: Encoder, classes: int, *, smooth: bool = False, dropout: Share = 0.2) -> Page:
    """Semantic FPN on any encoder: a top-down pyramid of features; its levels are summed at stride 4.

    The encoder needs features at stride 4. smooth: a 3x3 on each map of the pyramid, as in the paper. dropout: of whole
    channels ahead of the classifier.
    """
    return Page(net, SemanticFPN(net, classes, smooth=smooth, dropout=dropout), classes)
