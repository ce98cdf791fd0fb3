"""segmentation-models-pytorch's networks: an encoder, a decoder, a convolution.

    decoder        what differs from our page of the name
    Unet           a fifth block, without a skip, at the image's own size; torch's old rounding of
                   `nearest`
    FPN            align_corners=True in every bilinear resize
    PSPNet         the encoder ends at stride 8; the mean of the whole image has a bias in place of
                   batch norm; a 1x1 projects to 512 channels, a 3x3 classifies; align_corners=True
    DeepLabV3      the new rate in every convolution of a dilated stage; align_corners=True
    DeepLabV3+     the rates of stride 8 at stride 16; separable convolutions have a norm only at
                   their end, one follows ASPP and one is in the decoder; align_corners=True
    UPerNet        a layer norm on every feature, 256 channels; align_corners=True at the end
    Segformer      all levels of the encoder, stride 2 too; align_corners=True at the end

U-Net++ is our page, number for number. Mix Transformers have eps 1e-6 in their blocks. smp
upsamples by two and refuses sizes that are not multiples of the stride; these networks resize to
the finer map and take any size.

Axes: N images, C channels, H x W pixels, s the stride of the decoder's map, K classes.
"""

from collections.abc import Callable

import torch
from timm.layers import LayerNorm2d
from torch import nn
from torch.nn.functional import adaptive_avg_pool2d

from atrous import encoders
from atrous.encoders import Encoder
from atrous.encoders.mit import Block, Stage
from atrous.layers import ASPP, conv_bn_relu, safe_norms
from atrous.layers.aspp import ImagePool
from atrous.layers.ppm import BINS
from atrous.models.foreign.mmseg import UPerHead
from atrous.models.fpn import Pyramid, Rise
from atrous.models.options import Count, Pretrained
from atrous.models.page import Features, On, on, to_image
from atrous.ops.resize import Tail, resize

RATES = (12, 24, 36)
"""Of ASPP, at either stride."""

WIDTHS = (256, 128, 64, 32, 16)
"""Of U-Net's blocks, deepest first."""


