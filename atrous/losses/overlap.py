"""Overlap losses: soft Dice and soft Jaccard, the scores made differentiable; generalised Dice."""

from typing import Literal

import torch
from torch import nn

from atrous.losses.truth import Region, align, axes_of, mean_present


class Overlap(nn.Module):
    """1 minus the Dice or the Jaccard score of each class, computed from probabilities.

        dice     1 - (2 sum p y + s) / (sum p + sum y + s)
        jaccard  1 - (sum p y + s) / (sum p + sum y - sum p y + s)

    Takes logits (N, K, ...) and labels (N, ...) or (N, K, ...); returns a scalar in 0..1, the mean
    over the classes present, 0 if there are none. A class without a true pixel in a region is left
    out: it could only teach "less", and as a loss near 0 or 1 it would dilute the mean.

    Args:
        ignore: label value that changes neither the loss nor its gradient.
        form: "dice" or "jaccard".
        region: over what the sums go: the whole "batch", or each "sample" by itself, then averaged.
        squared: use p^2 and y^2 in the denominator.
        background: whether class 0 is counted.
        smooth: s, in pixels, >= 0.

    Raises:
        ValueError: if `form` or `region` is unknown or `smooth` is below 0.

    Source:
        Dice: Milletari et al. 2016, "V-Net", arXiv 1606.04797, whose denominators are squared.
        Jaccard: Rahman and Wang 2016, "Optimizing intersection-over-union in deep neural networks".

    Example:
        >>> import torch
        >>> from atrous.losses import Overlap
        >>> p = torch.tensor([[[0.9, 0.6, 0.2, 0.1]]])  # (N, K, P): one mask
        >>> labels = torch.tensor([[[1, 0, 1, 0]]])
        >>> print(f"{Overlap()(p.logit(), labels):.4f}")  # 1 - 2 * 1.1 / (1.8 + 2)
        0.4211
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
                "expected form dice or jaccard, region batch or sample, smooth >= 0"
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
    """One Dice score of all classes together, in which small classes count as much as large ones.

        L = 1 - 2 sum_k w_k sum p y / sum_k w_k (sum p + sum y),   w_k = 1 / (sum y)^2

    Absent classes have weight 0.

    Takes logits (N, K, ...) and labels (N, ...) or (N, K, ...); returns a scalar in 0..1, the mean
    over the regions.

    Args:
        ignore: label value that changes neither the loss nor its gradient.
        region: over what the inner sums go: the whole "batch", or each "sample" by itself.

    Raises:
        ValueError: if `region` is unknown.

    Source:
        Sudre et al. 2017, "Generalised Dice overlap as a deep learning loss function for highly
        unbalanced segmentations", arXiv 1707.03237.

    Example:
        >>> import torch
        >>> from atrous.losses import GeneralisedDice
        >>> p = torch.tensor([[[0.9, 0.6, 0.2, 0.1], [0.1, 0.4, 0.8, 0.9]]])  # (N, K, P)
        >>> labels = torch.tensor([[0, 0, 0, 1]])
        >>> loss = GeneralisedDice()(p.log(), labels)
        >>> print(f"{loss:.4f}")  # 1 - 2 * (1.7 / 9 + 0.9) / (4.8 / 9 + 3.2)
        0.4167
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
