"""DeepLab v1 and v2: holes keep the scores dense at stride 8, wide rates see context, a dense CRF (elsewhere) sharpens.

    version        year  arXiv       what is in it
    v1 LargeFOV    2015  1412.7062   VGG16 with holes; fc6 a 3x3 at rate 12 with 1024 filters
    v1 7x7, 4x4    2015  1412.7062   fc6 in 7x7 or 4x4 with 4096 filters, at rate 4 or 8
    v2 ASPP        2018  1606.00915  four rates side by side, their scores summed, on VGG16 or ResNet-101
    v2 multiscale  2018  1606.00915  the net on the image at scales 1, 0.75, 0.5, the larger score taken

Cell i of the scores lies on pixel 8 i, whatever the image's size, and the last resize puts it there: corners aligned
at sides of 8 k + 1 (321 gives 41), as in the released nets; at other sides the border cell is repeated once and the
rest cut off. The papers' loss is taken at stride 8 against shrunken labels, ours at the image's size. The papers' CRF
is not part of the network; v1's multi-scale features (MSc) are not here.

Axes: N images, C channels, H x W pixels, h x w cells of 8 pixels, K classes.
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import torch
from torch import nn

from atrous import encoders
from atrous.layers import gaussian, safe_norms
from atrous.layers.vgg import IMAGENET
from atrous.layers.vgg_dilated import DilatedVGG16, FieldOfView, gaussian_score, on_pixels
from atrous.models.model import Strided
from atrous.models.options import Count, Counts, Pretrained, Scales, Share
from atrous.models.page import On, Page, on
from atrous.ops.resize import Tail, resize

FC6 = {"largefov": (3, 12, 16), "7x7": (7, 4, 64), "4x4": (4, 4, 64), "4x4_rate8": (4, 8, 64)}
"""v1's fc6: kernel, rate, filters in units of VGG's width. Fields of view of 224, 224, 128 and 224 pixels."""

ASPP_L, ASPP_S = (6, 12, 18, 24), (2, 4, 8, 12)
"""v2's rates (section 4.1.2)."""

SCALES = (1.0, 0.75, 0.5)
"""v2's scales (section 3.2)."""

Backbone = DilatedVGG16 | encoders.Encoder
"""What gives features at stride 8."""


