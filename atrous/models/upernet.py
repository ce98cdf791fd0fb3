"""UPerNet: pyramid pooling on the deepest features, a top-down pyramid below it, all levels fused at stride 4.

    network  year  arXiv       what is in it
    UPerNet  2018  1807.10221  PPM head, FPN with batch norm, fusion of all levels (section 3.1, figure 4)

Only the head for semantic segmentation; the paper's others, for parts, materials and textures, are not built. Widths
are 512, as mmsegmentation has them: 64,051,573 parameters on resnet50c with 21 classes.

Axes: N images, C channels, H x W pixels, K classes.
"""

import torch
from torch import nn

from atrous.encoders import PYRAMID, Encoder
from atrous.layers import PyramidPool, conv_bn_relu
from atrous.models.options import Count, Share
from atrous.models.page import Features, Page, fcn_aux, on_encoder
from atrous.ops.resize import resize


class UPerHead(nn.Module):
    """Pyramid pooling, laterals added from above, a 3x3 per level, fusion at stride 4."""

    def __init__(self, encoder: Encoder, classes: int, *, channels: int, dropout: float) -> None:
        super().__init__()
        self.levels = encoder.levels()
        *widths, deepest = [encoder.channels[index] for index in self.levels]
        pool = PyramidPool(deepest, channels)
        self.pool = nn.Sequential(pool, conv_bn_relu(deepest + len(pool.bins) * channels, channels))
        self.laterals = nn.ModuleList(conv_bn_relu(width, channels, 1) for width in widths)
        self.smooth = nn.ModuleList(conv_bn_relu(channels, channels) for _ in widths)
        self.fuse = conv_bn_relu(len(self.levels) * channels, channels)
        self.score = nn.Sequential(nn.Dropout(dropout), nn.Conv2d(channels, classes, 1))

    def forward(self, features: Features) -> torch.Tensor:
        *levels, deepest = (features[index] for index in self.levels)  # (N, C, H/4, W/4) ... (N, C, H/32, W/32)
        maps = [lateral(x) for lateral, x in zip(self.laterals, levels, strict=True)] + [self.pool(deepest)]
        for index in reversed(range(len(maps) - 1)):
            maps[index] = maps[index] + resize(maps[index + 1], maps[index].shape[2:])
        fine = maps[0].shape[2:]
        maps = [smooth(x) for smooth, x in zip(self.smooth, maps, strict=False)] + maps[-1:]
        x = self.fuse(torch.cat([resize(x, fine) for x in maps], 1))  # (N, 512, H/4, W/4)
        return self.score(x)  # (N, K, H/4, W/4)


@on_encoder("resnet50", strides=PYRAMID)
def upernet(net: Encoder, classes: int, *, channels: Count = 512, dropout: Share = 0.1, aux: bool = False) -> Page:
    """UPerNet on any encoder: pyramid pooling on the deepest features, then all levels fused at stride 4.

    The encoder needs features at stride 4. channels: of every level. aux: an FCN head one level above the deepest.
    """
    head = UPerHead(net, classes, channels=channels, dropout=dropout)
    return Page(net, head, classes, fcn_aux(net, classes, head.levels[-2]) if aux else None)
