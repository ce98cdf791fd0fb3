"""One forward pass without values: the field, the multiply-adds and the memory of each operation.

Tensors are on the `meta` device: they have shapes but no numbers. So a pass takes no memory, and no
more time than Python itself. Small index tensors (the mirrored border of `pad_reflect`) are made
for real, since they choose places.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import nn
from torch.func import functional_call
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.weak import WeakIdKeyDictionary

from atrous.errors import ModelError, let_through
from atrous.inspect.field import Field, Note
from atrous.inspect.rules import Call, outputs, tensors_of
from atrous.inspect.stages import StageCall, Watch

RECURRENT = {"gru", "lstm", "rnn_tanh", "rnn_relu"}


@dataclass
class Walked:
    """What one pass found.

    stages: `extra` of each has its `field`, where it depends on the image, and its `multiply_adds`.
    output: the field of the logits. shape: of the logits.
    multiply_adds: of the whole pass.
    peak: the most bytes of activations held at once, the image among them, without a backward pass.
    edges: (from, to) numbers of stages; -1 is the image.
    notes: of all fields, in the order in which they came up.
    """

    stages: list[StageCall]
    output: Field
    shape: tuple[int, ...]
    multiply_adds: int = 0
    peak: int = 0
    edges: set[tuple[int, int]] = field(default_factory=set)
    notes: tuple[Note, ...] = ()


def walk(model: nn.Module, shape: Sequence[int]) -> Walked:
    """Pass an image of `shape` (N, C, H, W) or (N, C, D, H, W) through a network, in evaluation.

    The model itself is left as it is; its weights may be on any device. Raises ModelError if the
    network refuses the size.
    """
    fields: Any = WeakIdKeyDictionary()

    def leave(stage: StageCall, tensor: torch.Tensor) -> None:
        stage.extra["field"] = fields.get(tensor)

    watch = Watch(model, leave)
    image = torch.empty(tuple(shape), device="meta")
    fields[image] = Field.of_image(tuple(shape))
    with no_weights(model) as state, watch.watching(), torch.no_grad():
        mode = _Walk(watch, fields, image)
        with mode, _Recurrent(mode):
            logits = run(model, state, image)
    return Walked(
        watch.stages, fields[logits], tuple(logits.shape), mode.multiply_adds, mode.peak, mode.edges, tuple(mode.notes)
    )


def run(model: nn.Module, state: Mapping[str, torch.Tensor], image: torch.Tensor) -> torch.Tensor:
    """The logits with the weights of `state`; ModelError if the network cannot take the image."""
    try:
        return functional_call(model, dict(state), (image,))
    except ModelError:
        raise
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        let_through(error)
        sides = " x ".join(map(str, image.shape[2:]))
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"the network does not take an image of {sides} pixels ({reason}); use a larger one"
        ) from error


class no_weights:
    """A context that gives stand-ins without values for all weights and buffers.

    While it is open, the network is in evaluation mode, or in training mode if `training`.
    """

    def __init__(self, model: nn.Module, training: bool = False) -> None:
        self.model, self.training = model, training

    def __enter__(self) -> dict[str, torch.Tensor]:
        self.modes = {module: module.training for module in self.model.modules()}
        self.model.train(self.training)
        wanted = {name: one.requires_grad for name, one in self.model.named_parameters()}
        empty = {name: _empty(one) for name, one in (*self.model.named_parameters(), *self.model.named_buffers())}
        learned = {name: nn.Parameter(empty[name], self.training and wanted[name]) for name in wanted}
        return empty | learned

    def __exit__(self, *error: object) -> None:
        for module, mode in self.modes.items():
            module.training = mode


def _empty(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor without values of the same shape; any floating-point type becomes float32."""
    dtype = torch.float32 if tensor.is_floating_point() else tensor.dtype
    return torch.empty(tensor.shape, dtype=dtype, device="meta")


