"""A weighted sum of losses."""

from collections.abc import Sequence

import torch
from torch import nn


class Total(nn.Module):
    """sum_i factor_i loss_i(logits, labels)."""

    def __init__(self, terms: Sequence[tuple[float, nn.Module]]) -> None:
        super().__init__()
        self.factors = [factor for factor, _ in terms]
        self.losses = nn.ModuleList(loss for _, loss in terms)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        values = [factor * loss(logits, labels) for factor, loss in zip(self.factors, self.losses, strict=True)]
        return torch.stack(values).sum()
