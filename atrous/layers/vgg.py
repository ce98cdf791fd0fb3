"""VGG16 as fully convolutional networks use it, and what its three forms share.

    form           file            what differs
    VGG16          vgg.py          fc6 and fc7 as convolutions; 2x2 pools that round up, as in Caffe
    DilatedVGG16   vgg_dilated.py  dense by holes: pools 4 and 5 have stride 1, conv5 has rate 2
    SwitchedVGG16  switches.py     batch norm; the pools remember where each maximum was

VGG16 is that of FCN (Long et al. 2015, arXiv 1411.4038, section 4). All three name their
convolutions as Caffe does, conv1_1 to conv5_3, and take timm's ImageNet weights.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Literal, TypeVar

import torch
from timm.models import adapt_input_conv
from torch import nn

from atrous.errors import ModelError, WeightsError
from atrous.layers.channels import imagenet_statistics

ModuleT = TypeVar("ModuleT", bound=nn.Module)
Padding = Literal["caffe100", "same"]
State = Mapping[str, torch.Tensor]

BLOCKS = tuple(tuple(f"conv{block}_{index + 1}" for index in range(depth))
               for block, depth in enumerate((2, 2, 3, 3, 3), start=1))  # fmt: skip
"""The names of the convolutions in each block; a pool follows each block."""

FACTORS = (1, 2, 4, 8, 8)
"""Channels of each block, in units of the width."""

IMAGENET, IMAGENET_BN = "vgg16.tv_in1k", "vgg16_bn.tv_in1k"
"""timm's names of the weights without and with batch norm."""


def timm_places(step: int) -> list[int]:
    """Where conv1_1 ... conv5_3 stand in timm's `features`, `step` apart within a block."""
    places: list[int] = []
    place = 0
    for block in BLOCKS:
        places += range(place, place + step * len(block), step)
        place += step * len(block) + 1  # the pool
    return places


THEIRS = (*(f"features.{place}" for place in timm_places(step=2)), "pre_logits.fc1", "pre_logits.fc2")
"""timm's names of conv1_1 ... conv5_3, fc6, fc7 without batch norm."""


class VGG16(nn.Module):
    """Image (N, C, H, W) -> (pool3, pool4, fc7) of strides 8, 16, 32; fc6 and fc7 are convolutions.

    mean, std: one value per input channel, for images in 0..1, as the ImageNet weights expect them.

    Args:
        in_channels: channels of the image.
        padding: "caffe100", as in the released nets: 100 pixels around the image and none at fc6.
            An image of any size gives at least one score; maps are shifted against the image by
            fixed offsets. "same": 1 pixel, and 3 at fc6; every map is aligned with the image by its
            half pixels, and its sides are ceil(side / stride).
        width: channels of the first block; fc6 and fc7 have 64 times as many.
        dropout: rate after fc6 and after fc7.

    Raises:
        ModelError: if `padding` is unknown or `width` is less than 1.
    """

    def __init__(
        self, in_channels: int = 3, *, padding: Padding = "caffe100", width: int = 64, dropout: float = 0.5
    ) -> None:
        super().__init__()
        if padding not in ("caffe100", "same"):
            raise ModelError(f"padding {padding!r} is unknown to VGG16; use 'caffe100' or 'same'")
        self.name, self.in_channels = "vgg16", in_channels
        self.mean, self.std = imagenet_statistics(in_channels)
        around, at_fc6 = (100, 0) if padding == "caffe100" else (1, 3)

        def layer(name: str, channels: int, out: int) -> nn.Conv2d:
            return nn.Conv2d(channels, out, 3, padding=around if name == "conv1_1" else 1)

        self.convs = convolutions(in_channels, width, layer)
        self.channels, self.strides = (4 * width, 8 * width, 64 * width), (8, 16, 32)
        self.convs["fc6"] = nn.Conv2d(8 * width, 64 * width, 7, padding=at_fc6)
        self.convs["fc7"] = nn.Conv2d(64 * width, 64 * width, 1)
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.dropout = nn.Dropout(dropout)
        he(self.convs)

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x, pools = image, []
        for block in BLOCKS:
            for name in block:
                x = self.convs[name](x).relu()
            x = self.pool(x)
            pools.append(x)  # (N, C, ~H / 2^block, ~W / 2^block)
        for name in ("fc6", "fc7"):
            x = self.dropout(self.convs[name](x).relu())
        return pools[2], pools[3], x

    def load_imagenet(self, state: State) -> None:
        """Load timm's `vgg16.tv_in1k`, all but its classifier; raises as `transplant` does."""
        layers = ((f"convs.{name}", theirs) for name, theirs in zip(self.convs, THEIRS, strict=True))
        transplant(self, layers, state, self.in_channels, source=IMAGENET)


def convolutions(in_channels: int, width: int, layer: Callable[[str, int, int], nn.Module]) -> nn.ModuleDict:
    """conv1_1 ... conv5_3, each made by `layer(name, channels, out)`; ModelError if width < 1."""
    if not isinstance(width, int) or width < 1:
        raise ModelError(f"width {width!r} of VGG16 must be a whole number from 1 on; the paper has 64")
    convs, channels = nn.ModuleDict(), in_channels
    for block, factor in zip(BLOCKS, FACTORS, strict=True):
        for name in block:
            convs[name] = layer(name, channels, factor * width)
            channels = factor * width
    return convs


def he(module: ModuleT) -> ModuleT:
    """Start every convolution in `module` as He et al. 2015 do for ReLU, biases at 0, in place."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
    return module


def transplant(
    module: nn.Module,
    layers: Iterable[tuple[str, str]],
    state: State,
    in_channels: int = 3,
    *,
    source: str = IMAGENET_BN,
) -> None:
    """Copy whole layers of timm's VGG16 into `module`, all or none.

    The first filters fit any number of input channels: for one they are summed, for more than three
    repeated and scaled.

    Args:
        module: the network to fill.
        layers: pairs of the layer's name in `module` and in `state`.
        state: timm's tensors by their names.
        in_channels: channels of the image.
        source: timm's name of the weights, for the error.

    Raises:
        WeightsError: if a tensor is missing or has another shape; nothing is copied then.
    """
    own, fitted = module.state_dict(), {}
    for ours, theirs in layers:
        for key in (key for key in own if key.startswith(f"{ours}.") and not key.endswith("num_batches_tracked")):
            name = theirs + key.removeprefix(ours)
            tensor = state.get(name)
            if tensor is not None and name == "features.0.weight":
                tensor = adapt_input_conv(in_channels, tensor)
            if tensor is None or tensor.shape != own[key].shape:
                given = f"the weights have no {name}" if tensor is None else f"{name} gives {tuple(tensor.shape)}"
                raise WeightsError(
                    f"{type(module).__name__}'s {key} has shape {tuple(own[key].shape)} and {given}; "
                    f"use timm's {source} and width=64"
                )
            fitted[key] = tensor
    module.load_state_dict(fitted, strict=False)
