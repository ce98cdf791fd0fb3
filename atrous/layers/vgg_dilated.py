"""VGG16 kept dense by holes, and its large field of view.

DeepLab v1 (Chen et al. 2015, arXiv 1412.7062, section 3.1), as released: pools 1 to 3 are 3x3 of
stride 2, padded by 1 and rounded up, pools 4 and 5 have stride 1, and conv5 runs at rate 2. So n
pixels give ceil((n - 1) / 8) + 1 cells, 321 give 41, and cell i lies on pixel 8 i.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from atrous.layers.channels import imagenet_statistics
from atrous.layers.conv import gaussian
from atrous.layers.vgg import BLOCKS, IMAGENET, THEIRS, State, convolutions, he, transplant
from atrous.ops.resize import Tail


class DilatedVGG16(nn.Module):
    """Image (N, C, H, W) -> pool5 (N, 8 width, ~H/8, ~W/8), alone in a tuple. Any H, W >= 1.

    mean, std: one value per input channel, for images in 0..1, as the ImageNet weights expect them.

    Args:
        in_channels: channels of the image.
        width: channels of the first block.
        average: add a 3x3 average pool after pool5 (pool5a of DeepLab v1).

    Raises:
        ModelError: if `width` is less than 1.
    """

    def __init__(self, in_channels: int = 3, *, width: int = 64, average: bool = False) -> None:
        super().__init__()
        self.name, self.in_channels, self.width = "vgg16", in_channels, width
        self.mean, self.std = imagenet_statistics(in_channels)

        def layer(name: str, channels: int, out: int) -> nn.Conv2d:
            rate = 2 if name in BLOCKS[4] else 1
            return he(nn.Conv2d(channels, out, 3, padding=rate, dilation=rate))

        self.convs = convolutions(in_channels, width, layer)
        self.channels, self.strides = (8 * width,), (8,)
        self.shrink, self.keep = nn.MaxPool2d(3, 2, padding=1, ceil_mode=True), nn.MaxPool2d(3, 1, padding=1)
        self.average = nn.AvgPool2d(3, 1, padding=1) if average else nn.Identity()

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        x = image
        for block, pool in zip(BLOCKS, (*[self.shrink] * 3, *[self.keep] * 2), strict=True):
            for name in block:
                x = self.convs[name](x).relu()
            x = pool(x)
        return (self.average(x),)

    def load_imagenet(self, state: State) -> None:
        """Load the thirteen convolutions of timm's `vgg16.tv_in1k`; raises as `transplant` does."""
        layers = [(f"convs.{name}", theirs) for name, theirs in zip(self.convs, THEIRS[:13], strict=True)]
        transplant(self, layers, state, self.in_channels, source=IMAGENET)


class FieldOfView(nn.Sequential):
    """fc6 and fc7 at a rate: (N, channels, h, w) -> (N, out, h, w), each with ReLU and dropout.

    VGG16's own fully connected layers are kernel 7, rate 1, out 4096. A smaller kernel sees as far
    at a larger rate.

    Args:
        channels: of the features.
        out: filters of fc6 and of fc7.
        kernel: side of fc6; fc7 is 1x1.
        rate: dilation of fc6; even if the kernel is even, so that the size stays.
        dropout: rate after each.
    """

    def __init__(self, channels: int, out: int, *, kernel: int = 3, rate: int = 12, dropout: float = 0.5) -> None:
        around = rate * (kernel - 1) // 2  # whole for an even kernel at an even rate
        fc6 = he(nn.Conv2d(channels, out, kernel, padding=around, dilation=rate))
        super().__init__(
            fc6, nn.ReLU(True), nn.Dropout(dropout), he(nn.Conv2d(out, out, 1)), nn.ReLU(True), nn.Dropout(dropout)
        )

    def load_imagenet(self, state: State, first: int = 0) -> None:
        """Subsample the fully connected layers of timm's `vgg16.tv_in1k`.

        fc6 keeps evenly spread taps of the 7x7: a 3x3 takes 0, 3 and 6. Both layers keep every
        (4096 / out)-th filter, fc7 on its input side too.

        Args:
            state: timm's tensors by their names.
            first: the first filter that is kept.

        Raises:
            WeightsError: if a tensor is missing or does not fit; nothing is copied then.
        """
        cut = {}
        for index, theirs in ((0, THEIRS[13]), (3, THEIRS[14])):
            layer = cast(nn.Conv2d, self[index])
            for name in (name for name in (f"{theirs}.weight", f"{theirs}.bias") if name in state):
                step = len(state[name]) // layer.out_channels or 1
                cut[name] = state[name][first::step]
                if cut[name].ndim == 4:
                    taps = _spread(cut[name].shape[-1], layer.kernel_size[0])
                    inputs = slice(first, None, step) if index == 3 else slice(None)
                    cut[name] = cut[name][:, inputs][:, :, taps][:, :, :, taps]
        transplant(self, (("0", THEIRS[13]), ("3", THEIRS[14])), cut, source=IMAGENET)


def gaussian_score(channels: int, classes: int) -> nn.Conv2d:
    """A 1x1 convolution to scores that starts as fc8 in DeepLab: deviation 0.01, bias 0."""
    return gaussian(nn.Conv2d(channels, classes, 1), std=0.01)


def on_pixels(scores: torch.Tensor, image: torch.Tensor) -> tuple[torch.Tensor, Tail]:
    """Put cell i of the scores on pixel 8 i of the image.

    Where the image's sides are 8 k + 1, this is the released nets' zoom by 8 with aligned corners.

    Args:
        scores: (N, K, h, w), of stride 8.
        image: (N, C, H, W); only its size is read.

    Returns:
        The scores with their last row and column repeated once, (N, K, h + 1, w + 1), and the
        resize to the image.
    """
    scores = nn.functional.pad(scores, (0, 1, 0, 1), mode="replicate")  # (N, K, h + 1, w + 1)
    size = (8 * (scores.shape[2] - 1) + 1, 8 * (scores.shape[3] - 1) + 1)
    return scores, Tail(size, (0, 0, image.shape[2], image.shape[3]), align_corners=True)


def _spread(size: int, count: int) -> Sequence[int]:
    """`count` of `size` places, evenly from first to last; all if count >= size."""
    return [round(i * (size - 1) / max(1, min(count, size) - 1)) for i in range(min(count, size))]
