"""Inspect a network without data: its stages, receptive fields, costs, sizes, and how to tile."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from atrous.errors import ModelError
from atrous.inspect.field import Field
from atrous.inspect.measured import OUTPUT, Interval, Measured
from atrous.inspect.seams import Halo, NoHalo, barred, halo, has_room, image_axes, sentence, settled_walk, span
from atrous.inspect.stages import Watch
from atrous.inspect.walk import Walked, no_weights, run, walk

_Progress = Callable[[Iterable[int], int], Iterable[int]]
"""Shows progress over some items: (items, how many) -> the same items."""

DEFAULT_SIZE = {2: (512, 512), 3: (64, 128, 128)}
"""The image for which costs are given unless the caller asks for another; by the number of axes."""

TRIED = (1, 2, 7, 33, 97)
"""Sides of the square images that the network is tried with."""

STRIP = {2: 32, 3: 16}
"""The short sides of an image on which a field is measured, by the number of axes.

One axis after the other is the long one; its length is that of the inspected size.
"""

LONGEST = 512
"""The long side is at most this, since a measurement runs the network in float64."""


@dataclass(frozen=True)
class Reach:
    """The receptive field of a map's places, where it is a window of fixed size.

    Attributes:
        largest: The largest window, in pixels along each axis, away from the border. None where
            there is no fixed window; `why` says so.
        smallest: The smallest window. The two differ if the field depends on a place's phase
            within the strides.
        why: The reason why there is no window of fixed size, else "".
        at_least: True if no image that was tried has room for the window, so that it is larger.
    """

    largest: tuple[int, ...] | None
    smallest: tuple[int, ...] | None
    why: str = ""
    at_least: bool = False


@dataclass(frozen=True)
class FieldCheck:
    """The field of one place, measured by gradients, beside what theory says for the same place.

    Each axis is measured on an image that is long along it and narrow otherwise.

    Attributes:
        lengths: The length of the image, for each axis.
        measured: The first and the last pixel that is read, for each axis.
        theory: The same, in theory.
    """

    lengths: tuple[int, ...]
    measured: tuple[Interval, ...]
    theory: tuple[Interval, ...]

    @property
    def agrees(self) -> bool:
        """Whether measurement and theory are equal."""
        return self.measured == self.theory


@dataclass(frozen=True)
class StageRow:
    """What was found of one stage: a module, as one would draw it.

    Attributes:
        name: The module's name in the network; "(2)" is added to the second call of a module.
        kind: What it is, such as "conv 3x3 /2".
        shape: Its output, (N, C, H, W) or (N, C, D, H, W).
        parameters: Their number.
        multiply_adds: Of convolutions, matrix products and recurrent layers.
        kept: Bytes kept for the backward pass.
        bytes: Bytes of its output in float32.
        stride: Pixels of the image per element, along each axis.
        reach: Its receptive field in theory.
        checked: Its measured field beside theory, or None.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    kept: int
    bytes: int
    stride: tuple[float, ...]
    reach: Reach
    checked: FieldCheck | None


@dataclass(frozen=True)
class Inspection:
    """What `inspect_model` found. Costs are for one image of `size`, in float32.

    Attributes:
        size: (H, W) or (D, H, W) of the image.
        classes: Channels of the logits.
        channels: Channels of the image.
        parameters: Their number.
        multiply_adds: Of convolutions, matrix products and recurrent layers.
        peak: The most bytes of activations that are held at once in a prediction.
        kept: Bytes that training keeps for the backward pass.
        output_stride: Pixels per element of the coarsest map.
        logits_stride: Pixels per element of the logits before the last resize.
        refused: Sides of square images that the network refuses, each with its reason.
        reach: The receptive field of the logits in theory.
        checked: Their measured field beside theory, or None.
        halo: How to tile, or why no tiling equals the whole image.
        stages: The stages in the order in which they ran.
        between: Parameters, multiply-adds and kept bytes that belong to no stage.
        edges: (from, to) numbers of stages; -1 is the image, one past the last the logits.
    """

    size: tuple[int, ...]
    classes: int
    channels: int
    parameters: int
    multiply_adds: int
    peak: int
    kept: int
    output_stride: float
    logits_stride: float
    refused: dict[int, str]
    reach: Reach
    checked: FieldCheck | None
    halo: Halo | NoHalo
    stages: tuple[StageRow, ...]
    between: dict[str, int]
    edges: tuple[tuple[int, int], ...]

    def summary(self) -> dict[str, Any]:
        """Everything as plain values for JSON; each check of a field has `agrees` too."""
        plain = asdict(self)
        plain["halo"]["exists"] = isinstance(self.halo, Halo)
        checks = [self.checked, *(row.checked for row in self.stages)]
        for row, check in zip([plain, *plain["stages"]], checks, strict=True):
            if check:
                row["checked"]["agrees"] = check.agrees
        return plain | {"tried": list(TRIED), "multiple": list(_multiple(self.halo))}