class _Walk(TorchDispatchMode):
    """Sees every operation below autograd, and keeps the fields of all tensors that are alive."""

    def __init__(self, watch: Watch, fields: Any, image: torch.Tensor) -> None:
        super().__init__()
        self.watch, self.fields = watch, fields
        self.multiply_adds, self.peak, self.edges = 0, 0, set[tuple[int, int]]()
        self.notes: dict[Note, None] = {}
        self._held: dict[int, tuple[StorageWeakRef, int]] = {}
        self._hold(image)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = dict(kwargs or {}), func._schema.name.removeprefix("aten::")
        if name == "arange" and kwargs.get("device") == torch.device("meta"):
            return func(*args, **{**kwargs, "device": "cpu"})
        arguments = _named(func, args, kwargs)
        if any(one.is_meta for one in tensors_of((args, kwargs))):  # indices too
            args, kwargs = tree_map_only(torch.Tensor, lambda one: one.to("meta"), (args, kwargs))
        out = _at_once(name, arguments) or func(*args, **kwargs)
        self.follow(name, arguments, out, torch.Tag.pointwise in func.tags)
        return out

    def follow(self, name: str, arguments: Mapping[str, Any], out: Any, pointwise: bool = False) -> None:
        """Note the fields, costs and edges of an operation that was done."""
        call = Call(name, arguments, out, self.fields, self.watch.layer, pointwise)
        stage, count = self.watch.stage, multiply_adds(call)
        self.multiply_adds += count
        if stage is not None:
            stage.extra["multiply_adds"] = stage.extra.get("multiply_adds", 0) + count
        found = outputs(call)
        for tensor, one in zip(tensors_of(out), found, strict=True):
            self._hold(tensor)
            if one is None:
                continue
            self.notes |= dict.fromkeys(sorted(one.trail - self.notes.keys(), key=str))
            if stage is not None:
                self.edges |= {(source, stage.number) for source in one.source if source != stage.number}
                one = replace(one, source=frozenset({stage.number}))
            self.fields[tensor] = one

    def _hold(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if tensor.device.type == "meta" and not isinstance(tensor, nn.Parameter):
            self._held.setdefault(storage._cdata, (StorageWeakRef(storage), storage.nbytes()))
        self._held = {key: held for key, held in self._held.items() if not held[0].expired()}
        self.peak = max(self.peak, sum(size for _, size in self._held.values()))


class _Recurrent(TorchFunctionMode):
    """Takes a recurrent layer as one operation; below, it is one for each step."""

    def __init__(self, walk: _Walk) -> None:
        super().__init__()
        self.walk = walk

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name not in RECURRENT or len(args) != 9 or not isinstance(args[2], list | tuple):
            return func(*args, **(kwargs or {}))
        x, start, weights, _, _, _, _, both, batch_first = args
        starts = start if isinstance(start, list | tuple) else (start,)
        ways, units = 2 if both else 1, starts[0].shape[-1]
        out = x.new_empty((*x.shape[:2], ways * units))
        result = (out, *(torch.empty_like(one) for one in starts))
        arguments = {"input": x, "weights": list(weights), "bidirectional": both, "batch_first": batch_first}
        self.walk.follow(name, arguments, result)
        return result


def multiply_adds(call: Call) -> int:
    """Multiply-adds of a convolution, a matrix product or a recurrent layer; 0 for all else."""
    if call.name in ("convolution", "_convolution"):
        weight, of = call["weight"], call["input"] if call["transposed"] else call.out
        return of.numel() * math.prod(weight.shape[1:])
    if call.name in ("mm", "bmm", "addmm", "baddbmm"):
        left = next(call.arguments[key] for key in ("mat1", "batch1", "self") if key in call.arguments)
        return call.out.numel() * left.shape[-1]
    if call.name in RECURRENT:
        steps = call["input"].shape[0] * call["input"].shape[1]
        return steps * sum(weight.numel() for weight in call["weights"] if weight.ndim == 2)
    return 0


def _at_once(name: str, arguments: Mapping[str, Any]) -> Any:
    """A batch norm's result in evaluation mode, as torch is slow to find its shape; else None."""
    if name != "native_batch_norm" or arguments["training"]:
        return None
    return torch.empty_like(arguments["input"]), *(torch.empty(0, device="meta") for _ in range(2))


def _named(func: Any, args: Any, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of an operation by their names in its schema, defaults included."""
    schema = func._schema.arguments
    named = {one.name: one.default_value for one in schema}
    return named | dict(zip((one.name for one in schema), args, strict=False)) | dict(kwargs)
