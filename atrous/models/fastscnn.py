"""Fast-SCNN: both paths of a two-branch network share their first three layers, "learning to downsample".

    network    year  arXiv       what is in it
    Fast-SCNN  2019  1902.04502  three strided layers to stride 8, inverted residuals to stride 32 and pyramid pooling
                                 for the scene, added to the shared layers for place; a head of separable convolutions

The layout is mmsegmentation's: where it fuses, the scene's map passes a 1x1, the paper's a depthwise 3x3 of rate 4.
Depthwise convolutions have batch norm and no ReLU, but for the inverted residuals, whose ReLU stops at 6. There is no
encoder to choose.

Axes: N images, C channels, H x W pixels, h x w cells of a map, K classes.
"""

import torch
from torch import nn

from atrous.layers import PyramidPool, conv_bn_relu, fcn_head
from atrous.models.options import Count, Share
from atrous.models.page import Page
from atrous.ops.resize import resize

SHARED = (32, 48, 64)
"""Widths of the three layers that both paths share, each of stride 2."""

SCENE = ((64, 2), (96, 2), (128, 1))
"""(width, stride) of the three stages of three inverted residuals (table 1), expansion 6."""


class Separable(nn.Sequential):
    """(N, channels, h, w) -> (N, out, h/stride, w/stride): depthwise 3x3 and batch norm, 1x1, batch norm and ReLU."""

    def __init__(self, channels: int, out: int, stride: int = 1) -> None:
        depthwise = nn.Conv2d(channels, channels, 3, stride, padding=1, groups=channels, bias=False)
        super().__init__(depthwise, nn.BatchNorm2d(channels), *conv_bn_relu(channels, out, 1))


class InvertedResidual(nn.Module):
    """(N, C, h, w) -> (N, out, h/stride, w/stride): 1x1 to 6 C, depthwise 3x3, 1x1; added to the input where it fits
    (MobileNet v2, Sandler et al. 2018, arXiv 1801.04381, table 1)."""

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        wide, self.residual = 6 * channels, stride == 1 and channels == out
        self.branch = nn.Sequential(
            nn.Conv2d(channels, wide, 1, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(inplace=True),
            nn.Conv2d(wide, wide, 3, stride, padding=1, groups=wide, bias=False),
            nn.BatchNorm2d(wide),
            nn.ReLU6(inplace=True),
            nn.Conv2d(wide, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.branch(x) if self.residual else self.branch(x)


class TwoPaths(nn.Module):
    """Shared layers, the scene's path, their sum and a head, all at stride 8: image -> (N, K, H/8, W/8)."""

    def __init__(self, classes: int, in_channels: int, *, dropout: float, aux: bool) -> None:
        super().__init__()
        first, second, third = SHARED
        self.shared = nn.Sequential(
            conv_bn_relu(in_channels, first, stride=2), Separable(first, second, 2), Separable(second, third, 2)
        )
        self.scene, channels = nn.Sequential(), third
        for width, stride in SCENE:
            for place in range(3):
                self.scene.append(InvertedResidual(channels, width, stride if place == 0 else 1))
                channels = width
        self.scene.append(PyramidPool(channels, channels // 4))
        self.scene.append(conv_bn_relu(2 * channels, channels, 1))
        self.lift = nn.Sequential(*conv_bn_relu(channels, channels, 1), *conv_bn_relu(channels, channels, 1)[:2])
        self.place = conv_bn_relu(third, channels, 1)[:2]
        self.score = nn.Sequential(
            *(Separable(channels, channels) for _ in range(2)), nn.Dropout(dropout), nn.Conv2d(channels, classes, 1)
        )
        self.aux = nn.ModuleList([fcn_head(third, classes), fcn_head(channels, classes)]) if aux else None

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self._decode(*self._paths(image))

    def outputs(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The logits, then those of the shared layers and of the scene where asked for."""
        paths = self._paths(image)
        own = (score(path) for score, path in zip(self.aux or (), paths, strict=self.aux is not None))
        return self._decode(*paths), *own

    def _paths(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        shared = self.shared(image)  # (N, 64, H/8, W/8)
        return shared, self.scene(shared)  # (N, 128, H/32, W/32)

    def _decode(self, shared: torch.Tensor, scene: torch.Tensor) -> torch.Tensor:
        fused = self.place(shared) + self.lift(resize(scene, shared.shape[2:]))  # (N, 128, H/8, W/8)
        return self.score(fused.relu())  # (N, K, H/8, W/8)


def fastscnn(classes: Count = 21, *, in_channels: Count = 3, dropout: Share = 0.1, aux: bool = False) -> Page:
    """Fast-SCNN, built for speed: a path for detail and a path for context share their first layers.

    1,153,027 parameters with 19 classes. aux: FCN heads on the shared layers and on the context's map.
    """
    return Page(None, TwoPaths(classes, in_channels, dropout=dropout, aux=aux), classes, in_channels=in_channels)
