"""When tiles equal the whole image: how many pixels a tile needs around its kept part, if any do.

If a place of the logits reads only pixels of the tile, it is computed from the same numbers as in
the whole image, as long as the tile starts where the network's strides start anew. So the
theoretical fields are the proof: those of all pixels, at several sizes, the border included. There
is no halo where a layer reads the whole map, where the factor of a resize depends on the image's
size, or where values choose the places that are read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import lcm

import numpy as np
from torch import nn

from atrous.errors import ModelError
from atrous.inspect.field import Field, Note
from atrous.inspect.walk import Walked, walk

BARS = ("unknown", "data", "whole", "sweep", "grows")
"""Notes after which a field is not a window of fixed size."""

UNDEFINED = ("unknown", "data")
"""Notes after which a field is not defined at all."""

FIELD_SIDES = {2: (512, 1536, 4096), 3: (128, 640, 1280)}
"""Sides of images to try, smallest first, until all fields have room; by the number of axes."""


@dataclass(frozen=True)
class Halo:
    """How to cut tiles so that their logits equal those of the whole image, up to rounding.

    Keep logits from and up to multiples of `align`, or up to the border. Add `before` and `after`
    around them to get the tile, as far as the image goes. `tile` does both.

    Attributes:
        before: Pixels to add before the kept part, along each image axis; a multiple of `align`.
        after: Pixels to add behind it; a multiple of `align`.
        align: Where a kept part may start and stop, in pixels.
        multiple: The sides of the whole image must be multiples of this, so pad it first; 1 if any
            size will do.
        field: The largest window that a pixel of the logits reads.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    align: tuple[int, ...]
    multiple: tuple[int, ...]
    field: tuple[int, ...]

    def tile(self, start: int, stop: int, side: int, axis: int = 0) -> tuple[int, int]:
        """The tile from which to keep `start` up to, not including, `stop` along an axis.

        Args:
            start: First kept pixel, a multiple of `align`.
            stop: End of the kept pixels, a multiple of `align` or `side`.
            side: Pixels of the whole image along the axis.
            axis: Which image axis: 0 is H (volumes: D).

        Returns:
            (first, end) of the tile, the end not included.

        Raises:
            ModelError: `start` or `stop` is not as above, or `side` not a multiple of `multiple`.

        Example:
            >>> found = Halo(before=(96,), after=(96,), align=(16,), multiple=(1,), field=(204,))
            >>> found.tile(start=160, stop=320, side=1000)
            (64, 416)
        """
        align, multiple = self.align[axis], self.multiple[axis]
        if not 0 <= start < stop <= side or start % align or (stop % align and stop != side):
            raise ModelError(
                f"cannot keep pixels {start} to {stop} of {side}; expected 0 <= start < stop <= {side}, both "
                f"multiples of {align}, where stop may be {side} too"
            )
        if side % multiple:
            raise ModelError(f"an image side of {side} pixels is not a multiple of {multiple}; pad the image first")
        return max(0, start - self.before[axis]), min(side, stop + self.after[axis])


@dataclass(frozen=True)
class NoHalo:
    """Why no tiling equals the whole image.

    Attributes:
        reason: In words.
        layer: The layer that is the reason; "" for the network's own `forward`.
    """

    reason: str
    layer: str


