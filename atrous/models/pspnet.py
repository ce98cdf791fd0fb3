"""PSPNet: the means of the map over 1, 4, 9 and 36 regions tell every cell what scene it lies in.

    network  year  arXiv       what is in it
    PSPNet   2017  1612.01105  a ResNet at stride 8, pyramid pooling, a 3x3 and a 1x1; an auxiliary head on stage 4

Each pooled map, and the head, has a quarter of the encoder's channels, 512 on ResNet-50. The paper's ResNet has a stem
of three 3x3, in timm `encoder="resnet50c"`; the default is the plain resnet50.

Axes: N images, C channels, H x W pixels, s the encoder's stride, K classes.
"""

from torch import nn

from atrous.encoders import Encoder
from atrous.layers import PyramidPool, conv_bn_relu
from atrous.layers.ppm import BINS
from atrous.models.options import Counts, Share
from atrous.models.page import On, Page, fcn_aux, on_encoder


@on_encoder("resnet50", stride=8)
def pspnet(net: Encoder, classes: int, *, bins: Counts = BINS, dropout: Share = 0.1, aux: bool = False) -> Page:
    """PSPNet on any encoder: its last features, joined with their means over 1, 4, 9 and 36 regions.

    resnet50c with 21 classes has 46,611,829 parameters, 48,977,034 with `aux`. stride: 8 in the paper. bins: cells per
    side of each pooled map. aux: an FCN head on the features before the deepest.
    """
    channels, narrow = net.channels[-1], max(1, net.channels[-1] // 4)
    pool = PyramidPool(channels, narrow, bins)  # (N, 2 C, H/s, W/s)
    joined = conv_bn_relu(channels + len(bins) * narrow, narrow)
    score = nn.Sequential(*joined, nn.Dropout(dropout), nn.Conv2d(narrow, classes, 1))
    return Page(net, On(-1, pool=pool, score=score), classes, fcn_aux(net, classes) if aux else None)
