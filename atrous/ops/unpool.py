"""Max-unpooling: every pooled value returns to the pixel that it came from."""

import torch


def max_unpool(x: torch.Tensor, indices: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """(N, C, h, w) -> (N, C, H, W): each value at the place of its maximum, zero everywhere else; any dtype.

    indices: int64 (N, C, h, w), what `max_pool2d(..., return_indices=True)` gave: row * W + column in the map that was
    pooled. size: (H, W) of that map, so that sides which were rounded are the old ones again.
    Equals torch's `max_unpool2d`; written as a scatter, which is deterministic on a GPU too (windows do not overlap)
    and which every exporter knows. The gradient is the gather at the indices.
    """
    canvas = x.new_zeros(x.shape[0], x.shape[1], size[0] * size[1])
    return canvas.scatter(2, indices.flatten(2), x.flatten(2)).view(x.shape[0], x.shape[1], size[0], size[1])