class SMP(nn.Module):
    """A decoder and a classifier on the encoder's features, then a resize with align_corners=True. Any H, W >= 1.

    decoder: features -> map of `width` channels. kernel: side of the classifier. whole: whether the map has the image's
    own size, so that nothing is left to resize; the decoder then takes the image ahead of the features.
    """

    def __init__(
        self, encoder: Encoder, decoder: nn.Module, width: int, classes: int, *, kernel: int = 1, whole: bool = False
    ) -> None:
        super().__init__()
        self.encoder, self.classes, self.in_channels = encoder, classes, encoder.in_channels
        self.decoder, self.whole = decoder, whole
        self.head = nn.Conv2d(width, classes, kernel, padding=kernel // 2)
        safe_norms(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return to_image(image, align_corners=True).apply(self._score(image))  # (N, K, H, W)

    def logits_at_stride(self, image: torch.Tensor) -> tuple[torch.Tensor, Tail] | None:
        """Logits (N, K, H/s, W/s) and the resize to the image; None if they have its size."""
        return None if self.whole else (self._score(image), to_image(image, align_corners=True))

    def _score(self, image: torch.Tensor) -> torch.Tensor:
        features = self.encoder(image)
        return self.head(self.decoder((image, *features) if self.whole else features))  # (N, K, H/s, W/s)


class UnetDecoder(nn.Module):
    """From the deepest features up to the image's size: per stride a skip, if any, and two 3x3."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        last = {stride: index for index, stride in enumerate(encoder.strides)}
        self.steps = [(s, last.get(s)) for s in (16, 8, 4, 2, 1) if s < encoder.strides[-1]]
        width, blocks = encoder.channels[-1], []
        for (_, skip), out in zip(self.steps, WIDTHS, strict=False):
            beside = encoder.channels[skip] if skip is not None else 0
            blocks.append(nn.Sequential(conv_bn_relu(width + beside, out), conv_bn_relu(out, out)))
            width = out
        self.blocks, self.width = nn.ModuleList(blocks), width

    def forward(self, image_and_features: Features) -> torch.Tensor:
        image, *features = image_and_features
        x = features[-1]  # (N, C, H/32, W/32)
        for (stride, index), block in zip(self.steps, self.blocks, strict=True):
            if index is None:
                x = resize(x, tuple(max(1, side // stride) for side in image.shape[2:]), mode="floor")
            else:
                skip = features[index]
                x = torch.cat([resize(x, skip.shape[2:], mode="floor"), skip], 1)
            x = block(x)
        return x  # (N, 16, H, W)


class FPNDecoder(nn.Module):
    """A pyramid on the strides from 4 on; each level is raised to stride 4 and summed."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.levels = encoder.levels()
        self.pyramid = Pyramid([encoder.channels[index] for index in self.levels], 256, smooth=False)
        self.rise = nn.ModuleList(Rise(256, 128, steps, align_corners=True) for steps in range(len(self.levels)))
        self.dropout = nn.Dropout2d(0.2)

    def forward(self, features: Features) -> torch.Tensor:
        maps = self.pyramid([features[index] for index in self.levels])
        sizes = [x.shape[2:] for x in maps]
        raised = [rise(x, sizes[:level][::-1]) for level, (rise, x) in enumerate(zip(self.rise, maps, strict=True))]
        return self.dropout(sum(raised[1:], raised[0]))  # (N, 128, H/4, W/4)


class PSPDecoder(nn.Module):
    """The means over b x b bins through 1x1s, concatenated with the map, projected to 512."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = max(1, channels // len(BINS))
        whole = nn.Sequential(nn.Conv2d(channels, narrow, 1), nn.Identity(), nn.ReLU(inplace=True))
        self.branches = nn.ModuleList([whole, *(conv_bn_relu(channels, narrow, 1) for _ in BINS[1:])])
        self.project = conv_bn_relu(channels + len(BINS) * narrow, 512, 1)
        self.dropout = nn.Dropout2d(0.2)

    def forward(self, features: Features) -> torch.Tensor:
        x = features[-1]  # (N, C, H/8, W/8)
        means = [branch(adaptive_avg_pool2d(x, bins)) for branch, bins in zip(self.branches, BINS, strict=True)]
        seen = [resize(mean, x.shape[2:], align_corners=True) for mean in means]
        return self.dropout(self.project(torch.cat([*seen, x], 1)))  # (N, 512, H/8, W/8)


class DeepLabV3PlusDecoder(nn.Module):
    """Separable ASPP, a separable 3x3, 48 channels of stride 4 beside it, another separable 3x3."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.low, channels = encoder.levels()[0], encoder.channels[-1]
        separable = [separable_conv(channels, 256, rate) for rate in RATES]
        self.branches = nn.ModuleList([conv_bn_relu(channels, 256, 1), *separable, ImagePool(channels, 256)])
        self.project = nn.Sequential(*conv_bn_relu(5 * 256, 256, 1), nn.Dropout(0.5))
        self.after = separable_conv(256, 256)
        self.block1 = conv_bn_relu(encoder.channels[self.low], 48, 1)
        self.block2 = separable_conv(256 + 48, 256)

    def forward(self, features: Features) -> torch.Tensor:
        x = self.project(torch.cat([branch(features[-1]) for branch in self.branches], 1))  # (N, 256, H/16, W/16)
        low = self.block1(features[self.low])  # (N, 48, H/4, W/4)
        x = resize(self.after(x), low.shape[2:], align_corners=True)
        return self.block2(torch.cat([x, low], 1))  # (N, 256, H/4, W/4)


class UPerNetDecoder(nn.Module):
    """A layer norm over the channels of each level from stride 4 on, then mmsegmentation's head."""

    def __init__(self, encoder: Encoder, width: int) -> None:
        super().__init__()
        self.levels = encoder.levels()
        channels = [encoder.channels[index] for index in self.levels]
        self.norms = nn.ModuleList(LayerNorm2d(c, eps=1e-6) for c in channels)
        self.head = UPerHead(channels, width, align_corners=False)

    def forward(self, features: Features) -> torch.Tensor:
        pairs = zip(self.norms, self.levels, strict=True)
        return self.head([norm(features[index]) for norm, index in pairs])  # (N, width, H/4, W/4)


class SegformerDecoder(nn.Module):
    """Every level, projected to one width and resized to stride 4, deepest first, fused."""

    def __init__(self, encoder: Encoder, width: int) -> None:
        super().__init__()
        self.level = encoder.levels()[0] - len(encoder.strides)  # of stride 4, from the end
        self.project = nn.ModuleList(nn.Linear(channels, width) for channels in encoder.channels[::-1])
        self.fuse = conv_bn_relu(len(encoder.channels) * width, width, 1)

    def forward(self, features: Features) -> torch.Tensor:
        to, pairs = features[self.level].shape[2:], zip(self.project, reversed(features), strict=True)
        maps = [project(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) for project, x in pairs]  # (N, width, H/s, W/s)
        return self.fuse(torch.cat([resize(x, to) for x in maps], 1))  # (N, width, H/4, W/4)


def separable_conv(channels: int, out: int, rate: int = 1) -> nn.Sequential:
    """(N, channels, H, W) -> (N, out, H, W): a depthwise 3x3, a 1x1, then batch norm and ReLU."""
    depthwise = nn.Conv2d(channels, channels, 3, padding=rate, dilation=rate, groups=channels, bias=False)
    return nn.Sequential(depthwise, *conv_bn_relu(channels, out, 1))


def _on_encoder(default: str = "resnet34", *, stride: int = 32) -> Callable[[Callable[..., SMP]], Callable[..., SMP]]:
    """`on` an encoder by smp's rules: a dilated stage has its new rate throughout, eps as in smp."""

    def make(*, encoder: str = default, in_channels: Count = 3, pretrained: Pretrained = False) -> Encoder:
        net = encoders.encoder(
            encoder, in_channels=in_channels, stride=stride, pretrained=pretrained, dilate_first=stride < 32
        )
        for part in net.modules():
            if isinstance(part, Stage):
                part.norm.eps = 1e-6
            elif isinstance(part, Block):
                part.norm1.eps = part.norm2.eps = 1e-6
        return net

    return on(make)


@_on_encoder()
def smp_unet(net: Encoder, classes: int) -> SMP:
    """smp's Unet: 24,439,269 parameters on resnet34 with 21 classes."""
    decoder = UnetDecoder(net)
    return SMP(net, decoder, decoder.width, classes, kernel=3, whole=True)


@_on_encoder()
def smp_fpn(net: Encoder, classes: int) -> SMP:
    """smp's FPN: 26,118,613 parameters on resnet50 with 21 classes."""
    return SMP(net, FPNDecoder(net), 128, classes)


@_on_encoder()
def smp_pspnet(net: Encoder, classes: int) -> SMP:
    """smp's PSPNet on an encoder that ends at stride 8.

    smp's files hold deeper stages too, but never use them.
    """
    net = encoders.shallow(net, 8)
    return SMP(net, PSPDecoder(net.channels[-1]), 512, classes, kernel=3)


@_on_encoder(stride=8)
def smp_deeplabv3(net: Encoder, classes: int) -> SMP:
    """smp's DeepLabV3 at stride 8: 39,638,869 parameters on resnet50 with 21 classes.

    torchvision's has as many.
    """
    decoder = On(-1, aspp=ASPP(net.channels[-1], RATES, dropout=0.5), conv=conv_bn_relu(256, 256))
    return SMP(net, decoder, 256, classes)


@_on_encoder(stride=16)
def smp_deeplabv3plus(net: Encoder, classes: int) -> SMP:
    """smp's DeepLabV3Plus at stride 16: 26,682,725 parameters on resnet50 with 21 classes."""
    return SMP(net, DeepLabV3PlusDecoder(net), 256, classes)


@_on_encoder()
def smp_upernet(net: Encoder, classes: int, *, channels: Count = 256) -> SMP:
    """smp's UPerNet: 37,289,813 parameters on resnet50 with 21 classes; `channels` per level."""
    return SMP(net, UPerNetDecoder(net, channels), channels, classes)


@_on_encoder("mit_b0")
def smp_segformer(net: Encoder, classes: int, *, channels: Count = 256) -> SMP:
    """smp's Segformer: 3,752,694 parameters on mit_b0 with 150 classes; `channels` per level."""
    return SMP(net, SegformerDecoder(net, channels), channels, classes)
