"""U-Net: a contracting path for context, an expanding path for place, and skips that carry the maps across.

    network    year  source            what is in it
    U-Net      2015  arXiv 1505.04597  3x3 without padding, 2x2 up-convolutions, cropped skips (`unet2015`)
    phseg_v5   2015  the authors' net  as released: see `variant` below (`unet2015`)
    U-Net      now   common practice   any encoder, padded 3x3 with batch norm, upsampling to the skip's size (`unet`)

`unet2015` is exact: a 572 x 572 input gives 388 x 388. The paper extrapolates the border by mirroring; `forward` does
so inside, by the 92 pixels the network eats and up to the next valid size, so that the logits have the
image's size; `overlap_tile` does the same tile by tile (figure 2). The paper's border weights are in
`atrous.transforms.border_weights`, its elastic deformation in `atrous.transforms.deform`.

Axes: N images, C channels, H x W pixels, K classes, w the width of the first level.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from atrous.encoders import PYRAMID, Encoder
from atrous.errors import ModelError
from atrous.layers import conv_bn_relu, cut, gaussian, overlap_tile, run_whole
from atrous.models.model import Whole
from atrous.models.options import Count, Counts, Share
from atrous.models.page import Features, Page, on_encoder
from atrous.ops.resize import resize

MARGIN = 92
"""Pixels that the 2015 network eats on every side."""


def skips_of(encoder: Encoder, channels: Sequence[int]) -> list[int]:
    """Indices of the last features of each stride above the deepest, deep first; ModelError if a width lacks."""
    skips = list(encoder.skips().values())
    if len(channels) < len(skips):
        raise ModelError(
            f"encoder {encoder.name!r} has {len(skips)} skips and the decoder {len(channels)} widths "
            f"{tuple(channels)}; give a width for each skip, the deepest first"
        )
    return skips


class UNetDecoder(nn.Module):
    """Per skip from the deepest on, upsampling to its size and two 3x3 with batch norm; at the end a 3x3 that scores.

    The decoder ends at the encoder's finest stride, mostly 2; from there logits are resized to the image. Without
    `joined` it is the same decoder with nothing carried across: a skip gives its size only.
    """

    def __init__(self, encoder: Encoder, classes: int, channels: Sequence[int], joined: bool) -> None:
        super().__init__()
        self.joined = joined
        self.skips = skips_of(encoder, channels)
        width, blocks = encoder.channels[-1], []
        for skip, out in zip(self.skips, channels, strict=False):
            wide = width + (encoder.channels[skip] if joined else 0)
            blocks.append(nn.Sequential(conv_bn_relu(wide, out), conv_bn_relu(out, out)))
            width = out
        self.decoder = nn.ModuleList(blocks)
        self.score = nn.Conv2d(width, classes, 3, padding=1)

    def forward(self, features: Features) -> torch.Tensor:
        x = features[-1]  # (N, C, H/32, W/32)
        for index, block in zip(self.skips, self.decoder, strict=True):
            skip = features[index]
            x = resize(x, skip.shape[2:], mode="nearest")
            x = block(torch.cat([x, skip], 1) if self.joined else x)  # (N, C, of the skip)
        return self.score(x)  # (N, K, H/2, W/2)


class UNet2015(Whole):
    """The paper's figure 1. `valid` is the figure: (N, C, n, n) -> (N, K, n - 184, n - 184), n = 12 mod 16.

    variant "phseg_v5": the upsampled map comes first in every concatenation, a ReLU follows every up-convolution, the
    last up-convolution keeps its channels, and the skip of the fourth level carries its dropout.
    """

    def __init__(self, classes: int, in_channels: int, *, width: int, variant: str, dropout: float) -> None:
        super().__init__()
        self.classes, self.in_channels, self.released = classes, in_channels, variant == "phseg_v5"
        widths = [width * 2**level for level in range(5)]
        self.down = nn.ModuleList(_double(a, b) for a, b in zip([in_channels, *widths], widths, strict=False))
        self.up, self.merge = nn.ModuleList(), nn.ModuleList()
        for level in (3, 2, 1, 0):
            raised = widths[level + 1] if self.released and level == 0 else widths[level]
            self.up.append(nn.ConvTranspose2d(widths[level + 1], raised, 2, stride=2))
            self.merge.append(_double(raised + widths[level], widths[level]))
        self.pool, self.dropout = nn.MaxPool2d(2), nn.Dropout(dropout)
        self.score = nn.Conv2d(width, classes, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                inputs = layer.in_channels * (9 if layer.kernel_size == (3, 3) else 1)
                gaussian(layer, std=(2 / inputs) ** 0.5)  # section 3: N inputs of one neuron

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return run_whole(self.valid, image, MARGIN, grid=16)  # (N, K, H, W)

    def overlap_tile(self, image: torch.Tensor, tile: int = 572) -> torch.Tensor:
        """`forward` from tiles of `tile` x `tile` pixels: (N, C, H, W) -> the same logits (N, K, H, W), to rounding.

        Tiles of 572 give 388 and start 384 apart, a multiple of 16: 388 apart the pools would see other pixels.
        """
        return overlap_tile(self.valid, image, MARGIN, grid=16, tile=tile)

    def valid(self, x: torch.Tensor) -> torch.Tensor:
        """Without padding: (N, C, h, w) -> (N, K, h - 184, w - 184) for h, w in 188, 204, ..., 572, ..."""
        if any(side < 188 or side % 16 != 12 for side in x.shape[2:]):
            raise ModelError(
                f"an input of {x.shape[2]} x {x.shape[3]} pixels has no valid output; give sides of 188, 204, ... "
                "(12 more than a multiple of 16), or call the model, which pads"
            )
        skips = []
        for level, block in enumerate(self.down):
            x = block(self.pool(x) if level else x)  # (N, w 2^level, -4 each)
            skips.append(x)
            if level >= 3:
                x = self.dropout(x)
                skips[-1] = x if self.released else skips[-1]
        for level, up, merge in zip((3, 2, 1, 0), self.up, self.merge, strict=True):
            x = up(x).relu() if self.released else up(x)  # (N, w 2^level, twice)
            skip = centre(skips[level], x)
            x = merge(torch.cat([x, skip] if self.released else [skip, x], 1))  # (N, w 2^level, -4)
        return self.score(x)  # (N, K, h - 184, w - 184)


@on_encoder("resnet34", strides=PYRAMID)
def unet(net: Encoder, classes: int, *, channels: Counts = (256, 128, 64, 32, 16), joined: bool = True) -> Page:
    """U-Net on any encoder: a decoder that upsamples step by step and joins the encoder's features (skips).

    channels: decoder width at each skip, deepest first; surplus widths are ignored. joined: whether skips are carried
    across; False shows what they are worth.
    """
    return Page(net, UNetDecoder(net, classes, channels, joined), classes)


def unet2015(
    classes: Count = 21,
    *,
    in_channels: Count = 3,
    variant: Literal["paper", "phseg_v5"] = "paper",
    width: Count = 64,
    dropout: Share = 0.5,
) -> UNet2015:
    """The U-Net of 2015, with an encoder of its own and convolutions without padding.

    31,030,658 parameters from 1 channel to 2 classes; the released phseg_v5 has 31,100,354.
    """
    return UNet2015(classes, in_channels, width=width, variant=variant, dropout=dropout)


def _double(channels: int, out: int) -> nn.Sequential:
    """Two 3x3 without padding, each with a ReLU."""
    return nn.Sequential(nn.Conv2d(channels, out, 3), nn.ReLU(True), nn.Conv2d(out, out, 3), nn.ReLU(True))


def centre(skip: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The middle of the skip, as large as x."""
    starts = [(more - less) // 2 for more, less in zip(skip.shape[2:], x.shape[2:], strict=True)]
    return cut(skip, x.shape[2:], starts)
