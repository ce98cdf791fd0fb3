"""Overlap losses: soft Dice, soft Jaccard, the scores themselves made differentiable, and generalised Dice.

For a class over a region, with probabilities p, the softmax or in multilabel the sigmoid, and truth y of 0 or 1:

    Dice     1 - (2 sum p y + s) / (sum p + sum y + s)          Milletari et al. 2016, `squared` denominators there
    Jaccard  1 - (sum p y + s) / (sum p + sum y - sum p y + s)  Rahman & Wang 2016

A class without a true pixel in the region is left out of the mean: it can teach nothing but "less", and counted as a
loss near 0 or 1 it would dilute the others. Ignored pixels are in no sum.
"""

from typing import Literal

import torch
from torch import nn

from atrous.losses.truth import Region, align, axes_of, mean_present


class Overlap(nn.Module):
    """(logits (N, K, ...), labels (N, ...) or (N, K, ...)) -> scalar 0..1, the mean over classes present.

    form: "dice" or "jaccard". region: over what sums go, the whole "batch" or each "sample", then averaged. squared:
    p^2 and y^2 in the denominator. background: whether class 0 counts. smooth: s, in pixels. 0 where nothing is
    labelled.
    """

    def __init__(
        self,
        ignore: int = 255,
        *,
        form: Literal["dice", "jaccard"] = "dice",
        region: Region = "batch",
        squared: bool = False,
        background: bool = True,
        smooth: float = 0.0,
    ) -> None:
        super().__init__()
        if form not in ("dice", "jaccard") or region not in ("batch", "sample") or smooth < 0:
            raise ValueError(
                f"form {form!r}, region {region!r}, smooth {smooth}; "
                "expected dice or jaccard, batch or sample, 0 or more pixels"
            )
        self.ignore, self.form, self.region = ignore, form, region
        self.squared, self.background, self.smooth = squared, background, smooth

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        truth = align(logits, labels, self.ignore)
        first = 0 if self.background else 1
        p, y = truth.probabilities()[:, first:], truth.y[:, first:]
        axes = axes_of(p, self.region)
        hit, true = (p * y).sum(axes), y.sum(axes)  # (K,) or (N, K)
        total = ((p * p).sum(axes) if self.squared else p.sum(axes)) + true
        if self.form == "dice":
            loss = 1 - (2 * hit + self.smooth) / (total + self.smooth).clamp_min(1e-6)
        else:
            loss = 1 - (hit + self.smooth) / (total - hit + self.smooth).clamp_min(1e-6)
        return mean_present(loss, true > 0)


class GeneralisedDice(nn.Module):
    """L = 1 - 2 sum_k w_k sum p y / sum_k w_k (sum p + sum y), w_k = 1 / (sum y)^2 (Sudre et al. 2017).

    One Dice of all classes of a region, small ones weighing as much as large ones, then the mean over regions; absent
    classes weigh 0. Shapes and region as in `Overlap`.
    """

    def __init__(self, ignore: int = 255, *, region: Region = "batch") -> None:
        super().__init__()
        if region not in ("batch", "sample"):
            raise ValueError(f"region {region!r}; expected batch or sample")
        self.ignore, self.region = ignore, region

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        truth = align(logits, labels, self.ignore)
        p, y = truth.probabilities(), truth.y
        axes = axes_of(p, self.region)
        true = y.sum(axes)  # (K,) or (N, K)
        weight = (true > 0) / true.square().clamp_min(1e-6)
        hit, total = (weight * (p * y).sum(axes)).sum(-1), (weight * (p.sum(axes) + true)).sum(-1)  # () or (N,)
        present = (true > 0).any(-1)
        return mean_present(1 - 2 * hit / torch.where(present, total, 1.0), present)
