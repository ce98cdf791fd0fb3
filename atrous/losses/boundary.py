"""Boundary loss: probability costs its distance to the true boundary (Kervadec et al. 2019, equation 5)."""

import numpy as np
import torch
from torch import nn

from atrous.losses.truth import align
from atrous.ops.distance import signed_distance


class Boundary(nn.Module):
    """L = mean over counted pixels i, and over the classes k with a boundary in i's image, of phi_ik p_ik.

    phi is the signed distance in pixels to the boundary of the class: outside it, to its nearest pixel; inside, less
    the distance to the nearest pixel without it, plus 1 (as the authors' code has it). So L may be below 0. A class
    without a boundary in an image, absent or everywhere, does not count there; what is ignored has no distance and is
    no boundary.

    logits: (N, K, H, W) or (N, K, D, H, W); labels: (N, ...) class indices or (N, K, ...) of 0 and 1. 0 with points
    (N, K, P), which have no distances. Alone it has a minimum without the class; add it to a loss over regions, with a
    small factor: `generalised_dice + 0.01 * boundary`. The distances are computed on the processor.
    """

    def __init__(self, ignore: int = 255) -> None:
        super().__init__()
        self.ignore = ignore

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        truth = align(logits, labels, self.ignore)
        counted = truth.counted.expand_as(truth.y)
        distance = torch.zeros(truth.y.shape)
        if logits.ndim > 3:
            masks, where = truth.y.cpu().numpy() > 0, counted.cpu().numpy()
            for n, k in np.ndindex(masks.shape[:2]):
                distance[n, k] = torch.from_numpy(signed_distance(masks[n, k], where[n, k]))
        distance = distance.to(truth.z)
        bounded = counted & (distance.flatten(2).any(2).view(*distance.shape[:2], *[1] * (distance.ndim - 2)))
        return (distance * truth.probabilities()).sum() / bounded.sum().clamp_min(1)
