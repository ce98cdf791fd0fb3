"""A network whose right answer is known, and a predictor of it."""

import numpy as np
import torch
from torch import nn

from atrous.bundle import Card
from atrous.labels import LabelSet
from atrous.ops import Tail
from atrous.predict import Predictor


class Brightness(nn.Module):
    """Two classes: dark and bright, pixel by pixel; a network whose right answer is known."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return torch.cat([-image.mean(1, keepdim=True), image.mean(1, keepdim=True)], dim=1)

    def logits_at_stride(self, image: torch.Tensor) -> tuple[torch.Tensor, Tail] | None:
        return None


def predictor(channels: int = 3, dtype: str = "uint8", **options: object) -> Predictor:
    middle = {"uint8": 127.5, "uint16": 32767.5, "float32": 0.0}[dtype]
    card = Card("unet", {}, LabelSet(("dark", "bright")), (middle,) * channels, (middle or 1.0,) * channels, dtype)
    return Predictor(Brightness(), card, **options)


def photo(height: int = 30, width: int = 41) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
