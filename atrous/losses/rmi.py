"""Region mutual information: neighbourhoods of the prediction must tell those of the truth (Zhao et al. 2019).

A pixel with its neighbours is a point of d values, Y of the truth and P of the prediction. Taking both for normal, what
is left unknown of Y once P is known has the covariance M, and the mutual information is at least -1/2 log det M plus
a constant (section 3.3):

    M = S_Y - S_YP (S_P + e I)^-1 S_YP^T + e I,    L = mean over classes present of log det M / (2 d)

S are covariances over the windows of an image. L may be below 0, down to log(2 e) / 2.
"""

from itertools import product

import torch
from torch import nn

from atrous.losses.truth import align, mean_present


class RMI(nn.Module):
    """(logits (N, K, ...), labels (N, ...) or (N, K, ...)) -> scalar, the mean over images and classes present there.

    side: of the windows, 3 as in the paper: d is 9 in images, 27 in volumes. stride: cells of so many pixels are
    averaged first, 4 in the authors' code; a margin that fills no cell is left away. eps: e, theirs, for covariances
    that are means where theirs are sums. Windows with an ignored pixel count nowhere; 0 without two windows, and with
    points (N, K, P), which have no neighbours. Add it to cross-entropy: `ce + rmi`.
    """

    def __init__(self, ignore: int = 255, *, side: int = 3, stride: int = 4, eps: float = 5e-4) -> None:
        super().__init__()
        if side < 1 or stride < 1 or eps <= 0:
            raise ValueError(f"side {side}, stride {stride}, eps {eps}; expected 1 or more, and eps above 0")
        self.ignore, self.side, self.stride, self.eps = ignore, side, stride, eps

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        truth = align(logits, labels, self.ignore)
        if logits.ndim == 3 or min(logits.shape[2:]) < self.side * self.stride:
            return 0 * truth.z.sum()
        counted = truth.counted.to(truth.z.dtype)
        p, y, whole = (self._windows(x) for x in (truth.probabilities(), truth.y, counted))  # (N, K, d, windows)
        whole = (whole == 1).all(2, keepdim=True).to(y.dtype)  # (N, 1 or K, 1, windows)
        with torch.autocast(logits.device.type, enabled=False):  # covariances want every digit
            unknown = self._unknown(p, y, whole)  # (N, K, d, d)
            loss = unknown.logdet() / (2 * y.shape[2])  # (N, K)
        present = ((y.mean(2, keepdim=True) * whole).sum((2, 3)) > 0) & (whole.sum((2, 3)) > 1)
        return mean_present(loss, present)

    def _windows(self, x: torch.Tensor) -> torch.Tensor:
        """(N, K, ...) -> (N, K, d, windows): means over cells, then all windows of side x side of them."""
        for axis in range(2, x.ndim):
            x = x.narrow(axis, 0, x.shape[axis] // self.stride * self.stride)
            x = x.unflatten(axis, (-1, self.stride)).mean(axis + 1)
        sizes = [size - self.side + 1 for size in x.shape[2:]]
        shifted = []
        for start in product(range(self.side), repeat=len(sizes)):
            part = x
            for axis, (first, size) in enumerate(zip(start, sizes, strict=True), start=2):
                part = part.narrow(axis, first, size)
            shifted.append(part.flatten(2))
        return torch.stack(shifted, 2)

    def _unknown(self, p: torch.Tensor, y: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
        """M: the covariance of the windows of y given those of p, over the whole windows."""
        count = whole.sum(3, keepdim=True).clamp_min(1)
        p, y = ((x - (x * whole).sum(3, keepdim=True) / count) * whole for x in (p, y))
        some = self.eps * torch.eye(y.shape[2], dtype=y.dtype, device=y.device)
        s_p, s_yp, s_y = (a @ b.mT / count for a, b in ((p, p), (y, p), (y, y)))
        return s_y - s_yp @ torch.linalg.solve(s_p + some, s_yp.mT) + some
