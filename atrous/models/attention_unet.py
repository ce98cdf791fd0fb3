"""Attention U-Net: what the decoder knows decides, pixel by pixel, what of a skip goes through.

    network          year  arXiv       what is in it
    Attention U-Net  2018  1804.03999  a U-Net whose skips pass gates (Oktay et al.)

Every skip but the finest passes a gate (section 3, equations 1 and 2):

    q = psi(ReLU(W_x x + W_g g + b_g)) + b_psi,   alpha = sigmoid(q),   the skip becomes alpha x

x is the skip, g the decoder's map one level deeper. W_x is a 2x2 of stride 2, which brings x to g's grid; W_g and psi
are 1x1; alpha is one number per pixel, upsampled bilinearly to x.

Unlike the paper: images instead of volumes, and any encoder. The gate and the decoder are as released (the deepest map
passes a 1x1 with batch norm before it gates, maps are upsampled bilinearly), but for the 1x1 with batch norm behind a
gate, which the paper does not have. Deep supervision (`aux`): a 1x1 per level; the released net merges them into one.

Axes: N images, C channels, H x W pixels, K classes.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from atrous.encoders import PYRAMID, Encoder
from atrous.layers import conv_bn_relu
from atrous.models.options import Counts
from atrous.models.page import Features, Page, on_encoder
from atrous.models.unet import skips_of
from atrous.ops.resize import resize


class Gate(nn.Module):
    """Skip (N, channels, H, W) and gating map (N, gating, h, w) -> alpha (N, 1, H, W) in 0..1."""

    def __init__(self, channels: int, gating: int) -> None:
        super().__init__()
        self.of_skip = nn.Conv2d(channels, channels, 2, stride=2, bias=False)
        self.of_gating = nn.Conv2d(gating, channels, 1)
        self.psi = nn.Conv2d(channels, 1, 1)

    def forward(self, x: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[2:]
        even = functional.pad(x, (0, width % 2, 0, height % 2), mode="replicate")
        theta = self.of_skip(even)  # (N, channels, ceil(H/2), ceil(W/2)), mostly g's grid
        phi = resize(self.of_gating(g), tuple(theta.shape[2:]))
        alpha = self.psi((theta + phi).relu()).sigmoid()  # (N, 1, ceil(H/2), ceil(W/2))
        return resize(alpha, (height, width))


class GatedDecoder(nn.Module):
    """Per skip from the deepest on, a gate, upsampling and two 3x3 with batch norm.

    The decoder ends at the encoder's finest stride, mostly 2; from there logits are resized to the image.
    """

    def __init__(self, encoder: Encoder, classes: int, channels: Sequence[int], *, aux: bool) -> None:
        super().__init__()
        self.skips = skips_of(encoder, channels)
        width = encoder.channels[-1]
        self.gating = conv_bn_relu(width, width, 1) if len(self.skips) > 1 else None
        self.gates, self.decoder, widths = nn.ModuleList(), nn.ModuleList(), []
        for index, out in zip(self.skips, channels, strict=False):
            skip = encoder.channels[index]
            if index != self.skips[-1]:
                self.gates.append(Gate(skip, width))
            self.decoder.append(nn.Sequential(conv_bn_relu(width + skip, out), conv_bn_relu(out, out)))
            width = out
            widths.append(out)
        widths = (widths or [width])[None if aux else -1 :]
        self.heads = nn.ModuleList(nn.Conv2d(width, classes, 1) for width in widths)  # the finest last

    def forward(self, features: Features) -> torch.Tensor:
        return self.heads[-1](self.decode(features)[0][-1])  # (N, K, H/2, W/2)

    def outputs(self, features: Features) -> tuple[torch.Tensor, ...]:
        """The logits, then with `aux` those of the coarser levels, finest first."""
        pairs = zip(reversed(self.heads), reversed(self.decode(features)[0]), strict=False)
        return tuple(head(level) for head, level in pairs)

    def decode(self, features: Features) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """The decoder's maps and the gates' alphas, both the deepest first."""
        x = features[-1]  # (N, C, H/32, W/32)
        g = x if self.gating is None else self.gating(x)
        levels, alphas = [], []
        for place, (index, block) in enumerate(zip(self.skips, self.decoder, strict=True)):
            skip = features[index]
            if place < len(self.gates):
                alphas.append(self.gates[place](skip, g))
                skip = skip * alphas[-1]
            x = g = block(torch.cat([skip, resize(x, tuple(skip.shape[2:]))], 1))  # (N, C, of the skip)
            levels.append(x)
        return levels or [x], alphas


def attention(model: Page, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """What the gates of an `attention_unet` let through over an image (N, C, H, W), normalised.

    Returns:
        alpha, 0..1, for each gated skip, the deepest first, (N, 1, h, w).
    """
    return tuple(model.head.decode(model.encoder(image))[1])


@on_encoder("resnet34", strides=PYRAMID)
def attention_unet(net: Encoder, classes: int, *, channels: Counts = (256, 128, 64, 32, 16), aux: bool = False) -> Page:
    """U-Net on any encoder, with attention gates on its skips.

    channels: decoder width at each skip, deepest first. aux: one head more on each level.
    """
    return Page(net, GatedDecoder(net, classes, channels, aux=aux), classes)
