"""VGG16's convolutions with batch norm, whose pools remember where each maximum was (its switch).

DeconvNet and SegNet unpool by these switches. The fully connected layers are not part of it.
"""

import torch
from torch import nn

from atrous.layers.channels import imagenet_statistics
from atrous.layers.vgg import BLOCKS, FACTORS, IMAGENET_BN, State, convolutions, he, timm_places, transplant

__all__ = ["IMAGENET_BN", "SwitchedVGG16", "Switches", "norm_relu", "transplant"]

Switches = list[tuple[torch.Tensor, tuple[int, int]]]
"""Per pool, shallow first: where its maxima are, int64 (N, C, h, w), and its input's (H, W)."""


class SwitchedVGG16(nn.Module):
    """Image (N, C, H, W) -> five pooled maps, shallow first, strides 2 ... 32, sides rounded up.

    mean, std: one value per input channel, for images in 0..1, as the ImageNet weights expect them.

    Args:
        in_channels: channels of the image.
        width: channels of the first block.
        dropout: rate after pools 3, 4 and 5 (Bayesian SegNet).

    Raises:
        ModelError: if `width` is less than 1.
    """

    def __init__(self, in_channels: int = 3, *, width: int = 64, dropout: float = 0.0) -> None:
        super().__init__()
        self.name, self.in_channels = "vgg16_bn", in_channels
        self.mean, self.std = imagenet_statistics(in_channels)
        self.convs = convolutions(
            in_channels, width, lambda name, channels, out: norm_relu(nn.Conv2d(channels, out, 3, padding=1))
        )
        self.channels, self.strides = tuple(factor * width for factor in FACTORS), (2, 4, 8, 16, 32)
        self.pool = nn.MaxPool2d(2, ceil_mode=True, return_indices=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.with_switches(image)[0]

    def with_switches(self, image: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], Switches]:
        """The five pooled maps and the switches of their pools."""
        x, pooled, switches = image, [], []
        for level, block in enumerate(BLOCKS, start=1):
            for name in block:
                x = self.convs[name](x)
            size = (x.shape[2], x.shape[3])
            x, indices = self.pool(x)  # (N, C, H / 2^level, W / 2^level, rounded up)
            x = self.dropout(x) if level >= 3 else x
            pooled.append(x)
            switches.append((indices, size))
        return tuple(pooled), switches

    def load_imagenet(self, state: State) -> None:
        """Load convolutions and norms of timm's `vgg16_bn.tv_in1k`; raises as `transplant` does."""
        layers = []
        for name, place in zip(self.convs, timm_places(step=3), strict=True):
            layers += [(f"convs.{name}.0", f"features.{place}"), (f"convs.{name}.1", f"features.{place + 1}")]
        transplant(self, layers, state, self.in_channels)


def norm_relu(convolution: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    """The convolution, batch norm and ReLU; started by `he`, the norm's shift at 0.001."""
    norm = nn.BatchNorm2d(convolution.out_channels)
    nn.init.constant_(norm.bias, 0.001)
    return nn.Sequential(he(convolution), norm, nn.ReLU(inplace=True))
