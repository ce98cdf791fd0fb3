"""The module that is trained, and that DDP wraps: raw batch in, loss out."""

from typing import Any, cast

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm


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

    image: raw (N, C, H, W); labels: (N, H, W) class indices. Auxiliary outputs count `aux_weight` each. A model with
    `pairs` (pointrend) says itself which logits are compared with which labels.
    frozen_norms: the encoder's batch norms keep the statistics of its weights while they train. Batches of few or
    unlike pictures have statistics far from the running ones that prediction uses.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: nn.Module,
        normalise: Normalise,
        *,
        aux_weight: float = 0.4,
        frozen_norms: bool = False,
    ) -> None:
        super().__init__()
        self.model, self.loss, self.normalise, self.aux_weight = model, loss, normalise, aux_weight
        self.frozen_norms = frozen_norms
        self.train()

    def train(self, mode: bool = True) -> "Objective":
        """As of every module, but frozen norms stay as they are."""
        super().train(mode)
        encoder = getattr(self.model, "encoder", None)
        if self.frozen_norms and encoder is not None:
            for layer in encoder.modules():
                if isinstance(layer, _BatchNorm):
                    layer.eval()
        return self

    def forward(self, image: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        main, *auxiliary = (self.loss(logits, truth) for logits, truth in self._pairs(self.normalise(image), labels))
        return main + self.aux_weight * sum(auxiliary, torch.zeros_like(main))

    def _pairs(self, image: torch.Tensor, labels: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Logits and their labels, the main ones first."""
        model = cast(Any, self.model)
        if hasattr(model, "pairs"):
            return list(model.pairs(image, labels))
        outputs = model.outputs(image) if hasattr(model, "outputs") else (model(image),)
        return [(logits, labels) for logits in outputs]
