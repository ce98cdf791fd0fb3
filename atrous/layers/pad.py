"""Padding for networks that have a minimum size, and the number of axes that a network takes."""

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
        index = torch.arange(-before, side + after, device=image.device) % period
        image = image.index_select(axis, torch.minimum(index, period - index))
    return image


def expect_axes(image: torch.Tensor, axes: int) -> None:
    """Raise ModelError unless the image is (N, C) and `axes` axes: torch takes what is one axis short as one image."""
    if image.ndim != axes + 2:
        wanted = "images (N, C, H, W)" if axes == 2 else "volumes (N, C, D, H, W)"
        raise ModelError(f"the network takes {wanted} and was given a tensor of shape {tuple(image.shape)}")
