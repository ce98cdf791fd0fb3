"""Overlap losses: soft Dice and soft Jaccard, the scores themselves made differentiable.

For a class over a region, with probabilities p = softmax(z) and truth y of 0 or 1:

    Dice     1 - (2 sum p y + s) / (sum p + sum y + s)          Milletari et al. 2016, `squared` denominators there
    Jaccard  1 - (sum p y + s) / (sum p + sum y - sum p y + s)  Rahman & Wang 2016

A class without a true pixel in the region is left out of the mean: it can teach nothing but "less", and counted as a
loss near 0 or 1 it would dilute the others. Ignored pixels are in no sum.
"""

from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F


class Overlap(nn.Module):
    """(logits (N, K, ...), labels (N, ...)) -> scalar 0..1, the mean over classes present; 0 where nothing is labelled.

    form: "dice" or "jaccard". region: over what sums go, the whole "batch" or each "sample", then averaged. squared:
    p^2 and y^2 in the denominator. background: whether class 0 counts. smooth: s, in pixels.
    """

    def __init__(
        self,
        ignore: int = 255,
        *,
        form: Literal["dice", "jaccard"] = "dice",
        region: Literal["batch", "sample"] = "batch",
        squared: bool = False,
        background: bool = True,
        smooth: float = 0.0,
    ) -> None:
        super().__init__()
        if form not in ("dice", "jaccard") or region not in ("batch", "sample"):
            raise ValueError(f"form {form!r}, region {region!r}; expected dice or jaccard, batch or sample")
        self.ignore, self.form, self.region = ignore, form, region
        self.squared, self.background, self.smooth = squared, background, smooth

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        counted = labels != self.ignore
        z = logits.float().masked_fill(~counted[:, None], 0.0)
        p = z.softmax(1) * counted[:, None]
        y = F.one_hot(torch.where(counted, labels, 0).long(), logits.shape[1]).movedim(-1, 1) * counted[:, None]
        if not self.background:
            p, y = p[:, 1:], y[:, 1:]
        axes = [axis for axis in range(p.ndim) if axis > 1 or (axis == 0 and self.region == "batch")]
        hit, true = (p * y).sum(axes), y.sum(axes)  # (K,) or (N, K)
        total = ((p * p).sum(axes) if self.squared else p.sum(axes)) + true
        if self.form == "dice":
            loss = 1 - (2 * hit + self.smooth) / (total + self.smooth).clamp_min(1e-6)
        else:
            loss = 1 - (hit + self.smooth) / (total - hit + self.smooth).clamp_min(1e-6)
        present = true > 0
        return (loss * present).sum() / present.sum().clamp_min(1)
