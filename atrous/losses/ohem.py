"""Cross-entropy of the hard pixels alone: online hard example mining with a threshold."""

import math

import torch
from torch import nn

from atrous.losses.cross_entropy import cross_entropies, label_weights, over


class OHEM(nn.Module):
    """Cross-entropy over the labels that the network finds hard.

        L = sum_{i in hard} w[y_i] H_i / sum_{i in hard} w[y_i]
        hard = {i: p_i < threshold, or p_i among the share `least` of smallest p}

    p_i is the probability of what is true of label i; in multilabel each label of a pixel is chosen
    by itself. `least` is a share, not a number of pixels as elsewhere, so that it holds for crops
    of any size; ties are kept.

    Takes logits (N, K, ...) and labels (N, ...) or (N, K, ...); returns a scalar >= 0.

    Args:
        ignore: label value that changes neither the loss nor its gradient.
        weight: (K,) class weights w; all 1 if None.
        smoothing: of the labels, as in `CrossEntropy`; the choice is made without it.
        threshold: in [0, 1].
        least: in [0, 1]; rounded up to whole labels.

    Raises:
        ValueError: if `threshold` or `least` is out of range.

    Source:
        Shrivastava et al. 2016, "Training region-based object detectors with online hard example
        mining", arXiv 1604.03540; the threshold is common usage in segmentation.

    Example:
        >>> import torch
        >>> from atrous.losses import OHEM
        >>> p = torch.tensor([[[0.9, 0.4], [0.1, 0.6]]])  # (N, K, P)
        >>> labels = torch.tensor([[0, 1]])
        >>> print(f"{OHEM()(p.log(), labels):.4f}")  # -log 0.6; 0.9 is not below 0.7
        0.5108
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
            raise ValueError(f"threshold {threshold}, least {least}; both must be in [0, 1]")
        self.ignore, self.smoothing, self.threshold, self.least = ignore, smoothing, threshold, least
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = cross_entropies(logits, labels, self.ignore, self.weight, self.smoothing)
        weights = label_weights(logits, labels, self.ignore, self.weight)
        hard = self._hard(logits, labels)
        return over((loss * hard).sum(), (weights * hard).sum())

    @torch.no_grad()
    def _hard(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Which labels are kept, bool of their shape."""
        counted = labels != self.ignore
        p = cross_entropies(logits, labels, self.ignore).neg().exp()
        least = math.ceil(self.least * int(counted.sum()))
        bound = p[counted].kthvalue(least).values if least else -1.0
        return counted & ((p < self.threshold) | (p <= bound))
