"""Max-unpooling: every pooled value goes back to the pixel that it came from."""

import torch


def max_unpool(x: torch.Tensor, indices: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
    """Put pooled values back to the places of their maxima, and zero everywhere else.

    Equals torch's `max_unpool2d`. It is a scatter, which every exporter knows and which is
    deterministic on a GPU too, as long as pooling windows do not overlap. Its gradient gathers at
    the indices.

    Args:
        x: (N, C, h, w), any dtype.
        indices: (N, C, h, w) int64, of `max_pool2d(..., return_indices=True)`: row * W + column in
            the map that was pooled.
        size: (H, W) of that map, so that odd sides come back.

    Returns:
        (N, C, H, W), dtype of `x`.

    Example:
        >>> x, indices = torch.nn.functional.max_pool2d(
        ...     torch.tensor([[[[1.0, 5], [2, 0]]]]), 2, return_indices=True)
        >>> max_unpool(x, indices, (2, 2))
        tensor([[[[0., 5.],
                  [0., 0.]]]])
    """
    canvas = x.new_zeros(x.shape[0], x.shape[1], size[0] * size[1])
    return canvas.scatter(2, indices.flatten(2), x.flatten(2)).view(x.shape[0], x.shape[1], size[0], size[1])