def halo(model: nn.Module, settled: Walked | None = None) -> Halo | NoHalo:
    """The halo with which tiles give the whole image's logits in evaluation mode, or why none does.

    It takes seconds: a few passes of the network without values. The model is left as it is.

    Args:
        model: A network as `create_model` builds it, on any device.
        settled: What `settled_walk(model)` returned, if it is at hand, to save one pass.

    Returns:
        A `Halo`, or a `NoHalo` with the reason.

    Example:
        >>> import atrous
        >>> halo(atrous.create_model("unet2015", classes=2, width=2))
        Halo(before=(96, 96), after=(96, 96), align=(16, 16), multiple=(1, 1), field=(204, 204))
        >>> found = halo(atrous.create_model("pspnet", classes=2, encoder="test_resnet"))
        >>> isinstance(found, NoHalo)  # it pools over the whole map
        True
    """
    settled = settled or settled_walk(model)
    if bars := barred(settled.output, settled):
        return NoHalo(sentence(bars[0]), bars[0].layer)
    axes = len(settled.output.sides)
    align = tuple(period(settled.output, axis) for axis in range(axes))
    step, field = lcm(*align), tuple(span(settled.output, axis)[1] for axis in range(axes))
    base = -(-max(2 * max(field) + 4 * step, FIELD_SIDES[axes][0] // 4) // step) * step
    aligned, others = (base, base + 3 * step), {base + 1, base + step - 1} - {base}
    walks = {side: _square(model, side, axes) for side in (*aligned, *sorted(others))}
    factors = {side: {note for note in one.output.trail if note.kind == "resize"} for side, one in walks.items()}
    if moving := factors[aligned[0]] ^ factors[aligned[1]]:
        note = next(iter(sorted(moving, key=str)))
        return NoHalo(f"the factor of a resize ({note.what}) depends on the image's size", note.layer)
    if not all(_repeats(walks[base].output, axis, align[axis]) for axis in range(axes)):
        return NoHalo("the fields of neighbouring pixels do not repeat", "")
    free = all(factors[side] == factors[base] for side in others)
    kept = [walks[side].output for side in walks if free or side in aligned]
    before, after = zip(*(_around(kept, axis, align[axis]) for axis in range(axes)), strict=True)
    return Halo(before, after, align, tuple(1 if free else one for one in align), field)


def settled_walk(model: nn.Module) -> Walked:
    """A pass at the first size in which each field that is a window fits with room to spare."""
    axes = image_axes(model)
    for side in FIELD_SIDES[axes]:
        walked = _square(model, side, axes)
        fields = [walked.output, *(stage.extra["field"] for stage in walked.stages if stage.extra.get("field"))]
        if all(has_room(one, axis) for one in fields if not barred(one, walked) for axis in range(axes)):
            break
    return walked


def image_axes(model: nn.Module) -> int:
    """The number of image axes of a network: 2, or 3 for volumes."""
    return int(getattr(model, "axes", 2))


def barred(one: Field, walked: Walked) -> list[Note]:
    """Why a field is not a window of fixed size: notes, in the order in which they came up."""
    return [note for note in walked.notes if note.kind in BARS and note in one.trail]


def sentence(note: Note) -> str:
    """A note of `barred` in words."""
    return {
        "unknown": f"its receptive field is not defined: {note.what}",
        "data": f"its receptive field is not defined: {note.what}",
        "sweep": f"a recurrent layer reads the whole map: {note.what}",
        "grows": f"windows grow with the image: {note.what}",
    }.get(note.kind, f"a layer reads the whole map: {note.what}")


def span(one: Field, axis: int) -> tuple[int, int]:
    """The smallest and the largest window that the border does not cut; (0, 0) if it cuts all."""
    first, last = (end.ravel() for end in one.intervals(axis))
    inside = (first > 0) & (last < one.sides[axis] - 1) & (first <= last)
    sides = (last - first + 1)[inside]
    return (int(sides.min()), int(sides.max())) if sides.size else (0, 0)


def has_room(one: Field, axis: int) -> bool:
    """Whether places of every phase are free of the border, twice as many as a period has."""
    first, last = (end.ravel() for end in one.intervals(axis))
    if (first > last).all():
        return True
    inside = (first > 0) & (last < one.sides[axis] - 1) & (first <= last)
    return int(inside.sum()) > 2 * period(one, axis) // max(1, int(one.jump[axis] or 1))


def period(one: Field, axis: int) -> int:
    """Pixels after which all strides on the way start anew: their least common multiple."""
    jumps = [note.value for note in one.trail if note.kind == "jump" and note.axis == axis]
    return lcm(1, *(jump.numerator for jump in jumps))


def _square(model: nn.Module, side: int, axes: int) -> Walked:
    return walk(model, (1, model.in_channels, *(side,) * axes))  # type: ignore[arg-type]


def _ends(one: Field, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """The first and the last pixel that each pixel of the logits reads along an axis."""
    first, last = (end.max(tuple(other for other in range(end.ndim) if other != axis)) for end in one.intervals(axis))
    return first, last


def _repeats(one: Field, axis: int, align: int) -> bool:
    """Whether, away from the border, fields repeat every `align` pixels, moved by `align`."""
    first, last = _ends(one, axis)
    inside = (first > 0) & (last < one.sides[axis] - 1)
    both = inside[align:] & inside[:-align]
    return bool(both.any() and all((end[align:] - end[:-align] == align)[both].all() for end in (first, last)))


def _around(fields: Sequence[Field], axis: int, align: int) -> tuple[int, int]:
    """Pixels before and after, multiples of `align`, that cover all fields at all these sizes."""
    before = after = 0
    for one in fields:
        first, last = _ends(one, axis)
        pixel = np.arange(len(first))
        reads = first <= last
        start, stop = pixel // align * align, np.minimum((pixel // align + 1) * align, len(first))
        before = max(before, int((start - first)[reads].max()))
        after = max(after, int((last - stop + 1)[reads].max()))
    return -(-before // align) * align, -(-after // align) * align