def inspect_model(
    model: nn.Module, size: Sequence[int] | None = None, *, measure: bool = True, progress: _Progress | None = None
) -> Inspection:
    """Inspect a network in evaluation mode: stages, receptive fields, costs, sizes, tiling.

    The network runs on torch's meta device, without values. So costs at any image size take no
    memory. The model is left as it is.

    Args:
        model: A network as `create_model` builds it, or any module with `in_channels` that maps an
            image (N, C, H, W) to logits; volumes have `axes = 3`.
        size: (H, W), or (D, H, W), of the image for which costs are given. Default: 512 x 512, or
            64 x 128 x 128.
        measure: Measure the fields by gradients too. That runs the network in float64: seconds for
            a small network, minutes for a large one.
        progress: Wraps what is measured, to show a bar.

    Raises:
        ModelError: The size is impossible, the network refuses it, or a network without values is
            to be measured.

    Example:
        >>> import atrous
        >>> net = atrous.create_model("unet2015", classes=2, width=2)
        >>> found = inspect_model(net, (128, 128), measure=False)
        >>> found.reach.largest, found.reach.smallest, found.output_stride
        ((204, 204), (188, 188), 16.0)
        >>> found.stages[0].kind, found.refused, found.halo.before
        ('2 conv 3x3', {}, (96, 96))
    """
    size = _checked(model, size)
    shape = (1, int(model.in_channels), *size)  # type: ignore[arg-type]
    walked, settled, refused = walk(model, shape), settled_walk(model), _refused(model)
    kept, kept_between = kept_for_backward(model, shape)
    checks = _measure(model, size, settled, progress) if measure else {}
    rows = tuple(
        StageRow(
            stage.name,
            stage.kind,
            stage.shape,
            stage.parameters,
            stage.extra.get("multiply_adds", 0),
            kept.get(stage.number, 0),
            4 * int(np.prod(stage.shape)),
            _stride((stage.extra.get("field"), wide.extra.get("field")), stage.shape, size),
            _reach(wide.extra.get("field"), settled),
            checks.get(stage.number),
        )
        for stage, wide in zip(walked.stages, settled.stages, strict=True)
    )
    parameters = sum(parameter.numel() for parameter in model.parameters())
    between = {
        "parameters": parameters - sum(row.parameters for row in rows),
        "multiply_adds": walked.multiply_adds - sum(row.multiply_adds for row in rows),
        "kept": kept_between,
    }
    return Inspection(
        size=tuple(size),
        classes=walked.shape[1],
        channels=shape[1],
        parameters=parameters,
        multiply_adds=walked.multiply_adds,
        peak=walked.peak,
        kept=sum(kept.values()) + kept_between,
        output_stride=_coarsest(settled),
        logits_stride=_logits_stride(model, shape),
        refused=refused,
        reach=_reach(settled.output, settled),
        checked=checks.get(OUTPUT),
        halo=halo(model, settled),
        stages=rows,
        between=between,
        edges=tuple(sorted(walked.edges | {(source, len(rows)) for source in walked.output.source})),
    )


def kept_for_backward(model: nn.Module, shape: Sequence[int]) -> tuple[dict[int, int], int]:
    """Bytes that autograd keeps in a training pass on an image of `shape`, without the weights.

    Returns: (bytes by the number of the stage, bytes between stages).
    """
    watch = Watch(model, lambda stage, tensor: None)
    seen: dict[int, torch.Tensor] = {}
    kept: dict[int, int] = {}
    with no_weights(model, training=True) as state, watch.watching():
        weights = {one.untyped_storage()._cdata for one in state.values()}

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            storage = tensor.untyped_storage()
            if storage._cdata not in weights and storage._cdata not in seen:
                seen[storage._cdata] = tensor
                number = watch.stage.number if watch.stage else OUTPUT
                kept[number] = kept.get(number, 0) + storage.nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            run(model, state, torch.empty(tuple(shape), device="meta"))
    return kept, kept.pop(OUTPUT, 0)


MOST = 2**16
"""The largest side that is inspected; the time grows with it."""


def _checked(model: nn.Module, size: Sequence[int] | None) -> tuple[int, ...]:
    axes = image_axes(model)
    size = DEFAULT_SIZE[axes] if size is None else tuple(size)
    if len(size) != axes or any(
        not isinstance(side, int) or isinstance(side, bool) or not 1 <= side <= MOST for side in size
    ):
        wanted = "height and width" if axes == 2 else "depth, height and width"
        raise ModelError(
            f"size {' x '.join(map(str, size))} is not a size of an image; give its {wanted}, each from 1 to {MOST}"
        )
    return size


