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
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn

from atrous import encoders
from atrous.encoders.dilation import set_rate
from atrous.errors import ModelError
from atrous.layers import ASPP, conv_bn_relu, fcn_head, safe_norms, separable_conv
from atrous.ops.resize import Tail, resize

DeepLabT = TypeVar("DeepLabT", bound="DeepLabV3 | DeepLabV3Cascade | DeepLabV3Plus")

RATES = {16: (6, 12, 18), 8: (12, 24, 36)}
"""Dilation rates of ASPP at a stride (v3, section 4.2): doubled where the map is twice as dense."""

MULTIGRID = (1, 2, 1)
"""Rates of a cascade's three units, in units of their block's (v3, table 4: the best for the cascade)."""


class DeepLabV3(nn.Module):
    """ASPP, a 3x3 and a 1x1 on the encoder's last features. Any H, W >= 1."""

    def __init__(
        self, encoder: encoders.Encoder, classes: int, rates: Sequence[int], *, dropout: float, aux: bool = False
    ) -> None:
        super().__init__()
        self.encoder, self.classes, self.in_channels = encoder, classes, encoder.in_channels
        self.aspp = ASPP(encoder.channels[-1], rates, dropout=dropout)
        self.head = nn.Sequential(*conv_bn_relu(256, 256), nn.Conv2d(256, classes, 1))
        self.aux = fcn_head(encoder.channels[-2], classes) if aux else None
        safe_norms(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits, tail = self.logits_at_stride(image)  # (N, K, H/s, W/s)
        return tail.apply(logits)  # (N, K, H, W)

    def logits_at_stride(self, image: torch.Tensor) -> tuple[torch.Tensor, Tail]:
        """Logits (N, K, H/s, W/s) and the resize to the image."""
        return self._decode(self.encoder(image)), _to_image(image)

    def outputs(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The logits, then the auxiliary ones where asked for, all (N, K, H, W)."""
        features = self.encoder(image)
        logits = [self._decode(features)] + ([self.aux(features[-2])] if self.aux is not None else [])
        return tuple(_to_image(image).apply(one) for one in logits)

    def _decode(self, features: tuple[torch.Tensor, ...]) -> torch.Tensor:
        x = self.aspp(features[-1])  # (N, 256, H/s, W/s)
        return self.head(x)  # (N, K, H/s, W/s)


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


class DeepLabV3Cascade(nn.Module):
    """Blocks 5 to 7, copies of a ResNet's last block, and a 1x1 (v3, section 4.1, figure 3b). Any H, W >= 1.

    At stride 32 each block would halve the map of the one before; here each doubles its rate: 4, 8, 16 at stride 16.
    """

    def __init__(self, encoder: encoders.Encoder, classes: int, grid: Sequence[int], *, aux: bool = False) -> None:
        super().__init__()
        self.encoder, self.classes, self.in_channels = encoder, classes, encoder.in_channels
        channels, rate = encoder.channels[-1], 32 // encoder.strides[-1]  # rate of the encoder's last block
        self.blocks = nn.Sequential(
            *(nn.Sequential(*(Unit(channels, rate * 2**block * r) for r in grid)) for block in (1, 2, 3))
        )
        self.head = nn.Conv2d(channels, classes, 1)
        self.aux = fcn_head(encoder.channels[-2], classes) if aux else None
        safe_norms(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits, tail = self.logits_at_stride(image)  # (N, K, H/s, W/s)
        return tail.apply(logits)  # (N, K, H, W)

    def logits_at_stride(self, image: torch.Tensor) -> tuple[torch.Tensor, Tail]:
        """Logits (N, K, H/s, W/s) and the resize to the image."""
        return self._decode(self.encoder(image)), _to_image(image)

    def outputs(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The logits, then the auxiliary ones where asked for, all (N, K, H, W)."""
        features = self.encoder(image)
        logits = [self._decode(features)] + ([self.aux(features[-2])] if self.aux is not None else [])
        return tuple(_to_image(image).apply(one) for one in logits)

    def _decode(self, features: tuple[torch.Tensor, ...]) -> torch.Tensor:
        return self.head(self.blocks(features[-1]))  # (N, K, H/s, W/s)


class DeepLabV3Plus(nn.Module):
    """Separable ASPP, joined by 48 channels of the first features at stride 4, two separable 3x3. Any H, W >= 1."""

    def __init__(
        self, encoder: encoders.Encoder, classes: int, rates: Sequence[int], *, dropout: float, aux: bool = False
    ) -> None:
        super().__init__()
        self.encoder, self.classes, self.in_channels = encoder, classes, encoder.in_channels
        self.low_index = encoder.index_at(4)
        self.aspp = ASPP(encoder.channels[-1], rates, separable=True, dropout=dropout)
        self.low = conv_bn_relu(encoder.channels[self.low_index], 48, 1)
        self.head = nn.Sequential(separable_conv(256 + 48, 256), separable_conv(256, 256), nn.Conv2d(256, classes, 1))
        self.aux = fcn_head(encoder.channels[-2], classes) if aux else None
        safe_norms(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits, tail = self.logits_at_stride(image)  # (N, K, H/4, W/4)
        return tail.apply(logits)  # (N, K, H, W)

    def logits_at_stride(self, image: torch.Tensor) -> tuple[torch.Tensor, Tail]:
        """Logits (N, K, H/4, W/4) and the resize to the image."""
        return self._decode(self.encoder(image)), _to_image(image)

    def outputs(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The logits, then the auxiliary ones where asked for, all (N, K, H, W)."""
        features = self.encoder(image)
        logits = [self._decode(features)] + ([self.aux(features[-2])] if self.aux is not None else [])
        return tuple(_to_image(image).apply(one) for one in logits)

    def _decode(self, features: tuple[torch.Tensor, ...]) -> torch.Tensor:
        low = self.low(features[self.low_index])  # (N, 48, H/4, W/4)
        x = resize(self.aspp(features[-1]), low.shape[2:])  # (N, 256, H/4, W/4)
        return self.head(torch.cat([x, low], 1))  # (N, K, H/4, W/4)


def deeplabv3(
    classes: int = 21,
    encoder: str = "resnet50",
    in_channels: int = 3,
    pretrained: bool | str | Path = False,
    stride: int = 16,
    *,
    cascade: bool = False,
    rates: Sequence[int] | None = None,
    grid: Sequence[int] = (),
    dilate_first: bool = False,
    dropout: float = 0.5,
    aux: bool = False,
) -> DeepLabV3 | DeepLabV3Cascade:
    """DeepLab v3 on any encoder that dilates to stride 16 or 8; aux: an FCN head on the second last features.

    cascade: blocks 5 to 7 in place of ASPP; rates and dropout are then unused. rates: of ASPP, `RATES[stride]` if None.
    grid: multi-grid of the encoder's last block, as long as it has units, (1, 2, 4) in the paper's best net at stride
    16, and of the cascade's blocks, there `MULTIGRID` if empty. dilate_first: see above; the paper's nets have it.
    """
    net = _dilated(encoder, in_channels, pretrained, stride, dilate_first, grid)
    if cascade:
        return DeepLabV3Cascade(net, classes, grid or MULTIGRID, aux=aux)
    return DeepLabV3(net, classes, _rates(rates, stride), dropout=dropout, aux=aux)


def deeplabv3plus(
    classes: int = 21,
    encoder: str = "resnet50",
    in_channels: int = 3,
    pretrained: bool | str | Path = False,
    stride: int = 16,
    *,
    rates: Sequence[int] | None = None,
    grid: Sequence[int] = (),
    dilate_first: bool = False,
    dropout: float = 0.1,
    aux: bool = False,
) -> DeepLabV3Plus:
    """DeepLab v3+ on any encoder with features at stride 4 that can be dilated to stride 16 or 8.

    The paper's are resnet101 and xception65, its modified aligned Xception. Options as in `deeplabv3`.
    """
    net = _dilated(encoder, in_channels, pretrained, stride, dilate_first, grid, strides=(4, stride))
    return DeepLabV3Plus(net, classes, _rates(rates, stride), dropout=dropout, aux=aux)


def set_stride(model: DeepLabT, stride: int) -> DeepLabT:
    """Let a built, or trained, net run at stride 16 or 8 with the weights it has; changes it in place and returns it.

    The encoder's strides and rates become those of one built at that stride, the head's rates grow as the map does (v3,
    section 4.1: train at 16, evaluate at 8). No tensor changes: an optimizer goes on with the same parameters.
    Raises ModelError, with nothing changed, where the encoder or a rate does not allow it.
    """
    _check(stride)
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
    encoder: str,
    in_channels: int,
    pretrained: bool | str | Path,
    stride: int,
    dilate_first: bool,
    grid: Sequence[int],
    strides: Sequence[int] = (),
) -> encoders.Encoder:
    _check(stride)
    return encoders.encoder(
        encoder,
        in_channels=in_channels,
        stride=stride,
        pretrained=pretrained,
        dilate_first=dilate_first,
        grid=grid,
        strides=strides,
    )


def _rates(rates: Sequence[int] | None, stride: int) -> Sequence[int]:
    if rates is None:
        return RATES[stride]
    if not all(isinstance(rate, int) and rate >= 1 for rate in rates):
        raise ModelError(f"rates {tuple(rates)} of ASPP are not whole numbers from 1 on; use such as {RATES[stride]}")
    return rates


def _check(stride: int) -> None:
    if stride not in tuple(RATES):
        raise ModelError(f"stride {stride!r} is not one that DeepLab has rates for; use 16 (faster) or 8 (denser)")


def _to_image(image: torch.Tensor) -> Tail:
    return Tail((image.shape[2], image.shape[3]))
