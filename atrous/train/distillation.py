"""Distillation: a small network learns from a large one's answers to the same pictures, besides their labels."""

from typing import Any

import torch
from torch import nn
from torch.nn import functional

from atrous.bundle import Card
from atrous.errors import RecipeError
from atrous.train.objective import Normalise


class Teacher(nn.Module):
    """The distillation term: weight * T^2 * KL(teacher || student) at temperature T (Hinton et al. 2015).

    The divergence is taken per pixel between softmax probabilities softened by T (of overlapping
    classes: between sigmoids, class by class), then averaged over the pixels that are not ignored.
    The teacher normalises raw images as its own card says, and never trains.
    """

    def __init__(self, model: nn.Module, card: Card, *, temperature: float = 2.0, weight: float = 1.0) -> None:
        super().__init__()
        self.model, self.normalise = model.requires_grad_(False), Normalise(*card.statistics())
        self.temperature, self.weight, self.ignore = temperature, weight, card.labels.ignore_index
        self.train(False)

    def train(self, mode: bool = True) -> "Teacher":
        """Stay in eval mode, whatever the rest does."""
        return super().train(False)

    def forward(self, image: torch.Tensor, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Raw image (N, C, H, W), student's logits (N, K, H, W), labels (N, H, W) or (N, K, H, W) -> a scalar >= 0."""
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
    """Raise RecipeError where a bundle cannot teach: it has other classes, channels or types of images."""
    if (card.labels.names, card.labels.mode) != (labels.names, labels.mode):
        raise RecipeError(
            f"{path}: knows the classes {', '.join(card.labels.names)} ({card.labels.mode}), but the data has "
            f"{', '.join(labels.names)} ({labels.mode}); a teacher needs the same classes in the same order"
        )
    if (len(card.mean), card.dtype) != (channels, dtype):
        raise RecipeError(
            f"{path}: takes {card.dtype} images of {len(card.mean)} channels, but the data's are {dtype} of {channels} "
            "channels; a teacher needs the same kind of images"
        )
