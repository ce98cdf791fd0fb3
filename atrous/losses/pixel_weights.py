"""Cross-entropy with a weight for every pixel, and U-Net's, which weighs the gaps between cells."""

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
    """L = -(1 / n) sum_i w_i log softmax(z_i)[y_i] over the n pixels whose label is not `ignore` and weight not 0.

    logits: (N, K, ...) float; labels: (N, ...) integer, or (N, K, ...) of 0 and 1 with the binary cross-entropy;
    weights: of the labels' shape, float. Returns a scalar, 0 without a counted pixel. Equation 1 of U-Net (Ronneberger
    et al. 2015), as a mean, with weights from `transforms.border_weights`; and 3D U-Net's loss on sparse labels (Cicek
    et al. 2016, section 2), where what is unlabelled weighs 0.
    """
    counted = (labels != ignore) & (weights != 0)
    loss = cross_entropies(logits, torch.where(counted, labels.long(), ignore), ignore)
    return (torch.where(counted, weights, 0.0) * loss).sum() / counted.sum().clamp_min(1)


class BorderCrossEntropy(nn.Module):
    """Cross-entropy weighed by the border weights of the labels' own cells: U-Net's loss (2015, equations 1 and 2).

    Cells are the connected regions (along the axes, not over corners) of every class but 0, which is the background;
    in multilabel those of every mask, which has weights of its own. What is ignored is background to its neighbours.
    border: w0, what the background between two cells weighs more where it is narrowest; sigma: in pixels, how wide a
    gap may be; balance: cells and background weigh the same in all.
    logits: (N, K, H, W) or (N, K, D, H, W). Points (N, K, P) have no gaps and weigh 1. The weights are computed on the
    processor.
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
    """Class indices -> a number for every connected region of a class but 0."""
    cells, count = np.zeros(labels.shape, np.int32), 0
    for value in np.unique(labels[labels > 0]):
        regions, found = ndimage.label(labels == value)
        cells += np.where(regions > 0, regions + count, 0)
        count += found
    return cells
