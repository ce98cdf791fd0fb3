"""HRNet and OCR: maps of four resolutions, kept side by side to the end, and pixels that look up their class's region.

    network  year  arXiv       what is in it
    HRNetV2  2020  1908.07919  the four maps, resized to stride 4 and concatenated, a 1x1 and the classifier
    OCR      2020  1909.11065  coarse logits weigh the pixels into a vector for each class; every pixel attends to them

timm's `hrnet_w18`, `w32` and `w48` give the encoder. Any other will do: its features from stride 4 on are taken in the
place of the branches. As in the paper's code every resize is bilinear but for those inside timm's HRNet, nearest.
The coarse logits are part of the network, no auxiliary head: `outputs` always gives them; the paper weighs them 0.4.

Axes: N images, C channels, H x W pixels, D channels of all maps together, T cells of a map, K classes.
"""

from collections import OrderedDict
from typing import Literal

import torch
from torch import nn

from atrous.encoders import PYRAMID, Encoder
from atrous.layers import conv_bn_relu
from atrous.models.options import Count, Share
from atrous.models.page import Features, Page, on_encoder
from atrous.ops.resize import resize


class Together(nn.Module):
    """The features from stride 4 on -> (N, D, H/4, W/4): resized to the finest of them and concatenated (HRNetV2,
    figure 4b). `channels` is D."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.indices = [index for index, stride in enumerate(encoder.strides) if stride >= 4]
        self.channels = sum(encoder.channels[index] for index in self.indices)

    def forward(self, features: Features) -> torch.Tensor:
        size = features[self.indices[0]].shape[2:]
        return torch.cat([resize(features[index], size) for index in self.indices], 1)


class ObjectContext(nn.Module):
    """x (N, C, h, w), coarse logits (N, K, h, w) -> (N, C, h, w): each pixel's mixture of the classes' regions.

    Regions are means of x, weighted by the coarse logits' softmax over the pixels (OCR, section 3.2, equation 3);
    a pixel's weights are the softmax over the classes of query times key (equation 4), both of `inner` channels.
    """

    def __init__(self, channels: int, inner: int) -> None:
        super().__init__()
        self.query = nn.Sequential(conv_bn_relu(channels, inner, 1), conv_bn_relu(inner, inner, 1))
        self.key = nn.Sequential(conv_bn_relu(channels, inner, 1), conv_bn_relu(inner, inner, 1))
        self.value = conv_bn_relu(channels, inner, 1)
        self.last = conv_bn_relu(inner, channels, 1)
        self.scale = inner**-0.5

    def forward(self, x: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        inside = coarse.flatten(2).softmax(2)  # (N, K, T)
        regions = (inside @ x.flatten(2).transpose(1, 2)).transpose(1, 2)[..., None]  # (N, C, K, 1)
        query, key = self.query(x).flatten(2), self.key(regions).flatten(2)  # (N, inner, T), (N, inner, K)
        weights = (self.scale * query.transpose(1, 2) @ key).softmax(2)  # (N, T, K)
        context = self.value(regions).flatten(2) @ weights.transpose(1, 2)  # (N, inner, T)
        return self.last(context.unflatten(2, x.shape[2:]))


class OCRHead(nn.Module):
    """Coarse logits from all maps together, their object context, joined with the pixels (figure 3)."""

    def __init__(self, together: Together, classes: int, *, channels: int, dropout: float) -> None:
        super().__init__()
        self.together = together
        self.coarse = _coarse(together.channels, classes, 0.0)
        self.reduce = conv_bn_relu(together.channels, channels)
        self.context = ObjectContext(channels, max(1, channels // 2))
        self.join = nn.Sequential(*conv_bn_relu(2 * channels, channels, 1), nn.Dropout2d(dropout))
        self.score = nn.Conv2d(channels, classes, 1)

    def forward(self, features: Features) -> torch.Tensor:
        return self.outputs(features)[0]

    def outputs(self, features: Features) -> tuple[torch.Tensor, torch.Tensor]:
        """The logits, then the coarse ones that weigh the regions."""
        maps = self.together(features)  # (N, D, H/4, W/4)
        coarse, x = self.coarse(maps), self.reduce(maps)  # (N, K, H/4, W/4), (N, C, H/4, W/4)
        x = self.join(torch.cat([self.context(x, coarse), x], 1))  # (N, C, H/4, W/4)
        return self.score(x), coarse


@on_encoder("hrnet_w48", strides=PYRAMID)
def hrnet_ocr(
    net: Encoder, classes: int, *, head: Literal["ocr", "hrnet"] = "ocr", channels: Count = 512, dropout: Share = 0.05
) -> Page:
    """HRNet with OCR: four resolutions side by side, and each pixel attends to one vector per class.

    70,371,446 parameters with 19 classes on hrnet_w48, 12,080,036 on hrnet_w18. head: "ocr", or "hrnet" for HRNetV2's
    own (65,858,659 and 9,640,849). channels: of OCR; its attention has half of them.
    """
    together = Together(net)
    if head == "hrnet":
        score = _coarse(together.channels, classes, dropout)
        return Page(net, nn.Sequential(OrderedDict(together=together, score=score)), classes)
    return Page(net, OCRHead(together, classes, channels=channels, dropout=dropout), classes)


def _coarse(channels: int, classes: int, dropout: float) -> nn.Sequential:
    """(N, channels, h, w) -> (N, K, h, w): a 1x1 of the same width, batch norm, ReLU, the classifier."""
    return nn.Sequential(*conv_bn_relu(channels, channels, 1), nn.Dropout(dropout), nn.Conv2d(channels, classes, 1))
