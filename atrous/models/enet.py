"""ENet: a long encoder of thin bottlenecks at an eighth of the image, and a short decoder that unpools and smooths.

    network  year  arXiv       what is in it
    ENet     2016  1606.02147  early downsampling, bottlenecks of a quarter of the channels with plain, dilated and
                               asymmetric convolutions, max-unpooling by the encoder's indices, 0.35 million parameters

The layers are table 1 of the paper; no convolution has a bias. As in the paper's text and the released net the decoder
has ReLU where the encoder has PReLU. `slopes="shared"` has one PReLU slope for each bottleneck, `"channel"` the paper's
one for each feature map. Three poolings need sides that eight divides: the border is mirrored up to that and cut off.

Axes: N images, C channels, H x W pixels, h x w cells of a map, K classes.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from atrous.layers import pad_reflect, safe_norms
from atrous.models.model import Whole
from atrous.models.options import Count, Share
from atrous.ops.unpool import max_unpool

Slopes = Literal["shared", "channel"] | None
"""PReLU with one slope for a whole bottleneck, PReLU with one for each feature map, or ReLU (None)."""

SECTION = (("plain", 1), ("dilated", 2), ("asymmetric", 5), ("dilated", 4),
           ("plain", 1), ("dilated", 8), ("asymmetric", 5), ("dilated", 16))  # fmt: skip
"""Bottlenecks 2.1 to 2.8, repeated as stage 3 (table 1): kind and dilation, or length of the asymmetric kernel."""


class Initial(nn.Module):
    """(N, C, H, W) -> (N, max(16, C + 1), H/2, W/2): a 3x3 of stride 2 beside a pooling of the image (figure 2a)."""

    def __init__(self, channels: int, slopes: Slopes) -> None:
        super().__init__()
        self.out = max(16, channels + 1)  # 13 filters for three channels
        self.conv = nn.Conv2d(channels, self.out - channels, 3, stride=2, padding=1, bias=False)
        self.pool = nn.MaxPool2d(3, stride=2, padding=1)
        self.last = nn.Sequential(nn.BatchNorm2d(self.out), *_nonlinear([self.out], slopes))

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.last(torch.cat([self.conv(image), self.pool(image)], 1))


class Bottleneck(nn.Module):
    """(N, C, h, w) -> (N, out, h', w'): a branch of thin convolutions, each with batch norm and, but for the last, a
    nonlinearity; spatial dropout; the sum with `main`, which is the input where none is given (figure 2b)."""

    def __init__(self, convolutions: Sequence[nn.Conv2d | nn.ConvTranspose2d], slopes: Slopes, dropout: float) -> None:
        super().__init__()
        self.branch = nn.ModuleList(nn.Sequential(conv, nn.BatchNorm2d(conv.out_channels)) for conv in convolutions)
        self.nonlinear = _nonlinear([conv.out_channels for conv in convolutions], slopes)
        self.dropout = nn.Dropout2d(dropout)

    def forward(self, x: torch.Tensor, main: torch.Tensor | None = None) -> torch.Tensor:
        y, (*firsts, last) = x, self.branch
        for place, convolution in enumerate(firsts):
            y = self.nonlinear[min(place, len(self.nonlinear) - 1)](convolution(y))
        return self.nonlinear[-1]((x if main is None else main) + self.dropout(last(y)))


class Down(nn.Module):
    """(N, C, h, w) -> (N, out, h/2, w/2) and the indices: a bottleneck of 2x2 with stride 2, 3x3, 1x1 beside a pooling
    that is padded with maps of zeros."""

    def __init__(self, channels: int, out: int, slopes: Slopes, dropout: float) -> None:
        super().__init__()
        inner = channels // 4
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.missing = out - channels
        halve, plain = _conv(channels, inner, 2, stride=2), _conv(inner, inner, 3, padding=1)
        self.bottleneck = Bottleneck([halve, plain, _conv(inner, out)], slopes, dropout)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        pooled, indices = self.pool(x)  # (N, C, h/2, w/2)
        padded = nn.functional.pad(pooled, (0, 0, 0, 0, 0, self.missing))  # (N, out, h/2, w/2)
        return self.bottleneck(x, padded), indices


class Up(nn.Module):
    """(N, C, h, w), indices -> (N, out, 2h, 2w): a bottleneck with a 2x2 deconvolution of stride 2 beside a 1x1 that is
    unpooled by the indices. Its nonlinearity is ReLU."""

    def __init__(self, channels: int, out: int, dropout: float) -> None:
        super().__init__()
        inner = channels // 4
        self.main = nn.Sequential(_conv(channels, out), nn.BatchNorm2d(out))
        double = nn.ConvTranspose2d(inner, inner, 2, stride=2, bias=False)
        self.bottleneck = Bottleneck([_conv(channels, inner), double, _conv(inner, out)], None, dropout)

    def forward(self, x: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        size = (2 * x.shape[2], 2 * x.shape[3])
        return self.bottleneck(x, max_unpool(self.main(x), indices, size))


class ENet(Whole):
    """Table 1 of the paper: a stage at stride 4, two at stride 8, and back by the indices. Any H, W >= 1."""

    def __init__(self, classes: int, in_channels: int, *, slopes: Slopes, dropout: tuple[float, float]) -> None:
        super().__init__()
        self.classes, self.in_channels = classes, in_channels
        early, late = dropout
        self.initial = Initial(in_channels, slopes)
        self.down1 = Down(self.initial.out, 64, slopes, early)
        self.stage1 = _stage(64, [("plain", 1)] * 4, slopes, early)
        self.down2 = Down(64, 128, slopes, late)
        self.stage2, self.stage3 = (_stage(128, SECTION, slopes, late) for _ in range(2))
        self.up4 = Up(128, 64, late)
        self.stage4 = _stage(64, [("plain", 1)] * 2, None, late)
        self.up5 = Up(64, self.initial.out, late)
        self.stage5 = _stage(self.initial.out, [("plain", 1)], None, late)
        self.fullconv = nn.ConvTranspose2d(self.initial.out, classes, 3, 2, padding=1, output_padding=1, bias=False)
        safe_norms(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[2:]
        x = self.initial(pad_reflect(image, 0, -height % 8, 0, -width % 8))  # (N, 16, H/2, W/2)
        x, first = self.down1(x)  # (N, 64, H/4, W/4)
        x, second = self.down2(self.stage1(x))  # (N, 128, H/8, W/8)
        x = self.stage3(self.stage2(x))  # (N, 128, H/8, W/8)
        x = self.stage4(self.up4(x, second))  # (N, 64, H/4, W/4)
        x = self.stage5(self.up5(x, first))  # (N, 16, H/2, W/2)
        return self.fullconv(x)[:, :, :height, :width]  # (N, K, H, W)


def enet(
    classes: Count = 21,
    *,
    in_channels: Count = 3,
    slopes: Literal["shared", "channel"] = "shared",
    early_dropout: Share = 0.01,
    dropout: Share = 0.1,
) -> ENet:
    """ENet, built for speed: a thin encoder at an eighth of the image's size, a short decoder with max-unpooling.

    351,878 parameters with 21 classes, 350,438 with 11. slopes: one PReLU slope for each bottleneck of the encoder
    ("shared") or one for each feature map ("channel", the paper's). early_dropout: of stage 1. dropout: of all stages
    that follow.
    """
    return ENet(classes, in_channels, slopes=slopes, dropout=(early_dropout, dropout))


def _conv(channels: int, out: int, kernel: int = 1, stride: int = 1, padding: int = 0, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels, out, kernel, stride, padding, dilation, bias=False)


def _nonlinear(widths: Sequence[int], slopes: Slopes) -> nn.ModuleList:
    """The nonlinearities of a block's places, which have these many channels; a single one serves them all."""
    if slopes == "channel":
        return nn.ModuleList(nn.PReLU(width) for width in widths)
    return nn.ModuleList([nn.PReLU() if slopes == "shared" else nn.ReLU()])


def _stage(channels: int, kinds: Sequence[tuple[str, int]], slopes: Slopes, dropout: float) -> nn.Sequential:
    """Bottlenecks that keep the size and the channels: 1x1 to a quarter, the kind's convolution, 1x1 back."""
    inner, stage = channels // 4, nn.Sequential()
    for kind, reach in kinds:
        if kind == "asymmetric":
            middle = [
                nn.Conv2d(inner, inner, (reach, 1), padding=(reach // 2, 0), bias=False),
                nn.Conv2d(inner, inner, (1, reach), padding=(0, reach // 2), bias=False),
            ]
        else:
            middle = [_conv(inner, inner, 3, padding=reach, dilation=reach)]
        stage.append(Bottleneck([_conv(channels, inner), *middle, _conv(inner, channels)], slopes, dropout))
    return stage
