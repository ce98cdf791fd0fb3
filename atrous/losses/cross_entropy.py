"""Cross-entropy over the pixels that count."""

import torch
from torch import nn
from torch.nn import functional as F


class CrossEntropy(nn.Module):
    """L = -(1 / sum_i w[y_i]) sum_i w[y_i] log softmax(z_i)[y_i] over the pixels i whose label is not `ignore`.

    logits: (N, K, ...) float; labels: (N, ...) integer. Returns a scalar; a batch without a counted pixel gives 0.
    weight: (K,) class weights; the mean divides by their sum over the counted pixels, as torch does.
    smoothing: label smoothing in [0, 1) (Szegedy et al. 2016).
    """

    weight: torch.Tensor | None

    def __init__(self, ignore: int = 255, weight: torch.Tensor | None = None, smoothing: float = 0.0) -> None:
        super().__init__()
        self.ignore, self.smoothing = ignore, smoothing
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        labels = labels.long()
        loss = F.cross_entropy(
            logits.float(),
            labels,
            weight=self.weight,
            ignore_index=self.ignore,
            label_smoothing=self.smoothing,
            reduction="sum",
        )
        counted = labels[labels != self.ignore]
        total = self.weight[counted].sum() if self.weight is not None else counted.numel()
        return loss / total if len(counted) else loss
