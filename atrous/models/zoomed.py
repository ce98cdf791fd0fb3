"""A page that sees its images enlarged: thin things then are wider than the stride of its logits.

The image is resized bilinearly in front of the page, and its logits straight to the image's own size. So the whole is a
model like any other: it trains on the images as they are, and a bundle, an export and every score hold without change.
"""

from fractions import Fraction
from typing import Any, cast

import torch
from torch import nn

from atrous.errors import ModelError
from atrous.models.model import Strided
from atrous.models.page import Page, to_image
from atrous.ops.resize import Tail, low_logits, resize


class Zoomed(Strided):
    """Image (N, C, H, W) -> the page's logits of the image `zoom` times as large, (N, K, H, W). Any H, W >= 1.

    The page's parameters are `model...`. Raises ModelError for volumes and for pages that train on points.
    """

    def __init__(self, model: nn.Module, zoom: float) -> None:
        super().__init__()
        page = cast(Any, model)
        if hasattr(page, "pairs") or getattr(page, "axes", 2) != 2:
            raise ModelError(f"{type(page).__name__} takes no zoom, which is for pages that label images densely")
        self.model, self.zoom = model, zoom
        self.classes, self.in_channels = page.classes, page.in_channels
        self._ratio = Fraction(zoom).limit_denominator(64)

    @property
    def encoder(self) -> nn.Module:
        """The page's, where it has one; its parameters are `model.encoder...`."""
        return cast(nn.Module, self.model.encoder)

    def logits_at_stride(self, image: torch.Tensor) -> tuple[torch.Tensor, Tail]:
        """The page's logits before its own resize, where it has a plain one, and the resize to the image."""
        logits, tail = low_logits(self.model, self._enlarged(image))
        return logits if tail.plain else tail.apply(logits), to_image(image)

    def outputs(self, image: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The logits, then the page's auxiliary ones, all (N, K, H, W)."""
        page = cast(Any, self.model)
        trained = page.head if isinstance(page, Page) and page.aux is None else page
        if not hasattr(trained, "outputs") or getattr(trained, "aux", True) is None:
            return (self(image),)
        return tuple(to_image(image).apply(one) for one in page.outputs(self._enlarged(image)))

    def _enlarged(self, image: torch.Tensor) -> torch.Tensor:
        times, parts = self._ratio.numerator, self._ratio.denominator
        height, width = ((side * times + parts - 1) // parts for side in image.shape[2:])  # >= 1, dynamic in exports
        return resize(image, (height, width))


def zoomed(page: nn.Module, zoom: float) -> nn.Module:
    """The page, seeing its images `zoom` times as large; at 1 the page itself."""
    return page if zoom == 1 else Zoomed(page, zoom)
