"""DeconvNet: the indices of the pools travel with the features, and unpooling by them undoes VGG16 layer by layer.

    network    year  source            what is in it
    DeconvNet  2015  arXiv 1505.04366  VGG16 with batch norm down to one cell, its mirror of unpooling and deconvolution

The paper's input is 224 x 224, which ends in one cell of 4096 channels. Here any size goes: the image is mirrored at
the bottom and the right up to a multiple of 32 and to 224 at least, and the logits are cropped. The mirror image of a
3 x 3 convolution is a 3 x 3 deconvolution; "fc6-deconv" spreads one cell over 7 x 7.
Not on the page: the object proposals that the paper scores one by one, and its ensemble with FCN-8s.

Axes: N images, C channels, H x W pixels, K classes, w the width of the first block (64).
"""

import torch
from torch import nn

from atrous import encoders
from atrous.layers import gaussian, pad_reflect, safe_norms
from atrous.layers.switches import IMAGENET_BN, SwitchedVGG16, norm_relu, transplant
from atrous.models.model import Whole
from atrous.models.options import Count, Pretrained
from atrous.ops.unpool import max_unpool

LEAST, GRID = 224, 32
"""The smallest side, in pixels, and what every side is a multiple of."""

DECODER = ((8, 8, 8), (8, 8, 4), (4, 4, 2), (2, 1), (1, 1))
"""Channels of the deconvolutions after each unpooling, the deepest first, in units of w."""


class DeconvNet(Whole):
    """VGG16, fc6, fc7, and their mirror (figure 2). Any H, W >= 1; what is smaller than 224 costs as much as 224."""

    def __init__(self, encoder: SwitchedVGG16, classes: int) -> None:
        super().__init__()
        self.encoder, self.classes, self.in_channels = encoder, classes, encoder.in_channels
        width, deep = encoder.channels[0], encoder.channels[-1]
        self.fc6 = norm_relu(nn.Conv2d(deep, 64 * width, 7))
        self.fc7 = norm_relu(nn.Conv2d(64 * width, 64 * width, 1))
        self.fc6_deconv = norm_relu(nn.ConvTranspose2d(64 * width, deep, 7))
        self.decoder, channels = nn.ModuleList(), deep
        for factors in DECODER:
            block = nn.Sequential()
            for factor in factors:
                block.append(norm_relu(nn.ConvTranspose2d(channels, factor * width, 3, padding=1)))
                channels = factor * width
            self.decoder.append(block)
        self.score = nn.Conv2d(channels, classes, 1)
        for layer in (*self.fc6_deconv.modules(), *self.decoder.modules(), self.score):
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                gaussian(layer, std=0.01)  # the released net's fillers
        safe_norms(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[2:]
        below, right = (max(LEAST - side, -side % GRID) for side in (height, width))
        pooled, switches = self.encoder.with_switches(pad_reflect(image, 0, below, 0, right))
        x = self.fc7(self.fc6(pooled[-1]))  # (N, 64w, H/32 - 6, W/32 - 6)
        x = self.fc6_deconv(x)  # (N, 8w, H/32, W/32)
        for (indices, size), block in zip(reversed(switches), self.decoder, strict=True):
            x = block(max_unpool(x, indices, size))  # (N, C, H/16, W/16), ..., (N, w, H, W)
        return self.score(x)[:, :, :height, :width]  # (N, K, H, W)

    def load_imagenet(self, state: dict[str, torch.Tensor]) -> None:
        """Start with timm's `vgg16_bn.tv_in1k`, fc6 and fc7 included. Raises WeightsError where something lacks."""
        self.encoder.load_imagenet(state)
        transplant(self, (("fc6.0", "pre_logits.fc1"), ("fc7.0", "pre_logits.fc2")), state)


def deconvnet(
    classes: Count = 21, *, in_channels: Count = 3, pretrained: Pretrained = False, width: Count = 64
) -> DeconvNet:
    """DeconvNet: VGG16 down to a single cell, then its mirror image of unpooling and deconvolutions.

    251,805,653 parameters with 21 classes. width: channels of VGG's first block; weights exist for 64.
    """
    net = DeconvNet(SwitchedVGG16(in_channels, width=width), classes)
    if pretrained:
        net.load_imagenet(encoders.pretrained_state(IMAGENET_BN, pretrained))
    return net
