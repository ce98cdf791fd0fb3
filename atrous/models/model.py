"""What every network is: the contract that the tests hold all of them to."""

from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

import torch
from torch import nn

from atrous.ops.resize import Tail

ModelName = Literal[
    "attention_unet", "bisenetv2", "ccnet", "danet", "deconvnet", "deeplabv1", "deeplabv2",
    "deeplabv3", "deeplabv3plus", "dpn", "encnet", "enet", "fastscnn", "fcn", "fcn16s",
    "fcn32s", "fcn8s", "fpn", "hrnet_ocr", "icnet", "lraspp", "nnunet2d", "nnunet3d",
    "parsenet", "pointrend", "pspnet", "refinenet", "reseg", "segformer", "segnet",
    "segnet_basic", "unet", "unet2015", "unet3d", "unetpp", "upernet", "vnet",
]  # fmt: skip
"""The names of `MODELS`, so that editors offer them and mypy marks a wrong one. A test keeps the two equal."""


@runtime_checkable
class Model(Protocol):
    """What a network has besides what every `nn.Module` has.

    Networks that train on more than their logits (auxiliary heads, deep supervision) also have
    `outputs(image) -> tuple`, the main logits first.

    Attributes:
        classes: K, how many classes it tells apart.
        in_channels: C, the channels of its images.
    """

    classes: int
    in_channels: int

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Normalised image (N, C, H, W) -> logits (N, K, H, W), any H, W >= 1; volumes (N, C, D, H, W) likewise."""

    def logits_at_stride(self, image: torch.Tensor) -> tuple[torch.Tensor, Tail] | None:
        """The logits (N, K, h, w) before the last resize and that resize; None where there is none."""


class Whole(nn.Module):
    """A network whose logits have the size of its image, or volume, without a resize at the end."""

    def logits_at_stride(self, image: torch.Tensor) -> None:
        """None: the logits have the image's stride already."""


class Strided(nn.Module):
    """A network whose logits lie at a stride: `logits_at_stride` gives them, `forward` resizes them to the image."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits, tail = self.logits_at_stride(image)  # (N, K, h, w)
        return tail.apply(logits)  # (N, K, H, W)

    def logits_at_stride(self, image: torch.Tensor) -> tuple[torch.Tensor, Tail]:
        """The logits (N, K, h, w) and the resize that puts them on the image."""
        raise NotImplementedError


if TYPE_CHECKING:

    class Network(nn.Module, Model):
        """An `nn.Module` that is a `Model`: Python has no word for the type of things that are both."""
