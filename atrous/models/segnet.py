"""SegNet: only the indices of the pools travel with the features; the decoder unpools by them and densifies with 3x3.

    network          year  source            what is in it
    SegNet           2015  arXiv 1511.00561  VGG16 with batch norm and its mirror, no fully connected layers
    SegNet-Basic     2015  arXiv 1511.00561  four 7x7 blocks each way, 64 channels, no ReLU in the decoder
    Bayesian SegNet  2015  arXiv 1511.02680  either with dropout=0.5 in the deep half; `dropout_passes` for uncertainty

An index costs two bits per window where a skip costs a map, and keeps borders where they were. Sides are rounded up in
every pool and given back to every unpooling, so no size is padded or refused.
Unlike the released nets: the images are normalised, not raw 0..255, and at these values SegNet-Basic's local response
normalisation changes next to nothing. ImageNet weights are those of VGG16 with batch norm, norms included.

Axes: N images, C channels, H x W pixels, K classes, w the width of the first block (64).
"""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn.modules.dropout import _DropoutNd

from atrous import encoders
from atrous.errors import ModelError
from atrous.layers import safe_norms
from atrous.layers.switches import IMAGENET_BN, SwitchedVGG16, Switches, norm_relu
from atrous.models.model import Whole
from atrous.models.options import Count, Pretrained, Share
from atrous.ops.unpool import max_unpool

DECODER = ((8, 8, 8), (8, 8, 4), (4, 4, 2), (2, 1), (1,))
"""Channels of the convolutions after each unpooling, the deepest first, in units of w; the classifier is the last."""


