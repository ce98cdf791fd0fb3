"""Distillation: a small network learns from what a large one says of the same pictures, besides their labels."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from atrous.bundle import Card
from atrous.errors import RecipeError
from atrous.train.objective import Normalise


class Teacher(nn.Module):
    """Raw images, a student's logits and labels -> T^2 KL(teacher || student) at temperature T (Hinton et al. 2015).

    Per pixel over softened softmax probabilities, of overlapping classes over each class's own sigmoid; the mean over
    pixels that are not ignored. The teacher normalises raw images as its own card says, never trains, and its
    parameters are none of the student's. weight: what the term counts beside the loss.
    """

    def __init__(self, model: nn.Module, card: Card, *, temperature: float = 2.0, weight: float = 1.0) -> None:
        super().__init__()
        self.model, self.normalise = model.requires_grad_(False), Normalise(card.mean, card.std)
        self.temperature, self.weight, self.ignore = temperature, weight, card.labels.ignore_index
        self.train(False)

    def train(self, mode: bool = True) -> "Teacher":
        """A teacher stays as it is."""
        return super().train(False)

    def forward(self, image: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """image: raw (N, C, H, W); logits: (N, K, H, W); labels: (N, H, W) or (N, K, H, W). A scalar >= 0."""
        with torch.no_grad():
            taught = self.model(self.normalise(image)).float() / self.temperature
        counted = labels != self.ignore
        asked = torch.where(counted if labels.ndim == 4 else counted[:, None], logits.float(), 0) / self.temperature
        if labels.ndim == 4:
            p = taught.sigmoid()
            cross = functional.binary_cross_entropy_with_logits(asked, p, reduction="none")
            divergence = cross - functional.binary_cross_entropy_with_logits(taught, p, reduction="none")
        else:
            log_p, log_q = taught.log_softmax(1), asked.log_softmax(1)
            divergence = (log_p.exp() * (log_p - log_q)).sum(1)
        mean = (divergence * counted).sum() / counted.sum().clamp_min(1)
        return self.weight * self.temperature**2 * mean


def check_teacher(path: str, card: Card, *, labels: Any, channels: int, dtype: str) -> None:
    """RecipeError, one sentence, where a bundle cannot teach: other classes, channels or kinds of images."""
    if (card.labels.names, card.labels.mode) != (labels.names, labels.mode):
        raise RecipeError(
            f"{path}: knows the classes {', '.join(card.labels.names)} ({card.labels.mode}), the data has "
            f"{', '.join(labels.names)} ({labels.mode}); a teacher must have the same, in the same order"
        )
    if (len(card.mean), card.dtype) != (channels, dtype):
        raise RecipeError(
            f"{path}: takes images of {len(card.mean)} channels of {card.dtype}, the data's are {channels} of {dtype}; "
            "a teacher must see the same images"
        )
