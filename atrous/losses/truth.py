"""Logits and labels brought to one form, the classes exclusive or overlapping, and what losses over regions share.

Labels (N, ...) of class indices are exclusive: their probabilities are the softmax. Labels (N, K, ...) of 0 and 1 are
multilabel, a mask for every class, binary where K is 1: a sigmoid each. In both `ignore` is what does not count.
"""

from typing import Literal, NamedTuple

import torch

Region = Literal["batch", "sample"]
"""Over what the sums of a class go: the whole batch, or every sample by itself."""


class Truth(NamedTuple):
    """z: (N, K, ...) logits, 0 and without a gradient where nothing counts. y: as z, the labels as 0 and 1, 0 there.

    counted: (N, 1, ...) bool, in multilabel (N, K, ...). exclusive: softmax, else sigmoid.
    """

    z: torch.Tensor
    y: torch.Tensor
    counted: torch.Tensor
    exclusive: bool

    def probabilities(self) -> torch.Tensor:
        """(N, K, ...), 0 where nothing counts."""
        return (self.z.softmax(1) if self.exclusive else self.z.sigmoid()) * self.counted


def is_exclusive(logits: torch.Tensor, labels: torch.Tensor) -> bool:
    """Whether labels are class indices; ValueError where their shape fits neither form."""
    if labels.shape == logits.shape:
        return False
    if labels.shape != logits.shape[:1] + logits.shape[2:]:
        raise ValueError(
            f"labels {tuple(labels.shape)} do not fit logits {tuple(logits.shape)}; "
            "expected (N, ...) of class indices or (N, K, ...) of 0 and 1"
        )
    return True


def hide(logits: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """The logits in float32 or finer, 0 and without a gradient where `counted` is not."""
    return torch.where(counted, logits, 0.0).to(torch.promote_types(logits.dtype, torch.float32))


def align(logits: torch.Tensor, labels: torch.Tensor, ignore: int) -> Truth:
    """(N, K, ...) logits and labels of either form as one `Truth`."""
    exclusive = is_exclusive(logits, labels)
    counted = (labels != ignore)[:, None] if exclusive else labels != ignore
    z = hide(logits, counted)
    if exclusive:
        index = torch.where(counted, labels[:, None].long(), 0)
        y = torch.zeros_like(z).scatter_(1, index, counted.to(z.dtype))
    else:
        y = torch.where(counted, labels, 0).to(z.dtype)
    return Truth(z, y, counted, exclusive)


def axes_of(x: torch.Tensor, region: Region) -> list[int]:
    """The axes of (N, K, ...) that a region spans."""
    return [axis for axis in range(x.ndim) if axis > 1 or (axis == 0 and region == "batch")]


def mean_present(loss: torch.Tensor, present: torch.Tensor) -> torch.Tensor:
    """The mean of a loss per class over those present, 0 without any: what is absent dilutes nothing."""
    return (loss * present).sum() / present.sum().clamp_min(1)
