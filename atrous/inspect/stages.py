"""The stages of a network as one would draw it: containers are opened, blocks are not.

A stage is one call of a module; a module that is called twice makes two. Activations, norms and
dropout between two stages belong to the first one. Other work between stages (skips, resizing)
belongs to none.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import torch
from torch import nn

from atrous.encoders import Encoder

OPENED = (nn.ModuleList, nn.ModuleDict, Encoder)
"""Modules that are never a stage themselves; their children are."""

SILENT = (nn.Dropout, nn.Dropout2d, nn.Identity, nn.ReLU, nn.ReLU6, nn.SiLU, nn.GELU, nn.PReLU, nn.LeakyReLU)
"""Modules that belong to the stage before them. So do norms, which are recognised by name."""


@dataclass
class StageCall:
    """One call of a module. number: its place in the order of the calls, from 0."""

    number: int
    name: str
    kind: str
    parameters: int
    shape: tuple[int, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)


class Watch:
    """Follows a forward pass: which stage and which layer run, and what each stage returns.

    leave: called with a stage and its last output tensor when the stage ends, and again when a norm
    or an activation after it has changed that tensor.
    """

    def __init__(self, model: nn.Module, leave: Callable[[StageCall, torch.Tensor], None]) -> None:
        self.stages: list[StageCall] = []
        self.inside: list[StageCall] = []
        self.path: list[str] = []
        self._model, self._leave, self._counted = model, leave, set[int]()
        self._names = {id(module): name for name, module in model.named_modules()}
        self._staged = {id(module) for module in stage_modules(model)}

    @property
    def stage(self) -> StageCall | None:
        """The stage that runs now, or None between stages."""
        return self.inside[-1] if self.inside else None

    @property
    def layer(self) -> str:
        """The name of the innermost module that runs now; "" in the network's own forward."""
        return self.path[-1] if self.path else ""

    @contextmanager
    def watching(self) -> Iterator["Watch"]:
        """Keeps hooks on every module while the context is open."""
        handles = []
        for module in self._model.modules():
            handles += [
                module.register_forward_pre_hook(self._enter, prepend=True),
                module.register_forward_hook(self._exit),
            ]
        try:
            yield self
        finally:
            for handle in handles:
                handle.remove()

    def _enter(self, module: nn.Module, inputs: Any) -> None:
        self.path.append(self._names[id(module)])
        if self.inside or id(module) not in self._staged:
            return
        if _is_silent(module) and self.stages:
            self.inside.append(self.stages[-1])
            self._count(module)
            return
        again = sum(stage.extra["module"] == id(module) for stage in self.stages)
        name = self._names[id(module)] + (f" ({again + 1})" if again else "")
        self.stages.append(StageCall(len(self.stages), name, kind(module), 0, extra={"module": id(module)}))
        self.inside.append(self.stages[-1])
        self._count(module)

    def _exit(self, module: nn.Module, inputs: Any, output: Any) -> None:
        self.path.pop()
        if self.inside and id(module) in self._staged:
            stage = self.inside.pop()
            if (last := last_tensor(output)) is not None:
                stage.shape = tuple(last.shape)
                self._leave(stage, last)

    def _count(self, module: nn.Module) -> None:
        """Count the parameters of a module for the first stage that calls it."""
        for parameter in module.parameters():
            if id(parameter) not in self._counted:
                self._counted.add(id(parameter))
                self.inside[-1].parameters += parameter.numel()


def stage_modules(model: nn.Module, within: bool = False) -> Iterator[nn.Module]:
    """The modules whose calls are stages.

    within: `model` is a part of an encoder, where sequences of sequences are opened too. A model may
    name further containers among its parts in `opened`.
    """
    for name, child in model.named_children():
        inner = list(child.children())
        nested = within and len(inner) > 1 and all(isinstance(one, nn.Sequential) for one in (child, *inner))
        encoder = any(hasattr(child, sign) for sign in ("strides", "feature_info"))
        opened = isinstance(child, OPENED) or name in getattr(model, "opened", ())
        if opened or nested or encoder or hasattr(child, "logits_at_stride"):
            yield from stage_modules(child, within or encoder)
        else:
            yield child


def last_tensor(output: Any) -> torch.Tensor | None:
    """The tensor that stands for what a module returned: the last one of floating point."""
    if isinstance(output, torch.Tensor):
        return output if output.is_floating_point() else None
    if isinstance(output, dict):
        output = list(output.values())
    if isinstance(output, list | tuple):
        return next((tensor for one in reversed(output) if (tensor := last_tensor(one)) is not None), None)
    return None


def kind(module: nn.Module) -> str:
    """What a module is in a few words: '3 Bottleneck', 'conv 3x3, conv 1x1', 'max pool 2x2 /2'."""
    own = _leaf(module)
    if own:
        return own
    if isinstance(module, nn.Sequential):
        heavy = [child for child in module if any(True for _ in child.parameters()) and not _is_silent(child)]
        kinds = [(len(list(run)), what) for what, run in groupby(kind(child) for child in heavy)]
        if kinds and len(kinds) <= 3:
            return ", ".join(f"{count} {what}" if count > 1 else what for count, what in kinds)
        return f"{len(heavy)} blocks" if heavy else type(module).__name__
    return type(module).__name__


def _leaf(module: nn.Module) -> str:
    size = "x".join(str(side) for side in _tuple(module, "kernel_size"))
    stride = max(_tuple(module, "stride"), default=1)
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        return f"deconv {size}" + (f" x{stride}" if stride > 1 else "")
    if isinstance(module, nn.modules.conv._ConvNd):
        rate = max(module.dilation)
        depthwise = module.groups == module.in_channels > 1
        return (
            f"{'depthwise' if depthwise else 'conv'} {size}"
            + f" /{stride}" * (stride > 1)
            + f" rate {rate}" * (rate > 1)
        )
    if "Pool" in type(module).__name__ and hasattr(module, "kernel_size"):
        size = size if "x" in size else f"{size}x{size}"
        return f"{'max' if 'Max' in type(module).__name__ else 'mean'} pool {size}" + f" /{stride}" * (stride > 1)
    return ""


def _tuple(module: nn.Module, name: str) -> tuple[int, ...]:
    value = getattr(module, name, ())
    return (value,) if isinstance(value, int) else tuple(value) if isinstance(value, tuple) else ()


def _is_silent(module: nn.Module) -> bool:
    return isinstance(module, SILENT) or ("Norm" in type(module).__name__ and not list(module.children()))
