"""Reading images and labels at any places, in 2-D and 3-D, on any device."""

import torch
from torch.nn import functional


def read_linear(images: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Linear interpolation; beyond the border the image is reflected about its outer pixels.

    images: (N, C, H, W) or (N, C, D, H, W), floating point. places: (N, ..., axes) indices into
    them in torch's order: x, y, then z. Returns (N, C, ...).
    """
    last = torch.tensor([max(side - 1, 1) for side in reversed(images.shape[2:])], device=images.device)
    grid = 2 * places / last - 1  # -1 and 1 are the centres of the outer pixels
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode="reflection", align_corners=True)


def read_nearest(labels: torch.Tensor, places: torch.Tensor, ignore: int = 255) -> torch.Tensor:
    """Nearest neighbour; `ignore` beyond the border.

    labels: (N, H, W) or (N, D, H, W) of any integer type, which is kept. places: see `read_linear`.
    """
    last = torch.tensor(labels.shape[:0:-1], device=labels.device) - 1
    index = (places + 0.5).floor().long()
    inside = ((index >= 0) & (index <= last)).all(-1)
    index = torch.minimum(index.clamp_min(0), last).flip(-1)
    images = torch.arange(len(labels), device=labels.device).view(-1, *(1,) * (index.ndim - 2))
    found = labels[(images, *index.unbind(-1))]
    return torch.where(inside, found, torch.tensor(ignore, dtype=labels.dtype, device=labels.device))
