"""SegFormer: a hierarchical transformer without position embeddings and a head of linear layers alone.

    network    year  arXiv       what is in it
    SegFormer  2021  2105.15203  Mix Transformer B0 ... B5 (`atrous/encoders/mit.py`), all-MLP head (section 3.2)

The head is 256 wide on B0 and B1 and 768 on B2 to B5 (table 6); on any other encoder 256. Hugging Face's weights load
by a rename (`atrous/zoo/convert/hf.py`).

Axes: N images, C channels, H x W pixels, K classes.
"""

from pathlib import Path

import torch
from torch import nn

from atrous import encoders
from atrous.layers import conv_bn_relu, safe_norms
from atrous.ops.resize import Tail, resize

WIDE = ("mit_b2", "mit_b3", "mit_b4", "mit_b5")
"""Encoders whose head is 768 wide."""


class SegFormer(nn.Module):
    """Each level to one width, resized to stride 4, concatenated deep first, fused and classified. Any H, W >= 1."""

    def __init__(self, encoder: encoders.Encoder, classes: int, *, channels: int, dropout: float) -> None:
        super().__init__()
        self.encoder, self.classes, self.in_channels = encoder, classes, encoder.in_channels
        self.levels = encoder.levels()
        self.project = nn.ModuleList(nn.Linear(encoder.channels[index], channels) for index in self.levels)
        self.fuse = conv_bn_relu(len(self.levels) * channels, channels, 1)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Conv2d(channels, classes, 1))
        safe_norms(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits, tail = self.logits_at_stride(image)  # (N, K, H/4, W/4)
        return tail.apply(logits)  # (N, K, H, W)

    def logits_at_stride(self, image: torch.Tensor) -> tuple[torch.Tensor, Tail]:
        """Logits (N, K, H/4, W/4) and the resize to the image."""
        features = self.encoder(image)
        pairs = zip(self.project, (features[index] for index in self.levels), strict=True)
        maps = [project(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) for project, x in pairs]  # (N, 256, H/s, W/s)
        maps = [resize(x, maps[0].shape[2:]) for x in maps]  # (N, 256, H/4, W/4)
        return self.head(self.fuse(torch.cat(maps[::-1], 1))), Tail((image.shape[2], image.shape[3]))


def segformer(
    classes: int = 21,
    encoder: str = "mit_b0",
    in_channels: int = 3,
    pretrained: bool | str | Path = False,
    stride: int = 32,
    *,
    channels: int | None = None,
    dropout: float = 0.1,
) -> SegFormer:
    """SegFormer on `mit_b0` to `mit_b5`, its head on any encoder with features at stride 4.

    channels: of the head; None is the paper's for the encoder.
    """
    net = encoders.encoder(
        encoder, in_channels=in_channels, stride=stride, pretrained=pretrained, strides=encoders.PYRAMID
    )
    return SegFormer(net, classes, channels=channels or (768 if encoder in WIDE else 256), dropout=dropout)
