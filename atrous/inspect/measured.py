"""The receptive field by gradients: which pixels of the image change one place of a stage.

The network runs in float64 with stand-in weights. They are small, positive and random, so that
nothing cancels, no ReLU is dead and no gate is shut. Batch norms have mean 0 and variance 1. A
maximum hands on one of its inputs and hides the others. So maxima (pools, and over scales or
neighbours) are means here, and unpooling by their places writes to the whole window. Activations
that saturate hand on everything. The rest is the network as it is.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from atrous.inspect.stages import StageCall, Watch
from atrous.inspect.walk import run

Interval = tuple[int, int]
"""The first and the last pixel along an axis; where no pixel is read, the first is larger."""

SCALE = 0.05
"""The mean of the stand-in weights of a layer is this, divided by the number of its inputs.

It is small enough for sums over many residual blocks, and keeps products far from zero in float64.
"""

OUTPUT = -2
"""Stands for the logits where a stage's number is expected."""


class Measured:
    """A pass of the network that keeps its graph, to ask what one place of a stage reads.

    shape: (N, C, H, W) or (N, C, D, H, W) of the image; a long and narrow one costs little.
    scale: of the weights, see `positive`; at 1 each layer hands on the mean of what it reads.
    seed: for the image and the weights.
    """

    def __init__(self, model: nn.Module, shape: Sequence[int], *, scale: float = SCALE, seed: int = 0) -> None:
        self.sides = tuple(shape[2:])
        self.stages: list[StageCall] = []
        self._given: dict[int, torch.Tensor] = {}
        generator = torch.Generator().manual_seed(seed)
        self._image = torch.rand(tuple(shape), generator=generator, dtype=torch.float64).add_(0.5).requires_grad_()
        modes = {module: module.training for module in model.modules()}
        watch = Watch(model, lambda stage, tensor: self._given.update({stage.number: tensor * 1}))
        model.eval()
        try:
            with watch.watching(), _Alive():
                self._given[OUTPUT] = run(model, positive(model, generator, scale), self._image)
        finally:
            for module, mode in modes.items():
                module.training = mode
        self.stages = watch.stages

    def heat(self, number: int, dims: Sequence[int], place: Sequence[int]) -> torch.Tensor:
        """(H, W) or (D, H, W): |gradient| of one place at each pixel, summed over channels.

        number: of a stage, or OUTPUT. dims: the dimensions of its tensor that are places. place: an
        index for each of them.
        """
        tensor = self._given[number]
        index = [slice(None)] * tensor.ndim
        for dim, at in zip(dims, place, strict=True):
            index[dim] = slice(at, at + 1)
        if not tensor.requires_grad:
            return torch.zeros(self.sides)
        one = tensor[tuple(index)].sum()
        (gradient,) = torch.autograd.grad(one, self._image, retain_graph=True, allow_unused=True)
        return torch.zeros(self.sides) if gradient is None else gradient.abs().sum((0, 1))

    def place(self, number: int, dims: Sequence[int], place: Sequence[int]) -> tuple[Interval, ...]:
        """The first and the last pixel along each image axis whose gradient is not zero."""
        return extent(self.heat(number, dims, place))


def extent(heat: torch.Tensor) -> tuple[Interval, ...]:
    """The box of all nonzero values: (first, last) along each axis, (1, 0) if there are none."""
    found = []
    for axis in range(heat.ndim):
        others = [other for other in range(heat.ndim) if other != axis]
        (seen,) = (heat != 0).any(dim=others).nonzero(as_tuple=True) if others else (heat != 0).nonzero(as_tuple=True)
        found.append((int(seen[0]), int(seen[-1])) if len(seen) else (1, 0))
    return tuple(found)


