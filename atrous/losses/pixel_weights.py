"""Cross-entropy with a weight for every pixel."""

import torch
from torch.nn import functional as F


def pixel_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor, ignore: int = 255
) -> torch.Tensor:
    """L = -(1 / n) sum_i w_i log softmax(z_i)[y_i] over the n pixels whose label is not `ignore` and weight not 0.

    logits: (N, K, ...) float; labels: (N, ...) integer; weights: (N, ...) float. Returns a scalar, 0 without a counted
    pixel. Equation 1 of U-Net (Ronneberger et al. 2015), as a mean, with weights from `transforms.border_weights`;
    and 3D U-Net's loss on sparse labels (Cicek et al. 2016, section 2), where what is unlabelled weighs 0.
    """
    loss = F.cross_entropy(logits.float(), labels.long(), ignore_index=ignore, reduction="none")
    counted = ((labels != ignore) & (weights != 0)).sum().clamp(min=1)
    return (weights * loss).sum() / counted
