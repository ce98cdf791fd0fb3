"""DeepLab: dilated (atrous) convolution keeps the map dense and sees far; a pyramid of rates sees at many scales.

    version  year  arXiv       what changed
    v3       2017  1706.05587  ASPP with batch norm and the image's mean, concatenated; no CRF
    v3+      2018  1802.02611  v3 as an encoder, separable convolutions, a decoder on the features of stride 4

Unlike the paper: no multi-grid in the last block, and the first block of a dilated stage keeps the rate of the stage
before (torchvision's and timm's rule; the TensorFlow nets use the new rate). v3's dropout is torchvision's 0.5, v3+ has
TensorFlow's 0.1. v3 on resnet50 at stride 8 is torchvision's `deeplabv3_resnet50`, weights and all.

Axes: N images, C channels, H x W pixels, s the encoder's stride, K classes.
"""

from pathlib import Path

import torch
from torch import nn

from atrous import encoders
from atrous.errors import ModelError
from atrous.layers import ASPP, conv_bn_relu, fcn_head, safe_norms, separable_conv
from atrous.ops.resize import Tail, resize

RATES = {16: (6, 12, 18), 8: (12, 24, 36)}
"""Dilation rates of ASPP at a stride (v3, section 4.2): doubled where the map is twice as dense."""


class DeepLabV3(nn.Module):
    """ASPP, a 3x3 and a 1x1 on the encoder's last features. Any H, W >= 1."""

    def __init__(
        self, encoder: encoders.Encoder, classes: int, rates: tuple[int, ...], *, dropout: float, aux: bool = False
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


class DeepLabV3Plus(nn.Module):
    """Separable ASPP, joined by 48 channels of the first features at stride 4, two separable 3x3. Any H, W >= 1."""

    def __init__(
        self, encoder: encoders.Encoder, classes: int, rates: tuple[int, ...], *, dropout: float, aux: bool = False
    ) -> None:
        super().__init__()
        if 4 not in encoder.strides:
            raise ModelError(
                f"encoder {encoder.name!r} has features at strides {encoder.strides}, deeplabv3plus needs some at 4; "
                "use another encoder, such as 'resnet50', or deeplabv3"
            )
        self.encoder, self.classes, self.in_channels = encoder, classes, encoder.in_channels
        self.low_index = encoder.strides.index(4)
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
    dropout: float = 0.5,
    aux: bool = False,
) -> DeepLabV3:
    """DeepLab v3 on any encoder that dilates to stride 16 or 8; aux: an FCN head on the second last features."""
    net = _dilated(encoder, in_channels, pretrained, stride)
    return DeepLabV3(net, classes, RATES[stride], dropout=dropout, aux=aux)


def deeplabv3plus(
    classes: int = 21,
    encoder: str = "resnet50",
    in_channels: int = 3,
    pretrained: bool | str | Path = False,
    stride: int = 16,
    *,
    dropout: float = 0.1,
    aux: bool = False,
) -> DeepLabV3Plus:
    """DeepLab v3+ on any encoder with features at stride 4 that can be dilated to stride 16 or 8."""
    net = _dilated(encoder, in_channels, pretrained, stride)
    return DeepLabV3Plus(net, classes, RATES[stride], dropout=dropout, aux=aux)


def _dilated(encoder: str, in_channels: int, pretrained: bool | str | Path, stride: int) -> encoders.Encoder:
    if stride not in tuple(RATES):
        raise ModelError(f"stride {stride!r} is not one that DeepLab has rates for; use 16 (faster) or 8 (denser)")
    return encoders.encoder(encoder, in_channels=in_channels, stride=stride, pretrained=pretrained)


def _to_image(image: torch.Tensor) -> Tail:
    return Tail((image.shape[2], image.shape[3]))
