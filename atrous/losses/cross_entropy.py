"""Cross-entropy over the labels that count, of exclusive classes and of overlapping ones."""

import torch
from torch import nn
from torch.nn import functional as F

from atrous.losses.truth import hide, is_exclusive


class CrossEntropy(nn.Module):
    """L = -(1 / sum_i w[y_i]) sum_i w[y_i] log softmax(z_i)[y_i] over the pixels i whose label is not `ignore`.

    Multilabel: L = (1 / sum_ik w_k) sum_ik w_k H(y_ik, sigmoid(z_ik)), binary cross-entropy, over the counted labels.

    logits: (N, K, ...) float; labels: (N, ...) class indices or (N, K, ...) of 0 and 1. Returns a scalar >= 0; a batch
    without a counted label gives 0. weight: (K,) class weights; the mean divides by their sum over the counted labels,
    as torch does. smoothing: label smoothing in [0, 1) (Szegedy et al. 2016), to 1 / K each, or one half.
    """

    weight: torch.Tensor | None

    def __init__(self, ignore: int = 255, weight: torch.Tensor | None = None, smoothing: float = 0.0) -> None:
        super().__init__()
        self.ignore, self.smoothing = ignore, smoothing
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = cross_entropies(logits, labels, self.ignore, self.weight, self.smoothing).sum()
        return over(loss, label_weights(logits, labels, self.ignore, self.weight).sum())


def cross_entropies(
    logits: torch.Tensor, labels: torch.Tensor, ignore: int, weight: torch.Tensor | None = None, smoothing: float = 0.0
) -> torch.Tensor:
    """The cross-entropy of every label, times its class's weight: of the labels' shape, 0 at `ignore`."""
    counted = labels != ignore
    if is_exclusive(logits, labels):
        z = hide(logits, counted[:, None])
        weight = None if weight is None else weight.to(z.dtype)
        return F.cross_entropy(
            z, labels.long(), weight, ignore_index=ignore, label_smoothing=smoothing, reduction="none"
        )
    z = hide(logits, counted)
    y = torch.where(counted, labels, 0).to(z.dtype) * (1 - smoothing) + smoothing / 2
    loss = F.binary_cross_entropy_with_logits(z, y, reduction="none")
    return loss * label_weights(logits, labels, ignore, weight)


def label_weights(
    logits: torch.Tensor, labels: torch.Tensor, ignore: int, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """The weight of every label's class, 1 without weights, 0 at `ignore`: float of the labels' shape."""
    counted = labels != ignore
    if weight is None:
        return counted.to(torch.promote_types(logits.dtype, torch.float32))
    if is_exclusive(logits, labels):
        return weight[torch.where(counted, labels.long(), 0)] * counted
    return weight.view(-1, *[1] * (labels.ndim - 2)) * counted


def over(total: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """total / weights, of scalars; where the weights are 0 the total, which is 0 with them."""
    return total / torch.where(weights > 0, weights, 1.0)
