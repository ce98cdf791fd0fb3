"""Lovasz losses: the Jaccard loss of every class, extended from sets of errors to errors of any size.

Berman, Triki, Blaschko 2018, arXiv 1705.08790. For a class over a region, with an error m_i of every pixel, sorted
falling, y the truth in that order and G = sum y:

    L = sum_j m_(j) (J_j - J_(j-1)),   J_j = 1 - (G - sum_{i<=j} y_i) / (G + sum_{i<=j} (1 - y_i)),   J_0 = 0

J_j is the Jaccard loss of the class when exactly the j worst pixels are wrong. Errors of 0 and 1 give 1 - IoU.
"""

from typing import Literal

import torch
from torch import nn

from atrous.losses.truth import Region, Truth, align


class Lovasz(nn.Module):
    """(logits (N, K, ...), labels (N, ...) or (N, K, ...)) -> scalar >= 0, the mean over classes present.

    form: the errors; "softmax", m = |y - p| with the softmax or, in multilabel, the sigmoid (section 3.1); "hinge",
    m = max(0, 1 - (2 y - 1) F) (section 2.3), F the logits in multilabel, with exclusive classes the log-odds of each
    against the rest: of two classes the difference of their logits. region: the whole "batch", or each "sample" by
    itself. Sorting takes time: K sorts of all pixels. 0 where nothing is labelled.
    """

    def __init__(
        self, ignore: int = 255, *, form: Literal["softmax", "hinge"] = "softmax", region: Region = "batch"
    ) -> None:
        super().__init__()
        if form not in ("softmax", "hinge") or region not in ("batch", "sample"):
            raise ValueError(f"form {form!r}, region {region!r}; expected softmax or hinge, batch or sample")
        self.ignore, self.form, self.region = ignore, form, region

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        truth = align(logits, labels, self.ignore)
        error = torch.where(truth.counted, self._errors(truth), -1.0)  # errors are >= 0: what is ignored sorts last
        error, y = _rows(error, self.region), _rows(truth.y, self.region)  # (R, P), a row per class and region
        present = y.any(1)
        error, order = error[present].sort(1, descending=True)
        slopes = _slopes(y[present].gather(1, order))
        each = (error.clamp_min(0) * slopes).sum(1)
        return each.sum() / max(len(each), 1)

    def _errors(self, truth: Truth) -> torch.Tensor:
        """(N, K, ...) >= 0."""
        if self.form == "softmax":
            return (truth.y - truth.probabilities()).abs()
        odds = truth.z
        if truth.exclusive:
            log_p = truth.z.log_softmax(1).clamp_max(-1e-6)
            odds = log_p - torch.log(-torch.expm1(log_p))
        return (1 - (2 * truth.y - 1) * odds).relu()


def _rows(x: torch.Tensor, region: Region) -> torch.Tensor:
    """(N, K, ...) -> (K, N P), or (N K, P) per sample."""
    return x.transpose(0, 1).flatten(1) if region == "batch" else x.flatten(2).flatten(0, 1)


def _slopes(y: torch.Tensor) -> torch.Tensor:
    """(R, P) truth in the order of falling errors -> the steps of the Jaccard loss, J_j - J_(j-1)."""
    hits = y.cumsum(1)
    total = y.sum(1, keepdim=True)  # G
    jaccard = 1 - (total - hits) / (total + torch.arange(1, y.shape[1] + 1, device=y.device) - hits)
    return torch.cat([jaccard[:, :1], jaccard.diff(dim=1)], 1)
