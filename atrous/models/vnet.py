"""V-Net: a U-Net for volumes of residual stages, strided convolutions for pools.

    network  year  arXiv       what is in it
    V-Net    2016  1606.04797  residual stages of 5x5x5, PReLU, no norm (Milletari et al.)

Each stage adds its own input to its last 5x5x5 before the PReLU; the first stage's input is the volume, its channels
repeated up to the width. A 2x2x2 of stride 2 halves the map and doubles the channels on the way down, and undoes it on
the way up, where the skip is concatenated. No norm. The paper's loss is the soft Dice with squared denominators.

Unlike the paper: any size. The volume is mirrored at its end up to multiples of 16, and the logits are cropped.

Axes: N volumes, C channels, D x H x W voxels, K classes, w the width of the first stage.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import nn

from atrous.errors import ModelError
from atrous.layers import cut, expect_axes, pad_reflect
from atrous.models.model import Whole
from atrous.models.options import Count, Counts


class Stage(nn.Module):
    """(N, channels, d, h, w) -> the same: `convs` 5x5x5 with a PReLU each; before the last one `x` is added."""

    def __init__(self, channels: int, convs: int, first: int | None = None) -> None:
        super().__init__()
        widths = [channels if first is None else first] + [channels] * (convs - 1)
        self.convs = nn.ModuleList(nn.Conv3d(width, channels, 5, padding=2) for width in widths)
        self.acts = nn.ModuleList(nn.PReLU(channels) for _ in widths)

    def forward(self, x: torch.Tensor, shortcut: torch.Tensor) -> torch.Tensor:
        for conv, act in zip(self.convs[:-1], self.acts[:-1], strict=True):
            x = act(conv(x))
        return self.acts[-1](self.convs[-1](x) + shortcut)


class VNet(Whole):
    """Figure 2. left, right: 5x5x5 convolutions of the stages on the way down (the lowest too) and up."""

    def __init__(
        self, classes: int, in_channels: int, *, width: int, left: Sequence[int], right: Sequence[int]
    ) -> None:
        super().__init__()
        self.classes, self.in_channels, self.axes = classes, in_channels, 3
        widths = [width * 2**level for level in range(len(left))]  # 16, 32, 64, 128, 256
        self.left = nn.ModuleList([Stage(width, left[0], in_channels)])
        self.left.extend(Stage(own, convs) for own, convs in zip(widths[1:], left[1:], strict=True))
        self.right = nn.ModuleList(Stage(2 * own, convs) for own, convs in zip(widths[-2::-1], right, strict=True))
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for finer, coarser in pairwise(widths):
            self.down.append(nn.Sequential(nn.Conv3d(finer, coarser, 2, stride=2), nn.PReLU(coarser)))
        for below, finer in zip([widths[-1], *(2 * own for own in widths[-2:0:-1])], widths[-2::-1], strict=True):
            self.up.append(nn.Sequential(nn.ConvTranspose3d(below, finer, 2, stride=2), nn.PReLU(finer)))
        self.score = nn.Conv3d(2 * width, classes, 1)
        self.repeated = [index % in_channels for index in range(width)]
        for layer in self.modules():
            if isinstance(layer, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.xavier_normal_(layer.weight, gain=2**0.5)  # as released: MSRA, mean of the two fans
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        expect_axes(image, 3)
        grid = 2 ** len(self.down)
        x = pad_reflect(image, *(pad for side in image.shape[2:] for pad in (0, -side % grid)))
        x = self.left[0](x, x[:, self.repeated])  # (N, w, D, H, W)
        skips = [x]
        for down, stage in zip(self.down, self.left[1:], strict=True):
            x = down(x)  # (N, 2 w, D/2, H/2, W/2), and so on
            x = stage(x, x)
            skips.append(x)
        for skip, up, stage in zip(skips[-2::-1], self.up, self.right, strict=True):
            x = torch.cat([up(x), skip], 1)  # (N, 256, D/8, H/8, W/8), and so on
            x = stage(x, x)
        return cut(self.score(x), image.shape[2:])  # (N, K, D, H, W)


def vnet(
    classes: Count = 21,
    *,
    in_channels: Count = 3,
    width: Count = 16,
    left: Counts = (1, 2, 3, 3, 3),
    right: Counts = (3, 3, 2, 1),
) -> VNet:
    """V-Net for volumes: a U-Net of residual stages of 5x5x5, with strided convolutions instead of pools.

    65,175,314 parameters from 1 channel to 2 classes. left, right: convolutions per stage, the paper's figure; the
    released net has (1, 1, 2, 3, 3) and (3, 2, 1, 1), and a 5x5x5 before the last.
    """
    if len(right) != len(left) - 1:
        raise ModelError(
            f"left {tuple(left)} and right {tuple(right)} make no V; give a count per stage, "
            "one stage less on the right, such as (1, 2, 3, 3, 3) and (3, 3, 2, 1)"
        )
    return VNet(classes, in_channels, width=width, left=left, right=right)
