"""The module that is trained, and that DDP wraps: raw batch in, loss out."""

from typing import Any, cast

import torch
from torch import nn


class Normalise(nn.Module):
    """(x - mean) / std per channel, on raw (N, C, H, W) pixels of any dtype; mean and std in the pixels' own units."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return (image.float() - self.mean) / self.std


class Objective(nn.Module):
    """Normalise, run the network, weigh the losses of its outputs.

    image: raw (N, C, H, W); labels: (N, H, W) class indices. Auxiliary outputs count `aux_weight` each.
    """

    def __init__(self, model: nn.Module, loss: nn.Module, normalise: Normalise, aux_weight: float = 0.4) -> None:
        super().__init__()
        self.model, self.loss, self.normalise, self.aux_weight = model, loss, normalise, aux_weight

    def forward(self, image: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        x = self.normalise(image)
        outputs = cast(Any, self.model).outputs(x) if hasattr(self.model, "outputs") else (self.model(x),)
        main, *auxiliary = (self.loss(logits, labels) for logits in cast(tuple[torch.Tensor, ...], outputs))
        return main + self.aux_weight * sum(auxiliary, torch.zeros_like(main))
