"""PyTorch itself: inference mode, channels last, batch norms folded into the convolutions before them."""

import copy
from typing import Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode

from atrous.bundle import Card
from atrous.ops.resize import Tail, low_logits


def from_model(
    model: nn.Module,
    card: Card,
    *,
    device: str = "cpu",
    threads: int | None = None,
    precision: str = "fp32",
    fold: bool = True,
    compiled: bool = False,
) -> "TorchBackend":
    """Open the network in torch.

    Args:
        precision: "fp32" or "bf16" (autocast).
        fold: fold batch norms into the convolutions before them.
        compiled: use torch.compile, which takes seconds to minutes at each new size.
        threads: ignored; torch's own setting holds.
    """
    return TorchBackend(model, card, device=device, precision=precision, fold=fold, compiled=compiled)


class TorchBackend:
    """A network on a device. If norms are folded, it runs a copy, and the given model stays as it is."""

    def __init__(
        self,
        model: nn.Module,
        card: Card,
        *,
        device: str = "cpu",
        precision: str = "fp32",
        fold: bool = True,
        compiled: bool = False,
    ) -> None:
        self.name = " ".join(["torch", *(["bf16"] if precision == "bf16" else []), *(["compiled"] if compiled else [])])
        self.device, self.precision = torch.device(device), precision
        model = model.to(self.device).eval()
        if fold:
            model = folded(model, len(card.mean))
        if getattr(model, "axes", 2) == 2:
            model = model.to(memory_format=torch.channels_last)
        self.model = model
        self.mean, self.std = (torch.tensor(values, device=self.device) for values in card.statistics())
        self._network = torch.compile(self._low, dynamic=False) if compiled else self._low

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray) -> tuple[torch.Tensor, Tail]:
        """See `Backend`."""
        side = pixels.shape[-2]
        pixels = np.require(pixels, requirements=["C", "W"])  # torch warns of read-only arrays
        rows = torch.from_numpy(pixels).to(self.device).flatten(-2).float()
        x = (rows - self.mean.repeat(side)).div_(self.std.repeat(side))  # whole rows: faster than vectors of 3 channels
        x = x.unflatten(-1, (side, -1)).movedim(-1, 0)[None]  # (1, C, H, W), channels last by nature
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            logits, tail = self._network(x)
        return logits.float(), tail

    def _low(self, x: torch.Tensor) -> tuple[torch.Tensor, Tail]:
        return low_logits(self.model, x)


_BLIND = {"__get__", "dim", "numel", "size"}
"""What torch calls on a tensor without reading its values. __get__ reads attributes such as shape and dtype."""


class _Readers(TorchFunctionMode):
    """Counts how often each convolution's output is read."""

    def __init__(self) -> None:
        super().__init__()
        self.reads: dict[int, int] = {}
        self.kept: list[torch.Tensor] = []  # so that no other tensor gets the same id

    def watch(self, x: torch.Tensor) -> None:
        self.kept.append(x)
        self.reads[id(x)] = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if getattr(func, "__name__", "") not in _BLIND:
            for one in _tensors([args, kwargs or {}]):
                if id(one) in self.reads:
                    self.reads[id(one)] += 1
        return func(*args, **(kwargs or {}))


@torch.no_grad()
def folded(model: nn.Module, channels: int) -> nn.Module:
    """A copy of a model in eval mode, with batch norms folded into convolutions where a norm is the only reader of one.

    They are found by running an image of noise, so that no model has to declare them. Another image must
    then give the same logits, within float32's rounding; else the model is returned as it is.
    """
    copied = copy.deepcopy(model)
    size = (64, 96) if getattr(model, "axes", 2) == 2 else (16, 24, 32)
    like = next(model.parameters(), torch.zeros(0))
    image = torch.randn(1, channels, *size, generator=torch.Generator().manual_seed(0)).to(like.device, like.dtype)
    for conv, norm, owner, name in _pairs(copied, image):
        weight, bias = norm.weight, norm.bias
        mean, var = cast(torch.Tensor, norm.running_mean), cast(torch.Tensor, norm.running_var)
        transposed = isinstance(conv, nn.ConvTranspose2d | nn.ConvTranspose3d)
        conv.weight, conv.bias = fuse_conv_bn_weights(
            conv.weight, conv.bias, mean, var, norm.eps, weight, bias, transpose=transposed
        )
        rest = [getattr(norm, part) for part in ("drop", "act") if hasattr(norm, part)]  # timm's norms hold them
        setattr(owner, name, nn.Sequential(*rest) if rest else nn.Identity())
    other = torch.randn(image.shape, generator=torch.Generator().manual_seed(1)).to(image)
    before, after = model(other), copied(other)
    near = (before - after).abs() <= 1e-3 * after.abs() + 1e-3 * before.std() + 1e-6  # nothing is near NaN
    return copied if bool(near.all()) else model


def _pairs(model: nn.Module, image: torch.Tensor) -> list[tuple[Any, _BatchNorm, nn.Module, str]]:
    """Each convolution with the norm that alone reads it, that norm's parent and its name there; each runs once."""
    made: dict[int, nn.Module] = {}
    found: list[tuple[nn.Module, nn.Module, int]] = []
    ran: dict[nn.Module, int] = {}
    readers, handles = _Readers(), []

    def after_conv(module: nn.Module, inputs: Any, output: torch.Tensor) -> None:
        ran[module] = ran.get(module, 0) + 1
        made[id(output)] = module
        readers.watch(output)

    def before_norm(module: nn.Module, inputs: Any) -> None:
        ran[module] = ran.get(module, 0) + 1
        if id(inputs[0]) in made:
            found.append((made[id(inputs[0])], module, id(inputs[0])))

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d):
            handles.append(module.register_forward_hook(after_conv))
        elif isinstance(module, _BatchNorm) and module.track_running_stats:
            handles.append(module.register_forward_pre_hook(before_norm))
    with readers:
        model(image)
    for handle in handles:
        handle.remove()
    homes = {child: (owner, name) for owner in model.modules() for name, child in owner.named_children()}
    return [
        (conv, cast(_BatchNorm, norm), *homes[norm])
        for conv, norm, output in found
        if ran[conv] == ran[norm] == 1 and readers.reads[output] == 1
    ]


def _tensors(value: Any) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        value = value.values()
    elif not isinstance(value, list | tuple):
        return []
    return [tensor for one in value for tensor in _tensors(one)]
