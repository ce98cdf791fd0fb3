"""Lovasz losses: the Jaccard loss of every class, extended to errors of any size."""

from typing import Literal

import torch
from torch import nn

from atrous.losses.truth import Region, Truth, align


class Lovasz(nn.Module):
    """The Lovasz extension of the Jaccard loss.

    For a class over a region, sort the errors m of the pixels in falling order, with the labels y
    in that order and G = sum y:

        L = sum_j m_(j) (J_j - J_(j-1)),   J_0 = 0
        J_j = 1 - (G - sum_{i<=j} y_i) / (G + sum_{i<=j} (1 - y_i))

        softmax  m = |y - p|                  (section 3.1)
        hinge    m = max(0, 1 - (2 y - 1) F)  (section 2.3)

    J_j is the Jaccard loss if exactly the j worst pixels are wrong, so hard errors give 1 - IoU. F
    is the logit in multilabel, else the log-odds of a class against the rest, which for two classes
    is the difference of their logits.

    Takes logits (N, K, ...) and labels (N, ...) or (N, K, ...); returns a scalar >= 0, the mean
    over the classes present, 0 if there are none. It sorts all pixels K times, which is slow.

    Args:
        ignore: label value that changes neither the loss nor its gradient.
        form: what the errors m are: "softmax" or "hinge".
        region: over what a class is sorted: the whole "batch", or each "sample" by itself.

    Raises:
        ValueError: if `form` or `region` is unknown.

    Source:
        Berman, Triki, Blaschko 2018, "The Lovasz-softmax loss", arXiv 1705.08790.

    Example:
        >>> import torch
        >>> from atrous.losses import Lovasz
        >>> labels = torch.tensor([[[1, 1, 1, 0]]])  # (N, K, P): one mask
        >>> logits = 100.0 * torch.tensor([[[1, 1, -1, 1]]])  # a miss and a false alarm: IoU 2 / 4
        >>> print(f"{Lovasz()(logits, labels):.3f}")
        0.500
    """

    def __init__(
        self, ignore: int = 255, *, form: Literal["softmax", "hinge"] = "softmax", region: Region = "batch"
    ) -> None:
        super().__init__()
        if form not in ("softmax", "hinge") or region not in ("batch", "sample"):
            raise ValueError(
                f"form {form!r}, region {region!r}; expected form softmax or hinge, region batch or sample"
            )
        self.ignore, self.form, self.region = ignore, form, region

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        truth = align(logits, labels, self.ignore)
        error = torch.where(truth.counted, self._errors(truth), -1.0)  # errors are >= 0, so ignored pixels sort last
        error, y = _rows(error, self.region), _rows(truth.y, self.region)  # (R, P), a row per class and region
        present = y.any(1)
        error, order = error[present].sort(1, descending=True)
        slopes = _slopes(y[present].gather(1, order))
        each = (error.clamp_min(0) * slopes).sum(1)
        return each.sum() / max(len(each), 1)

    def _errors(self, truth: Truth) -> torch.Tensor:
        """The errors m >= 0, (N, K, ...)."""
        if self.form == "softmax":
            return (truth.y - truth.probabilities()).abs()
        odds = truth.z
        if truth.exclusive:
            log_p = truth.z.log_softmax(1).clamp_max(-1e-6)  # so that the log-odds stay finite
            odds = log_p - torch.log(-torch.expm1(log_p))
        return (1 - (2 * truth.y - 1) * odds).relu()


def _rows(x: torch.Tensor, region: Region) -> torch.Tensor:
    """(N, K, ...) -> (K, N P), or (N K, P) per sample."""
    return x.transpose(0, 1).flatten(1) if region == "batch" else x.flatten(2).flatten(0, 1)


def _slopes(y: torch.Tensor) -> torch.Tensor:
    """(R, P) labels by falling errors -> the steps of the Jaccard loss, J_j - J_(j-1)."""
    hits = y.cumsum(1)
    total = y.sum(1, keepdim=True)  # G
    jaccard = 1 - (total - hits) / (total + torch.arange(1, y.shape[1] + 1, device=y.device) - hits)
    return torch.cat([jaccard[:, :1], jaccard.diff(dim=1)], 1)
