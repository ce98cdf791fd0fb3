"""ICNet: the deep layers see a small image, the shallow ones a larger one, three convolutions the full one.

    network  year  arXiv       what is in it
    ICNet    2018  1704.08545  an encoder whose map is halved at its stride 8, pyramid pooling summed, cascade feature
                               fusion of three resolutions, each guided by labels of its own (`aux=True`)

The image is halved; the encoder runs on it to stride 8, its map is halved again, and the rest, dilated, runs on that.
So the encoder must be a chain that can be cut and dilated: ResNets, ConvNeXts, EfficientNets. The paper cuts inside the
second stage and prunes the trained net to half its filters; here the cut is at the stage's end and nothing is pruned.
Three resolutions need sides that 32 divides: the border is mirrored up to that and cut off.

Axes: N images, C channels, H x W pixels, h x w cells of a map, K classes.
"""

import torch
from torch import nn

from atrous import encoders
from atrous.errors import ModelError
from atrous.layers import conv_bn_relu, pad_reflect, safe_norms
from atrous.layers.ppm import BINS
from atrous.models.model import Strided
from atrous.models.options import Count, Share
from atrous.models.page import on_encoder
from atrous.ops.resize import Tail, resize

FULL = (32, 32, 64)
"""Widths of the three strided 3x3 that see the full image."""


class CascadeFusion(nn.Module):
    """Coarse (N, C, h/2, w/2), fine (N, F, h, w) -> their fusion (N, out, h, w) and the coarse resized (N, C, h, w).

    The resized coarse map through a 3x3 of rate 2, the fine one through a 1x1, both with batch norm; their sum's ReLU
    (section 3.3, figure 4). The resized map is what the label guidance scores.
    """

    def __init__(self, coarse: int, fine: int, out: int) -> None:
        super().__init__()
        self.coarse = conv_bn_relu(coarse, out, dilation=2)[:2]
        self.fine = conv_bn_relu(fine, out, 1)[:2]

    def forward(self, coarse: torch.Tensor, fine: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        coarse = resize(coarse, fine.shape[2:])
        return (self.coarse(coarse) + self.fine(fine)).relu(), coarse


class ICNet(Strided):
    """Maps of three resolutions, fused from coarse to fine, scored at stride 4. Any H, W >= 1.

    aux: classifiers of the label guidance, on the coarse input of each fusion; finer first.
    """

    def __init__(self, encoder: encoders.Encoder, classes: int, *, channels: int, dropout: float, aux: bool) -> None:
        super().__init__()
        self.encoder, self.classes, self.in_channels = encoder, classes, encoder.in_channels
        if encoder.strides[-2:].count(8) < 2:
            raise ModelError(
                f"encoder {encoder.name!r} has features at strides {encoder.strides}, icnet needs two at 8, the deeper "
                "dilated; use another encoder, such as 'resnet50'"
            )
        self.cut = encoder.strides.index(8) + 1
        encoders.stages(encoder.net, encoder.name)  # or says that it cannot be cut
        self.narrow_half = conv_bn_relu(encoder.channels[self.cut - 1], 2 * channels, 1)
        self.narrow_quarter = conv_bn_relu(encoder.channels[-1], 2 * channels, 1)
        self.full = nn.Sequential()
        for before, width in zip((encoder.in_channels, *FULL), FULL, strict=False):
            self.full.append(conv_bn_relu(before, width, stride=2))
        self.fuse_half = CascadeFusion(2 * channels, 2 * channels, channels)
        self.fuse_full = CascadeFusion(channels, FULL[-1], channels)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Conv2d(channels, classes, 1))
        guidance = [nn.Conv2d(width, classes, 1) for width in (channels, 2 * channels)]
        self.aux = nn.ModuleList(guidance) if aux else None
        safe_norms(self)

    def logits_at_stride(self, image: torch.Tensor) -> tuple[torch.Tensor, Tail]:
        """Logits (N, K, H/4, W/4) of the padded image, the resize to it and the crop."""
        padded, tail = _pad(image)
        return self._score(self._fused(padded)[0]), tail

    def outputs(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The logits, then those of the label guidance at strides 8 and 16 where asked for, all (N, K, H, W)."""
        padded, tail = _pad(image)
        fused, *guided = self._fused(padded)
        own = [head(x) for head, x in zip(self.aux, guided, strict=True)] if self.aux is not None else []
        return tuple(tail.apply(one) for one in (self._score(fused), *own))

    def _fused(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        half, quarter = self._encode(resize(image, _halved(image)))  # (N, C, H/16, W/16), (N, C, H/32, W/32)
        x, coarse = self.fuse_half(self.narrow_quarter(_pyramid(quarter)), self.narrow_half(half))  # both at stride 16
        x, middle = self.fuse_full(x, self.full(image))  # both at stride 8
        return x, middle, coarse

    def _encode(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The encoder's map at its stride 8, and its deepest one after that map has been halved."""
        parts = encoders.stages(self.encoder.net, self.encoder.name)
        x = half = _run(parts[: self.cut], image)
        return half, _run(parts[self.cut :], resize(x, _halved(x)))

    def _score(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(resize(x, (2 * x.shape[2], 2 * x.shape[3])))  # (N, K, H/4, W/4)


@on_encoder("resnet50", stride=8, fixed=True)
def icnet(
    net: encoders.Encoder, classes: int, *, channels: Count = 128, dropout: Share = 0.0, aux: bool = False
) -> ICNet:
    """ICNet, built for speed: deep layers see a small image, shallow ones a larger one, and both are fused.

    The encoder must be a chain of stages that can be dilated to stride 8. channels: width of the fusions. aux: the
    label guidance, two outputs more; the paper weighs them 0.4 each, and the main output 1.
    """
    return ICNet(net, classes, channels=channels, dropout=dropout, aux=aux)


def _pyramid(x: torch.Tensor) -> torch.Tensor:
    """(N, C, h, w) -> the same: the map plus its means over 1, 4, 9 and 36 regions (figure 2)."""
    means = (resize(nn.functional.adaptive_avg_pool2d(x, bins), x.shape[2:]) for bins in BINS)
    return sum(means, x)


def _run(parts: list[list[nn.Module]], x: torch.Tensor) -> torch.Tensor:
    for part in parts:
        for module in part:
            x = module(x)
    return x


def _halved(x: torch.Tensor) -> tuple[int, int]:
    return (x.shape[2] + 1) // 2, (x.shape[3] + 1) // 2


def _pad(image: torch.Tensor) -> tuple[torch.Tensor, Tail]:
    """The image mirrored to sides that 32 divides, and the tail that takes its logits back."""
    height, width = image.shape[2:]
    padded = pad_reflect(image, 0, -height % 32, 0, -width % 32)
    return padded, Tail((padded.shape[2], padded.shape[3]), (0, 0, height, width))
