"""Simple feature pyramid: several maps from the one map of a plain transformer.

ViTDet: Li, Mao, Girshick, He 2022, arXiv 2203.16527, section 3 and figure 2. A plain vision
transformer (DINOv2, DINOv3, CLIP, MAE, ...) keeps the stride of its patches from the first block to
the last. Decoders that ask for strides 4, 8, 16 and 32 get them from its last map: finer ones by
2x2 deconvolutions that halve the channels, with a layer norm and a GELU between two; coarser ones
by max pooling. Then a 1x1 and a 3x3, each with a layer norm, give 256 channels, or as many as the
transformer has where that is less.
"""

from collections.abc import Sequence
from typing import Any

import torch
from timm.layers import LayerNorm2d
from timm.models import FeatureInfo
from torch import nn

from atrous.ops.resize import resize

WIDTH = 256
"""Most channels of a level."""


class SimplePyramid(nn.Module):
    """Image (N, C, H, W) -> maps (N, width, H / s, W / s), one per stride s, fine first.

    A patch of 14 pixels counts as one of 16: the image is first resized by 14/16, so that every
    patch covers 16 of its pixels and the strides hold. H and W must be multiples of `grid`, the
    larger of the coarsest stride and the patch's; `Encoder` pads.

    Args:
        net: timm's features-only transformer.
        strides: powers of two, ascending.
    """

    def __init__(self, net: Any, strides: Sequence[int]) -> None:
        super().__init__()
        self.pretrained_cfg = net.pretrained_cfg
        self.patch, channels = int(net.feature_info.reduction()[-1]), int(net.feature_info.channels()[-1])
        width = min(WIDTH, channels)
        self.stride = min((2**power for power in range(8)), key=lambda stride: abs(stride - self.patch))
        self.grid = max(self.stride, *strides)
        self.feature_info = FeatureInfo(
            [{"num_chs": width, "reduction": stride, "module": f"levels.{i}"} for i, stride in enumerate(strides)],
            tuple(range(len(strides))),
        )
        self.net = net
        self.levels = nn.ModuleList(_level(channels, self.stride, s, width) for s in strides)

    def forward(self, image: torch.Tensor) -> list[torch.Tensor]:
        height, width = image.shape[2:]
        if height % self.grid or width % self.grid:
            raise ValueError(f"{height} x {width} pixels are not multiples of {self.grid}")
        if self.patch != self.stride:
            image = resize(image, (height // self.stride * self.patch, width // self.stride * self.patch))
        x = self.net(image)[-1]  # (N, C, H/16, W/16)
        return [level(x) for level in self.levels]


def is_plain(net: Any) -> bool:
    """Whether all features of a network have the same stride, as in a plain transformer."""
    return len(set(net.feature_info.reduction())) == 1


def _level(channels: int, own: int, stride: int, width: int) -> nn.Sequential:
    """(N, channels) of stride `own` -> (N, width) of `stride`."""
    layers: list[nn.Module] = []
    if stride > own:
        layers.append(nn.MaxPool2d(stride // own))
    while stride < own:
        if layers:
            layers += [LayerNorm2d(channels), nn.GELU()]
        layers.append(nn.ConvTranspose2d(channels, channels // 2, 2, stride=2))
        own, channels = own // 2, channels // 2
    across, around = nn.Conv2d(channels, width, 1, bias=False), nn.Conv2d(width, width, 3, padding=1, bias=False)
    return nn.Sequential(*layers, across, LayerNorm2d(width), around, LayerNorm2d(width))
