"""An encoder: any network that gives features, as image -> tuple of features, shallow first, at any image size."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from atrous.errors import ModelError, let_through
from atrous.layers.channels import per_channel
from atrous.layers.depthwise import quick_depthwise
from atrous.layers.norm import norms_left_out, safe_norms

_SIZES: dict[tuple[Any, ...], tuple[int, int]] = {}
"""(least side, grid) of the encoders that this process has measured."""


def last_of_each_stride(strides: Sequence[int]) -> dict[int, int]:
    """For each stride the index of its last features, fine first."""
    return {stride: index for index, stride in sorted(enumerate(strides), key=lambda entry: entry[1])}


class Encoder(nn.Module):
    """Image (N, C, H, W) -> a tuple of features (N, channels[i], ~H / strides[i], ~W / strides[i]), shallow first.

    channels, strides: per feature. Strides may repeat (dilated encoders): ask for "the first feature at stride 4",
    never for "index 1". mean, std: per input channel, in units of 0..1 images, what the pretrained weights want.
    Any H, W >= 1: where a network has a least size or a grid, its image is padded by replication at the bottom and the
    right, and its features are cropped to ceil(side / stride).
    form: how `encoder` was asked to dilate, kept for `restrided`.
    """

    def __init__(self, net: Any, name: str, in_channels: int, form: dict[str, Any] | None = None) -> None:
        super().__init__()
        self.name, self.in_channels, self.form = name, in_channels, form or {}
        self.channels: tuple[int, ...] = tuple(net.feature_info.channels())
        self.strides: tuple[int, ...] = tuple(net.feature_info.reduction())
        self.mean = per_channel(tuple(net.pretrained_cfg["mean"]), in_channels)
        self.std = per_channel(tuple(net.pretrained_cfg["std"]), in_channels)
        self.net = quick_depthwise(safe_norms(net))
        self._channels_last = str(getattr(net, "output_fmt", "")).endswith("NHWC")
        key = (name, type(net), in_channels, self.channels, self.strides, repr(self.form))
        self._least, self._grid = _SIZES.get(key) or _SIZES.setdefault(key, self._measure())

    def forward(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        height, width = image.shape[2:]
        below, right = self._missing(height), self._missing(width)
        if below or right:
            image = functional.pad(image, (0, right, 0, below), mode="replicate")
        features = self.net(image)
        if self._channels_last:
            features = [feature.permute(0, 3, 1, 2) for feature in features]
        if below or right:
            # rounded up by positive numbers: ONNX truncates the quotients of negative ones
            sides = [((height + stride - 1) // stride, (width + stride - 1) // stride) for stride in self.strides]
            features = [feature[:, :, :h, :w] for feature, (h, w) in zip(features, sides, strict=True)]
        return tuple(features)

    def index_at(self, stride: int) -> int:
        """Index of the first features at `stride`; ModelError where there are none."""
        if stride not in self.strides:
            raise self._lacks(f"some at {stride}")
        return self.strides.index(stride)

    def levels(self) -> tuple[int, ...]:
        """Indices of the last features of each stride from 4 on, fine first; ModelError where there are none at 4."""
        last = {stride: index for stride, index in last_of_each_stride(self.strides).items() if stride >= 4}
        if 4 not in last:
            raise self._lacks("some at 4 and beyond")
        return tuple(last.values())

    def skips(self) -> dict[int, int]:
        """For each stride finer than the deepest the index of its last features, deep first."""
        *finer, _ = last_of_each_stride(self.strides).items()
        return dict(reversed(finer))

    def _lacks(self, what: str) -> ModelError:
        return ModelError(
            f"encoder {self.name!r} has features at strides {self.strides}, the model needs {what}; "
            "use another encoder, such as 'resnet50'"
        )

    def _missing(self, side: int) -> int:
        """Pixels to add to a side: up to the least size, and on to the grid."""
        return max(self._least - side, -side % self._grid)

    def _measure(self) -> tuple[int, int]:
        """(least side, grid) of the network, by trying; raises ModelError when it is bound to one size."""
        stride, training = getattr(self.net, "grid", max(self.strides)), self.training
        self.eval()
        for self._least, self._grid in ((1, 1), (stride, 1), (stride, stride)):
            if self._takes(2 * stride + 1) and self._takes(self._least):  # what fails at the first fails early
                self.train(training)
                return self._least, self._grid
        raise ModelError(
            f"encoder {self.name!r} does not take images of every size, padded to its stride neither; "
            "use a convolutional encoder such as 'resnet34' or 'tf_efficientnet_lite0'"
        )

    @torch.no_grad()
    def _takes(self, side: int) -> bool:
        weight = next(self.parameters())
        try:
            with norms_left_out(self.net):
                features = self(torch.zeros(1, self.in_channels, side, side, device=weight.device, dtype=weight.dtype))
        except (RuntimeError, AssertionError, ValueError, IndexError) as error:
            let_through(error)
            return False
        return all(0 not in f.shape and f.shape[1] == count for f, count in zip(features, self.channels, strict=True))
