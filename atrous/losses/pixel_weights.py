"""Cross-entropy with a weight per pixel, and U-Net's, which stresses the gaps between cells."""

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from atrous.losses.cross_entropy import cross_entropies
from atrous.losses.truth import is_exclusive
from atrous.ops.border import border_weights


def pixel_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, ignore: int = 255
) -> torch.Tensor:
    """Cross-entropy with a weight for every pixel.

        L = -(1 / n) sum_i w_i log softmax(z_i)[y_i]

    over the n labels that are not `ignore` and whose weight is not 0; in multilabel with the binary
    cross-entropy. It is U-Net's loss as a mean, with weights from `transforms.border_weights`, and
    3D U-Net's loss on sparse labels, where unlabelled voxels have weight 0.

    Args:
        logits: (N, K, ...) float.
        labels: (N, ...) class indices, or (N, K, ...) of 0 and 1.
        weights: float, of the labels' shape.
        ignore: label value that changes neither the loss nor its gradient.

    Returns:
        A scalar, 0 if nothing is counted.

    Source:
        Ronneberger et al. 2015, "U-Net", arXiv 1505.04597, equation 1; Cicek et al. 2016, "3D
        U-Net", arXiv 1606.06650, section 2.

    Example:
        >>> import torch
        >>> from atrous.losses import pixel_cross_entropy
        >>> p = torch.tensor([[[0.9, 0.2, 0.5], [0.1, 0.8, 0.5]]])  # (N, K, P)
        >>> labels, weights = torch.tensor([[0, 1, 1]]), torch.tensor([[1.0, 3.0, 0.0]])
        >>> loss = pixel_cross_entropy(p.log(), labels, weights)
        >>> print(f"{loss:.4f}")  # -(log 0.9 + 3 log 0.8) / 2
        0.3874
    """
    counted = (labels != ignore) & (weights != 0)
    loss = cross_entropies(logits, torch.where(counted, labels.long(), ignore), ignore)
    return (torch.where(counted, weights, 0.0) * loss).sum() / counted.sum().clamp_min(1)


class BorderCrossEntropy(nn.Module):
    """Cross-entropy weighted by the gaps between the cells in the labels: U-Net's loss.

        w(x) = w_c(x) + border exp(-(d1(x) + d2(x))^2 / (2 sigma^2))

    d1 and d2 are the distances in pixels from background pixel x to the two nearest cells. A cell
    is a connected region, along the axes and not over corners, of a class other than 0, the
    background. In multilabel each mask has cells and weights of its own. Ignored pixels are
    background to their neighbours. Points (N, K, P) have no gaps: they have weight 1. The weights
    are computed on the CPU.

    Takes logits (N, K, ...) and labels (N, ...) or (N, K, ...); returns a scalar >= 0.

    Args:
        ignore: label value that changes neither the loss nor its gradient.
        border: w0, the extra weight of the narrowest gap, >= 0.
        sigma: width of the gaps that are stressed, in pixels, > 0.
        balance: choose w_c so that cells and background weigh the same in total; else w_c = 1.

    Raises:
        ValueError: if `border` or `sigma` is out of range.

    Source:
        Ronneberger et al. 2015, "U-Net", arXiv 1505.04597, equations 1 and 2.

    Example:
        >>> import torch
        >>> from atrous.losses import BorderCrossEntropy, CrossEntropy
        >>> labels = torch.ones(1, 5, 7, dtype=torch.long)
        >>> labels[:, :, 3] = 0  # a gap of one pixel between two cells
        >>> logits = torch.stack([torch.zeros(1, 5, 7), torch.ones(1, 5, 7)], 1)  # which is missed
        >>> bool(BorderCrossEntropy()(logits, labels) > 2 * CrossEntropy()(logits, labels))
        True
    """

    def __init__(self, ignore: int = 255, *, border: float = 10.0, sigma: float = 5.0, balance: bool = True) -> None:
        super().__init__()
        if border < 0 or sigma <= 0:
            raise ValueError(f"border {border}, sigma {sigma}; expected border >= 0 and sigma > 0")
        self.ignore, self.border, self.sigma, self.balance = ignore, border, sigma, balance

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        weights = torch.ones(labels.shape)
        if logits.ndim > 3:
            shown = torch.where(labels != self.ignore, labels.long(), 0).cpu().numpy()
            maps = shown if is_exclusive(logits, labels) else shown.reshape(-1, *shown.shape[2:])
            each = [border_weights(_cells(one), weight=self.border, sigma=self.sigma, balance=self.balance)
                    for one in maps]  # fmt: skip
            weights = torch.from_numpy(np.stack(each)).view(labels.shape)
        return pixel_cross_entropy(logits, labels, weights.to(logits.device), self.ignore)


def _cells(labels: np.ndarray) -> np.ndarray:
    """Class indices -> a number for every connected region of a class other than 0."""
    cells, count = np.zeros(labels.shape, np.int32), 0
    for value in np.unique(labels[labels > 0]):
        regions, found = ndimage.label(labels == value)
        cells += np.where(regions > 0, regions + count, 0)
        count += found
    return cells
