"""Boundary loss: probability costs its distance to the true boundary."""

import numpy as np
import torch
from torch import nn

from atrous.losses.truth import align
from atrous.ops.distance import signed_distance


class Boundary(nn.Module):
    """The mean of signed distance times probability.

        L = mean of phi_ik p_ik

    over the counted pixels i and the classes k that have a boundary in i's image. phi is the signed
    distance in pixels to the boundary of the class. Outside the class it is the distance to the
    nearest pixel of the class. Inside it is 1 minus the distance to the nearest pixel outside, as
    in the authors' code; so L may be below 0. A class that is absent from an image or fills it has
    no boundary and is not counted there. Ignored pixels have no distance and form no boundary.
    Points (N, K, P) have no distances: their loss is 0.

    Takes logits (N, K, ...) and labels (N, ...) or (N, K, ...); returns a scalar.

    On its own it is minimised by never predicting the class. Add it with a small factor to a loss
    over regions: "generalised_dice + 0.01 * boundary". The distances are computed on the CPU.

    Args:
        ignore: label value that changes neither the loss nor its gradient.

    Source:
        Kervadec et al. 2019, "Boundary loss for highly unbalanced segmentation", arXiv 1812.07032,
        equation 5.

    Example:
        >>> import torch
        >>> from atrous.losses import Boundary
        >>> labels = torch.tensor([[[[0, 0, 1, 1]]]])  # (N, K, H, W): one mask
        >>> p = torch.tensor([[[[0.2, 0.4, 0.4, 0.6]]]])
        >>> print(f"{Boundary()(p.logit(), labels):.3f}")  # (2 * 0.2 + 0.4 + 0 * 0.4 - 0.6) / 4
        0.050
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
