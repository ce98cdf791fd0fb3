"""Tversky loss: Dice whose two kinds of errors cost differently, and its focal form."""

import torch
from torch import nn

from atrous.losses.truth import Region, align, axes_of, mean_present


class Tversky(nn.Module):
    """L = mean over classes present of (1 - T)^(1 / gamma), T = TP / (TP + alpha FP + beta FN).

    TP = sum p y, FP = sum p (1 - y), FN = sum (1 - p) y over a region of counted pixels (Salehi et al. 2017, section
    2.2). alpha weighs false alarms and beta misses, 0.3 and 0.7 as there, for what is small; 0.5 and 0.5 are Dice, 1
    and 1 Jaccard. Other packages have the two the other way round. gamma: focal Tversky (Abraham and Khan 2019,
    section 2.2), 4/3 there; over 1 it makes classes that are nearly right cost more.
    Shapes, region and absent classes as in `Overlap`.
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
                "expected weights >= 0 that are not both 0, gamma > 0, batch or sample"
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
            loss = loss.clamp_min(1e-6) ** (1 / self.gamma)  # its slope is infinite at 0
        return mean_present(loss, true > 0)
