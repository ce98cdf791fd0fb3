"""Cross-entropy of the hard pixels alone: online hard example mining (Shrivastava et al. 2016), by a threshold."""

import math

import torch
from torch import nn

from atrous.losses.cross_entropy import cross_entropies, label_weights, over


class OHEM(nn.Module):
    """Cross-entropy over the pixels whose true class has p < `threshold`, and at least the hardest share `least`.

    L = sum_i w[y_i] H_i / sum_i w[y_i] over i in {p_i[y_i] < t or p_i[y_i] <= the ceil(least |V|)-th smallest}

    V are the counted labels of the batch; in multilabel each of a pixel's labels is kept or not by itself, with p of
    what is true of it. The usual form of segmentation (threshold 0.7, and so many pixels at least), the number as a
    share, so that it holds for crops of any size. logits, labels, weight, smoothing as in `CrossEntropy`; the labels
    are not smoothed to choose.
    """

    weight: torch.Tensor | None

    def __init__(
        self,
        ignore: int = 255,
        weight: torch.Tensor | None = None,
        smoothing: float = 0.0,
        *,
        threshold: float = 0.7,
        least: float = 1 / 16,
    ) -> None:
        super().__init__()
        if not 0 <= threshold <= 1 or not 0 <= least <= 1:
            raise ValueError(f"threshold {threshold}, least {least}; both are shares, 0..1")
        self.ignore, self.smoothing, self.threshold, self.least = ignore, smoothing, threshold, least
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = cross_entropies(logits, labels, self.ignore, self.weight, self.smoothing)
        weights = label_weights(logits, labels, self.ignore, self.weight)
        hard = self._hard(logits, labels)
        return over((loss * hard).sum(), (weights * hard).sum())

    @torch.no_grad()
    def _hard(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Which labels are kept, bool of their shape; pixels as hard as the last of the least are kept with it."""
        counted = labels != self.ignore
        p = cross_entropies(logits, labels, self.ignore).neg().exp()
        least = math.ceil(self.least * int(counted.sum()))
        bound = p[counted].kthvalue(least).values if least else -1.0
        return counted & ((p < self.threshold) | (p <= bound))
