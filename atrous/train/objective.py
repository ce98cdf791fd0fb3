"""The module that is trained, and that DDP wraps: raw batch in, loss out."""

from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase

from atrous.errors import RecipeError
from atrous.layers.norm import InstanceNorm

Frozen = Literal["encoder", "norms", "all_norms"] | None
"""What does not train: the encoder; only its norms (statistics, scales, shifts); all norms; None: everything trains."""
NORMS = (_NormBase, nn.GroupNorm, nn.LayerNorm, InstanceNorm)


class Normalise(nn.Module):
    """(x - mean) / std per channel, on raw (N, C, ...) pixels of any dtype; mean and std in the pixels' own units."""

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32).view(1, -1, 1, 1), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if image.ndim == 5:  # volumes, which were normalised when they were prepared
            return image.float()
        return (image.float() - self.mean) / self.std


class Objective(nn.Module):
    """Normalise a batch, run the network, and add up the weighted losses of its outputs.

    Called with a raw image (N, C, H, W) and labels: (N, H, W) class indices, or (N, K, H, W) masks
    of classes that overlap. Returns the loss, a scalar. A model with `pairs` (pointrend) says itself
    which logits are compared with which labels.

    Args:
        model: normalised image -> logits; with auxiliary heads also `outputs(image)`, main first.
        loss: (logits, labels) -> scalar.
        normalise: raw image -> normalised image.
        aux_weight: the weight of each auxiliary output, or one weight for each, in their order.
        frozen_norms: the encoder's batch norms keep the running statistics of its weights. Batches
            of few or similar pictures have statistics far from those, which prediction uses.
        teacher: (raw image, main logits, labels) -> a term to add (`train.distillation`).
    """

    def __init__(
        self,
        model: nn.Module,
        loss: nn.Module,
        normalise: Normalise,
        *,
        aux_weight: float | Sequence[float] = 0.4,
        frozen_norms: bool = False,
        teacher: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.model, self.loss, self.normalise, self.aux_weight = model, loss, normalise, aux_weight
        self.frozen_norms, self.frozen, self.teacher = frozen_norms, cast(Frozen, None), teacher
        self._learned = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
        self.train()

    def train(self, mode: bool = True) -> "Objective":
        """Switch between training and evaluating; what is frozen stays in eval mode."""
        super().train(mode)
        encoder = getattr(self.model, "encoder", None)
        if self.frozen_norms and encoder is not None:
            for layer in encoder.modules():
                if isinstance(layer, _BatchNorm):
                    layer.eval()
        for layer in self._layers(self.frozen):
            layer.eval()
        return self

    def freeze(self, what: Frozen) -> None:
        """Freeze a part of the network: no gradient, and its layers in eval mode. Everything else trains.

        Raises:
            RecipeError: the network has no encoder, and its encoder or that one's norms are meant.
        """
        if what == self.frozen:
            return
        kept = {id(p) for layer in self._layers(what) for p in layer.parameters(recurse=what == "encoder")}
        for name, parameter in self.model.named_parameters():
            if name in self._learned:
                parameter.requires_grad_(id(parameter) not in kept)
        self.frozen = what
        self.train(self.training)

    def _layers(self, what: Frozen) -> list[nn.Module]:
        """The layers that are in eval mode: the whole encoder, or norms."""
        if what is None:
            return []
        place = self.model if what == "all_norms" else getattr(self.model, "encoder", None)
        if place is None:
            raise RecipeError(f'{type(self.model).__name__} has no encoder to freeze; only freeze = "all_norms" works')
        return [place] if what == "encoder" else [layer for layer in place.modules() if isinstance(layer, NORMS)]

    def forward(self, image: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        pairs = self._pairs(self.normalise(image), labels)
        main, *auxiliary = (self.loss(logits, truth) for logits, truth in pairs)
        loss = main + sum(
            (weight * loss for weight, loss in zip(self._weights(len(auxiliary)), auxiliary, strict=True)),
            torch.zeros_like(main),
        )
        return loss if self.teacher is None else loss + self.teacher(image, pairs[0][0], labels)

    def _weights(self, outputs: int) -> Sequence[float]:
        """A weight for every auxiliary output."""
        if isinstance(self.aux_weight, int | float):
            return [self.aux_weight] * outputs
        if len(self.aux_weight) != outputs:
            raise RecipeError(
                f"aux_weight has {len(self.aux_weight)} values, but the network has {outputs} "
                "auxiliary outputs; give one value for all of them, or one for each"
            )
        return self.aux_weight

    def _pairs(self, image: torch.Tensor, labels: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Logits and their labels, the main ones first."""
        model = cast(Any, self.model)
        if hasattr(model, "pairs"):
            return list(model.pairs(image, labels))
        outputs = model.outputs(image) if hasattr(model, "outputs") else (model(image),)
        return [(logits, labels) for logits in outputs]