def _refused(model: nn.Module) -> dict[int, str]:
    refused, channels = {}, int(model.in_channels)  # type: ignore[arg-type]
    with no_weights(model) as state, torch.no_grad():
        for side in TRIED:
            try:
                run(model, state, torch.empty((1, channels, *(side,) * image_axes(model)), device="meta"))
            except ModelError as error:
                refused[side] = str(error)
    return refused


def _measure(
    model: nn.Module, size: Sequence[int], settled: Walked, progress: _Progress | None
) -> dict[int, FieldCheck]:
    """Measure the widest field of each stage and of the logits, each axis on its own image."""
    if any(parameter.device.type == "meta" for parameter in model.parameters()):
        raise ModelError("a network without values (on the meta device) cannot be measured; build it on the CPU")
    axes, found = len(size), dict[int, list[tuple[int, Interval, Interval]]]()
    for axis in range(axes):
        length = min(size[axis], LONGEST)
        sides = [min(size[other], STRIP[axes]) if other != axis else length for other in range(axes)]
        shape = (1, int(model.in_channels), *sides)  # type: ignore[arg-type]
        walked, measured = walk(model, shape), Measured(model, shape)
        fields = {stage.number: stage.extra.get("field") for stage in walked.stages} | {OUTPUT: walked.output}
        for number in progress(fields, len(fields)) if progress else fields:
            one = fields[number]
            if one is not None and not _undefined(one):
                place = widest(one, axis)
                read = measured.place(number, one.places(), place)
                found.setdefault(number, []).append((length, read[axis], one.interval(place, axis)))
    return {
        number: FieldCheck(*(tuple(part) for part in zip(*per_axis, strict=True))) for number, per_axis in found.items()
    }


def widest(one: Field, axis: int) -> tuple[int, ...]:
    """The place with the largest field along an axis; of several, the one nearest to the middle."""
    shape = tuple(one.shape[dim] for dim in one.places())
    first, last = one.intervals(axis)
    sides = np.where(first <= last, last - first + 1, 0)
    candidates = np.argwhere(sides == sides.max())
    middle = np.array([(side - 1) / 2 for side in sides.shape])
    best = candidates[np.abs(candidates - middle).sum(1).argmin()]
    return tuple(int(at) if own > 1 else full // 2 for at, own, full in zip(best, sides.shape, shape, strict=True))


def _undefined(one: Field) -> bool:
    return any(note.kind in ("unknown", "data") for note in one.trail)


def _reach(one: Field | None, settled: Walked) -> Reach:
    if one is None:
        return Reach(None, None, "does not depend on the image")
    if bars := barred(one, settled):
        return Reach(None, None, f"{sentence(bars[0])}" + f" (layer {bars[0].layer})" * bool(bars[0].layer))
    spans = [span(one, axis) for axis in range(len(one.sides))]
    if all(has_room(one, axis) for axis in range(len(one.sides))):
        return Reach(tuple(most for _, most in spans), tuple(least for least, _ in spans))
    return Reach(one.sides, one.sides, at_least=True)


def _stride(fields: Sequence[Field | None], shape: Sequence[int], size: Sequence[int]) -> tuple[float, ...]:
    """Pixels of the image per element of a map, along each axis.

    fields: of the map in images of several sizes. One that covers the whole image along an axis has
    lost track of its steps; if all do, the sides of image and map tell.
    """
    sides = shape[2:] if len(shape) == len(size) + 2 else [1] * len(size)
    strides = []
    for axis, (own, side) in enumerate(zip(sides, size, strict=True)):
        steps = (one.jump[axis] for one in fields if one and one.dims(axis))
        strides.append(float(next((step for step in steps if step), 0) or side / max(own, 1)))
    return tuple(strides)


def _coarsest(walked: Walked) -> float:
    return max([1.0, *(float(note.value) for note in walked.output.trail if note.kind == "jump")])


def _logits_stride(model: nn.Module, shape: Sequence[int]) -> float:
    """Pixels per element of the logits before the last resize."""
    if not hasattr(model, "logits_at_stride"):
        return 1.0
    with no_weights(model) as state, torch.no_grad():
        given = torch.func.functional_call(
            _AtStride(model), {f"model.{k}": v for k, v in state.items()}, (torch.empty(tuple(shape), device="meta"),)
        )
    return 1.0 if given is None else given[1].size[0] / given[0].shape[2]


class _AtStride(nn.Module):
    """A module whose forward pass gives the logits before the last resize."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> Any:
        return self.model.logits_at_stride(image)  # type: ignore[operator]


def _multiple(found: Halo | NoHalo) -> tuple[int, ...]:
    return found.multiple if isinstance(found, Halo) else ()
