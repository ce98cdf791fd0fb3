"""Resizing: no other module calls torch's interpolate, so that one convention holds everywhere."""

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import nn
from torch.nn import functional

from atrous.errors import DataError

Mode = Literal["nearest", "floor", "bilinear", "bicubic", "area"]

NEAR: dict[str, str] = {"nearest": "nearest-exact", "floor": "nearest", "area": "area"}
"""Modes to which `align_corners` means nothing -> torch's names."""


def resize(
    x: torch.Tensor, size: tuple[int, ...], *, mode: Mode = "bilinear", align_corners: bool = False
) -> torch.Tensor:
    """Resize images or volumes.

    Args:
        x: (N, C, H, W) or (N, C, D, H, W), floating point, any values.
        size: (h, w) or (d, h, w) in pixels.
        mode: "bilinear" (trilinear on volumes), "bicubic" (images only), "area" (means), "nearest"
            (the value at the pixel's centre), or "floor" (the value at its upper left corner,
            torch's old nearest, for networks that were trained so).
        align_corners: False maps pixel i of n to (i + 0.5) / n. True maps the centres of the corner
            pixels onto each other, for networks that were trained so; "nearest", "floor" and "area"
            ignore it.

    Raises:
        DataError: `x` has another number of axes, or `size` does not fit them.

    Example:
        >>> resize(torch.tensor([[[[0.0, 4]]]]), (1, 4))
        tensor([[[[0., 1., 3., 4.]]]])
    """
    if x.ndim not in (4, 5) or len(size) != x.ndim - 2 or (mode == "bicubic" and x.ndim == 5):
        raise DataError(
            f"cannot resize a tensor of shape {tuple(x.shape)} to {tuple(size)} by {mode}: "
            "expected (N, C, H, W) and (h, w), or (N, C, D, H, W) and (d, h, w)"
        )
    if mode in NEAR:
        return functional.interpolate(x, size, mode=NEAR[mode])
    if mode == "bilinear" and x.ndim == 5:
        return functional.interpolate(x, size, mode="trilinear", align_corners=align_corners)
    return functional.interpolate(x, size, mode=mode, align_corners=align_corners)


@dataclass(frozen=True)
class Tail:
    """The last step of a network, as data: a bilinear resize of its logits, then a crop.

    A predictor that needs only labels does this and the argmax in one pass (`upsample_argmax`),
    without a (K, H, W) tensor.

    Args:
        size: (H, W) in pixels that logits are resized to.
        crop: (top, left, height, width) in resized pixels; None for all of them.
        align_corners: as for `resize`.

    Example:
        >>> Tail((4, 4), crop=(0, 0, 3, 3)).apply(torch.zeros(1, 21, 2, 2)).shape
        torch.Size([1, 21, 3, 3])
    """

    size: tuple[int, int]
    crop: tuple[int, int, int, int] | None = None
    align_corners: bool = False

    @property
    def plain(self) -> bool:
        """Whether the logits cover the image exactly: they may then be resized to any size."""
        return self.crop is None and not self.align_corners

    def apply(self, logits: torch.Tensor) -> torch.Tensor:
        """(N, K, h, w) -> (N, K, H, W), or (N, K, height, width) with a crop."""
        if tuple(logits.shape[2:]) != tuple(self.size):  # torch would copy, slowly
            logits = resize(logits, self.size, align_corners=self.align_corners)
        if self.crop is None:
            return logits
        top, left, height, width = self.crop
        return logits[:, :, top : top + height, left : left + width]


def low_logits(model: nn.Module, image: torch.Tensor) -> tuple[torch.Tensor, Tail]:
    """A model's logits before its last resize, and that resize.

    Args:
        model: a page of `atrous.models`.
        image: (N, C, H, W), normalised.

    Returns:
        (logits (N, K, h, w), tail). A model without such a resize gives full-size logits and a tail
        that changes nothing.
    """
    low = cast(Any, model).logits_at_stride(image)
    return low if low is not None else (model(image), Tail(cast(Any, tuple(image.shape[2:]))))
