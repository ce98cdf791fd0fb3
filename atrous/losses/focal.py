"""Focal loss: cross-entropy that fades where the network is right (Lin et al. 2017, equation 5)."""

import torch
from torch import nn

from atrous.errors import RecipeError
from atrous.losses.cross_entropy import cross_entropies, label_weights, over
from atrous.losses.truth import is_exclusive


class Focal(nn.Module):
    """L = -(1 / sum_i w_i) sum_i w_i a_i (1 - p_i)^gamma log p_i over the counted labels, p_i what is given the truth.

    Exclusive: p_i = softmax(z_i)[y_i], one term a pixel. Multilabel: p_i is the sigmoid where the label is 1 and one
    less it where it is 0, a term for every class. gamma 0 is cross-entropy.
    alpha: multilabel alone: a_i, alpha where the label is 1, 1 - alpha where it is 0 (the paper's 0.25); with exclusive
    classes RecipeError, class weights are for them. weight: (K,) class weights w. The mean is over labels; detection
    divides by positives.
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
            raise ValueError(f"gamma {gamma}, alpha {alpha}; expected gamma >= 0 and alpha 0..1")
        self.ignore, self.gamma, self.alpha = ignore, gamma, alpha
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = cross_entropies(logits, labels, self.ignore)
        weights = label_weights(logits, labels, self.ignore, self.weight)
        wrong = -torch.expm1(-loss)  # 1 - p, precise near 0
        loss = wrong.clamp_min(1e-12) ** self.gamma * loss
        if self.alpha is not None:
            if is_exclusive(logits, labels):
                raise RecipeError("focal: alpha is for multilabel classes; leave it away, class weights do its work")
            loss = torch.where(labels == 1, self.alpha, 1 - self.alpha) * loss
        return over((weights * loss).sum(), weights.sum())
