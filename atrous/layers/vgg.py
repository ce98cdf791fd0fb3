"""VGG16 as fully convolutional networks use it (Long et al. 2015, section 4): fc6 and fc7 are convolutions.

Two paddings. `caffe100`, the released nets: 100 pixels around the image, none at fc6, so that an image of any size
gives at least one score; maps are shifted against the image by fixed offsets. `same`: 1 pixel, 3 at fc6; every map is
aligned with the image by its half pixels. Pools round up in both, as Caffe does. Layers carry their Caffe names.
"""

from typing import Literal

import torch
from timm.models import adapt_input_conv
from torch import nn

from atrous.errors import ModelError, WeightsError
from atrous.layers.channels import per_channel

Padding = Literal["caffe100", "same"]

BLOCKS = ((1, 2), (2, 2), (4, 3), (8, 3), (8, 3))
"""(channels in units of the width, convolutions) of each block; a pool follows each."""

IMAGENET = "vgg16.tv_in1k"
"""timm's name of the weights that `VGG16.load_imagenet` takes."""

THEIRS = (
    *(f"features.{index}" for index in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)),
    "pre_logits.fc1",
    "pre_logits.fc2",
)
"""timm's names of conv1_1 ... conv5_3, fc6, fc7."""


class VGG16(nn.Module):
    """Image (N, C, H, W) -> (pool3, pool4, fc7) of strides 8, 16, 32; in `same` their sides are ceil(side / stride).

    width: channels of the first block, 64 in the paper; fc6 and fc7 have 64 times as many. dropout: after fc6 and fc7.
    mean, std: per input channel, of 0..1 images as the ImageNet weights want them.
    """

    def __init__(
        self, in_channels: int = 3, *, padding: Padding = "caffe100", width: int = 64, dropout: float = 0.5
    ) -> None:
        super().__init__()
        if padding not in ("caffe100", "same"):
            raise ModelError(f"padding {padding!r} is unknown to VGG16; use 'caffe100' or 'same'")
        if not isinstance(width, int) or width < 1:
            raise ModelError(
                f"width {width!r} leaves VGG16 no channels; use a whole number from 1 on (64 in the paper)"
            )
        self.name, self.in_channels = "vgg16", in_channels
        self.channels, self.strides = (4 * width, 8 * width, 64 * width), (8, 16, 32)
        self.mean, self.std = (per_channel(rgb, in_channels) for rgb in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
        around = 100 if padding == "caffe100" else 1
        self.convs, channels = nn.ModuleDict(), in_channels
        for block, (factor, depth) in enumerate(BLOCKS, start=1):
            for index in range(1, depth + 1):
                self.convs[f"conv{block}_{index}"] = nn.Conv2d(channels, factor * width, 3, padding=around)
                channels, around = factor * width, 1
        self.convs["fc6"] = nn.Conv2d(channels, 64 * width, 7, padding=0 if padding == "caffe100" else 3)
        self.convs["fc7"] = nn.Conv2d(64 * width, 64 * width, 1)
        self.pool = nn.MaxPool2d(2, ceil_mode=True)
        self.dropout = nn.Dropout(dropout)
        for name, parameter in self.convs.named_parameters():
            nn.init.zeros_(parameter) if name.endswith("bias") else nn.init.kaiming_normal_(
                parameter, nonlinearity="relu"
            )

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x, pools = image, []
        for block, (_, depth) in enumerate(BLOCKS, start=1):
            for index in range(1, depth + 1):
                x = self.convs[f"conv{block}_{index}"](x).relu()
            x = self.pool(x)
            pools.append(x)  # (N, C, ~H / 2^block, ~W / 2^block)
        for name in ("fc6", "fc7"):
            x = self.dropout(self.convs[name](x).relu())
        return pools[2], pools[3], x

    def load_imagenet(self, state: dict[str, torch.Tensor]) -> None:
        """Transplant timm's `vgg16.tv_in1k`, its two fully connected layers included; the classifier stays behind.

        For other than three input channels the first filters are summed (one) or repeated and scaled.
        Raises WeightsError when a tensor is missing or has another shape.
        """
        loaded = {}
        for (name, layer), theirs in zip(self.convs.items(), THEIRS, strict=True):
            for part, own in layer.named_parameters():
                tensor = state.get(f"{theirs}.{part}")
                if tensor is not None and name == "conv1_1" and part == "weight":
                    tensor = adapt_input_conv(self.in_channels, tensor)
                if tensor is None or tensor.shape != own.shape:
                    found = "nothing" if tensor is None else tuple(tensor.shape)
                    raise WeightsError(
                        f"VGG16's {name}.{part} has shape {tuple(own.shape)} and the weights hold {found} as "
                        f"{theirs}.{part}; give it timm's {IMAGENET} and width=64"
                    )
                loaded[f"{name}.{part}"] = tensor
        self.convs.load_state_dict(loaded)
