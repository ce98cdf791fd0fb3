"""Fully convolutional networks: a classifier's layers, made convolutions, score every place; bilinear upsampling and
skips refine the coarse scores.

    version        year  source               what changed
    FCN-32s        2015  arXiv 1411.4038      VGG16 as convolutions, scores at stride 32, one upsampling
    FCN-16s        2015  arXiv 1411.4038      adds scores of pool4
    FCN-8s         2015  arXiv 1411.4038      adds scores of pool3; `at_once` trains in one run (arXiv 1605.06211)
    FCN on ResNet  2017  torchvision          a 3x3 head on a dilated encoder; no skips, unless `fcn` is given some

`padding="caffe100"` is the released nets', `"same"` keeps every map aligned with the image. Deconvolutions are bilinear
and fixed, as in the released nets; `learned=True` trains them all, "skips" all but the last, as the paper of 2015 says.
Scores start at zero, so logits start at zero. Recipes, sums of losses and the order 32s, 16s, 8s of training are in
docs/models/fcn.md. Other classifiers than VGG16 become fully convolutional in classifier.py.

Axes: N images, C channels, H x W pixels, h x w cells of the coarsest scores, K classes.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import nn

from atrous import encoders
from atrous.errors import ModelError
from atrous.layers import VGG16, fcn_head
from atrous.layers.vgg import IMAGENET, Padding
from atrous.models.options import AnyCounts, Count, Flag, Pretrained, Share, Stride
from atrous.models.page import Features, Page, fcn_aux, on
from atrous.ops.resize import Tail, resize

Learned = Annotated[Literal["skips"] | Flag, Field(description="True, False or 'skips', which is all but the last")]
"""Which deconvolutions are learned."""

SKIP_OFFSET = {"caffe100": {16: 5, 8: 9}, "same": {16: 0, 8: 0}}
"""First cell of pool4 (16) and pool3 (8) that lies under the upsampled scores."""

IMAGE_OFFSET = {"caffe100": {32: 19, 16: 27, 8: 31}, "same": {32: 16, 16: 8, 8: 4}}
"""First pixel of the last, uncropped deconvolution that lies on the image."""


class Bilinear(nn.Module):
    """(N, K, h, w) -> (N, K, (h + 1) s, (w + 1) s): a full K x K deconvolution of kernel 2s that interpolates linearly.

    Equals align_corners=False interpolation by s, shifted by s / 2, with zeros around the map. Fixed unless `learned`.
    """

    def __init__(self, classes: int, factor: int, learned: bool = False) -> None:
        super().__init__()
        self.factor = factor
        line = 1 - (torch.arange(2 * factor) - factor + 0.5).abs() / factor  # (2s)
        weight = torch.eye(classes)[:, :, None, None] * torch.outer(line, line)  # (K, K, 2s, 2s)
        if learned:
            self.weight = nn.Parameter(weight)
        else:
            self.register_buffer("weight", weight, persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv_transpose2d(x, self.weight, stride=self.factor)


class VGGFCN(nn.Module):
    """FCN-32s, 16s or 8s, by its stride, the pixels per cell of the finest scores. Any H, W >= 1."""

    def __init__(
        self, encoder: VGG16, classes: int, stride: int, *, learned: Learned, scales: tuple[float, float] = (1.0, 1.0)
    ) -> None:
        super().__init__()
        between, last = bool(learned), learned is True
        self.encoder, self.classes, self.in_channels = encoder, classes, encoder.in_channels
        self.stride, self.padding, self.learned, self.scales = stride, encoder.padding, last, scales
        pool3, pool4, fc7 = encoder.channels
        self.score_fr = _score(fc7, classes)
        if stride <= 16:
            self.upscore2, self.score_pool4 = Bilinear(classes, 2, between), _score(pool4, classes)
        if stride <= 8:
            self.upscore_pool4, self.score_pool3 = Bilinear(classes, 2, between), _score(pool3, classes)
        self.upscore = Bilinear(classes, stride, last)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        (height, width), first = image.shape[2:], IMAGE_OFFSET[self.padding][self.stride]
        scores = self.upscore(self._scores(image))  # (N, K, >= first + H, >= first + W)
        return scores[:, :, first : first + height, first : first + width]  # (N, K, H, W)

    def logits_at_stride(self, image: torch.Tensor) -> tuple[torch.Tensor, Tail] | None:
        """Scores at the stride, with the ring of zeros that the last deconvolution sees; None where it is learned."""
        if self.learned:
            return None
        scores = nn.functional.pad(self._scores(image), (1, 1, 1, 1))  # (N, K, h + 2, w + 2)
        first = IMAGE_OFFSET[self.padding][self.stride] + self.stride // 2
        size = (scores.shape[2] * self.stride, scores.shape[3] * self.stride)
        return scores, Tail(size, (first, first, image.shape[2], image.shape[3]))

    def _scores(self, image: torch.Tensor) -> torch.Tensor:
        pool3, pool4, fc7 = self.encoder(image)
        scores = self.score_fr(fc7)  # (N, K, h, w)
        if self.stride <= 16:
            scores = self._fuse(self.upscore2(scores), self.score_pool4(pool4 * self.scales[0]), 16)  # (N, K, ~2h, ~2w)
        if self.stride <= 8:
            skip = self.score_pool3(pool3 * self.scales[1])
            scores = self._fuse(self.upscore_pool4(scores), skip, 8)  # (N, K, ~4h, ~4w)
        return scores

    def _fuse(self, scores: torch.Tensor, skip: torch.Tensor, stride: int) -> torch.Tensor:
        """Add the skip's scores to the upsampled ones: over all of them, or in `same` over all of the skip."""
        if self.padding == "same":
            return scores[:, :, 1 : 1 + skip.shape[2], 1 : 1 + skip.shape[3]] + skip
        first = SKIP_OFFSET[self.padding][stride]
        return scores + skip[:, :, first : first + scores.shape[2], first : first + scores.shape[3]]


