"""PSPNet: the means of the map over 1, 4, 9 and 36 regions tell every cell what scene it lies in.

    network  year  arXiv       what is in it
    PSPNet   2017  1612.01105  a ResNet at stride 8, pyramid pooling, a 3x3 and a 1x1; an auxiliary head on stage 4

Each pooled map, and the head, has a quarter of the encoder's channels, 512 on ResNet-50. The paper's ResNet has a stem
of three 3x3, in timm `encoder="resnet50c"`; the default is the plain resnet50.

Axes: N images, C channels, H x W pixels, s the encoder's stride, K classes.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

from atrous import encoders
from atrous.errors import ModelError
from atrous.layers import PyramidPool, conv_bn_relu, fcn_head, safe_norms
from atrous.layers.ppm import BINS
from atrous.ops.resize import Tail


class PSPNet(nn.Module):
    """Pyramid pooling of the encoder's last features, then a 3x3 and a 1x1 (figure 3). Any H, W >= 1."""

    def __init__(
        self, encoder: encoders.Encoder, classes: int, bins: Sequence[int], *, dropout: float, aux: bool = False
    ) -> None:
        super().__init__()
        self.encoder, self.classes, self.in_channels = encoder, classes, encoder.in_channels
        channels = encoder.channels[-1]
        narrow = max(1, channels // 4)
        self.pool = PyramidPool(channels, narrow, bins)
        self.head = nn.Sequential(
            *conv_bn_relu(channels + len(bins) * narrow, narrow), nn.Dropout(dropout), nn.Conv2d(narrow, classes, 1)
        )
        self.aux = fcn_head(encoder.channels[-2], classes) if aux else None
        safe_norms(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits, tail = self.logits_at_stride(image)  # (N, K, H/s, W/s)
        return tail.apply(logits)  # (N, K, H, W)

    def logits_at_stride(self, image: torch.Tensor) -> tuple[torch.Tensor, Tail]:
        """Logits (N, K, H/s, W/s) and the resize to the image."""
        return self._decode(self.encoder(image)), _to_image(image)

    def outputs(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The logits, then the auxiliary ones where asked for, all (N, K, H, W); the paper weighs these by 0.4."""
        features = self.encoder(image)
        logits = [self._decode(features)] + ([self.aux(features[-2])] if self.aux is not None else [])
        return tuple(_to_image(image).apply(one) for one in logits)

    def _decode(self, features: tuple[torch.Tensor, ...]) -> torch.Tensor:
        x = self.pool(features[-1])  # (N, 2 C, H/s, W/s)
        return self.head(x)  # (N, K, H/s, W/s)


def pspnet(
    classes: int = 21,
    encoder: str = "resnet50",
    in_channels: int = 3,
    pretrained: bool | str | Path = False,
    stride: int = 8,
    *,
    bins: Sequence[int] = BINS,
    dropout: float = 0.1,
    aux: bool = False,
) -> PSPNet:
    """PSPNet on any encoder; resnet50c with 21 classes has 46,611,829 parameters, 48,977,034 with `aux`.

    stride: 8 in the paper. bins: cells per side of each pooled map. aux: an FCN head on the second last features.
    """
    if not bins or not all(isinstance(bin_, int) and bin_ >= 1 for bin_ in bins):
        raise ModelError(f"bins {tuple(bins)} of pspnet are not whole numbers from 1 on; use such as {BINS}")
    net = encoders.encoder(encoder, in_channels=in_channels, stride=stride, pretrained=pretrained)
    return PSPNet(net, classes, bins, dropout=dropout, aux=aux)


def _to_image(image: torch.Tensor) -> Tail:
    return Tail((image.shape[2], image.shape[3]))
