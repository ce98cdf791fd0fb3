"""What each operation does to fields: one rule for each operation of aten, in one dictionary.

A rule gets a `Call` and returns the field of the output, or one field for each output. Operations
that torch tags as pointwise need no rule: an element of the output reads what the same elements of
the inputs read. An operation that is neither pointwise nor in RULES has no answer: its output is
said to read all that its inputs read, and a note says that the operation is unknown.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np
import torch

from atrous.inspect.field import (
    Field,
    Note,
    Pool,
    bin_taps,
    join,
    linear_taps,
    nearest_taps,
    transposed_taps,
    window_taps,
)

Fields = Field | None | Sequence[Field | None]


@dataclass(frozen=True)
class Call:
    """One call of an operation.

    arguments: by their names in its schema. out: what it returned. fields: of all tensors that
    depend on the image. layer: the module in which it was called.
    """

    name: str
    arguments: Mapping[str, Any]
    out: Any
    fields: Mapping[torch.Tensor, Field]
    layer: str
    pointwise: bool = False

    def __getitem__(self, key: str) -> Any:
        return self.arguments[key]

    def field(self, key: str) -> Field:
        """The field of an argument that depends on the image."""
        return self.fields[self.arguments[key]]

    def has(self, key: str) -> bool:
        """Whether an argument is a tensor that depends on the image."""
        value = self.arguments[key]
        return isinstance(value, torch.Tensor) and value in self.fields

    def inputs(self) -> list[Field]:
        """The fields of all tensors among the arguments, those in lists included."""
        found = []
        for value in self.arguments.values():
            tensors = value if isinstance(value, list | tuple) else [value]
            found += [self.fields[one] for one in tensors if isinstance(one, torch.Tensor) and one in self.fields]
        return found

    def shapes(self) -> list[tuple[int, ...]]:
        """The shapes of all returned tensors."""
        return [tuple(one.shape) for one in tensors_of(self.out)]


def tensors_of(tree: Any) -> Iterator[torch.Tensor]:
    """All tensors in the arguments or the result of an operation or a module."""
    if isinstance(tree, torch.Tensor):
        yield tree
    elif isinstance(tree, list | tuple):
        for one in tree:
            yield from tensors_of(one)
    elif isinstance(tree, dict):
        for one in tree.values():
            yield from tensors_of(one)


def outputs(call: Call) -> Sequence[Field | None]:
    """The field of each output of a call, in order; None where it does not depend on the image."""
    if not call.inputs():
        return [None for _ in call.shapes()]
    rule = RULES.get(call.name)
    if rule is None:
        rule = pointwise if call.pointwise else _unknown
    found = rule(call)
    return [found] * len(call.shapes()) if found is None or isinstance(found, Field) else found


def pointwise(call: Call) -> Fields:
    """Each element of an output reads what the same elements of the inputs read."""
    return [join(call.inputs(), shape) for shape in call.shapes()]


def _unknown(call: Call) -> Fields:
    return _everything(call, "unknown", f"no rule for aten::{call.name}")


def _by_data(call: Call) -> Fields:
    return _everything(call, "data", f"aten::{call.name} reads places that the values choose")


def _everything(call: Call, kind: str, what: str) -> Fields:
    """Each output may read all that any input reads."""
    found = call.inputs()
    whole = [replace(one.joined(range(len(one.shape)), "", ""), trail=one.trail).view(()) for one in found]
    return [join(whole, shape).with_notes(Note(kind, call.layer, what)) for shape in call.shapes()]


def _nothing(call: Call) -> Fields:
    return None


def _same(call: Call) -> Fields:
    return replace(call.field("self" if "self" in call.arguments else "input"), pool=None)


def _convolution(call: Call) -> Fields:
    if not call.has("input"):
        return _everything(call, "unknown", "a convolution whose weights depend on the image")
    (batch, channels, *sides), x = call.shapes()[0], call.field("input")
    x = _mix(x, call["groups"], channels, call)
    for number, out in enumerate(sides):
        kernel = call["weight"].shape[2 + number]
        stride, padding, dilation = (_at(call[key], number) for key in ("stride", "padding", "dilation"))
        taps, step = (transposed_taps, Fraction(1, stride)) if call["transposed"] else (window_taps, Fraction(stride))
        x = x.gather(2 + number, taps(x.shape[2 + number], out, kernel, stride, padding, dilation), step)
    return replace(x, shape=(batch, channels, *sides))


def _mix(x: Field, groups: int, out: int, call: Call) -> Field:
    """Each output channel reads all input channels of its group."""
    if 1 not in x.dims(0).union(*(x.dims(axis) for axis in range(len(x.sides)))):
        return replace(x, shape=(x.shape[0], out, *x.shape[2:]))
    batch, channels, *sides = x.shape
    grouped = x.view((batch, groups, channels // groups, *sides)).joined(
        [2], call.layer, "a convolution over all places"
    )

    def move(term: np.ndarray) -> np.ndarray:
        term = term.reshape(2, term.shape[1], term.shape[2], *term.shape[4:])
        return term.repeat(out // groups, 2) if term.shape[2] > 1 else term

    return grouped.moved((batch, out, *sides), move)


def _pool(call: Call) -> Fields:
    x, axes = call.field("self"), len(call["kernel_size"])
    first = len(x.shape) - axes
    kernel = tuple(_at(call["kernel_size"], number) for number in range(axes))
    stride = tuple(_at(call["stride"] or kernel, number) for number in range(axes))
    padding = tuple(_at(call["padding"], number) for number in range(axes))
    pool = Pool(x.shape[first:], call.shapes()[0][first:], kernel, stride, padding)
    for number, out in enumerate(call.shapes()[0][first:]):
        dilation = _at(call.arguments.get("dilation", 1), number)
        taps = window_taps(x.shape[first + number], out, kernel[number], stride[number], padding[number], dilation)
        x = x.gather(first + number, taps, Fraction(stride[number]))
    return [x, replace(x, pool=pool)][: len(call.shapes())]


def _adaptive_pool(call: Call) -> Fields:
    x = call.field("self")
    first, outs = len(x.shape) - len(call["output_size"]), call["output_size"]
    for dim, out in enumerate(outs, start=first):
        side = x.shape[dim]
        axes = [axis for axis in range(len(x.sides)) if dim in x.dims(axis)]
        if out == side:
            continue
        what = f"adaptive pooling of {_times(x.shape[first:])} places to {_times(outs)}"
        x = x.gather(dim, bin_taps(side, out), None)
        x = x.with_notes(*(Note("whole" if out == 1 else "grows", call.layer, what, axis) for axis in axes))
    return x


def _resize(call: Call) -> Fields:
    x, mode = call.field("self"), call.name
    sides = call.shapes()[0][2:]
    scales = [call.arguments.get(f"scales_{letter}") for letter in "dhw"[-len(sides) :]]
    for number, (out, scale) in enumerate(zip(sides, scales, strict=True)):
        dim, side = 2 + number, x.shape[2 + number]
        if out == side:
            continue
        corners = bool(call.arguments.get("align_corners", False))
        step = Fraction(side, out) if scale is None else 1 / Fraction(scale).limit_denominator(2**20)
        step = Fraction(side - 1, max(out - 1, 1)) if corners else step
        taps = (
            nearest_taps(side, step, out, "exact" in mode)
            if "nearest" in mode
            else linear_taps(side, step, out, corners, "cubic" in mode)
        )
        notes = [Note("resize", call.layer, mode, axis, step) for axis in range(len(x.sides)) if dim in x.dims(axis)]
        x = x.gather(dim, taps, step).with_notes(*notes)
    return replace(x, shape=call.shapes()[0])


def _pad(call: Call) -> Fields:
    x, amounts = call.field("self"), call["pad" if "pad" in call.arguments else "padding"]
    for number in range(len(amounts) // 2):
        before, after = amounts[2 * number : 2 * number + 2]
        dim = len(x.shape) - 1 - number
        side, reads = x.shape[dim], np.arange(-before, x.shape[dim] + after)
        inside = (reads >= 0) & (reads < side)
        if "replication" in call.name:
            taps = np.clip(reads, 0, side - 1)
        elif "reflection" in call.name:
            taps = np.minimum(abs(reads), 2 * (side - 1) - abs(reads))
        else:
            taps = np.where(inside, reads, -1)
        x = x.gather(dim, taps[None])
    return x


def _reduce(call: Call) -> Fields:
    if "other" in call.arguments:
        return pointwise(call)
    x = call.field("self" if "self" in call.arguments else "input")
    dims = call.arguments.get("dim")
    dims = range(len(x.shape)) if dims is None or dims == [] else [dims] if isinstance(dims, int) else dims
    joined = x.joined(dims, call.layer, f"{_plain(call.name)} over all places")
    return [joined.view(shape) for shape in call.shapes()]


def _along(call: Call) -> Fields:
    """Softmax, sorting and the like: each element reads all elements along one dimension."""
    x, key = call.field("self"), "dim" if "dim" in call.arguments else "axis"
    joined = x.joined([call[key]], call.layer, f"{_plain(call.name)} over all places")
    return [join([joined] if shape != x.shape else [joined, x], shape) for shape in call.shapes()]


def _layer_norm(call: Call) -> Fields:
    x = call.field("input")
    last = range(len(x.shape) - len(call["normalized_shape"]), len(x.shape))
    return [join([x.joined(last, call.layer, "layer norm over all places"), x], x.shape), None, None]


def _group_norm(call: Call) -> Fields:
    x = call.field("input")
    what = "a group norm, whose mean and variance are those of all places"
    return [join([x.joined(range(1, len(x.shape)), call.layer, what), x], x.shape), None, None]


def _batch_norm(call: Call) -> Fields:
    x, shapes = call.field("input"), call.shapes()
    if not call.arguments.get("training", False):
        return [x, *(None for _ in shapes[1:])]
    dims = [dim for dim in range(len(x.shape)) if dim != 1]
    what = "an instance norm, whose mean and variance are those of all places"
    return [join([x.joined(dims, call.layer, what), x], x.shape), *(None for _ in shapes[1:])]


def _matmul(call: Call) -> Fields:
    """mm, bmm, addmm, baddbmm: an element reads a row of the left matrix, a column of the right."""
    left, right = (
        ("mat1", "mat2")
        if "mat1" in call.arguments
        else ("batch1", "batch2")
        if "batch1" in call.arguments
        else ("self", "mat2")
    )
    found = []
    for key, dim in ((left, -1), (right, -2)):
        if call.has(key):
            found.append(call.field(key).joined([dim], call.layer, f"{call.name} over all places, as in attention"))
    if left != "self" and call.has("self"):
        found.append(call.field("self"))
    return join(found, call.shapes()[0])


def _view(call: Call) -> Fields:
    x = call.field("self")
    return replace(x.view(call.shapes()[0]), pool=x.pool)


def _expand(call: Call) -> Fields:
    return join([call.field("self")], call.shapes()[0])


def _repeat(call: Call) -> Fields:
    x, shape = call.field("self"), call.shapes()[0]
    x = x.view((*(1,) * (len(shape) - len(x.shape)), *x.shape))
    for dim, side in enumerate(shape):
        x = x.gather(dim, (np.arange(side) % x.shape[dim])[None])
    return replace(x, shape=shape)


def _permute(call: Call) -> Fields:
    x = call.field("self")
    order = list(range(len(x.shape)))
    if call.name == "permute":
        order = call["dims"]
    elif len(order) > 1:
        a, b = (call["dim0"], call["dim1"]) if "dim0" in call.arguments else (0, 1)
        order[a], order[b] = order[b], order[a]
    return x.permuted(order)


def _slice(call: Call) -> Fields:
    x, dim, step = call.field("self"), call["dim"] % len(call.field("self").shape), call.arguments.get("step", 1)
    side = x.shape[dim]
    first = call["start"] or 0
    first = max(first + side, 0) if first < 0 else min(first, side)
    return x.gather(dim, (first + step * np.arange(call.shapes()[0][dim]))[None], Fraction(step))


def _pieces(call: Call) -> Fields:
    """split, unbind, select: pieces along a dimension, one after the other."""
    x, dim = call.field("self"), call.arguments.get("dim", 0)
    dim, at, found = dim % len(x.shape), 0, []
    if call.name == "select":
        at = call["index"] % x.shape[dim]
    for shape in call.shapes():
        side = shape[dim] if len(shape) == len(x.shape) else 1
        found.append(x.gather(dim, (at + np.arange(side))[None]).view(shape))
        at += side
    return found


def _cat(call: Call) -> Fields:
    tensors, dim, shape = call["tensors"], call.arguments.get("dim", 0), call.shapes()[0]
    stacked, dim, at, found = call.name == "stack", dim % len(shape), 0, []
    for tensor in tensors:
        side = 1 if stacked else tensor.shape[dim]
        if tensor in call.fields:
            x = call.fields[tensor]
            x = x.view((*shape[:dim], 1, *shape[dim + 1 :])) if stacked else x
            found.append(x.shifted(dim, at, shape[dim]))
        at += side
    return join(found, shape)


def _shuffle(call: Call) -> Fields:
    """pixel_shuffle and pixel_unshuffle: channels become blocks of places, or the reverse."""
    x, (*batch, channels, height, width) = call.field("self"), call.field("self").shape
    if call.name == "pixel_shuffle":
        r, first = call["upscale_factor"], len(batch)
        x = x.view((*batch, channels // (r * r), r, r, height, width))
        x = x.permuted([*range(first + 1), first + 3, first + 1, first + 4, first + 2])
        steps = Fraction(1, r)
    else:
        r, first = call["downscale_factor"], len(batch)
        x = x.view((*batch, channels, height // r, r, width // r, r))
        x = x.permuted([*range(first + 1), first + 2, first + 4, first + 1, first + 3])
        steps = Fraction(r)
    jump = tuple(None if step is None else step * steps for step in x.jump)
    notes = [Note("jump", axis=axis, value=step) for axis, step in enumerate(jump) if step is not None]
    return replace(x.view(call.shapes()[0]), jump=jump).with_notes(*notes)


def _flip(call: Call) -> Fields:
    x = call.field("self")
    for dim in call["dims"]:
        x = x.gather(dim % len(x.shape), np.arange(x.shape[dim])[None, ::-1])
    return x


def _roll(call: Call) -> Fields:
    x = call.field("self")
    for shift, dim in zip(call["shifts"], call["dims"], strict=True):
        x = x.gather(dim % len(x.shape), ((np.arange(x.shape[dim]) - shift) % x.shape[dim])[None])
    return x


def _index(call: Call) -> Fields:
    """Index tensors: known values pick elements; others matter only where the field varies."""
    x = call.field("self")
    indices = (
        call["indices"] if "indices" in call.arguments else [*[None] * (call["dim"] % len(x.shape)), call["index"]]
    )
    given = [(dim, index) for dim, index in enumerate(indices) if index is not None]
    if len(given) != 1 or any(index in call.fields for _, index in given):
        return _by_data(call)
    (dim, index), varying = given[0], set().union(*(x.dims(axis) for axis in range(len(x.sides))))
    shape = call.shapes()[0]
    if dim not in varying:
        return x.view(x.shape) if x.shape == shape else _indexed(x, dim, np.zeros(index.numel(), int), shape)
    if index.device.type == "meta" or index.dtype == torch.bool:
        return _everything(call, "unknown", f"aten::{call.name} at places that are not known")
    return _indexed(x, dim, index.numpy().reshape(-1), shape)


def _indexed(x: Field, dim: int, index: np.ndarray, shape: tuple[int, ...]) -> Field:
    return x.gather(dim, (index % x.shape[dim])[None]).view(shape)


def _scatter(call: Call) -> Fields:
    """Max unpooling: a place reads all windows it lies in. Others write where the values say."""
    index, fields = call["index"], call.fields
    pool = fields[index].pool if index in fields else None
    if pool is None or call["src"] not in fields or int(np.prod(pool.sides)) != call.shapes()[0][-1]:
        return _by_data(call)
    found, first = [], len(call.shapes()[0]) - 1
    for x in (fields[call["src"]], fields[index]):
        x = x.view((*x.shape[:-1], *pool.cells))
        for number, side in enumerate(pool.sides):
            stride = pool.stride[number]
            taps = transposed_taps(pool.cells[number], side, pool.kernel[number], stride, pool.padding[number])
            x = x.gather(first + number, taps, Fraction(1, stride))
        found.append(x.view(call.shapes()[0]))
    if call.has("self"):
        found.append(call.field("self"))
    return join(found, call.shapes()[0])


def _sweep(call: Call) -> Fields:
    """A recurrent layer: a step reads all steps if it runs both ways, else those up to itself."""
    x, what = call.field("input"), f"{call.name} sweeps over all places"
    time = 1 if call["batch_first"] else 0
    x = x.joined([2], call.layer, what)
    axes = [axis for axis in range(len(x.sides)) if time in x.dims(axis)]
    if call["bidirectional"]:
        x = x.joined([time], call.layer, what)
    else:
        x = x.moved(x.shape, lambda term: np.minimum.accumulate(term, time + 1))
    x = x.with_notes(*(Note("sweep", call.layer, what, axis) for axis in axes))
    last = x.joined(range(3), call.layer, what).view(())
    shapes = call.shapes()
    return [join([x], shapes[0]), *(join([last], shape) for shape in shapes[1:])]


def _plain(name: str) -> str:
    """The operation's name without the marks of a variant: `_safe_softmax` is a softmax."""
    return name.removeprefix("_").removeprefix("safe_")


