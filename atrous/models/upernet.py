"""UPerNet: pyramid pooling on the deepest features, a top-down pyramid below it, all levels fused at stride 4.

    network  year  arXiv       what is in it
    UPerNet  2018  1807.10221  PPM head, FPN with batch norm, fusion of all levels (section 3.1, figure 4)

Only the head for semantic segmentation; the paper's others, for parts, materials and textures, are not built. Widths
are 512, as mmsegmentation has them: 64,051,573 parameters on resnet50c with 21 classes.

Axes: N images, C channels, H x W pixels, K classes.
"""

from pathlib import Path

import torch
from torch import nn

from atrous import encoders
from atrous.layers import PyramidPool, conv_bn_relu, fcn_head, safe_norms
from atrous.ops.resize import Tail, resize


class UPerNet(nn.Module):
    """Pyramid pooling, laterals added from above, a 3x3 per level, fusion at stride 4. Any H, W >= 1."""

    def __init__(
        self, encoder: encoders.Encoder, classes: int, *, channels: int, dropout: float, aux: bool = False
    ) -> None:
        super().__init__()
        self.encoder, self.classes, self.in_channels = encoder, classes, encoder.in_channels
        self.levels = encoder.levels()
        *widths, deepest = [encoder.channels[index] for index in self.levels]
        pool = PyramidPool(deepest, channels)
        self.pool = nn.Sequential(pool, conv_bn_relu(deepest + len(pool.bins) * channels, channels))
        self.laterals = nn.ModuleList(conv_bn_relu(width, channels, 1) for width in widths)
        self.smooth = nn.ModuleList(conv_bn_relu(channels, channels) for _ in widths)
        self.fuse = conv_bn_relu(len(self.levels) * channels, channels)
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Conv2d(channels, classes, 1))
        self.aux = fcn_head(encoder.channels[self.levels[-2]], classes) if aux else None
        safe_norms(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits, tail = self.logits_at_stride(image)  # (N, K, H/4, W/4)
        return tail.apply(logits)  # (N, K, H, W)

    def logits_at_stride(self, image: torch.Tensor) -> tuple[torch.Tensor, Tail]:
        """Logits (N, K, H/4, W/4) and the resize to the image."""
        return self._decode(self._features(image)), Tail((image.shape[2], image.shape[3]))

    def outputs(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The logits, then the auxiliary ones where asked for, all (N, K, H, W)."""
        features, tail = self._features(image), Tail((image.shape[2], image.shape[3]))
        logits = [self._decode(features)] + ([self.aux(features[-2])] if self.aux is not None else [])
        return tuple(tail.apply(one) for one in logits)

    def _features(self, image: torch.Tensor) -> list[torch.Tensor]:
        features = self.encoder(image)
        return [features[index] for index in self.levels]  # (N, C, H/4, W/4) ... (N, C, H/32, W/32)

    def _decode(self, features: list[torch.Tensor]) -> torch.Tensor:
        maps = [lateral(x) for lateral, x in zip(self.laterals, features, strict=False)] + [self.pool(features[-1])]
        for index in reversed(range(len(maps) - 1)):
            maps[index] = maps[index] + resize(maps[index + 1], maps[index].shape[2:])
        fine = maps[0].shape[2:]
        maps = [smooth(x) for smooth, x in zip(self.smooth, maps, strict=False)] + maps[-1:]
        x = self.fuse(torch.cat([resize(x, fine) for x in maps], 1))  # (N, 512, H/4, W/4)
        return self.head(x)  # (N, K, H/4, W/4)


def upernet(
    classes: int = 21,
    encoder: str = "resnet50",
    in_channels: int = 3,
    pretrained: bool | str | Path = False,
    stride: int = 32,
    *,
    channels: int = 512,
    dropout: float = 0.1,
    aux: bool = False,
) -> UPerNet:
    """UPerNet on any encoder with features at stride 4. channels: of every level; aux: an FCN head one level up."""
    net = encoders.encoder(
        encoder, in_channels=in_channels, stride=stride, pretrained=pretrained, strides=encoders.PYRAMID
    )
    return UPerNet(net, classes, channels=channels, dropout=dropout, aux=aux)
