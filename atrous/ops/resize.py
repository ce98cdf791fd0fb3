"""Resizing: the only caller of torch's interpolate in the package, so that one convention holds everywhere."""

from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import nn
from torch.nn import functional

from atrous.errors import DataError

Mode = Literal["nearest", "floor", "bilinear", "bicubic", "area"]

NEAR: dict[str, str] = {"nearest": "nearest-exact", "floor": "nearest", "area": "area"}
"""Modes that know no corners -> torch's names."""


def resize(
    x: torch.Tensor, size: tuple[int, ...], *, mode: Mode = "bilinear", align_corners: bool = False
) -> torch.Tensor:
    """Resize (N, C, H, W) or (N, C, D, H, W) to `size`, (h, w) or (d, h, w) in pixels; any values, floating point.

    mode: `bilinear` is trilinear on volumes, `nearest` takes the value at the pixel's centre, `bicubic` is 2-D only.
    `floor` takes the value at the pixel's upper left corner (torch's old nearest, for networks trained so).
    align_corners: False maps pixel i of n to (i + 0.5) / n, True maps the centres of the corner pixels onto each other
    (only for networks that were trained so; it means nothing to `nearest`, `floor` and `area`).
    Raises DataError when `x` has another number of axes or `size` does not fit them.
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
    """The last step of a network, as data: resize its logits bilinearly to `size`, then cut out `crop`.

    size: (H, W) in pixels. crop: (top, left, height, width) in resized pixels, None for all.
    A predictor that needs labels only does this and the argmax in one pass, without a (K, H, W) tensor.
    """

    size: tuple[int, int]
    crop: tuple[int, int, int, int] | None = None
    align_corners: bool = False

    @property
    def plain(self) -> bool:
        """Whether it maps the field of the logits onto the image, so that a resize to another size may stand for it."""
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
    """A page's logits before its last resize, and that resize; of a page without one, those of the image's size."""
    low = cast(Any, model).logits_at_stride(image)
    return low if low is not None else (model(image), Tail(cast(Any, tuple(image.shape[2:]))))