def positive(model: nn.Module, generator: torch.Generator, scale: float = SCALE) -> dict[str, torch.Tensor]:
    """Stand-ins in float64 for all parameters and buffers.

    Weights are uniform in 0.5..1.5 times scale / (number of inputs), biases and other vectors in
    0.1..0.3. Buffers are kept, except for the statistics of batch norms: mean 0, variance 1.
    """
    state: dict[str, torch.Tensor] = {}
    for name, parameter in model.named_parameters():
        drawn = torch.rand(parameter.shape, generator=generator, dtype=torch.float64)
        inputs = parameter.numel() // max(parameter.shape[0], 1)
        state[name] = (0.5 + drawn) * (scale / inputs) if parameter.ndim > 1 else 0.1 + 0.2 * drawn
    for name, buffer in model.named_buffers():
        given = buffer.detach().cpu()
        given = given.double() if given.is_floating_point() else given
        mean, variance = name.endswith("running_mean"), name.endswith("running_var")
        state[name] = torch.zeros_like(given) if mean else torch.ones_like(given) if variance else given
    return state


class _Alive(TorchFunctionMode):
    """Lets gradients reach all inputs of maxima, of saturating activations, and of unpooling."""

    def __init__(self) -> None:
        super().__init__()
        self.pools: dict[int, tuple[torch.Tensor, tuple[Any, Any, Any]]] = {}

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, getattr(func, "__name__", "")
        if name.rstrip("_") in PASSED:
            return args[0]
        if name.startswith("max_pool"):
            return self._pool(name, *args, **kwargs)
        if name in MAXIMA:
            return MAXIMA[name](*args, **kwargs)
        if name == "scatter" and (pool := self.pools.get(args[2].untyped_storage().data_ptr())):
            return self._unpool(args[0], args[3], *pool)
        return func(*args, **kwargs)

    def _pool(
        self, name: str, x: torch.Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1,
        ceil_mode: bool = False, return_indices: bool = False,
    ) -> Any:  # fmt: skip
        axes = x.ndim - 2
        mean = functional.avg_pool2d if axes == 2 else functional.avg_pool3d
        pooled = mean(x, kernel_size, stride, padding, ceil_mode, count_include_pad=False)
        if "indices" not in name:
            return pooled
        places = functional.max_pool2d_with_indices if axes == 2 else functional.max_pool3d_with_indices
        indices = places(x, kernel_size, stride, padding, dilation, ceil_mode)[1]
        self.pools[indices.untyped_storage().data_ptr()] = indices, (x.shape[2:], kernel_size, stride or kernel_size)
        return pooled, indices

    def _unpool(
        self, canvas: torch.Tensor, x: torch.Tensor, indices: torch.Tensor, pool: tuple[Any, Any, Any]
    ) -> torch.Tensor:
        """Write each value to its whole window, since the maximum could be at any place of it."""
        sides, kernel, stride = pool
        x = x.unflatten(2, indices.shape[2:])
        window = torch.ones(1, 1, *((kernel,) * len(sides) if isinstance(kernel, int) else kernel), dtype=x.dtype)
        spread = functional.conv_transpose2d if len(sides) == 2 else functional.conv_transpose3d
        wide = spread(x.flatten(0, 1)[:, None], window, stride=stride).unflatten(0, x.shape[:2])[:, :, 0]
        missing = [(0, side - own) for side, own in zip(sides, wide.shape[2:], strict=True)][::-1]
        return functional.pad(wide, [pad for pair in missing for pad in pair]).flatten(2)


def _mean_of(x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
    return x.mean(*args, **kwargs)


def _mean_of_two(x: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    return (x + other) / 2


PASSED = {
    "relu", "relu6", "hardtanh", "hardswish", "hardsigmoid", "clamp", "clamp_min", "clamp_max", "leaky_relu", "elu",
}  # fmt: skip
"""Activations that are flat somewhere, or nearly so: they return their input here."""

MAXIMA: Mapping[str, Callable[..., torch.Tensor]] = {"amax": _mean_of, "amin": _mean_of, "maximum": _mean_of_two}
"""What stands in for a maximum, by the name of the operation."""
