"""EncNet: the image as a whole, encoded against a dictionary of codewords, says which channels matter.

    network  year  arXiv       what is in it
    EncNet   2018  1803.08904  encoding layer with K = 32 codewords, featuremap attention (section 3.1, figure 2)

The paper's SE-loss, which asks the encoding which classes are in the image, is absent: it is a score per image, not per
pixel, and `outputs` gives logits of the image's size. The layout is mmsegmentation's without lateral convolutions.

Axes: N images, C channels, H x W pixels, T = h x w cells at the encoder's stride s, D codewords, K classes.
"""

from pathlib import Path

import torch
from torch import nn

from atrous import encoders
from atrous.layers import conv_bn_relu, fcn_head, safe_norms
from atrous.ops.resize import Tail


class Encoding(nn.Module):
    """(N, C, h, w) -> (N, D, C): per codeword, the sum of what is left of each cell, by soft assignment (equation 1).

    e_d = sum_t a_td (x_t - c_d), a_td = softmax over d of scale_d |x_t - c_d|^2; scale is the paper's -s, from -1 to 0
    at the start.
    """

    def __init__(self, channels: int, codewords: int) -> None:
        super().__init__()
        reach = (channels * codewords) ** -0.5
        self.codewords = nn.Parameter(torch.empty(codewords, channels).uniform_(-reach, reach))
        self.scale = nn.Parameter(torch.empty(codewords).uniform_(-1, 0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        cells = x.flatten(2).transpose(1, 2)  # (N, T, C)
        products = cells @ self.codewords.T  # (N, T, D)
        squares = cells.square().sum(2, keepdim=True) + self.codewords.square().sum(1)  # (N, T, D)
        weights = (self.scale * (squares - 2 * products)).softmax(2)
        return weights.transpose(1, 2) @ cells - weights.sum(1)[:, :, None] * self.codewords


class Context(nn.Module):
    """(N, C, h, w) -> the same: x + gate * x after a ReLU, the gate (N, C) in 0..1 from the map's encoding."""

    def __init__(self, channels: int, codewords: int) -> None:
        super().__init__()
        self.project = conv_bn_relu(channels, channels, 1)
        self.encode = Encoding(channels, codewords)
        self.norm = nn.BatchNorm1d(codewords)
        self.gate = nn.Sequential(nn.Linear(channels, channels), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        encoding = self.norm(self.encode(self.project(x))).relu().mean(1)  # (N, C): the mean over the codewords
        return (x + x * self.gate(encoding)[:, :, None, None]).relu()


class EncNet(nn.Module):
    """A 3x3 on the last features, context encoding, a 1x1. Any H, W >= 1."""

    def __init__(
        self,
        encoder: encoders.Encoder,
        classes: int,
        *,
        channels: int,
        codewords: int,
        dropout: float,
        aux: bool = False,
    ) -> None:
        super().__init__()
        self.encoder, self.classes, self.in_channels = encoder, classes, encoder.in_channels
        self.reduce = conv_bn_relu(encoder.channels[-1], channels)
        self.context = Context(channels, codewords)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Conv2d(channels, classes, 1))
        self.aux = fcn_head(encoder.channels[-2], classes) if aux else None
        safe_norms(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits, tail = self.logits_at_stride(image)  # (N, K, H/s, W/s)
        return tail.apply(logits)  # (N, K, H, W)

    def logits_at_stride(self, image: torch.Tensor) -> tuple[torch.Tensor, Tail]:
        """Logits (N, K, H/s, W/s) and the resize to the image."""
        return self._decode(self.encoder(image)[-1]), Tail((image.shape[2], image.shape[3]))

    def outputs(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The logits, then the auxiliary ones where asked for, all (N, K, H, W)."""
        *_, middle, deep = self.encoder(image)
        logits = [self._decode(deep)] + ([self.aux(middle)] if self.aux is not None else [])
        return tuple(Tail((image.shape[2], image.shape[3])).apply(one) for one in logits)

    def _decode(self, feature: torch.Tensor) -> torch.Tensor:
        return self.head(self.context(self.reduce(feature)))  # (N, K, H/s, W/s)


def encnet(
    classes: int = 21,
    encoder: str = "resnet50",
    in_channels: int = 3,
    pretrained: bool | str | Path = False,
    stride: int = 8,
    *,
    channels: int = 512,
    codewords: int = 32,
    dropout: float = 0.1,
    aux: bool = False,
) -> EncNet:
    """EncNet on any encoder; stride 8 is the paper's. aux: an FCN head on the features before the deepest."""
    net = encoders.encoder(encoder, in_channels=in_channels, stride=stride, pretrained=pretrained)
    return EncNet(net, classes, channels=channels, codewords=codewords, dropout=dropout, aux=aux)
