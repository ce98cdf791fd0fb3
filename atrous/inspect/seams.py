"""When tiles equal the whole: how many pixels a tile needs around what is kept of it, or why no number would do.

A place of the logits that reads only pixels of the tile is computed from the same numbers as in the whole image, as
long as the tile starts where the strides of the network start anew. So the proof is the theoretical field: of every
pixel, at several sizes, borders and all. It fails where a layer reads the whole map, where a resize has another factor
in another image, and where values choose the places.
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
"""Notes after which a place's field is no window of fixed size."""

UNDEFINED = ("unknown", "data")
"""Notes after which it is not defined at all."""

FIELD_SIDES = {2: (512, 1536, 4096), 3: (128, 640, 1280)}
"""Images to try, the smallest first, until all fields have room in one; by the number of axes."""


@dataclass(frozen=True)
class Halo:
    """Per image axis, in pixels. Logits are to be kept from and up to multiples of `align`, or up to the border.

    before, after: to add ahead of what is kept and behind it, multiples of `align` too; no more than the image has.
    multiple: the whole image's sides must be multiples of this (pad it first); 1, any size will do.
    field: of the logits, the largest window that a pixel reads.
    """

    before: tuple[int, ...]
    after: tuple[int, ...]
    align: tuple[int, ...]
    multiple: tuple[int, ...]
    field: tuple[int, ...]

    def tile(self, start: int, stop: int, side: int, axis: int = 0) -> tuple[int, int]:
        """First and end of the tile from which to keep `start`..`stop` (exclusive) along an axis of `side` pixels.

        Raises ModelError where they are no multiples of `align`, or the side is none of `multiple`.
        """
        align, multiple = self.align[axis], self.multiple[axis]
        if not 0 <= start < stop <= side or start % align or (stop % align and stop != side):
            raise ModelError(f"{start}..{stop} of {side} pixels is no tile: start and stop at multiples of {align}")
        if side % multiple:
            raise ModelError(f"an image side of {side} pixels is no multiple of {multiple}; pad the image first")
        return max(0, start - self.before[axis]), min(side, stop + self.after[axis])


@dataclass(frozen=True)
class NoHalo:
    """Why no tile equals the whole, in words, and the layer that is to blame ('' the network's own `forward`)."""

    reason: str
    layer: str


def halo(model: nn.Module, settled: Walked | None = None) -> Halo | NoHalo:
    """The halo with which tiles give the whole image's logits in evaluation mode (to rounding), or why there is none.

    model: one of MODELS, on any device; it is left as it is. Takes seconds: a few passes without values. settled: what
    `settled_walk` gave for it, to spare one.
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
    """A pass at the first size in which the field of every stage that has one fits with room to spare."""
    axes = image_axes(model)
    for side in FIELD_SIDES[axes]:
        walked = _square(model, side, axes)
        fields = [walked.output, *(stage.extra["field"] for stage in walked.stages if stage.extra.get("field"))]
        if all(has_room(one, axis) for one in fields if not barred(one, walked) for axis in range(axes)):
            break
    return walked


def image_axes(model: nn.Module) -> int:
    """2 for a network on images, 3 on volumes."""
    return int(getattr(model, "axes", 2))


def barred(one: Field, walked: Walked) -> list[Note]:
    """What keeps a field from being a window of fixed size, in the order in which it comes up."""
    return [note for note in walked.notes if note.kind in BARS and note in one.trail]


def sentence(note: Note) -> str:
    """Why a field is no window."""
    return {
        "unknown": f"its receptive field is not defined: {note.what}",
        "data": f"its receptive field is not defined: {note.what}",
        "sweep": f"a recurrent layer reads the whole map: {note.what}",
        "grows": f"windows grow with the image: {note.what}",
    }.get(note.kind, f"a layer reads the whole map: {note.what}")


def span(one: Field, axis: int) -> tuple[int, int]:
    """The smallest and the largest window among places that the image's border does not cut; (0, 0) without any."""
    first, last = (end.ravel() for end in one.intervals(axis))
    inside = (first > 0) & (last < one.sides[axis] - 1) & (first <= last)
    sides = (last - first + 1)[inside]
    return (int(sides.min()), int(sides.max())) if sides.size else (0, 0)


def has_room(one: Field, axis: int) -> bool:
    """Whether places of every phase are free of the border: as many in a row as the strides take to start anew."""
    first, last = (end.ravel() for end in one.intervals(axis))
    if (first > last).all():
        return True
    inside = (first > 0) & (last < one.sides[axis] - 1) & (first <= last)
    return int(inside.sum()) > 2 * period(one, axis) // max(1, int(one.jump[axis] or 1))


def period(one: Field, axis: int) -> int:
    """Pixels after which all strides on the way start anew."""
    jumps = [note.value for note in one.trail if note.kind == "jump" and note.axis == axis]
    return lcm(1, *(jump.numerator for jump in jumps))


def _square(model: nn.Module, side: int, axes: int) -> Walked:
    return walk(model, (1, model.in_channels, *(side,) * axes))  # type: ignore[arg-type]


def _ends(one: Field, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """First and last pixel that each pixel of the logits reads along an axis."""
    first, last = (end.max(tuple(other for other in range(end.ndim) if other != axis)) for end in one.intervals(axis))
    return first, last


def _repeats(one: Field, axis: int, align: int) -> bool:
    """Whether away from the border a pixel reads what the pixel `align` before it reads, `align` further on."""
    first, last = _ends(one, axis)
    inside = (first > 0) & (last < one.sides[axis] - 1)
    both = inside[align:] & inside[:-align]
    return bool(both.any() and all((end[align:] - end[:-align] == align)[both].all() for end in (first, last)))


def _around(fields: Sequence[Field], axis: int, align: int) -> tuple[int, int]:
    """Pixels before and after, multiples of `align`, that cover the fields of all pixels at all these sizes."""
    before = after = 0
    for one in fields:
        first, last = _ends(one, axis)
        pixel = np.arange(len(first))
        reads = first <= last
        start, stop = pixel // align * align, np.minimum((pixel // align + 1) * align, len(first))
        before = max(before, int((start - first)[reads].max()))
        after = max(after, int((last - stop + 1)[reads].max()))
    return -(-before // align) * align, -(-after // align) * align
