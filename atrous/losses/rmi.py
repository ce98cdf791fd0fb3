"""Region mutual information: neighbourhoods of the prediction must tell those of the labels."""

from itertools import product

import torch
from torch import nn

from atrous.losses.truth import align, mean_present


class RMI(nn.Module):
    """A bound of the mutual information between the windows of prediction and labels.

    A pixel and its neighbours form a point of d values: Y from the labels, P from the prediction.
    If both are normal, M is the covariance of Y that remains when P is known, and the mutual
    information is at least -1/2 log det M plus a constant:

        M = S_Y - S_YP (S_P + e I)^-1 S_YP^T + e I
        L = mean of log det M / (2 d) over images and the classes present there

    S are covariances over the windows of an image. L may be below 0, down to log(2 e) / 2. Windows
    with an ignored pixel are left out. L is 0 if there are fewer than two windows, and for points
    (N, K, P), which have no neighbours.

    Takes logits (N, K, ...) and labels (N, ...) or (N, K, ...); returns a scalar. Add it to
    cross-entropy: "ce + rmi".

    Args:
        ignore: label value that changes neither the loss nor its gradient.
        side: of the windows, in cells, >= 1; the paper has 3. d = side^2 in images, side^3 in
            volumes.
        stride: side of the cells of pixels that are averaged first, >= 1; 4 in the authors' code. A
            margin that fills no cell is left out.
        eps: e > 0, the authors' value; their covariances are sums, these are means.

    Raises:
        ValueError: if a parameter is out of range.

    Source:
        Zhao et al. 2019, "Region mutual information loss for semantic segmentation", arXiv
        1910.12037, section 3.3.

    Example:
        >>> import torch
        >>> from atrous.losses import RMI
        >>> labels = (torch.rand(1, 1, 64, 64) < 0.5).long()
        >>> right, unsure = 20.0 * (2 * labels - 1), torch.zeros(1, 1, 64, 64)
        >>> bool(RMI(stride=1)(right, labels) < RMI(stride=1)(unsure, labels))
        True
    """

    def __init__(self, ignore: int = 255, *, side: int = 3, stride: int = 4, eps: float = 5e-4) -> None:
        super().__init__()
        if side < 1 or stride < 1 or eps <= 0:
            raise ValueError(f"side {side}, stride {stride}, eps {eps}; expected side and stride >= 1, eps > 0")
        self.ignore, self.side, self.stride, self.eps = ignore, side, stride, eps

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        truth = align(logits, labels, self.ignore)
        if logits.ndim == 3 or min(logits.shape[2:]) < self.side * self.stride:
            return 0 * truth.z.sum()
        counted = truth.counted.to(truth.z.dtype)
        p, y, whole = (self._windows(x) for x in (truth.probabilities(), truth.y, counted))  # (N, K, d, windows)
        whole = (whole == 1).all(2, keepdim=True).to(y.dtype)  # (N, 1 or K, 1, windows)
        with torch.autocast(logits.device.type, enabled=False):  # covariances need float32
            unknown = self._unknown(p, y, whole)  # (N, K, d, d)
            loss = unknown.logdet() / (2 * y.shape[2])  # (N, K)
        present = ((y.mean(2, keepdim=True) * whole).sum((2, 3)) > 0) & (whole.sum((2, 3)) > 1)
        return mean_present(loss, present)

    def _windows(self, x: torch.Tensor) -> torch.Tensor:
        """(N, K, ...) -> (N, K, d, windows): means over cells, then every window of them."""
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
