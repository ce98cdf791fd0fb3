"""DeepLab: dilated (atrous) convolution keeps the map dense and sees far; a pyramid of rates sees at many scales.

    version  year  arXiv       what changed
    v3       2017  1706.05587  ASPP with batch norm and the image's mean, concatenated; no CRF
    v3+      2018  1802.02611  v3 as an encoder, separable convolutions, a decoder on the features of stride 4

`grid` is v3's multi-grid, `cascade` its other form: blocks 5 to 7 after the encoder instead of ASPP. `set_stride` lets
a net trained at stride 16 run at 8 with the same weights. `dilate_first` is the rule of the TensorFlow nets, the new
rate in every block of a dilated stage; by default its first block keeps the rate of the stage before, as in torchvision
and timm. v3 has torchvision's 3x3 after ASPP and its dropout of 0.5, v3+ TensorFlow's 0.1. v3 on resnet50 at stride 8
is torchvision's `deeplabv3_resnet50`, on mobilenet_v3_large at stride 16 with rates 12, 24, 36 its
`deeplabv3_mobilenet_v3_large`, weights and all. v1 and v2 are in deeplab_early.py.

Axes: N images, C channels, H x W pixels, s the encoder's stride, K classes.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from atrous import encoders
from atrous.encoders.dilation import set_rate
from atrous.errors import ModelError
from atrous.layers import ASPP, conv_bn_relu, separable_conv
from atrous.models.options import AnyCounts, Count, Pretrained, Share
from atrous.models.page import Features, On, Page, fcn_aux
from atrous.ops.resize import resize

RATES = {16: (6, 12, 18), 8: (12, 24, 36)}
"""Dilation rates of ASPP at a stride (v3, section 4.2): doubled where the map is twice as dense."""

MULTIGRID = (1, 2, 1)
"""Rates of a cascade's three units, in units of their block's (v3, table 4: the best for the cascade)."""


class Unit(nn.Module):
    """(N, C, h, w) -> the same: a ResNet's bottleneck, 1x1 to a quarter, 3x3 at a rate, 1x1, added to its input."""

    def __init__(self, channels: int, rate: int) -> None:
        super().__init__()
        narrow = max(1, channels // 4)
        self.inner = nn.Sequential(
            *conv_bn_relu(channels, narrow, 1),
            *conv_bn_relu(narrow, narrow, 3, dilation=rate),
            nn.Conv2d(narrow, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (self.inner(x) + x).relu()


def cascade_blocks(channels: int, stride: int, grid: Sequence[int]) -> nn.Sequential:
    """Blocks 5 to 7, copies of a ResNet's last block (v3, section 4.1, figure 3b): (N, C, h, w) -> the same.

    At stride 32 each block would halve the map of the one before; here each doubles its rate: 4, 8, 16 at stride 16.
    """
    rate = 32 // stride  # of the encoder's last block
    blocks = ([Unit(channels, rate * 2**block * r) for r in grid] for block in (1, 2, 3))
    return nn.Sequential(*(nn.Sequential(*units) for units in blocks))


class PlusHead(nn.Module):
    """v3+: separable ASPP, joined by 48 channels of the first features at stride 4, two separable 3x3, a 1x1."""

    def __init__(self, encoder: encoders.Encoder, classes: int, rates: Sequence[int], *, dropout: float) -> None:
        super().__init__()
        self.low_index = encoder.index_at(4)
        self.aspp = ASPP(encoder.channels[-1], rates, separable=True, dropout=dropout)
        self.low = conv_bn_relu(encoder.channels[self.low_index], 48, 1)
        self.score = nn.Sequential(separable_conv(256 + 48, 256), separable_conv(256, 256), nn.Conv2d(256, classes, 1))

    def forward(self, features: Features) -> torch.Tensor:
        low = self.low(features[self.low_index])  # (N, 48, H/4, W/4)
        x = resize(self.aspp(features[-1]), low.shape[2:])  # (N, 256, H/4, W/4)
        return self.score(torch.cat([x, low], 1))  # (N, K, H/4, W/4)


def deeplabv3(
    classes: Count = 21,
    *,
    encoder: str = "resnet50",
    in_channels: Count = 3,
    pretrained: Pretrained = False,
    stride: Literal[8, 16] = 16,
    cascade: bool = False,
    rates: AnyCounts | None = None,
    grid: AnyCounts = (),
    dilate_first: bool = False,
    dropout: Share = 0.5,
    aux: bool = False,
) -> Page:
    """DeepLab v3 on any encoder that can be dilated: convolutions of several rates side by side (ASPP).

    stride: of the dilated encoder. aux: an FCN head on the features before the deepest. cascade: blocks 5 to 7 in place
    of ASPP; rates and dropout are then unused. rates: of ASPP, `RATES[stride]` if None. grid: multi-grid, the rates of
    the units in the encoder's last block, one for each of them; (1, 2, 4) in the paper's best net at stride 16. The
    cascade's blocks use it, or `MULTIGRID` if it is empty. dilate_first: new rates in stages' first blocks too (paper).
    """
    net = _dilated(encoder, in_channels, pretrained, stride, dilate_first, grid)
    deep = net.channels[-1]
    if cascade:
        blocks = cascade_blocks(deep, net.strides[-1], grid or MULTIGRID)
        head = On(-1, blocks=blocks, score=nn.Conv2d(deep, classes, 1))
    else:
        aspp = ASPP(deep, RATES[stride] if rates is None else rates, dropout=dropout)
        head = On(-1, aspp=aspp, score=nn.Sequential(*conv_bn_relu(256, 256), nn.Conv2d(256, classes, 1)))
    return Page(net, head, classes, fcn_aux(net, classes) if aux else None)


def deeplabv3plus(
    classes: Count = 21,
    *,
    encoder: str = "resnet50",
    in_channels: Count = 3,
    pretrained: Pretrained = False,
    stride: Literal[8, 16] = 16,
    rates: AnyCounts | None = None,
    grid: AnyCounts = (),
    dilate_first: bool = False,
    dropout: Share = 0.1,
    aux: bool = False,
) -> Page:
    """DeepLab v3+ on any encoder that can be dilated: ASPP, and a decoder that adds the detail of stride 4.

    The encoder needs features at stride 4 and must allow stride 16 or 8. The paper's are resnet101 and xception65, its
    modified aligned Xception. Options as in `deeplabv3`.
    """
    net = _dilated(encoder, in_channels, pretrained, stride, dilate_first, grid, 4, stride)
    head = PlusHead(net, classes, RATES[stride] if rates is None else rates, dropout=dropout)
    return Page(net, head, classes, fcn_aux(net, classes) if aux else None)


def set_stride(model: Page, stride: int) -> Page:
    """Let a built, or trained, net run at stride 16 or 8 with the weights it has; changes it in place and returns it.

    The encoder's strides and rates become those of one built at that stride, the head's rates grow as the map does (v3,
    section 4.1: train at 16, evaluate at 8). No tensor changes: an optimizer goes on with the same parameters.
    Raises ModelError, with nothing changed, where the encoder or a rate does not allow it.
    """
    if stride not in RATES:
        raise ModelError(f"stride {stride!r} is not one that DeepLab has rates for; use 16 (faster) or 8 (denser)")
    before = model.encoder.strides[-1]
    heads = [part for name, part in model.named_children() if name != "encoder"]
    dilated = [
        layer for part in heads for layer in part.modules() if isinstance(layer, nn.Conv2d) and layer.dilation[0] > 1
    ]
    if odd := [layer.dilation[0] for layer in dilated if layer.dilation[0] * before % stride]:
        raise ModelError(
            f"a rate of {odd[0]} at stride {before} is no whole number at stride {stride}; build it with other rates"
        )
    model.encoder = encoders.restrided(model.encoder, stride)
    for layer in dilated:
        set_rate(layer, layer.dilation[0] * before // stride)
    return model


def _dilated(
    name: str, channels: int, pretrained: Pretrained, stride: int, first: bool, grid: Sequence[int], *strides: int
) -> encoders.Encoder:
    return encoders.encoder(
        name, in_channels=channels, stride=stride, pretrained=pretrained, dilate_first=first, grid=grid, strides=strides
    )
