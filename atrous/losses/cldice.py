"""clDice: Dice of centre lines, so that vessels, roads and membranes stay connected (Shit et al. 2021).

A skeleton of the prediction must lie in the truth, and the skeleton of the truth in the prediction:

    T_prec = (sum S(p) y + s) / (sum S(p) + s),  T_sens = (sum S(y) p + s) / (sum S(y) + s)
    L = 1 - 2 T_prec T_sens / (T_prec + T_sens)

S is the soft skeleton (algorithm 1): what an opening takes away, gathered over erosions by one pixel.
"""

import torch
from torch import nn
from torch.nn import functional as F

from atrous.losses.truth import align, mean_present

POOL = {4: F.max_pool2d, 5: F.max_pool3d}


class ClDice(nn.Module):
    """(logits (N, K, ...), labels (N, ...) or (N, K, ...)) -> scalar 0..1, the mean over classes present in the batch.

    Exclusive classes count but class 0, the background; all of multilabel. iterations: erosions, at least half the
    width in pixels of the widest line. smooth: s, 1 pixel as the authors have it. What is ignored is 0 to its
    neighbours. Points (N, K, P) have no lines, and their Dice remains. Add it to Dice: `0.5 * dice + 0.5 * cldice`.
    """

    def __init__(self, ignore: int = 255, *, iterations: int = 3, smooth: float = 1.0) -> None:
        super().__init__()
        if iterations < 0 or smooth < 0:
            raise ValueError(f"iterations {iterations}, smooth {smooth}; expected 0 or more")
        self.ignore, self.iterations, self.smooth = ignore, iterations, smooth

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        truth = align(logits, labels, self.ignore)
        first = 1 if truth.exclusive else 0
        p, y = truth.probabilities()[:, first:], truth.y[:, first:]
        axes = [axis for axis in range(p.ndim) if axis != 1]
        lines_p, lines_y = soft_skeleton(p, self.iterations), soft_skeleton(y, self.iterations)
        precision = self._share((lines_p * y).sum(axes), lines_p.sum(axes))  # (K,)
        sensitivity = self._share((lines_y * p).sum(axes), lines_y.sum(axes))
        loss = 1 - 2 * precision * sensitivity / (precision + sensitivity).clamp_min(1e-6)
        return mean_present(loss, y.sum(axes) > 0)

    def _share(self, hit: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
        return (hit + self.smooth) / (total + self.smooth).clamp_min(1e-6)


def soft_skeleton(x: torch.Tensor, iterations: int) -> torch.Tensor:
    """Maps 0..1 (N, K, H, W) or (N, K, D, H, W) -> their soft skeletons; points (N, K, P) are their own."""
    if x.ndim not in POOL:
        return x
    lines = (x - _open(x)).relu()
    for _ in range(iterations):
        x = _erode(x)
        rest = (x - _open(x)).relu()
        lines = lines + (rest - lines * rest).relu()
    return lines


def _erode(x: torch.Tensor) -> torch.Tensor:
    """The minimum over each pixel and its neighbours along the axes; the image goes on beyond its border."""
    axes = x.ndim - 2
    along = [tuple(3 if axis == a else 1 for a in range(axes)) for axis in range(axes)]
    minima = [-POOL[x.ndim](-x, size, 1, tuple(side // 2 for side in size)) for size in along]
    return torch.stack(minima).amin(0)


def _open(x: torch.Tensor) -> torch.Tensor:
    """An erosion, then the maximum over squares or cubes of 3."""
    return POOL[x.ndim](_erode(x), 3, 1, 1)
