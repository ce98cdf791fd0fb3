"""ReSeg: recurrent layers sweep the map of a convolutional network, so that every cell has read the whole image.

    network  year  arXiv       what is in it
    ReSeg    2016  1511.07573  the first seven layers of VGG16, two ReNet layers of GRUs, two learned upsamplings by two
    ReNet    2015  1505.00393  the layer: a sweep down and up every column, then right and left every row of that

The encoder ends at its first features of stride 4, VGG16's conv3_3; what lies deeper is taken away. Any chain of stages
will do: ResNets, ConvNeXts, EfficientNets. The border is mirrored up to sides that the stride divides, and cut off.
The GRU is torch's: the reset gate acts after the product with the state, as in the paper's code.

Axes: N images, C channels, H x W pixels, h x w cells of a map, U units of a recurrent layer, K classes.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import nn

from atrous import encoders
from atrous.layers import pad_reflect, safe_norms
from atrous.models.model import Whole
from atrous.models.options import Count, Counts, Pretrained


class ReNet(nn.Module):
    """(N, C, h, w) -> (N, 2U, h, w): a bidirectional GRU of U units along columns, then one along rows of its output.

    Every output cell depends on every input cell (ReNet, section 2; patches of 1x1).
    """

    def __init__(self, channels: int, units: int) -> None:
        super().__init__()
        self.vertical = nn.GRU(channels, units, batch_first=True, bidirectional=True)
        self.horizontal = nn.GRU(2 * units, units, batch_first=True, bidirectional=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        columns = x.permute(0, 3, 2, 1)  # (N, w, h, C)
        rows = _sweep(self.vertical, columns).transpose(1, 2)  # (N, h, w, 2U)
        return _sweep(self.horizontal, rows).permute(0, 3, 1, 2)


def _sweep(layer: nn.GRU, lines: torch.Tensor) -> torch.Tensor:
    """(N, lines, cells, C) -> (N, lines, cells, 2U). Exporters fix the size of a state that torch makes itself."""
    images, count, cells, channels = lines.shape
    state = lines.new_zeros(2, images * count, layer.hidden_size)
    swept: torch.Tensor = layer(lines.reshape(images * count, cells, channels), state)[0]
    return swept.reshape(images, count, cells, 2 * layer.hidden_size)


class ReSeg(Whole):
    """The encoder's map, ReNet layers over it, transposed 2x2 convolutions back to the image. Any H, W >= 1."""

    def __init__(self, encoder: encoders.Encoder, classes: int, *, units: Sequence[int], width: int) -> None:
        super().__init__()
        self.encoder, self.classes, self.in_channels = encoder, classes, encoder.in_channels
        self.sweeps, channels = nn.Sequential(), encoder.channels[-1]
        for count in units:
            self.sweeps.append(ReNet(channels, count))
            channels = 2 * count
        self.up = nn.Sequential()
        for _ in range(encoder.strides[-1].bit_length() - 1):
            self.up.append(nn.Sequential(nn.ConvTranspose2d(channels, width, 2, stride=2), nn.ReLU(inplace=True)))
            channels = width
        self.head = nn.Conv2d(channels, classes, 1)
        safe_norms(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        (height, width), stride = image.shape[2:], self.encoder.strides[-1]
        padded = pad_reflect(image, 0, -height % stride, 0, -width % stride)
        x = self.sweeps(self.encoder(padded)[-1])  # (N, 2U, H/4, W/4)
        return self.head(self.up(x))[:, :, :height, :width]  # (N, K, H, W)


def reseg(
    classes: Count = 21,
    *,
    encoder: str = "vgg16",
    in_channels: Count = 3,
    pretrained: Pretrained = False,
    stride: Literal[1, 2, 4, 8, 16, 32] = 4,
    units: Counts = (100, 100),
    channels: Count = 50,
) -> ReSeg:
    """ReSeg: recurrent layers sweep the rows and columns of an encoder's features.

    The encoder is a chain of stages, cut after its first features at `stride`, a power of two. units: of each ReNet
    layer and direction. channels: of the upsampling layers. The defaults are the paper's on CamVid.
    """
    net = encoders.encoder(encoder, in_channels=in_channels, pretrained=pretrained)
    return ReSeg(encoders.shallow(net, stride), classes, units=units, width=channels)
