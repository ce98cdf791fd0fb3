"""Padding for networks that have a minimum size."""

import torch


def pad_reflect(image: torch.Tensor, top: int, bottom: int, left: int, right: int) -> torch.Tensor:
    """(N, C, H, W) -> (N, C, top + H + bottom, left + W + right), mirrored at the centres of the border pixels.

    Torch's own reflection wants less padding than image; this one goes to and fro as often as needed, from 1x1 on.
    """
    for axis, before, after in ((2, top, bottom), (3, left, right)):
        side = image.shape[axis]
        period = max(1, 2 * (side - 1))
        index = torch.arange(-before, side + after, device=image.device) % period
        image = image.index_select(axis, torch.minimum(index, period - index))
    return image
