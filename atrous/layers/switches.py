"""VGG16's thirteen convolutions with batch norm, whose pools remember where each maximum was (its switch).

DeconvNet and SegNet unpool by these switches. Fully connected layers are not part of it; VGG16 as FCN and DeepLab use
it, without batch norm and with fc6 and fc7, is in vgg.py.
"""

from collections.abc import Iterable, Mapping

import torch
from timm.models import adapt_input_conv
from torch import nn

from atrous.errors import ModelError, WeightsError
from atrous.layers.channels import per_channel
from atrous.layers.vgg import BLOCKS

IMAGENET_BN = "vgg16_bn.tv_in1k"
"""timm's name of the weights that `SwitchedVGG16.load_imagenet` takes."""

Switches = list[tuple[torch.Tensor, tuple[int, int]]]
"""Per pool, shallow first: the places of its maxima, int64 (N, C, h, w), and the size (H, W) of the map it pooled."""


class SwitchedVGG16(nn.Module):
    """Image (N, C, H, W) -> the five pooled maps of strides 2 ... 32, shallow first; sides are rounded up.

    width: channels of the first block, 64 in the paper. dropout: after pools 3, 4 and 5 (Bayesian SegNet).
    mean, std: per input channel, of 0..1 images as the ImageNet weights want them.
    """

    def __init__(self, in_channels: int = 3, *, width: int = 64, dropout: float = 0.0) -> None:
        super().__init__()
        if not isinstance(width, int) or width < 1:
            raise ModelError(
                f"width {width!r} leaves VGG16 no channels; use a whole number from 1 on (64 in the paper)"
            )
        self.name, self.in_channels = "vgg16_bn", in_channels
        self.channels = tuple(factor * width for factor, _ in BLOCKS)
        self.strides = (2, 4, 8, 16, 32)
        self.mean, self.std = (per_channel(rgb, in_channels) for rgb in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        self.convs, channels = nn.ModuleDict(), in_channels
        for block, (factor, depth) in enumerate(BLOCKS, start=1):
            for index in range(1, depth + 1):
                convolution = nn.Conv2d(channels, factor * width, 3, padding=1)
                self.convs[f"conv{block}_{index}"] = norm_relu(convolution)
                channels = factor * width
        self.pool = nn.MaxPool2d(2, ceil_mode=True, return_indices=True)
        self.dropout = nn.Dropout(dropout)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.with_switches(image)[0]

    def with_switches(self, image: torch.Tensor) -> tuple[tuple[torch.Tensor, ...], Switches]:
        """The five pooled maps and the switches of their pools."""
        x, pooled, switches = image, [], []
        for block, (_, depth) in enumerate(BLOCKS, start=1):
            for index in range(1, depth + 1):
                x = self.convs[f"conv{block}_{index}"](x)
            size = (x.shape[2], x.shape[3])
            x, indices = self.pool(x)  # (N, C, H / 2^block, W / 2^block, rounded up)
            x = self.dropout(x) if block >= 3 else x
            pooled.append(x)
            switches.append((indices, size))
        return tuple(pooled), switches

    def load_imagenet(self, state: Mapping[str, torch.Tensor]) -> None:
        """Load the convolutions and norms of timm's `vgg16_bn.tv_in1k`; its fully connected layers stay behind.

        For other than three input channels the first filters are summed (one) or repeated and scaled.
        Raises WeightsError when a tensor is missing or has another shape.
        """
        names, place = [], 0
        for _, depth in BLOCKS:
            for _ in range(depth):
                names += [f"features.{place}", f"features.{place + 1}"]
                place += 3  # convolution, norm, ReLU
            place += 1  # pool
        ours = [f"convs.{name}.{part}" for name in self.convs for part in (0, 1)]
        transplant(self, zip(ours, names, strict=True), state, self.in_channels)


def norm_relu(convolution: nn.Conv2d | nn.ConvTranspose2d) -> nn.Sequential:
    """The convolution, batch norm and ReLU. Weights start as He et al. 2015, biases at 0, the norm's shift at 0.001."""
    norm = nn.BatchNorm2d(convolution.out_channels)
    nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
    if convolution.bias is not None:
        nn.init.zeros_(convolution.bias)
    nn.init.constant_(norm.bias, 0.001)
    return nn.Sequential(convolution, norm, nn.ReLU(inplace=True))


def transplant(
    module: nn.Module, layers: Iterable[tuple[str, str]], state: Mapping[str, torch.Tensor], in_channels: int = 3
) -> None:
    """Copy whole layers out of timm's `vgg16_bn`, (our name, timm's name) each, into `module`.

    Raises WeightsError, before anything is copied, when a tensor is missing or has another shape.
    """
    own, fitted = module.state_dict(), {}
    for ours, theirs in layers:
        for key in (key for key in own if key.startswith(f"{ours}.") and not key.endswith("num_batches_tracked")):
            tensor = state.get(theirs + key.removeprefix(ours))
            if tensor is not None and theirs == "features.0" and tensor.ndim == 4:
                tensor = adapt_input_conv(in_channels, tensor)
            if tensor is None or tensor.shape != own[key].shape:
                found = "nothing" if tensor is None else tuple(tensor.shape)
                raise WeightsError(
                    f"{key} has shape {tuple(own[key].shape)} and the weights hold {found} as "
                    f"{theirs}{key.removeprefix(ours)}; give it timm's {IMAGENET_BN} and width=64"
                )
            fitted[key] = tensor
    module.load_state_dict(fitted, strict=False)
