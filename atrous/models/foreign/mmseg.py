"""mmsegmentation's networks: a backbone, a decode head, an FCN head on the stage before the last.

    head           what differs from our page of the name
    FCN            two 3x3 of 512, concatenated with their input, then a third
    PSPNet         only `align_corners`
    DeepLabV3      512 channels; the image's mean comes first in the concatenation, which a 3x3
                   projects; no 3x3 after it
    DeepLabV3+     the same, separable, at stride 8; the decoder of our page, 512 wide
    UPerNet        only `align_corners`
    SegFormer      256 channels for every size; batch norm and ReLU after each level's 1x1; the
                   finest level first

`align_corners` belongs to the configuration, True for crops of 769, else False, and holds for every
resize. Backbones are ResNetV1c, in timm resnet50c and resnet101c, dilated by timm's rule, and Mix
Transformers whose layer norms have eps 1e-6. Parts have mmseg's names. This was written from
mmsegmentation's sources: the package cannot be installed beside this torch, so logits were never
compared.

Axes: N images, C channels, H x W pixels, s the stride of the head's map, K classes.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d

from atrous.encoders import Encoder
from atrous.encoders.mit import MIT
from atrous.layers import conv_bn_relu, fcn_head, safe_norms, separable_conv
from atrous.layers.aspp import ImagePool
from atrous.layers.ppm import BINS
from atrous.models.model import Strided
from atrous.models.options import Count
from atrous.models.page import on_encoder, to_image
from atrous.ops.resize import Tail, resize

RATES = (12, 24, 36)
"""Of ASPP at stride 8, besides a 1x1."""

Features = Sequence[torch.Tensor]


class MMSeg(Strided):
    """A head on the features of strides >= 4, then dropout and a 1x1. Any H, W >= 1."""

    def __init__(
        self, encoder: Encoder, head: nn.Module, width: int, classes: int, *, align_corners: bool, aux: bool
    ) -> None:
        super().__init__()
        self.encoder, self.classes, self.in_channels = encoder, classes, encoder.in_channels
        self.align_corners = align_corners
        self.decode_head, self.dropout, self.conv_seg = head, nn.Dropout2d(0.1), nn.Conv2d(width, classes, 1)
        self.auxiliary_head = None
        if aux:
            self.auxiliary_head = fcn_head(encoder.channels[-2], classes)
            self.auxiliary_head[3] = nn.Dropout2d(0.1)
        safe_norms(self)

    def logits_at_stride(self, image: torch.Tensor) -> tuple[torch.Tensor, Tail]:
        """Logits (N, K, H/s, W/s) and the resize to the image."""
        return self._decode(self.encoder(image)), to_image(image, align_corners=self.align_corners)

    def outputs(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The logits and, if built with `aux`, the auxiliary ones, all (N, K, H, W)."""
        features, tail = self.encoder(image), to_image(image, align_corners=self.align_corners)
        aux = [self.auxiliary_head(features[-2])] if self.auxiliary_head is not None else []
        return tuple(tail.apply(one) for one in (self._decode(features), *aux))

    def _decode(self, features: Features) -> torch.Tensor:
        pyramid = [x for x, stride in zip(features, self.encoder.strides, strict=True) if stride >= 4]
        return self.conv_seg(self.dropout(self.decode_head(pyramid)))