class SkipHead(nn.Module):
    """torchvision's FCN head on the last features, and 1x1s on those of finer strides, `skips`, added on the way up."""

    def __init__(self, encoder: encoders.Encoder, classes: int, skips: Sequence[int], *, dropout: float) -> None:
        super().__init__()
        self.score = fcn_head(encoder.channels[-1], classes, dropout)
        held = encoder.skips()
        if missing := [stride for stride in skips if stride not in held]:
            raise ModelError(
                f"encoder {encoder.name!r} has no skip at stride {missing[0]!r}; its features before the last are at "
                f"strides {', '.join(map(str, sorted(held))) or 'none'}"
            )
        self.indices = [held[stride] for stride in sorted(set(skips), reverse=True)]  # deep first
        self.scores = nn.ModuleList(_score(encoder.channels[index], classes) for index in self.indices)

    def forward(self, features: Features) -> torch.Tensor:
        scores = self.score(features[-1])  # (N, K, H/s, W/s)
        for index, score in zip(self.indices, self.scores, strict=True):
            skip = score(features[index])  # (N, K, of the skip)
            scores = resize(scores, skip.shape[2:]) + skip
        return scores


def _score(channels: int, classes: int) -> nn.Conv2d:
    """A 1x1 convolution that starts at zero."""
    score = nn.Conv2d(channels, classes, 1)
    nn.init.zeros_(score.weight)
    nn.init.zeros_(score.bias)  # type: ignore[arg-type]
    return score


def warm_start(finer: VGGFCN, coarser: VGGFCN) -> VGGFCN:
    """Begin FCN-16s with a trained FCN-32s, or 8s with 16s: all they share is copied into `finer`, which is returned.

    The new skip scores zero, so `finer` starts with the coarser scores, upsampled in two steps instead of one: equal
    where scores are linear, and off by at most 1/8 of their second difference per axis at the cells' centres.
    """
    shape = [(net.classes, net.in_channels, net.padding, net.encoder.channels) for net in (finer, coarser)]
    if 2 * finer.stride != coarser.stride or shape[0] != shape[1]:
        raise ModelError(
            f"FCN-{finer.stride}s cannot start from FCN-{coarser.stride}s with (classes, channels, padding, widths) "
            f"{shape[0]} and {shape[1]}; expected 32s -> 16s or 16s -> 8s of one make"
        )
    own = finer.state_dict()
    shared = {
        key: value for key, value in coarser.state_dict().items() if key in own and not key.startswith("upscore.")
    }
    finer.load_state_dict(shared, strict=False)
    newest = finer.score_pool4 if finer.stride == 16 else finer.score_pool3
    nn.init.zeros_(newest.weight)
    nn.init.zeros_(newest.bias)  # type: ignore[arg-type]
    return finer


def _vgg(
    *, in_channels: Count = 3, pretrained: Pretrained = False, padding: Padding = "caffe100", width: Count = 64
) -> VGG16:
    vgg = VGG16(in_channels, padding=padding, width=width)
    if pretrained:
        vgg.load_imagenet(encoders.pretrained_state(IMAGENET, pretrained))
    return vgg


@on(_vgg)
def fcn32s(vgg: VGG16, classes: int, *, learned: Learned = False) -> VGGFCN:
    """FCN-32s: VGG16 as a fully convolutional network, with scores at stride 32.

    134,346,581 parameters with 21 classes. width: channels of VGG's first block; weights exist for 64.
    """
    return VGGFCN(vgg, classes, 32, learned=learned)


@on(_vgg)
def fcn16s(vgg: VGG16, classes: int, *, learned: Learned = False) -> VGGFCN:
    """FCN-16s: FCN-32s with a skip, the scores of pool4 at stride 16.

    134,357,354 parameters with 21 classes. Train it from FCN-32s by `warm_start`.
    """
    return VGGFCN(vgg, classes, 16, learned=learned)


@on(_vgg)
def fcn8s(vgg: VGG16, classes: int, *, learned: Learned = False, at_once: bool = False) -> VGGFCN:
    """FCN-8s: FCN-16s with one skip more, the scores of pool3 at stride 8.

    134,362,751 parameters with 21 classes. Train it from FCN-16s by `warm_start`, or with at_once: pool4 times 0.01 and
    pool3 times 0.0001 ahead of their scores, as in the released net that trains in one run.
    """
    return VGGFCN(vgg, classes, 8, learned=learned, scales=(0.01, 0.0001) if at_once else (1.0, 1.0))


def fcn(
    classes: Count = 21,
    *,
    encoder: str = "resnet50",
    in_channels: Count = 3,
    pretrained: Pretrained = False,
    stride: Stride = 8,
    skips: AnyCounts = (),
    dropout: Share = 0.1,
    aux: bool = False,
) -> Page:
    """FCN in torchvision's form: one 3x3 head on any encoder, dilated or not, with skips if you like.

    resnet50 at stride 8 is torchvision's `fcn_resnet50`. aux: its auxiliary head. skips: strides of features whose
    scores are added on the way up; these scores start at zero. At stride 32, (16,) makes any encoder an FCN-16s and
    (16, 8) an FCN-8s.
    """
    strides = (*skips, stride) if skips else ()
    net = encoders.encoder(encoder, in_channels=in_channels, stride=stride, pretrained=pretrained, strides=strides)
    head = SkipHead(net, classes, skips, dropout=dropout)
    return Page(net, head, classes, fcn_aux(net, classes) if aux else None)
