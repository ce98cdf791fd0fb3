"""Tversky loss: Dice in which misses and false alarms cost differently, and its focal form."""

import torch
from torch import nn

from atrous.losses.truth import Region, align, axes_of, mean_present


class Tversky(nn.Module):
    """1 minus the Tversky index of each class, computed from probabilities.

        L = mean over classes present of (1 - T)^(1 / gamma),   T = TP / (TP + alpha FP + beta FN)
        TP = sum p y,   FP = sum p (1 - y),   FN = sum (1 - p) y

    Takes logits (N, K, ...) and labels (N, ...) or (N, K, ...); returns a scalar in 0..1. Classes
    without a true pixel are left out, as in `Overlap`.

    Args:
        ignore: label value that changes neither the loss nor its gradient.
        alpha: cost of false alarms, >= 0.
        beta: cost of misses, >= 0; the paper has 0.3 and 0.7, for small things. 0.5 and 0.5 are
            Dice, 1 and 1 are Jaccard. Other packages have alpha and beta the other way round.
        gamma: > 0; above 1, classes that are nearly right cost more. Focal Tversky has 4/3.
        region: over what the sums go: the whole "batch", or each "sample" by itself.

    Raises:
        ValueError: if a parameter is out of range.

    Source:
        Salehi et al. 2017, arXiv 1706.05721, section 2.2. Focal form: Abraham and Khan 2019,
        arXiv 1810.07842, section 2.2.

    Example:
        >>> import torch
        >>> from atrous.losses import Tversky
        >>> p = torch.tensor([[[0.9, 0.6, 0.2, 0.1]]])  # (N, K, P): one mask
        >>> labels = torch.tensor([[[1, 0, 1, 0]]])
        >>> print(f"{Tversky()(p.logit(), labels):.4f}")  # 1 - 1.1 / (1.1 + 0.3 * 0.7 + 0.7 * 0.9)
        0.4330
    """

    def __init__(
        self,
        ignore: int = 255,
        *,
        alpha: float = 0.3,
        beta: float = 0.7,
        gamma: float = 1.0,
        region: Region = "batch",
    ) -> None:
        super().__init__()
        if min(alpha, beta) < 0 or alpha + beta == 0 or gamma <= 0 or region not in ("batch", "sample"):
            raise ValueError(
                f"alpha {alpha}, beta {beta}, gamma {gamma}, region {region!r}; "
                "expected alpha and beta >= 0 and not both 0, gamma > 0, region batch or sample"
            )
        self.ignore, self.alpha, self.beta, self.gamma, self.region = ignore, alpha, beta, gamma, region

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        truth = align(logits, labels, self.ignore)
        p, y = truth.probabilities(), truth.y
        axes = axes_of(p, self.region)
        hit, true = (p * y).sum(axes), y.sum(axes)  # (K,) or (N, K)
        false_alarm, miss = p.sum(axes) - hit, true - hit
        loss = 1 - hit / (hit + self.alpha * false_alarm + self.beta * miss).clamp_min(1e-6)
        if self.gamma != 1:
            loss = loss.clamp_min(1e-6) ** (1 / self.gamma)  # the slope of a root is infinite at 0
        return mean_present(loss, true > 0)
