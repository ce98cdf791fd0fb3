"""EncNet: the image as a whole, encoded against a dictionary of codewords, says which channels matter.

    network  year  arXiv       what is in it
    EncNet   2018  1803.08904  encoding layer with K = 32 codewords, featuremap attention (section 3.1, figure 2)

The paper's SE-loss, which asks the encoding which classes are in the image, is absent: it is a score per image, not per
pixel, and `outputs` gives logits of the image's size. The layout is mmsegmentation's without lateral convolutions.

Axes: N images, C channels, H x W pixels, T = h x w cells at the encoder's stride s, D codewords, K classes.
"""

import torch
from torch import nn

from atrous.encoders import Encoder
from atrous.layers import conv_bn_relu
from atrous.models.options import Count, Share
from atrous.models.page import On, Page, fcn_aux, on_encoder


class Encoding(nn.Module):
    """(N, C, h, w) -> (N, D, C): per codeword, the sum of what is left of each cell, by soft assignment (equation 1).

    e_d = sum_t a_td (x_t - c_d), a_td = softmax over d of scale_d |x_t - c_d|^2; scale is the paper's -s, from -1 to 0
    at the start.
    """

    def __init__(self, channels: int, codewords: int) -> None:
        super().__init__()
        reach = (channels * codewords) ** -0.5
        self.codewords = nn.Parameter(torch.empty(codewords, channels).uniform_(-reach, reach))
        self.scale = nn.Parameter(torch.empty(codewords).uniform_(-1, 0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        cells = x.flatten(2).transpose(1, 2)  # (N, T, C)
        products = cells @ self.codewords.T  # (N, T, D)
        squares = cells.square().sum(2, keepdim=True) + self.codewords.square().sum(1)  # (N, T, D)
        weights = (self.scale * (squares - 2 * products)).softmax(2)
        return weights.transpose(1, 2) @ cells - weights.sum(1)[:, :, None] * self.codewords


class Context(nn.Module):
    """(N, C, h, w) -> the same: x + gate * x after a ReLU, the gate (N, C) in 0..1 from the map's encoding."""

    def __init__(self, channels: int, codewords: int) -> None:
        super().__init__()
        self.project = conv_bn_relu(channels, channels, 1)
        self.encode = Encoding(channels, codewords)
        self.norm = nn.BatchNorm1d(codewords)
        self.gate = nn.Sequential(nn.Linear(channels, channels), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        encoding = self.norm(self.encode(self.project(x))).relu().mean(1)  # (N, C): the mean over the codewords
        return (x + x * self.gate(encoding)[:, :, None, None]).relu()


@on_encoder("resnet50", stride=8)
def encnet(
    net: Encoder, classes: int, *, channels: Count = 512, codewords: Count = 32, dropout: Share = 0.1, aux: bool = False
) -> Page:
    """EncNet on any encoder: an encoding of the whole map against learned codewords weighs the channels.

    The paper has stride 8. aux: an FCN head on the features before the deepest.
    """
    reduce = conv_bn_relu(net.channels[-1], channels)
    context = Context(channels, codewords)
    score = nn.Sequential(nn.Dropout(dropout), nn.Conv2d(channels, classes, 1))
    head = On(-1, reduce=reduce, context=context, score=score)
    return Page(net, head, classes, fcn_aux(net, classes) if aux else None)