class FCNHead(nn.Module):
    """The last features through two 3x3, concatenated with themselves, through another 3x3."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.convs = nn.Sequential(conv_bn_relu(channels, width), conv_bn_relu(width, width))
        self.conv_cat = conv_bn_relu(channels + width, width)

    def forward(self, features: Features) -> torch.Tensor:
        x = features[-1]
        return self.conv_cat(torch.cat([x, self.convs(x)], 1))


class PSPHead(nn.Module):
    """The last features and, through 1x1s, their means over b x b bins; then a 3x3."""

    def __init__(self, channels: int, width: int, align_corners: bool) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.psp_modules = nn.ModuleList(conv_bn_relu(channels, width, 1) for _ in BINS)
        self.bottleneck = conv_bn_relu(channels + len(BINS) * width, width)

    def forward(self, features: Features) -> torch.Tensor:
        x = features[-1]
        means = [conv(adaptive_avg_pool2d(x, bins)) for conv, bins in zip(self.psp_modules, BINS, strict=True)]
        seen = [resize(mean, x.shape[2:], align_corners=self.align_corners) for mean in means]
        return self.bottleneck(torch.cat([x, *seen], 1))


class ASPPHead(nn.Module):
    """The image's mean, a 1x1 and the rates, concatenated, then a 3x3; v3+ adds a decoder.

    low: channels of the features at stride 4 for the decoder; 0: there is none.
    """

    def __init__(self, channels: int, width: int, low: int, align_corners: bool) -> None:
        super().__init__()
        self.align_corners = align_corners
        atrous = separable_conv if low else conv_bn_relu
        self.image_pool = ImagePool(channels, width)
        self.aspp_modules = nn.ModuleList(
            [conv_bn_relu(channels, width, 1), *(atrous(channels, width, dilation=rate) for rate in RATES)]
        )
        self.bottleneck = conv_bn_relu((len(self.aspp_modules) + 1) * width, width)
        if low:
            self.c1_bottleneck = conv_bn_relu(low, 48, 1)
            self.sep_bottleneck = nn.Sequential(separable_conv(width + 48, width), separable_conv(width, width))

    def forward(self, features: Features) -> torch.Tensor:
        x = features[-1]
        x = self.bottleneck(torch.cat([self.image_pool(x), *(branch(x) for branch in self.aspp_modules)], 1))
        if not hasattr(self, "c1_bottleneck"):
            return x  # (N, width, H/8, W/8)
        low = self.c1_bottleneck(features[0])  # (N, 48, H/4, W/4)
        x = resize(x, low.shape[2:], align_corners=self.align_corners)
        return self.sep_bottleneck(torch.cat([x, low], 1))  # (N, width, H/4, W/4)


class UPerHead(nn.Module):
    """PSPNet's head on the last features, laterals summed top-down, 3x3s, fused at stride 4."""

    def __init__(self, channels: Sequence[int], width: int, align_corners: bool) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.pool = PSPHead(channels[-1], width, align_corners)
        self.lateral_convs = nn.ModuleList(conv_bn_relu(c, width, 1) for c in channels[:-1])
        self.fpn_convs = nn.ModuleList(conv_bn_relu(width, width) for _ in channels[:-1])
        self.fpn_bottleneck = conv_bn_relu(len(channels) * width, width)

    def forward(self, features: Features) -> torch.Tensor:
        maps = [conv(x) for conv, x in zip(self.lateral_convs, features, strict=False)] + [self.pool(features)]
        for fine, coarse in reversed(list(pairwise(range(len(maps))))):
            maps[fine] = maps[fine] + self._to(maps[coarse], maps[fine])
        maps = [conv(x) for conv, x in zip(self.fpn_convs, maps, strict=False)] + maps[-1:]
        return self.fpn_bottleneck(torch.cat([self._to(x, maps[0]) for x in maps], 1))  # (N, width, H/4, W/4)

    def _to(self, x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return resize(x, like.shape[2:], align_corners=self.align_corners)


class SegFormerHead(nn.Module):
    """Each level through a 1x1, batch norm and ReLU; resized to stride 4, fine first, fused."""

    def __init__(self, channels: Sequence[int], width: int, align_corners: bool) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.convs = nn.ModuleList(conv_bn_relu(c, width, 1) for c in channels)
        self.fusion_conv = conv_bn_relu(len(channels) * width, width, 1)

    def forward(self, features: Features) -> torch.Tensor:
        maps = [conv(x) for conv, x in zip(self.convs, features, strict=True)]
        maps = [resize(x, maps[0].shape[2:], align_corners=self.align_corners) for x in maps]
        return self.fusion_conv(torch.cat(maps, 1))  # (N, width, H/4, W/4)


Head = Callable[[Encoder, int, bool], nn.Module]
"""(encoder, channels, align_corners) -> a decode head."""


def _on_resnet(name: str, title: str, stride: int, parameters: int, head: Head) -> Callable[..., MMSeg]:
    """The builder `name`: a head on an encoder of `stride`; parameters: with every default."""

    @on_encoder("resnet50c", stride=stride, fixed=True)
    def build(
        net: Encoder, classes: int, *, channels: Count = 512, align_corners: bool = False, aux: bool = False
    ) -> MMSeg:
        decode_head = head(net, channels, align_corners)
        return MMSeg(net, decode_head, channels, classes, align_corners=align_corners, aux=aux)

    build.__name__ = build.__qualname__ = name
    build.__doc__ = (
        f"mmsegmentation's {title} at stride {stride}: {parameters:,} parameters on resnet50c with 21 classes."
    )
    return build


mmseg_fcn = _on_resnet("mmseg_fcn", "FCN", 8, 47_134_069, lambda net, width, corners: FCNHead(net.channels[-1], width))
mmseg_pspnet = _on_resnet(
    "mmseg_pspnet", "PSPNet", 8, 46_611_829, lambda net, width, corners: PSPHead(net.channels[-1], width, corners)
)
mmseg_deeplabv3 = _on_resnet(
    "mmseg_deeplabv3", "DeepLab v3", 8, 65_749_365,
    lambda net, width, corners: ASPPHead(net.channels[-1], width, 0, corners),
)  # fmt: skip
mmseg_deeplabv3plus = _on_resnet(
    "mmseg_deeplabv3plus", "DeepLab v3+", 8, 41_226_213,
    lambda net, width, corners: ASPPHead(net.channels[-1], width, net.channels[net.levels()[0]], corners),
)  # fmt: skip
mmseg_upernet = _on_resnet(
    "mmseg_upernet", "UPerNet", 32, 64_051_573,
    lambda net, width, corners: UPerHead([net.channels[index] for index in net.levels()], width, corners),
)  # fmt: skip


@on_encoder("mit_b0", fixed=True)
def mmseg_segformer(net: Encoder, classes: int, *, channels: Count = 256, align_corners: bool = False) -> MMSeg:
    """mmsegmentation's SegFormer on `mit_b0` to `mit_b5`, or its head on another encoder."""
    for layer in net.modules() if net.name in MIT else ():
        if isinstance(layer, nn.LayerNorm):
            layer.eps = 1e-6
    head = SegFormerHead([net.channels[index] for index in net.levels()], channels, align_corners)
    return MMSeg(net, head, channels, classes, align_corners=align_corners, aux=False)
