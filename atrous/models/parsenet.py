"""ParseNet: looking wider. The mean of the last features over the whole image, beside them, at every place.

    network   year  arXiv       what is in it
    ParseNet  2015  1506.04579  DeepLab's LargeFOV, its fc7 and the mean of fc7, each L2-normalised and scaled, joined

Features of one layer are far larger than those of another, and than means: unscaled, one of them does all the work.
L2-normalising each over its channels, with a factor per channel that learns, makes them alike (section 3.3). This is
the paper's early fusion; its late one, the sum of two linear scores, is the same function of such features. Maps of
several layers, which the paper tries too, are not here. Cell i lies on pixel 8 i (deeplab_early.py).

Axes: N images, C channels, H x W pixels, h x w cells of 8 pixels, K classes.
"""

import torch
from torch import nn

from atrous.layers.vgg_dilated import gaussian_score, on_pixels
from atrous.models.deeplab_early import Trunk, on_vgg16
from atrous.models.options import Positive
from atrous.models.page import Features, Page


class L2Norm(nn.Module):
    """(N, C, h, w) -> the same: every place's features to length 1, then times a learned factor per channel."""

    def __init__(self, channels: int, scale: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels, 1, 1), float(scale)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(x, dim=1) * self.scale


class WiderHead(nn.Module):
    """Features and their mean, normalised, joined and scored (figure 3)."""

    def __init__(self, trunk: Trunk, classes: int, *, scale: float) -> None:
        super().__init__()
        self.field = trunk.field
        self.norm, self.norm_mean = L2Norm(trunk.channels, scale), L2Norm(trunk.channels, scale)
        self.score = gaussian_score(2 * trunk.channels, classes)

    def forward(self, features: Features) -> torch.Tensor:
        x = self.field(features[-1])  # (N, C, h, w)
        mean = self.norm_mean(x.mean((2, 3), keepdim=True))  # (N, C, 1, 1)
        joined = torch.cat([self.norm(x), mean.expand(-1, -1, *x.shape[2:])], 1)  # (N, 2 C, h, w)
        return self.score(joined)  # (N, K, h, w)


@on_vgg16(16, average=True)
def parsenet(trunk: Trunk, classes: int, *, scale: Positive = 10.0) -> Page:
    """ParseNet: the features of VGG16 or another encoder at stride 8, joined with their mean over the image.

    scale: what the factors of both norms start with, 10 to 20. dropout, width: of VGG16, as in deeplabv1.
    """
    return Page(trunk.encoder, WiderHead(trunk, classes, scale=scale), classes, place=on_pixels)