class DeepLabV2(Strided):
    """The scores of several rates, summed (section 3.2), and of several scales, the larger taken. Any H, W >= 1."""

    def __init__(self, encoder: Backbone, branches: Sequence[nn.Module], classes: int, scales: Sequence[float]) -> None:
        super().__init__()
        self.encoder, self.classes, self.in_channels = encoder, classes, encoder.in_channels
        self.branches, self.scales = nn.ModuleList(branches), tuple(scales)
        safe_norms(self)

    def logits_at_stride(self, image: torch.Tensor) -> tuple[torch.Tensor, Tail]:
        """Logits (N, K, h + 1, w + 1), the border cell repeated, and the resize that puts cell i on pixel 8 i."""
        return on_pixels(self._scores(image)[0], image)

    def outputs(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The fused logits, then those of each scale, largest first, all (N, K, H, W); with one scale only its own.

        The paper's loss is their plain sum (section 4.1.2): `Objective` with an auxiliary weight of 1.
        """
        maps = (on_pixels(scores, image) for scores in self._scores(image))
        return tuple(tail.apply(scores) for scores, tail in maps)

    def _scores(self, image: torch.Tensor) -> list[torch.Tensor]:
        """The maximum over the scales (N, K, h, w), then each scale's scores at the size of the largest."""
        scores: list[torch.Tensor] = []
        for scale in self.scales:
            size = [round((side - 1) * scale) + 1 for side in image.shape[2:]]  # 321 -> 241, 161
            x = image if scale == 1 else resize(image, tuple(size), align_corners=True)
            features = self.encoder(x)[-1]
            x = torch.stack([branch(features) for branch in self.branches]).sum(0)  # (N, K, scale h, scale w)
            scores.append(resize(x, scores[0].shape[2:], align_corners=True) if scores else x)
        return scores if len(scores) == 1 else [torch.stack(scores).amax(0), *scores]


class Trunk(NamedTuple):
    """An encoder at stride 8, the field of view on its last features, and the channels that this gives."""

    encoder: Backbone
    field: nn.Module
    channels: int


def on_vgg16(filters: int, *, average: bool = False, **fc6: int) -> Callable[..., Callable[..., Any]]:
    """`on` VGG16 with holes and its fc6 and fc7, of so many units of its width, or on any encoder's last features."""

    def make(
        *,
        encoder: str = "vgg16",
        in_channels: Count = 3,
        pretrained: Pretrained = False,
        dropout: Share = 0.5,
        width: Count = 64,
    ) -> Trunk:
        if encoder != "vgg16":
            net = encoders.encoder(encoder, in_channels=in_channels, stride=8, pretrained=pretrained)
            return Trunk(net, nn.Identity(), net.channels[-1])
        vgg = DilatedVGG16(in_channels, width=width, average=average)
        field = FieldOfView(8 * width, filters * width, dropout=dropout, **fc6)
        _load_imagenet(pretrained, vgg, field)
        return Trunk(vgg, field, filters * width)

    return on(make)


def deeplabv1(
    classes: Count = 21,
    *,
    in_channels: Count = 3,
    pretrained: Pretrained = False,
    fc6: Literal["largefov", "7x7", "4x4", "4x4_rate8"] = "largefov",
    dropout: Share = 0.5,
    width: Count = 64,
) -> Page:
    """DeepLab v1: VGG16 with dilated convolutions at stride 8, whose fc6 looks at a wide field (LargeFOV).

    LargeFOV has 20,505,429 parameters with 21 classes. fc6: that, or one of the paper's earlier forms. pretrained:
    VGG16's weights, fc6 and fc7 cut from its fully connected layers. width: channels of VGG's first block.
    """
    kernel, rate, filters = FC6[fc6]
    vgg = DilatedVGG16(in_channels, width=width, average=True)
    field = FieldOfView(8 * width, filters * width, kernel=kernel, rate=rate, dropout=dropout)
    _load_imagenet(pretrained, vgg, field)
    return Page(vgg, On(-1, field=field, score=gaussian_score(filters * width, classes)), classes, place=on_pixels)


def deeplabv2(
    classes: Count = 21,
    *,
    encoder: str = "resnet101",
    in_channels: Count = 3,
    pretrained: Pretrained = False,
    rates: Counts = ASPP_L,
    scales: Scales = (1.0,),
    dilate_first: bool = True,
    stride_first: bool = False,
    dropout: Share = 0.5,
    width: Count = 64,
) -> DeepLabV2:
    """DeepLab v2 on any encoder that can be dilated to stride 8: the summed scores of four dilation rates (ASPP).

    encoder: "vgg16" is VGG16 with dilated convolutions. rates: `ASPP_L`, `ASPP_S`, or (12,) for LargeFOV. scales:
    `SCALES` for the paper's multi-scale fusion, the largest first. dilate_first, stride_first: where a ResNet has its
    rates and strides; the released net has True for both, and ImageNet weights of timm want their stride where it is.
    dropout, width: of VGG16, whose branches have an fc6 and fc7 each; pretrained, each takes another quarter of VGG's.
    """
    if encoder != "vgg16":
        net = encoders.encoder(
            encoder,
            in_channels=in_channels,
            stride=8,
            pretrained=pretrained,
            dilate_first=dilate_first,
            stride_first=stride_first,
        )
        return DeepLabV2(net, [_branch(net.channels[-1], classes, rate) for rate in rates], classes, scales)
    vgg = DilatedVGG16(in_channels, width=width)
    fields = [FieldOfView(8 * width, 16 * width, rate=rate, dropout=dropout) for rate in rates]
    _load_imagenet(pretrained, vgg, *fields)
    branches = [nn.Sequential(*field, gaussian_score(16 * width, classes)) for field in fields]
    return DeepLabV2(vgg, branches, classes, scales)


def _load_imagenet(pretrained: Pretrained, vgg: DilatedVGG16, *fields: FieldOfView) -> None:
    if pretrained:
        state = encoders.pretrained_state(IMAGENET, pretrained)
        vgg.load_imagenet(state)
        for index, field in enumerate(fields):
            field.load_imagenet(state, first=index % 4)


def _branch(channels: int, classes: int, rate: int) -> nn.Conv2d:
    """ResNet's branch of ASPP: a 3x3 from the features to the scores, started as `gaussian_score`."""
    return gaussian(nn.Conv2d(channels, classes, 3, padding=rate, dilation=rate), std=0.01)
