"""A network and its normalisation as one graph of any size: what ONNX, OpenVINO and torch.export take.

Raw pixels (N, C, H, W), float32 in the units of the training images, go in; logits before the last resize come out
(tail beside), or labels (tail inside). What a user of the file must know stands in it as JSON (`describe_graph`).
"""

import json
import math
import operator
import re
import warnings
from collections.abc import Callable, Sequence
from hashlib import sha256
from io import BytesIO
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.export import export as export_program
from torch.overrides import TorchFunctionMode

from atrous import __version__
from atrous.bundle import Card
from atrous.errors import ModelError, let_through
from atrous.ops.resize import Tail, low_logits
from atrous.predict.backends.tails import TailRule
from atrous.sample import FULL_SCALE

KEY = "atrous"
"""The key of the JSON in every exported file."""

SIZES = ((64, 96), (65, 79), (97, 161), (191, 75), (256, 321))
VOLUMES = ((16, 32, 32), (17, 33, 35), (20, 35, 27), (32, 48, 40), (19, 40, 33))
"""Sizes at which an exported network is compared, odd ones too."""


SIDES = ("depth", "height", "width")
OPSET = 18


class Graph(nn.Module):
    """Raw pixels -> logits (N, K, h, w) of `logits_at_stride`, or, with the tail inside, labels (N, H, W).

    Labels are uint8, or int32 for more than 256 classes. Without `logits_at_stride` the logits have the
    image's size.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, model: nn.Module, card: Card, *, inside: bool = False) -> None:
        super().__init__()
        self.model, self.inside = model, inside
        self.axes: int = getattr(model, "axes", 2)
        for name, values in zip(("mean", "std"), card.statistics(), strict=True):
            self.register_buffer(name, torch.tensor(values).view(-1, *[1] * self.axes), persistent=False)
        self.channels = len(card.mean)
        self.dtype = torch.uint8 if len(card.labels) <= 256 else torch.int32
        self.eval()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.normalise(image)
        if self.inside:
            return self.model(x).argmax(1).to(self.dtype)
        return self.low(x)[0]

    def exportable(self) -> "Exportable":
        """The same graph, written so that exporters can follow it at any size."""
        return Exportable(self)

    def normalise(self, image: torch.Tensor) -> torch.Tensor:
        """Raw float32 pixels -> the network's normalised input."""
        return (image - self.mean) / self.std

    def low(self, x: torch.Tensor) -> tuple[torch.Tensor, Tail]:
        """Normalised image -> logits before the last resize, and that resize."""
        return low_logits(self.model, x)

    @property
    def output(self) -> str:
        return "labels" if self.inside else "logits"

    @property
    def sizes(self) -> tuple[tuple[int, ...], ...]:
        return SIZES if self.axes == 2 else VOLUMES


