"""LR-ASPP: the leanest of heads for MobileNetV3. One gate from the image's mean, one skip of stride 8, two scores.

    network  year  arXiv       what is in it
    LR-ASPP  2019  1905.02244  128 features times a gate; their scores at stride 8, plus those of the features there

The gate's mean is the whole image's, as in torchvision; the paper pools 49 x 49 cells with strides of 16 and 20. On
mobilenet_v3_large, torchvision's own encoder, this is its `lraspp_mobilenet_v3_large`, weights and all;
timm's mobilenetv3_large_100, which has pretrained weights, is the default (encoders/mobilenet.py: what differs).

Axes: N images, C channels, H x W pixels, s the encoder's stride, K classes.
"""

import torch
from torch import nn

from atrous.encoders import Encoder
from atrous.layers import conv_bn_relu
from atrous.models.options import Count
from atrous.models.page import Features, Page, on_encoder
from atrous.ops.resize import resize


class GatedHead(nn.Module):
    """A gated 1x1 on the encoder's last features, joined as scores by its first at stride 8."""

    def __init__(self, encoder: Encoder, classes: int, width: int) -> None:
        super().__init__()
        self.low_index, deep = encoder.index_at(8), encoder.channels[-1]
        self.features = conv_bn_relu(deep, width, 1)
        self.gate = nn.Conv2d(deep, width, 1, bias=False)
        self.low_score = nn.Conv2d(encoder.channels[self.low_index], classes, 1)
        self.high_score = nn.Conv2d(width, classes, 1)

    def forward(self, features: Features) -> torch.Tensor:
        low, high = features[self.low_index], features[-1]  # (N, C, H/8, W/8), (N, C, H/s, W/s)
        gate = self.gate(high.mean((2, 3), keepdim=True)).sigmoid()  # (N, width, 1, 1)
        x = resize(self.features(high) * gate, low.shape[2:])  # (N, width, H/8, W/8)
        return self.low_score(low) + self.high_score(x)  # (N, K, H/8, W/8)


@on_encoder("mobilenetv3_large_100", stride=16)
def lraspp(net: Encoder, classes: int, *, channels: Count = 128) -> Page:
    """LR-ASPP: a light head for MobileNetV3 or another encoder, with one gate and one skip of stride 8.

    3,221,538 parameters with 21 classes on MobileNetV3-Large. stride: of the deepest features, 16 in the paper, or 32.
    channels: of the features that are gated and scored.
    """
    return Page(net, GatedHead(net, classes, channels), classes)
