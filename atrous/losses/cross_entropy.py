"""Cross-entropy over the counted labels, exclusive and multilabel."""

import torch
from torch import nn
from torch.nn import functional as F

from atrous.losses.truth import hide, is_exclusive


class CrossEntropy(nn.Module):
    """Cross-entropy with class weights and label smoothing.

        exclusive   L = -(1 / sum_i w[y_i]) sum_i w[y_i] log softmax(z_i)[y_i]
        multilabel  L = (1 / sum_ik w_k) sum_ik w_k H(y_ik, sigmoid(z_ik))

    over the counted pixels i and classes k, with the binary cross-entropy H.

    Takes logits (N, K, ...) and labels (N, ...) or (N, K, ...); returns a scalar >= 0.

    Args:
        ignore: label value that changes neither the loss nor its gradient.
        weight: (K,) class weights w; all 1 if None. The mean divides by their sum over the counted
            labels, as in torch.
        smoothing: share of each label that is spread evenly, in [0, 1): over the K classes, in
            multilabel over 0 and 1.

    Source:
        Label smoothing: Szegedy et al. 2016, arXiv 1512.00567, section 7.

    Example:
        >>> import torch
        >>> from atrous.losses import CrossEntropy
        >>> p = torch.tensor([[[0.9, 0.2, 0.5], [0.1, 0.8, 0.5]]])  # (N, K, P)
        >>> labels = torch.tensor([[0, 1, 255]])
        >>> print(f"{CrossEntropy()(p.log(), labels):.4f}")  # -(log 0.9 + log 0.8) / 2
        0.1643
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
    """Every label's cross-entropy times its class's weight, of the labels' shape, 0 at `ignore`."""
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
    """Every label's class weight, float of the labels' shape: 1 by default, 0 at `ignore`."""
    counted = labels != ignore
    if weight is None:
        return counted.to(torch.promote_types(logits.dtype, torch.float32))
    if is_exclusive(logits, labels):
        return weight[torch.where(counted, labels.long(), 0)] * counted
    return weight.view(-1, *[1] * (labels.ndim - 2)) * counted


def over(total: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """total / weights, two scalars; 0 if the weights are 0, because the total is 0 then."""
    return total / torch.where(weights > 0, weights, 1.0)
