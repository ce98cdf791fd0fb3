"""Logits and labels brought to one form, and what losses over regions share.

Exclusive labels (N, ...) are class indices; multilabel ones (N, K, ...) are masks of 0 and 1. A
label that equals `ignore` is not counted.
"""

from typing import Literal, NamedTuple

import torch

from atrous.errors import ModelError

Region = Literal["batch", "sample"]
"""Over what the sums of a class go: the whole batch, or each sample by itself."""


class Truth(NamedTuple):
    """Logits and labels in one form.

    z: (N, K, ...) logits, 0 and without a gradient where nothing is counted.
    y: (N, K, ...) labels as 0 and 1, 0 where nothing is counted.
    counted: (N, 1, ...) bool, in multilabel (N, K, ...).
    exclusive: probabilities are the softmax; else the sigmoid.
    """

    z: torch.Tensor
    y: torch.Tensor
    counted: torch.Tensor
    exclusive: bool

    def probabilities(self) -> torch.Tensor:
        """(N, K, ...), 0 where nothing is counted."""
        return (self.z.softmax(1) if self.exclusive else self.z.sigmoid()) * self.counted


def is_exclusive(logits: torch.Tensor, labels: torch.Tensor) -> bool:
    """Whether labels are class indices; ModelError if their shape fits neither form, or there is one class alone."""
    if labels.shape == logits.shape:
        return False
    if labels.shape != logits.shape[:1] + logits.shape[2:]:
        raise ModelError(
            f"labels {tuple(labels.shape)} do not fit logits {tuple(logits.shape)}; "
            "expected (N, ...) of class indices or (N, K, ...) of 0 and 1"
        )
    if logits.shape[1] < 2:
        raise ModelError(
            f"logits {tuple(logits.shape)} of one class: its softmax is always 1, so that nothing is learned; expected "
            f"at least 2 classes, or labels {tuple(logits.shape)} of 0 and 1"
        )
    return True


def hide(logits: torch.Tensor, counted: torch.Tensor) -> torch.Tensor:
    """The logits in float32 or finer; 0 and without a gradient where `counted` is False."""
    return torch.where(counted, logits, 0.0).to(torch.promote_types(logits.dtype, torch.float32))


def align(logits: torch.Tensor, labels: torch.Tensor, ignore: int) -> Truth:
    """Logits (N, K, ...) and labels of either form as one `Truth`."""
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
    """The mean of a loss per class over the classes present; 0 if there are none."""
    return (loss * present).sum() / present.sum().clamp_min(1)
