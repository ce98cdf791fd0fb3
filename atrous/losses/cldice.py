"""clDice: Dice of centre lines, so that vessels, roads and membranes stay connected."""

from functools import reduce

import torch
from torch import nn
from torch.nn import functional as F

from atrous.losses.truth import align

POOL = {4: F.max_pool2d, 5: F.max_pool3d}
LAYOUT = {4: torch.channels_last, 5: torch.channels_last_3d}
"""Pooling over many classes is twice as fast on a CPU in these layouts."""


class ClDice(nn.Module):
    """Dice of centre lines: each skeleton must lie within the other mask.

        T_prec = (sum S(p) y + s) / (sum S(p) + s),  T_sens = (sum S(y) p + s) / (sum S(y) + s)
        L = mean over classes of 1 - 2 T_prec T_sens / (T_prec + T_sens)

    S is the soft skeleton: what a morphological opening removes, collected over erosions by one
    pixel. The mean is over the classes present in the batch, in exclusive labels without class 0,
    the background. Ignored pixels are 0 to their neighbours. Points (N, K, P) have no lines; for
    them S(p) = p.

    Takes logits (N, K, ...) and labels (N, ...) or (N, K, ...); returns a scalar in 0..1. Add it to
    Dice: "0.5 * dice + 0.5 * cldice".

    Args:
        ignore: label value that changes neither the loss nor its gradient.
        iterations: number of erosions; at least half the width in pixels of the widest line. The
            time grows with it.
        smooth: s, in pixels, >= 0; 1 in the authors' code.

    Raises:
        ValueError: if `iterations` or `smooth` is below 0.

    Source:
        Shit et al. 2021, "clDice", arXiv 2003.07311, section 3 and algorithm 1.

    Example:
        >>> import torch
        >>> from atrous.losses import ClDice
        >>> labels = torch.zeros(1, 1, 9, 20, dtype=torch.long)  # (N, K, H, W): one mask
        >>> labels[..., 3, 2:18] = 1  # a line of 16 pixels
        >>> seen = labels.clone()
        >>> seen[..., 3, 14:18] = 0  # its last four are missed
        >>> loss = ClDice()(60.0 * (2 * seen - 1), labels)
        >>> print(f"{loss:.4f}")  # T_prec = 1, T_sens = 13 / 17
        0.1333
    """

    def __init__(self, ignore: int = 255, *, iterations: int = 3, smooth: float = 1.0) -> None:
        super().__init__()
        if iterations < 0 or smooth < 0:
            raise ValueError(f"iterations {iterations}, smooth {smooth}; expected both >= 0")
        self.ignore, self.iterations, self.smooth = ignore, iterations, smooth

    def forward(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        truth = align(logits, labels, self.ignore)
        present = truth.y.any(0).flatten(1).any(1)  # (K,)
        present[0] &= not truth.exclusive
        if not present.any():
            return 0 * truth.z.sum()
        p, y = truth.probabilities()[:, present], truth.y[:, present]
        axes = [axis for axis in range(p.ndim) if axis != 1]
        lines_p, lines_y = soft_skeleton(p, self.iterations), soft_skeleton(y, self.iterations)
        precision = self._share((lines_p * y).sum(axes), lines_p.sum(axes))  # (K,)
        sensitivity = self._share((lines_y * p).sum(axes), lines_y.sum(axes))
        return (1 - 2 * precision * sensitivity / (precision + sensitivity).clamp_min(1e-6)).mean()

    def _share(self, hit: torch.Tensor, total: torch.Tensor) -> torch.Tensor:
        return (hit + self.smooth) / (total + self.smooth).clamp_min(1e-6)


def soft_skeleton(x: torch.Tensor, iterations: int) -> torch.Tensor:
    """Maps in 0..1, (N, K, H, W) or (N, K, D, H, W), -> their soft skeletons (algorithm 1).

    Points (N, K, P) are returned as they are.
    """
    if x.ndim not in POOL:
        return x
    x = x.contiguous(memory_format=LAYOUT[x.ndim])
    smaller = _erode(x)
    lines = (x - _dilate(smaller)).relu()
    for _ in range(iterations):
        x, smaller = smaller, _erode(smaller)
        rest = (x - _dilate(smaller)).relu()
        lines = lines + (rest - lines * rest).relu()
    return lines


def _erode(x: torch.Tensor) -> torch.Tensor:
    """The minimum over each pixel and its neighbours along the axes; the border does not erode."""
    return reduce(torch.minimum, (-_maxima(-x, axis) for axis in range(2, x.ndim)))


def _dilate(x: torch.Tensor) -> torch.Tensor:
    """The maximum over squares or cubes of 3, one axis after the other."""
    return reduce(_maxima, range(2, x.ndim), x)


def _maxima(x: torch.Tensor, axis: int) -> torch.Tensor:
    """The maximum over three pixels along an axis."""
    size = [3 if a == axis else 1 for a in range(2, x.ndim)]
    return POOL[x.ndim](x, size, 1, [side // 2 for side in size])
