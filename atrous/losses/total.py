"""A weighted sum of losses."""

from collections.abc import Sequence

import torch
from torch import nn


class Total(nn.Module):
    """A weighted sum of losses: sum_i factor_i loss_i(logits, labels).

    Args:
        terms: (factor, loss) pairs.

    Example:
        >>> import torch
        >>> from atrous.losses import CrossEntropy, Overlap, Total
        >>> loss = Total([(1.0, CrossEntropy()), (0.5, Overlap())])
        >>> logits, labels = torch.zeros(1, 2, 4, 4), torch.zeros(1, 4, 4, dtype=torch.long)
        >>> print(f"{loss(logits, labels):.4f}")  # log 2 + 0.5 * (1 - 2 * 8 / (8 + 16))
        0.8598
    """

    def __init__(self, terms: Sequence[tuple[float, nn.Module]]) -> None:
        super().__init__()
        self.factors = [factor for factor, _ in terms]
        self.losses = nn.ModuleList(loss for _, loss in terms)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        values = [factor * loss(logits, labels) for factor, loss in zip(self.factors, self.losses, strict=True)]
        return torch.stack(values).sum()