def _at(value: int | Sequence[int], number: int) -> int:
    return value if isinstance(value, int) else value[number % len(value)]


def _times(sides: Sequence[int]) -> str:
    return " x ".join(map(str, sides))


_NAMES: dict[Callable[[Call], Fields], str] = {
    _convolution: "convolution _convolution",
    _pool: "max_pool2d_with_indices max_pool3d_with_indices max_pool2d max_pool3d avg_pool2d avg_pool3d",
    _adaptive_pool: "_adaptive_avg_pool2d _adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d",
    _resize: "upsample_bilinear2d upsample_trilinear3d upsample_bicubic2d upsample_nearest2d upsample_nearest3d "
    "_upsample_nearest_exact2d _upsample_nearest_exact3d",
    _pad: "constant_pad_nd replication_pad2d replication_pad3d reflection_pad2d reflection_pad3d",
    _reduce: "mean sum prod amax amin max min argmax argmin any all var std var_mean std_mean logsumexp norm "
    "linalg_vector_norm",
    _along: "_softmax _log_softmax _safe_softmax topk sort cumsum",
    _layer_norm: "native_layer_norm",
    _group_norm: "native_group_norm",
    _batch_norm: "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training",
    _matmul: "mm bmm addmm baddbmm",
    _view: "view _unsafe_view unsqueeze unsqueeze_ squeeze squeeze_",
    _expand: "expand",
    _repeat: "repeat",
    _permute: "permute transpose transpose_ t",
    _slice: "slice",
    _pieces: "split split_with_sizes unsafe_split unbind select",
    _cat: "cat stack",
    _shuffle: "pixel_shuffle pixel_unshuffle",
    _flip: "flip",
    _roll: "roll",
    _index: "index index_select",
    _scatter: "scatter",
    _by_data: "gather grid_sampler_2d grid_sampler_3d index_put take",
    _sweep: "gru lstm rnn_tanh rnn_relu",
    _same: "alias detach clone _to_copy lift_fresh native_dropout",
    pointwise: "_prelu_kernel floor_divide copy_",
    _nothing: "zeros_like ones_like empty_like full_like new_zeros new_ones new_empty new_full zero_ fill_",
}

RULES = {name: rule for rule, names in _NAMES.items() for name in names.split()}
"""The rule of each operation, by its name in aten without the overload."""
