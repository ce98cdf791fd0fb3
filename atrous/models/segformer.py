"""SegFormer: a hierarchical transformer without position embeddings and a head of linear layers alone.

    network    year  arXiv       what is in it
    SegFormer  2021  2105.15203  Mix Transformer B0 ... B5 (`atrous/encoders/mit.py`), all-MLP head (section 3.2)

The head is 256 wide on B0 and B1 and 768 on B2 to B5 (table 6); on any other encoder 256. Hugging Face's weights load
by a rename (`atrous/zoo/convert/hf.py`).

Axes: N images, C channels, H x W pixels, K classes.
"""

import torch
from torch import nn

from atrous.encoders import PYRAMID, Encoder
from atrous.layers import conv_bn_relu
from atrous.models.options import Count, Share
from atrous.models.page import Features, Page, on_encoder
from atrous.ops.resize import resize

WIDE = ("mit_b2", "mit_b3", "mit_b4", "mit_b5")
"""Encoders whose head is 768 wide."""


class AllMLP(nn.Module):
    """Each level to one width, resized to stride 4, concatenated deep first, fused and classified."""

    def __init__(self, encoder: Encoder, classes: int, *, channels: int, dropout: float) -> None:
        super().__init__()
        self.levels = encoder.levels()
        self.project = nn.ModuleList(nn.Linear(encoder.channels[index], channels) for index in self.levels)
        self.fuse = conv_bn_relu(len(self.levels) * channels, channels, 1)
        self.score = nn.Sequential(nn.Dropout(dropout), nn.Conv2d(channels, classes, 1))

    def forward(self, features: Features) -> torch.Tensor:
        pairs = zip(self.project, (features[index] for index in self.levels), strict=True)
        maps = [project(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) for project, x in pairs]  # (N, 256, H/s, W/s)
        maps = [resize(x, maps[0].shape[2:]) for x in maps]  # (N, 256, H/4, W/4)
        return self.score(self.fuse(torch.cat(maps[::-1], 1)))  # (N, K, H/4, W/4)


@on_encoder("mit_b0", strides=PYRAMID)
def segformer(net: Encoder, classes: int, *, channels: Count | None = None, dropout: Share = 0.1) -> Page:
    """SegFormer: a hierarchical transformer (`mit_b0` to `mit_b5`) or another encoder, with a linear head.

    channels: of the head; None is the paper's for the encoder.
    """
    channels = channels or (768 if net.name in WIDE else 256)
    return Page(net, AllMLP(net, classes, channels=channels, dropout=dropout), classes)
