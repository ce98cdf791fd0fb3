"""What runs a network: torch, ONNX Runtime or OpenVINO, all called in the same way.

A backend takes raw pixels in the units of the training images. It gives the logits before the network's
last resize, and that resize (`Tail`), which the predictor fuses with the argmax. ONNX Runtime and
OpenVINO are imported only when one of their backends is opened.
"""

from importlib import import_module
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import nn

from atrous.bundle import Card
from atrous.errors import ModelError, nearest
from atrous.ops.resize import Tail

BACKENDS = ("torch", "onnx", "openvino")


@runtime_checkable
class Backend(Protocol):
    """A network that is ready to run. name: one of BACKENDS, and what is special about it, such as `torch bf16`."""

    name: str

    def __call__(self, pixels: np.ndarray) -> tuple[torch.Tensor, Tail]:
        """Raw pixels (H, W, C), uint8 or float32 -> logits (1, K, h, w) float32 and the resize to (H, W)."""


def open_backend(name: str, model: nn.Module, card: Card, **options: Any) -> Backend:
    """Open a backend for a network.

    Args:
        name: one of BACKENDS, or "auto" for the fastest one measured on this machine.
        options: of the backend's `from_model`, such as device, precision, threads.
    """
    if name == "auto":
        from atrous.predict.backends.choice import fastest

        return fastest(model, card, **options)
    if name not in BACKENDS:
        raise ModelError(f"unknown backend {name!r}; {nearest(name, ['auto', *BACKENDS])}")
    return import_module(f"atrous.predict.backends.{name}").from_model(model, card, **options)
