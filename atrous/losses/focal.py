"""Focal loss: cross-entropy that fades where the network is right."""

import torch
from torch import nn

from atrous.errors import RecipeError
from atrous.losses.cross_entropy import cross_entropies, label_weights, over
from atrous.losses.truth import is_exclusive


class Focal(nn.Module):
    """Cross-entropy in which well-predicted labels count less.

        L = -(1 / sum_i w_i) sum_i w_i a_i (1 - p_i)^gamma log p_i

    Exclusive: a term per pixel, p_i = softmax(z_i)[y_i], a_i = 1. Multilabel: a term per pixel and
    class, p_i = sigmoid(z_i) where the label is 1, else 1 - sigmoid(z_i). The mean is over all
    counted labels; detectors divide by the number of positives instead.

    Takes logits (N, K, ...) and labels (N, ...) or (N, K, ...); returns a scalar >= 0.

    Args:
        ignore: label value that changes neither the loss nor its gradient.
        weight: (K,) class weights w; all 1 if None.
        gamma: how fast a term fades, >= 0; 0 is cross-entropy, 2 the paper's.
        alpha: in [0, 1], multilabel only: a_i = alpha where the label is 1, else 1 - alpha; the
            paper has 0.25. If None, a_i = 1.

    Raises:
        ValueError: if `gamma` or `alpha` is out of range.
        RecipeError: when called with exclusive labels and an `alpha`.

    Source:
        Lin et al. 2017, "Focal loss for dense object detection", arXiv 1708.02002, equation 5.

    Example:
        >>> import torch
        >>> from atrous.losses import Focal
        >>> p = torch.tensor([[[0.9, 0.2], [0.1, 0.8]]])  # (N, K, P)
        >>> labels = torch.tensor([[0, 1]])
        >>> print(f"{Focal()(p.log(), labels):.5f}")  # -(0.1^2 log 0.9 + 0.2^2 log 0.8) / 2
        0.00499
    """

    weight: torch.Tensor | None

    def __init__(
        self,
        ignore: int = 255,
        weight: torch.Tensor | None = None,
        *,
        gamma: float = 2.0,
        alpha: float | None = None,
    ) -> None:
        super().__init__()
        if gamma < 0 or not 0 <= (alpha or 0) <= 1:
            raise ValueError(f"gamma {gamma}, alpha {alpha}; expected gamma >= 0 and alpha in [0, 1]")
        self.ignore, self.gamma, self.alpha = ignore, gamma, alpha
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = cross_entropies(logits, labels, self.ignore)
        weights = label_weights(logits, labels, self.ignore, self.weight)
        wrong = -torch.expm1(-loss)  # 1 - p, precise near 0
        loss = wrong.clamp_min(1e-12) ** self.gamma * loss  # a power below 1 has an infinite slope at 0
        if self.alpha is not None:
            if is_exclusive(logits, labels):
                raise RecipeError("focal: alpha is for multilabel labels only; leave it out and use class weights")
            loss = torch.where(labels == 1, self.alpha, 1 - self.alpha) * loss
        return over((weights * loss).sum(), weights.sum())