class Exportable(nn.Module):
    """A graph that writes adaptive pools as matrix products, and nearest resizes as index selections.

    Exporters write these two operators for the size at hand only, or not at all.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__()
        self.inner = graph  # a traced module has a `graph` of its own
        self.eval()

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        with _Rewrite():
            return self.inner(image)


class _Rewrite(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = getattr(func, "__name__", "")
        if name == "adaptive_avg_pool2d" and len(args) == 2 and not kwargs:
            return _pool(*args)
        if name == "interpolate" and kwargs.get("mode") == "nearest-exact" and kwargs.get("scale_factor") is None:
            return _nearest(args[0], kwargs.get("size") or args[1])
        return func(*args, **kwargs)


def _pool(x: torch.Tensor, bins: int | Sequence[int | None]) -> torch.Tensor:
    """`adaptive_avg_pool2d`, (N, C, H, W) -> (N, C, *bins): bin i of b from floor(i n / b) to ceil((i + 1) n / b)."""
    counts = (bins, bins) if isinstance(bins, int) else bins
    for axis, count in zip((2, 3), counts, strict=True):
        if count == 1:
            x = x.mean(axis, keepdim=True)
        elif count is not None:
            cell, n = torch.arange(count)[:, None], x.shape[axis]
            place = torch.arange(n)[None]
            inside = (place >= cell * n // count) & (place < ((cell + 1) * n + count - 1) // count)
            weights = inside.to(x.dtype)
            weights = weights / weights.sum(1, keepdim=True)  # (bins, n)
            x = weights @ x if axis == 2 else x @ weights.T
    return x


def _nearest(x: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """`interpolate(..., mode="nearest-exact")`: pixel i of m takes floor((i + 1/2) n / m)."""
    for axis, count in enumerate(size, start=2):
        index = ((torch.arange(count) + 0.5) * (x.shape[axis] / count)).floor()  # rounded as float32 does
        x = x.index_select(axis, index.long())
    return x


def sample(card: Card, size: Sequence[int], *, batch: int = 1, seed: int = 0) -> torch.Tensor:
    """An invented image, (N, C, ...) float32, in the card's units: regions of colours around its mean, with noise.

    For uint8 and uint16 it holds whole numbers from 0 to full scale.
    """
    rng = np.random.default_rng(seed)
    coarse = rng.normal(0, 1, (batch, len(card.mean), *(-(-side // 8) for side in size)))
    for axis, side in enumerate(size, start=2):
        coarse = coarse.repeat(8, axis).take(np.arange(side), axis)
    mean, std = (np.reshape(values, (1, -1, *[1] * len(size))) for values in (card.mean, card.std))
    pixels = mean + std * (coarse + rng.normal(0, 0.3, coarse.shape))
    if card.dtype in FULL_SCALE:
        pixels = np.clip(np.round(pixels), 0, FULL_SCALE[card.dtype])
    return torch.from_numpy(pixels.astype(np.float32))


@torch.inference_mode()
def tail_rule(graph: Graph, card: Card) -> TailRule:
    """The rule behind the network's tails, found from those at the sizes of the comparison."""
    seen = []
    for size in graph.sizes:
        logits, tail = graph.low(graph.normalise(sample(card, size)))
        seen.append((size, tuple(logits.shape[2:]), tail))
    return TailRule.of(seen)


def describe_graph(graph: Graph, card: Card, rule: TailRule | None, **more: Any) -> str:
    """The JSON that an exported file carries: input, output, tail, and the whole card."""
    low, high = (0, FULL_SCALE[card.dtype]) if card.dtype in FULL_SCALE else (None, None)
    return json.dumps({
        "format": 1,
        "atrous": __version__,
        "input": {
            "name": "image", "layout": "NCHW" if graph.axes == 2 else "NCDHW", "type": "float32", "channels": "RGB" if
            graph.channels == 3 else graph.channels, "units": f"raw {card.dtype} values, not normalised",
            "range": [low, high],
        },
        "preprocessing": {"inside": True, "formula": "(image - mean) / std"},
        "mean": card.mean, "std": card.std,
        "output": graph.output,
        "tail": None if rule is None else rule.to_dict(),
        "classes": list(card.labels.names),
        "values": list(card.labels.values),
        "colours": [list(colour) for colour in card.labels.colours],
        "dtype": card.dtype,
        **more,
        "card": json.loads(card.to_json()),
    })  # fmt: skip


def to_program(graph: Graph, card: Card) -> ExportedProgram:
    """The graph as a program of torch.export, batch and sides left open; ModelError with the reason if that fails."""
    image = _example(graph, card)
    open_dims = {axis: Dim.DYNAMIC for axis in range(image.ndim) if axis != 1}
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = export_program(
                graph.exportable(),
                (image,),
                dynamic_shapes=(open_dims,),
                strict=False,
                prefer_deferred_runtime_asserts_over_guards=True,
            )
    except Exception as error:  # the exporter raises whatever it meets
        let_through(error)
        raise ModelError(f"{card.model} cannot be exported for any size ({short(error)})") from error
    _without_asserts(program.graph_module)
    _whole_ceilings(program.graph_module)
    return program


