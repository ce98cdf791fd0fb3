"""VGG16 kept dense by holes (DeepLab v1, Chen et al. 2015, arXiv 1412.7062, section 3.1), and its large field of view.

As released: pools 1 to 3 are 3x3 of stride 2, padded by 1 and rounded up, pools 4 and 5 have stride 1, and conv5 runs
at rate 2. So n pixels give ceil((n - 1) / 8) + 1 cells, 321 give 41, and cell i lies on pixel 8 i.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from timm.models import adapt_input_conv
from torch import nn

from atrous.errors import ModelError, WeightsError
from atrous.layers.channels import per_channel
from atrous.layers.vgg import BLOCKS, IMAGENET, THEIRS
from atrous.ops.resize import Tail

State = Mapping[str, torch.Tensor]


class DilatedVGG16(nn.Module):
    """Image (N, C, H, W) -> one map (N, 8 width, ~H/8, ~W/8) in a tuple, pool5's. Any H, W >= 1.

    average: a 3x3 average pool after pool5 (v1's pool5a). width: channels of the first block, 64 in the paper.
    mean, std: per input channel, of 0..1 images as the ImageNet weights want them.
    """

    def __init__(self, in_channels: int = 3, *, width: int = 64, average: bool = False) -> None:
        super().__init__()
        if not isinstance(width, int) or width < 1:
            raise ModelError(
                f"width {width!r} leaves VGG16 no channels; use a whole number from 1 on (64 in the paper)"
            )
        self.name, self.in_channels, self.width = "vgg16", in_channels, width
        self.channels, self.strides = (8 * width,), (8,)
        self.mean, self.std = (per_channel(rgb, in_channels) for rgb in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        self.convs, channels = nn.ModuleDict(), in_channels
        for block, (factor, depth) in enumerate(BLOCKS, start=1):
            rate = 2 if block == 5 else 1
            for index in range(1, depth + 1):
                layer = nn.Conv2d(channels, factor * width, 3, padding=rate, dilation=rate)
                self.convs[f"conv{block}_{index}"] = he(layer)
                channels = factor * width
        self.shrink, self.keep = nn.MaxPool2d(3, 2, padding=1, ceil_mode=True), nn.MaxPool2d(3, 1, padding=1)
        self.average = nn.AvgPool2d(3, 1, padding=1) if average else nn.Identity()

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = image
        for block, (_, depth) in enumerate(BLOCKS, start=1):
            for index in range(1, depth + 1):
                x = self.convs[f"conv{block}_{index}"](x).relu()
            x = self.shrink(x) if block <= 3 else self.keep(x)
        return (self.average(x),)

    def load_imagenet(self, state: State) -> None:
        """Transplant the convolutions of timm's `vgg16.tv_in1k`; WeightsError when one is missing or does not fit.

        For other than three input channels the first filters are summed (one) or repeated and scaled.
        """
        for (name, layer), theirs in zip(self.convs.items(), THEIRS[:13], strict=True):
            weight, bias = _layer(state, theirs)
            if name == "conv1_1":
                weight = adapt_input_conv(self.in_channels, weight)
            _fill(cast(nn.Conv2d, layer), weight, bias, theirs)


class FieldOfView(nn.Sequential):
    """(N, channels, h, w) -> (N, out, h, w): fc6, kernel x kernel at a rate, and fc7, 1x1, with ReLU and dropout each.

    VGG16's fully connected layers are kernel 7, rate 1, out 4096. Other kernels see as far by their rate.
    """

    def __init__(self, channels: int, out: int, *, kernel: int = 3, rate: int = 12, dropout: float = 0.5) -> None:
        around = rate * (kernel - 1) // 2  # whole for an even kernel at an even rate
        fc6 = he(nn.Conv2d(channels, out, kernel, padding=around, dilation=rate))
        super().__init__(
            fc6, nn.ReLU(True), nn.Dropout(dropout), he(nn.Conv2d(out, out, 1)), nn.ReLU(True), nn.Dropout(dropout)
        )

    def load_imagenet(self, state: State, first: int = 0) -> None:
        """Subsample the fully connected layers of timm's `vgg16.tv_in1k`: taps of the 7x7 evenly spread, a 3x3 takes
        0, 3, 6; of 4096 filters every (4096 / out)-th from `first` on, in fc6, and in fc7 on both sides.

        Raises WeightsError when one is missing or does not fit.
        """
        for index, theirs, before in ((0, THEIRS[13], False), (3, THEIRS[14], True)):
            layer = cast(nn.Conv2d, self[index])
            weight, bias = _layer(state, theirs)
            filters = range(first, len(bias), len(bias) // layer.out_channels or 1)
            weight, bias = weight[list(filters)], bias[list(filters)]
            if before:
                weight = weight[:, list(filters)]
            taps = _spread(weight.shape[-1], layer.kernel_size[0])
            _fill(layer, weight[:, :, taps][:, :, :, taps], bias, theirs)


def gaussian_score(channels: int, classes: int) -> nn.Conv2d:
    """A 1x1 convolution to scores that starts as Gaussian noise of deviation 0.01 without bias, as fc8 in DeepLab."""
    score = nn.Conv2d(channels, classes, 1)
    nn.init.normal_(score.weight, std=0.01)
    nn.init.zeros_(score.bias)  # type: ignore[arg-type]
    return score


def on_pixels(scores: torch.Tensor, image: torch.Tensor) -> tuple[torch.Tensor, Tail]:
    """Scores (N, K, h, w) with their last row and column once more, and the resize that puts cell i on pixel 8 i.

    At sides of 8 k + 1 that is the released nets' zoom by 8, corners aligned.
    """
    scores = nn.functional.pad(scores, (0, 1, 0, 1), mode="replicate")  # (N, K, h + 1, w + 1)
    size = (8 * (scores.shape[2] - 1) + 1, 8 * (scores.shape[3] - 1) + 1)
    return scores, Tail(size, (0, 0, image.shape[2], image.shape[3]), align_corners=True)


def he(layer: nn.Conv2d) -> nn.Conv2d:
    """The layer, started as He et al. 2015 for ReLU, its bias at 0."""
    nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer


def _spread(size: int, count: int) -> Sequence[int]:
    """`count` of `size` places, evenly from the first to the last, or all where there are no more."""
    return [round(i * (size - 1) / max(1, min(count, size) - 1)) for i in range(min(count, size))]


def _layer(state: State, name: str) -> tuple[torch.Tensor, torch.Tensor]:
    try:
        return state[f"{name}.weight"], state[f"{name}.bias"]
    except KeyError as error:
        raise WeightsError(f"the weights hold no {error}; give timm's {IMAGENET}") from error


@torch.no_grad()
def _fill(layer: nn.Conv2d, weight: torch.Tensor, bias: torch.Tensor, theirs: str) -> None:
    if weight.shape != layer.weight.shape:
        raise WeightsError(
            f"a layer of shape {tuple(layer.weight.shape)} cannot be cut from {theirs}, which leaves "
            f"{tuple(weight.shape)}; give timm's {IMAGENET} and width=64"
        )
    layer.weight.copy_(weight)
    layer.bias.copy_(bias)  # type: ignore[union-attr]
