"""3D U-Net: the U-Net of 2015 for volumes, one level less deep, with batch norm.

    network   year  arXiv       what is in it
    3D U-Net  2016  1606.06650  3x3x3 without padding, batch norm, three pools (Cicek et al.)

Unlike the U-Net, channels double before a pool, not after it ("to avoid bottlenecks", section 2), and an up-convolution
keeps its channels. No convolution is padded: 132 x 132 x 116 voxels give 44 x 44 x 28 (figure 2). `forward` mirrors the
border by the 44 voxels that the network eats and up to the next valid size, so that the logits have the volume's size.

Axes: N volumes, C channels, D x H x W voxels, K classes, w the width of the first convolution.
"""

import torch
from torch import nn

from atrous.errors import ModelError
from atrous.layers import expect_axes, overlap_tile, run_whole, safe_norms
from atrous.models.model import Whole
from atrous.models.options import Count
from atrous.models.unet import centre

MARGIN = 44
"""Voxels that the network eats on every side."""


class UNet3D(Whole):
    """Figure 2. `valid` is the figure: (N, C, n, n, n) -> (N, K, n - 88, n - 88, n - 88), n = 4 mod 8."""

    def __init__(self, classes: int, in_channels: int, *, width: int) -> None:
        super().__init__()
        self.classes, self.in_channels, self.axes = classes, in_channels, 3
        outs = [width * 2 ** (level + 1) for level in range(4)]  # 64, 128, 256, 512
        ins = [in_channels, *outs]
        self.down = nn.ModuleList(_double(a, b // 2, b) for a, b in zip(ins, outs, strict=False))
        self.up, self.merge = nn.ModuleList(), nn.ModuleList()
        for skip, below in ((outs[2], outs[3]), (outs[1], outs[2]), (outs[0], outs[1])):
            self.up.append(nn.ConvTranspose3d(below, below, 2, stride=2, bias=False))
            self.merge.append(_double(skip + below, skip, skip))
        self.pool = nn.MaxPool3d(2)
        self.score = nn.Conv3d(outs[0], classes, 1)
        safe_norms(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        expect_axes(image, 3)
        return run_whole(self.valid, image, MARGIN, grid=8)  # (N, K, D, H, W)

    def overlap_tile(self, image: torch.Tensor, tile: int = 132) -> torch.Tensor:
        """`forward` from tiles of `tile` voxels a side: (N, C, D, H, W) -> (N, K, D, H, W), in evaluation mode.

        (In training batch norm sees the tile only, and the logits differ.)
        """
        expect_axes(image, 3)
        return overlap_tile(self.valid, image, MARGIN, grid=8, tile=tile)

    def valid(self, x: torch.Tensor) -> torch.Tensor:
        """Without padding: (N, C, d, h, w) -> (N, K, d - 88, h - 88, w - 88), sides 92, 100, ..., 132, ..."""
        if any(side < 92 or side % 8 != 4 for side in x.shape[2:]):
            raise ModelError(
                f"an input of {' x '.join(map(str, x.shape[2:]))} voxels has no valid output; give sides of "
                "92, 100, ... (4 more than a multiple of 8), or call the model, which pads"
            )
        skips = []
        for level, block in enumerate(self.down):
            x = block(self.pool(x) if level else x)  # (N, 2 w 2^level, -4 each)
            skips.append(x)
        for skip, up, merge in zip(skips[-2::-1], self.up, self.merge, strict=True):
            x = up(x)  # (N, its own, twice)
            x = merge(torch.cat([centre(skip, x), x], 1))  # (N, of the skip, -4)
        return self.score(x)  # (N, K, d - 88, h - 88, w - 88)


def unet3d(classes: Count = 21, *, in_channels: Count = 3, width: Count = 32) -> UNet3D:
    """3D U-Net for volumes: batch norm, convolutions without padding, one level less than U-Net.

    19,069,955 parameters from 3 channels to 3 classes, without those of the norms.
    """
    return UNet3D(classes, in_channels, width=width)


def _double(channels: int, between: int, out: int) -> nn.Sequential:
    """Two 3x3x3 without padding, each with batch norm and ReLU."""
    layers: list[nn.Module] = []
    for a, b in ((channels, between), (between, out)):
        layers += [nn.Conv3d(a, b, 3), nn.BatchNorm3d(b), nn.ReLU(True)]
    return nn.Sequential(*layers)
