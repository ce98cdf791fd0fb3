"""All that can be said of a network without data: stages, fields, costs, sizes, whether tiles can equal the whole."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
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

DEFAULT_SIZE = {2: (512, 512), 3: (64, 128, 128)}
"""The image that costs are told for, unless another is wished; by the number of axes."""

TRIED = (1, 2, 7, 33, 97)
"""Sides with which the network is tried."""

STRIP = {2: 32, 3: 16}
"""The short sides of an image on which a field is measured; the long one is the size's, one axis at a time."""

LONGEST = 512
"""The long side at most: a measurement runs the network in float64."""


@dataclass(frozen=True)
class Reach:
    """What a place of a map reads. largest, smallest: windows in pixels per axis, places at the border left out; the
    phase of the strides makes the difference. None, and `why`, where it is no window of fixed size."""

    largest: tuple[int, ...] | None
    smallest: tuple[int, ...] | None
    why: str = ""
    at_least: bool = False
    """The largest image that was tried has no room for it."""


@dataclass(frozen=True)
class FieldCheck:
    """A field, measured along every axis on a long and narrow image, beside what theory says for that very place.

    lengths: of the images. measured, theory: first and last pixel per axis.
    """

    lengths: tuple[int, ...]
    measured: tuple[Interval, ...]
    theory: tuple[Interval, ...]

    @property
    def agrees(self) -> bool:
        """Whether the two are the same."""
        return self.measured == self.theory


@dataclass(frozen=True)
class StageRow:
    """A stage: its output (N, C, ...), parameters, multiply-adds, bytes kept for the backward pass, bytes of its
    output, pixels per element, field."""

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
    """What `inspect_model` found, at an image of `size`, batch 1, float32.

    multiply_adds: of convolutions, matrix products and recurrent layers. peak: most bytes of activations held at once
    when predicting. kept: bytes kept for the backward pass when training. output_stride: pixels per element of the
    coarsest map of the way, logits_stride: of the logits before the last resize. refused: sides of square images that
    the network does not take, with its reason. edges: (from, to) numbers of stages, -1 the image, one past the last
    the logits.
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
        """All of it as plain numbers, for JSON; `agrees` stands beside every pair of theory and measurement."""
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
    """Inspect a network of MODELS in evaluation mode; the model is left as it is.

    size: (H, W), volumes (D, H, W), of the image that costs are told for. measure: run it in float64 to measure fields
    too, which takes seconds for small networks and minutes for large ones. Raises ModelError on an impossible size.
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
            _stride(stage.extra.get("field"), stage.shape, size),
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
    """Bytes that autograd keeps of a training pass, (by number of the stage, between stages); weights do not count."""
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


def _checked(model: nn.Module, size: Sequence[int] | None) -> tuple[int, ...]:
    axes = image_axes(model)
    size = DEFAULT_SIZE[axes] if size is None else tuple(size)
    if len(size) != axes or any(not isinstance(side, int) or isinstance(side, bool) or side < 1 for side in size):
        wanted = "height and width" if axes == 2 else "depth, height and width"
        raise ModelError(f"size {' x '.join(map(str, size))} is no size of an image; give its {wanted}, 1 or more each")
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
    """Every stage and the logits: along each axis the widest field on a long and narrow image, and its measurement."""
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
    """The place with the largest field along an axis; of several the one nearest to the middle of the map."""
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


def _stride(one: Field | None, shape: Sequence[int], size: Sequence[int]) -> tuple[float, ...]:
    """Pixels per element along each axis."""
    jumps: Sequence[Fraction | None] = one.jump if one else [None] * len(size)
    sides = shape[2:] if len(shape) == len(size) + 2 else [1] * len(size)
    return tuple(float(j) if j else side / max(own, 1) for j, own, side in zip(jumps, sides, size, strict=True))


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
    """The logits before the last resize as a forward pass."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, image: torch.Tensor) -> Any:
        return self.model.logits_at_stride(image)  # type: ignore[operator]


def _multiple(found: Halo | NoHalo) -> tuple[int, ...]:
    return found.multiple if isinstance(found, Halo) else ()
