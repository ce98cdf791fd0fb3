"""Active contours as a loss: short borders around regions that agree with the labels."""

import torch
from torch import nn
from torch.nn import functional as F

from atrous.losses.truth import align


class ActiveContour(nn.Module):
    """L = 1 / (K |V|) sum over i in V, k of |grad u_ik| + region (u_ik (1 - v_ik)^2 + (1 - u_ik) v_ik^2).

    The energy of Chan and Vese (2001) as Chen et al. have it (CVPR 2019, equations 6 to 8), u the softmax, in
    multilabel the sigmoid, v the labels as 0 and 1, the means c1 = 1 and c2 = 0, for each class k and meaned over the
    counted pixels V, those whose label is not `ignore`. |grad u| is the root of the squared differences to the next
    pixel along every axis, `eps` under it; a difference counts where both its pixels do, and none leads over the
    border.

    logits: (N, K, ...) float, any number of axes; labels: (N, ...) class indices or (N, K, ...) of 0 and 1. Returns a
    scalar >= 0; a batch without a counted pixel gives 0. A single axis is a list of points, which have no neighbours:
    its |grad u| is 0. region: the paper's lambda. Meant to be added to cross-entropy: `ce + active_contour`.
    """

    def __init__(self, ignore: int = 255, region: float = 1.0, eps: float = 1e-8) -> None:
        super().__init__()
        if region < 0 or eps <= 0:
            raise ValueError(f"region {region}, eps {eps}; expected region >= 0 and eps > 0")
        self.ignore, self.region, self.eps = ignore, region, eps

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        truth = align(logits, labels, self.ignore)
        u = truth.z.softmax(1) if truth.exclusive else truth.z.sigmoid()  # (N, K, ...)
        counted = truth.counted.expand_as(u)
        region = torch.where(truth.y == 1, 1 - u, u)
        energy = self._length(u, counted) + self.region * region
        return (energy * counted).sum() / counted.sum().clamp_min(1)

    def _length(self, u: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
        """(N, K, ...): the length of the gradient in every pixel."""
        squares = torch.full_like(u, self.eps)
        for axis in range(2, u.ndim) if u.ndim > 3 else ():
            before, after = u.narrow(axis, 0, u.shape[axis] - 1), u.narrow(axis, 1, u.shape[axis] - 1)
            both = counted.narrow(axis, 0, u.shape[axis] - 1) & counted.narrow(axis, 1, u.shape[axis] - 1)
            step = torch.where(both, after - before, 0.0).square()
            last = [0, 0] * (u.ndim - 1 - axis) + [0, 1]  # F.pad counts axes from the last one
            squares = squares + F.pad(step, last)
        return squares.sqrt()