class SegNet(Whole):
    """Thirteen convolutions down, thirteen up; the last is the classifier. Any H, W >= 1.

    Dropout stands after pools 3, 4, 5 and after the decoder's blocks 5, 4, 3, as in the released Bayesian net.
    """

    def __init__(self, encoder: SwitchedVGG16, classes: int) -> None:
        super().__init__()
        self.encoder, self.classes, self.in_channels = encoder, classes, encoder.in_channels
        width, channels = encoder.channels[0], encoder.channels[-1]
        self.decoder = nn.ModuleList()
        for level, factors in zip((5, 4, 3, 2, 1), DECODER, strict=True):
            block = nn.Sequential()
            for factor in factors:
                block.append(norm_relu(nn.Conv2d(channels, factor * width, 3, padding=1)))
                channels = factor * width
            self.decoder.append(block.append(nn.Dropout(encoder.dropout.p)) if level >= 3 else block)
        self.score = _score(channels, classes, 3)
        safe_norms(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        pooled, switches = self.encoder.with_switches(image)
        x = pooled[-1]  # (N, 8w, H/32, W/32)
        for (indices, size), block in zip(reversed(switches), self.decoder, strict=True):
            x = block(max_unpool(x, indices, size))  # (N, C, H/16, W/16), ..., (N, w, H, W)
        return self.score(x)  # (N, K, H, W)


class SegNetBasic(Whole):
    """Four blocks of 7x7, batch norm, ReLU, pool; four of unpooling, 7x7, batch norm; a 1x1. Any H, W >= 1.

    Dropout stands after pools 3 and 4 and after the decoder's blocks 4 and 3, as in the released Bayesian net.
    """

    def __init__(self, classes: int, in_channels: int, *, width: int, dropout: float) -> None:
        super().__init__()
        self.classes, self.in_channels = classes, in_channels
        self.norm = nn.LocalResponseNorm(5, alpha=1e-4, beta=0.75)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for channels in (in_channels, width, width, width):
            self.down.append(norm_relu(nn.Conv2d(channels, width, 7, padding=3)))
            self.up.append(norm_relu(nn.Conv2d(width, width, 7, padding=3))[:2])  # without the ReLU
        self.pool, self.dropout = nn.MaxPool2d(2, ceil_mode=True, return_indices=True), nn.Dropout(dropout)
        self.score = _score(width, classes, 1)
        safe_norms(self)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x, switches = self.norm(image), Switches()
        for level, block in enumerate(self.down, start=1):
            x = block(x)
            size = (x.shape[2], x.shape[3])
            x, indices = self.pool(x)  # (N, w, H / 2^level, W / 2^level, rounded up)
            x = self.dropout(x) if level >= 3 else x
            switches.append((indices, size))
        for level, block in zip((4, 3, 2, 1), self.up, strict=True):
            x = block(max_unpool(x, *switches.pop()))  # (N, w, twice)
            x = self.dropout(x) if level >= 3 else x
        return self.score(x)  # (N, K, H, W)


class Uncertainty(NamedTuple):
    """What several passes agree on and by how much they differ; on the image's device, float32."""

    mean: torch.Tensor
    """Mean probabilities (N, K, H, W), 0..1: the prediction of Bayesian SegNet."""
    variance: torch.Tensor
    """Variance of the probabilities over the passes (N, K, H, W), 0..0.25; its mean over K is the paper's picture."""
    entropy: torch.Tensor
    """Entropy of the mean (N, H, W), in nats, 0..ln K; high too where every pass is unsure in the same way."""


def dropout_passes(model: nn.Module, image: torch.Tensor, passes: int = 40, *, seed: int = 0) -> Uncertainty:
    """Bayesian SegNet's test (Kendall et al. 2015): the softmax of many passes, with dropout drawn anew in each.

    model: any with dropout, such as `segnet` with dropout=0.5, or `fcn8s`; only dropout is random, batch norms keep
    their running statistics, and every layer's mode is put back. image: normalised (N, C, H, W). The paper takes 40 to
    50 passes. One seed gives one answer, and the caller's random numbers are left alone.
    Raises ModelError when the model has no dropout, all passes being equal then, or passes is not a number from 1 on.
    """
    dropouts = [layer for layer in model.modules() if isinstance(layer, _DropoutNd) and layer.p > 0]
    if not dropouts:
        raise ModelError("the model has no dropout, so all passes would be equal; build it with dropout=0.5")
    if not isinstance(passes, int) or passes < 1:
        raise ModelError(f"passes is {passes!r}; give a whole number from 1 on (the paper: 40 to 50)")
    modes = {module: module.training for module in model.modules()}
    model.eval()
    for layer in dropouts:
        layer.training = True
    mean = square = torch.zeros((), device=image.device)
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[image.device] if image.device.type == "cuda" else []):
            torch.manual_seed(seed)
            for count in range(1, passes + 1):  # Welford's running mean and sum of squares: one pass in memory
                probabilities = model(image).float().softmax(1)
                off = probabilities - mean
                mean = mean + off / count
                square = square + off * (probabilities - mean)
    finally:
        for module, training in modes.items():
            module.training = training
    return Uncertainty(mean, square / passes, torch.special.entr(mean).sum(1))


def segnet(
    classes: Count = 21,
    *,
    in_channels: Count = 3,
    pretrained: Pretrained = False,
    dropout: Share = 0.0,
    width: Count = 64,
) -> SegNet:
    """SegNet: VGG16 and its mirror image, which unpools to where the encoder's maxima were.

    29,455,125 parameters with 21 classes. dropout: 0.5 makes it the Bayesian SegNet.
    """
    encoder = SwitchedVGG16(in_channels, width=width, dropout=dropout)
    if pretrained:
        encoder.load_imagenet(encoders.pretrained_state(IMAGENET_BN, pretrained))
    return SegNet(encoder, classes)


def segnet_basic(
    classes: Count = 21, *, in_channels: Count = 3, dropout: Share = 0.0, width: Count = 64
) -> SegNetBasic:
    """SegNet-Basic: a small SegNet, with four 7x7 blocks down and four up.

    1,416,587 parameters with 11 classes. dropout: 0.5 makes it Bayesian.
    """
    return SegNetBasic(classes, in_channels, width=width, dropout=dropout)


def _score(channels: int, classes: int, kernel: int) -> nn.Conv2d:
    """The classifier, a convolution with weights as He et al. 2015 and no norm."""
    score = nn.Conv2d(channels, classes, kernel, padding=kernel // 2)
    nn.init.kaiming_normal_(score.weight, nonlinearity="relu")
    nn.init.zeros_(score.bias)  # type: ignore[arg-type]
    return score