def by_tracing(graph: Graph, card: Card) -> bytes:
    """The graph as ONNX by tracing one run, which takes seconds.

    Sizes that a model turns into plain numbers on the way become constants, so the result must be compared
    at other sizes.
    """
    axes = {0: "batch", **dict(enumerate(SIDES[-graph.axes :], start=2))}
    file = BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph.exportable(),
            (_example(graph, card),),
            file,  # type: ignore[arg-type]
            dynamo=False,
            input_names=["image"],
            output_names=[graph.output],
            dynamic_axes={"image": axes, graph.output: {0: "batch"}},
            opset_version=OPSET,
            verbose=False,  # else it prints the whole graph where it fails
        )
    return file.getvalue()


def by_program(graph: Graph, card: Card) -> bytes:
    """The graph as ONNX by `to_program`, which follows every size through the model; it can take minutes."""
    import onnxscript  # noqa: F401

    program = to_program(graph, card)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = torch.onnx.export(
            program, dynamo=True, input_names=["image"], output_names=[graph.output], verbose=False
        )
    assert made is not None
    proto = made.model_proto
    for dim, name in zip(
        proto.graph.input[0].type.tensor_type.shape.dim, ("batch", "", *SIDES[-graph.axes :]), strict=True
    ):
        if name:
            dim.dim_param = name
    return proto.SerializeToString()


def network_fingerprint(model: nn.Module, card: Card) -> str:
    """A hash of the network's weights, and of what in its card changes the answers."""
    digest = sha256(repr((card.model, card.options, card.layer, card.mean, card.std, card.dtype)).encode())
    for name, tensor in model.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()[:24]


def with_metadata(onnx_file: bytes, text: str) -> bytes:
    """An ONNX file with the JSON of `describe_graph` in it."""
    import onnx

    proto = onnx.load_model_from_string(onnx_file)
    del proto.metadata_props[:]
    entry = proto.metadata_props.add()
    entry.key, entry.value = KEY, text
    return proto.SerializeToString()


def _example(graph: Graph, card: Card) -> torch.Tensor:
    """An example input, odd and larger than the smallest size of any model."""
    return sample(card, (289, 353) if graph.axes == 2 else (36, 52, 68), batch=2)


def _without_asserts(module: torch.fx.GraphModule) -> None:
    """Drop the assumptions that the exporter made from its one example, mostly that two strides differ.

    No kernel needs them. The comparison shows whether the graph holds at other sizes.
    """
    for node in [node for node in module.graph.nodes if node.target is torch.ops.aten._assert_scalar.default]:
        module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.recompile()


def _whole_ceilings(module: torch.fx.GraphModule) -> None:
    """Write ceil(a / b) of sizes as (a + b - 1) // b.

    Floating-point sizes can neither be saved nor converted, and ONNX rounds negative quotients up.
    """
    for node in list(module.graph.nodes):
        quotient = node.args[0] if node.target is math.ceil else None
        if not isinstance(quotient, torch.fx.Node) or quotient.target is not operator.truediv:
            continue
        with module.graph.inserting_before(node):
            top, bottom = quotient.args
            x = _call(module.graph, operator.add, top, bottom)
            x = _call(module.graph, operator.sub, x, 1)
            x = _call(module.graph, operator.floordiv, x, bottom)
        node.replace_all_uses_with(x)
        module.graph.erase_node(node)
        if not quotient.users:
            module.graph.erase_node(quotient)
    module.recompile()


def _call(graph: torch.fx.Graph, function: Callable[..., Any], *arguments: Any) -> torch.fx.Node:
    node = graph.call_function(function, arguments)
    node.meta["val"] = function(*(one.meta["val"] if isinstance(one, torch.fx.Node) else one for one in arguments))
    return node


def short(error: Exception) -> str:
    """The first line of an error's text that is not empty."""
    plain = re.sub(r"\x1b\[[0-9;]*m", "", str(error))  # some errors hold colour codes
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:200]
