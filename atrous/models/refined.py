"""A page with a trainable refiner as its last layer.

A network sees normalised images, a CRF sees raw colours: `Refined` undoes the normalisation, which belongs to the
weights and stands in the bundle's card. So the whole is a model like any other: `Objective` trains it, `Predictor` runs
it, a bundle holds it, and none of them knows that a CRF is inside.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import nn

from atrous.errors import ModelError, nearest
from atrous.models.page import outputs_of
from atrous.models.zoomed import Zoomed
from atrous.refine import CRFRNN, ConvCRF
from atrous.sample import FULL_SCALE

LAYERS: dict[str, Callable[..., nn.Module]] = {"convcrf": ConvCRF, "crfrnn": CRFRNN}


class Refined(nn.Module):
    """Normalised image (N, C, H, W) -> the page's logits, refined: (N, K, H, W), any size that the page takes.

    layer: raw image 0..255 and logits -> logits. colour, spread: per channel, what a normalised 0 and a step of 1 are
    in 0..255; colours beyond are clipped. The page's parameters are `model...`, the layer's `layer...`.
    """

    colour: torch.Tensor
    spread: torch.Tensor

    def __init__(self, model: nn.Module, layer: nn.Module, colour: Sequence[float], spread: Sequence[float]) -> None:
        super().__init__()
        page = cast(Any, model)
        if hasattr(page, "pairs"):
            raise ModelError(
                f"{type(page).__name__} trains on points, where a CRF has no neighbours; refine another model"
            )
        self.model, self.layer = model, layer
        self.classes, self.in_channels = page.classes, page.in_channels
        for name, values in (("colour", colour), ("spread", spread)):
            if len(values) != self.in_channels:
                raise ModelError(f"{name} has {len(values)} values for a model of {self.in_channels} channels")
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)

    @property
    def encoder(self) -> nn.Module:
        """The page's, where it has one; its parameters are `model.encoder...`."""
        return cast(nn.Module, self.model.encoder)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self._refine(image, self.model(image))

    def logits_at_stride(self, image: torch.Tensor) -> None:
        """None: a CRF works on pixels."""

    def outputs(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The refined logits, then the page's auxiliary ones as they are."""
        main, *auxiliary = outputs_of(self.model, image)
        return self._refine(image, main), *auxiliary

    def _refine(self, image: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        raw = (image.to(self.colour.dtype) * self.spread + self.colour).clamp(0, 255)  # (N, C, H, W)
        return self.layer(raw, logits)


def page_of(model: nn.Module) -> nn.Module:
    """The network alone, without a refiner at its end or a zoom in front."""
    while isinstance(model, Refined | Zoomed):
        model = model.model
    return model


def refined(
    model: nn.Module, name: str, *, mean: Sequence[float], std: Sequence[float], dtype: str, **options: Any
) -> Refined:
    """A page with the layer of that name, one of `LAYERS`; options are the layer's.

    mean, std: the page's normalisation, in the raw units of `dtype` images. Of images that are neither uint8 nor
    uint16, two deviations to either side of the mean become 0 and 255.
    """
    if name not in LAYERS:
        raise ModelError(f"unknown trainable refiner {name!r}; {nearest(name, list(LAYERS))}")
    if dtype in FULL_SCALE:
        colour, spread = ([255 / FULL_SCALE[dtype] * float(v) for v in values] for values in (mean, std))
    else:
        colour, spread = [127.5] * len(mean), [63.75] * len(std)
    return Refined(model, LAYERS[name](cast(Any, model).classes, **options), colour, spread)
