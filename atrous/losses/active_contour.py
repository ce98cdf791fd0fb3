"""Active contours as a loss: short borders around regions that agree with the labels."""

import torch
from torch import nn
from torch.nn import functional as F

from atrous.losses.truth import align


class ActiveContour(nn.Module):
    """Length of the contours, plus what disagrees with the labels inside and outside of them.

        L = mean of |grad p_ik| + region * (p_ik (1 - y_ik)^2 + (1 - p_ik) y_ik^2)

    over the counted pixels i and all classes k. |grad p| is the root of `eps` plus the squared
    differences to the next pixel along each axis. A difference is 0 at the image's border and where
    one of its two pixels is ignored. Points (N, K, P) have no neighbours, so their |grad p| is 0.

    Takes logits (N, K, ...) and labels (N, ...) or (N, K, ...); returns a scalar >= 0. Add it to
    cross-entropy: "ce + active_contour".

    Args:
        ignore: label value that changes neither the loss nor its gradient.
        region: weight of the disagreement, >= 0; lambda in the paper.
        eps: > 0; keeps the gradient finite.

    Raises:
        ValueError: if `region` or `eps` is out of range.

    Source:
        Chen et al., CVPR 2019, "Learning active contour models for medical image segmentation",
        equations 6 to 8, with the means c1 = 1 and c2 = 0; after Chan and Vese 2001.

    Example:
        >>> import torch
        >>> from atrous.losses import ActiveContour
        >>> labels = torch.zeros(1, 8, 10, dtype=torch.long)
        >>> labels[:, :, 5:] = 1  # a border of 8 pixels among 80
        >>> logits = 100.0 * torch.stack([labels == 0, labels == 1], 1)
        >>> print(f"{ActiveContour()(logits, labels):.3f}")
        0.100
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
        """(N, K, ...): the length of the gradient at every pixel."""
        squares = torch.full_like(u, self.eps)
        for axis in range(2, u.ndim) if u.ndim > 3 else ():
            before, after = u.narrow(axis, 0, u.shape[axis] - 1), u.narrow(axis, 1, u.shape[axis] - 1)
            both = counted.narrow(axis, 0, u.shape[axis] - 1) & counted.narrow(axis, 1, u.shape[axis] - 1)
            step = torch.where(both, after - before, 0.0).square()
            last = [0, 0] * (u.ndim - 1 - axis) + [0, 1]  # F.pad counts axes from the last one
            squares = squares + F.pad(step, last)
        return squares.sqrt()
