"""Padding for networks that have a minimum size, cutting back, and the number of axes that a network takes."""

from collections.abc import Sequence

import torch

from atrous.errors import ModelError


def pad_reflect(image: torch.Tensor, *around: int) -> torch.Tensor:
    """(N, C, H, W) -> (N, C, top + H + bottom, left + W + right), mirrored at the centres of the border pixels.

    around: top, bottom, left, right; for volumes (N, C, D, H, W) front and back come before them.
    Torch's own reflection wants less padding than image; this one goes to and fro as often as needed, from 1x1 on.
    """
    for axis, before, after in zip(range(2, image.ndim), around[::2], around[1::2], strict=True):
        side = image.shape[axis]
        period = max(1, 2 * (side - 1))
        index = torch.arange(-before, side + after, device=image.device)
        index = index % index.new_full((1,), period)  # ONNX takes no remainder by a number that hangs on a size
        image = image.index_select(axis, torch.minimum(index, period - index))
    return image


def cut(x: torch.Tensor, sides: Sequence[int], starts: Sequence[int] | None = None) -> torch.Tensor:
    """A view of (N, C, H, W) or (N, C, D, H, W) that is `sides` large, from `starts` on, else from the beginning."""
    for axis, (start, side) in enumerate(zip(starts or (0,) * len(sides), sides, strict=True), start=2):
        x = x.narrow(axis, start, side)
    return x


def expect_axes(image: torch.Tensor, axes: int) -> None:
    """Raise ModelError unless the image is (N, C) and `axes` axes: torch takes what is one axis short as one image."""
    if image.ndim != axes + 2:
        wanted = "images (N, C, H, W)" if axes == 2 else "volumes (N, C, D, H, W)"
        raise ModelError(f"the network takes {wanted} and was given a tensor of shape {tuple(image.shape)}")
