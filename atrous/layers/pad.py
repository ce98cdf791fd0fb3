"""Padding for networks with a minimum size, cropping back, and a check of the number of axes."""

from collections.abc import Sequence

import torch

from atrous.errors import ModelError


def pad_reflect(image: torch.Tensor, *around: int) -> torch.Tensor:
    """Mirror an image at the centres of its border pixels, by any number of pixels.

    torch's own reflection must be smaller than the image; this one goes back and forth as often as
    needed, so that an image of 1x1 will do.

    Args:
        image: (N, C, H, W) or (N, C, D, H, W).
        around: pixels before and after each axis in turn: top, bottom, left, right for an image;
            for a volume front and back come first.

    Returns:
        (N, C, top + H + bottom, left + W + right), for a volume likewise.

    Example:
        >>> import torch
        >>> from atrous.layers import pad_reflect
        >>> pad_reflect(torch.tensor([[[[1, 2, 3]]]]), 0, 0, 2, 3).flatten().tolist()
        [3, 2, 1, 2, 3, 2, 1, 2]
    """
    for axis, before, after in zip(range(2, image.ndim), around[::2], around[1::2], strict=True):
        side = image.shape[axis]
        period = max(1, 2 * (side - 1))
        index = torch.arange(-before, side + after, device=image.device)
        index = index % index.new_full((1,), period)  # ONNX has no remainder by a number that depends on a size
        image = image.index_select(axis, torch.minimum(index, period - index))
    return image


def cut(x: torch.Tensor, sides: Sequence[int], starts: Sequence[int] | None = None) -> torch.Tensor:
    """A view of (N, C, ...) with the given sides, one per axis, from `starts` or from 0 on."""
    for axis, (start, side) in enumerate(zip(starts or (0,) * len(sides), sides, strict=True), start=2):
        x = x.narrow(axis, start, side)
    return x


def expect_axes(image: torch.Tensor, axes: int) -> None:
    """Raise ModelError unless the image is (N, C) and `axes` more axes.

    torch would read a tensor with one axis less as a single image without a batch axis.
    """
    if image.ndim != axes + 2:
        wanted = "images (N, C, H, W)" if axes == 2 else "volumes (N, C, D, H, W)"
        raise ModelError(f"the network takes {wanted} and was given a tensor of shape {tuple(image.shape)}")
