"""Which pixels of the image each element of a tensor reads, in exact integers.

For each element and each image axis there is one interval, from the first to the last pixel that is
read. An operation moves intervals (slices, views, reflections), joins those under a window
(convolutions, pools, interpolation), or joins all along an axis of the tensor (means, norms,
attention). The box of an element is the product of its intervals: what lies outside the box cannot
change the element.

Axes: N images, C channels, D x H x W a map. There are 2 image axes, or 3 for volumes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

NONE = 2**30
"""Beyond any pixel: the ends of an interval that holds none, as in a border of zeros."""


@dataclass(frozen=True)
class Note:
    """Something on the way to a tensor that matters for its field.

    kind is one of:
        whole: all places of a map were joined.
        sweep: a recurrent layer ran over the map.
        grows: a window grows with the image.
        data: values choose which places are read.
        unknown: there is no rule for the operation.
        resize: an interpolation; `value` source elements per new element.
        jump: a map of `value` pixels per element.
    """

    kind: str
    layer: str = ""
    what: str = ""
    axis: int = 0
    value: Fraction = Fraction(0)


@dataclass(frozen=True)
class Pool:
    """A pool that returned the places of its maxima: input, output and window along each axis."""

    sides: tuple[int, ...]
    cells: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]


@dataclass(frozen=True)
class Field:
    """The intervals of all elements of a tensor.

    shape: of the tensor. sides: of the image.
    terms: for each image axis, arrays that broadcast to (2, *shape): the first pixel, and minus the
        last one. So joining intervals is taking the minimum of both. An element's interval spans
        its intervals in all terms of the axis. Several small terms stand for one large array.
    jump: pixels per element along each image axis; None where the map has no single step.
    trail: all notes on the way to this tensor.
    source: numbers of the stages that it comes from.
    pool: set on the indices of a max pool, for unpooling.
    """

    shape: tuple[int, ...]
    sides: tuple[int, ...]
    terms: tuple[tuple[np.ndarray, ...], ...]
    jump: tuple[Fraction | None, ...]
    trail: frozenset[Note] = frozenset()
    source: frozenset[int] = frozenset()
    pool: Pool | None = field(default=None, compare=False)

    @classmethod
    def of_image(cls, shape: tuple[int, ...]) -> "Field":
        """The field of the image (N, C, ...) itself: each pixel reads itself."""
        terms = []
        for dim, side in enumerate(shape[2:], start=2):
            pixel = np.arange(side, dtype=np.int32)
            terms.append((np.stack([pixel, -pixel]).reshape(2, *(side if d == dim else 1 for d in range(len(shape)))),))
        return cls(shape, shape[2:], tuple(terms), (Fraction(1),) * len(terms), source=frozenset({-1}))

    def dims(self, axis: int) -> set[int]:
        """The dimensions of the tensor along which the intervals of an image axis vary."""
        return {dim for term in self.terms[axis] for dim in range(len(self.shape)) if term.shape[dim + 1] > 1}

    def with_notes(self, *notes: Note) -> "Field":
        """The same field with more notes."""
        return replace(self, trail=self.trail | frozenset(notes))

    def moved(self, shape: Sequence[int], move: Callable[[np.ndarray], np.ndarray]) -> "Field":
        """The field of a tensor of another shape, with `move` applied to each term."""
        return replace(
            self, shape=tuple(shape), terms=tuple(tuple(move(term) for term in terms) for terms in self.terms)
        )

    def gather(self, dim: int, taps: np.ndarray, step: Fraction | None = Fraction(1)) -> "Field":
        """The field of a tensor whose element i along `dim` reads elements taps[:, i] of this one.

        taps: (k, out); -1 reads nothing. step: elements of this tensor per element of the new one,
        None where the new one has no regular step.
        """

        def move(term: np.ndarray) -> np.ndarray:
            if term.shape[dim + 1] == 1:
                return term
            moved = np.full(
                (2, *(n if d != dim else taps.shape[1] for d, n in enumerate(term.shape[1:]))), NONE, np.int32
            )
            for tap in taps:
                reads = tap >= 0
                taken = term.take(np.maximum(tap, 0), dim + 1)
                if not reads.all():
                    taken[(slice(None),) * (dim + 1) + (~reads,)] = NONE
                np.minimum(moved, taken, out=moved)
            return moved

        jump, notes = list(self.jump), []
        for axis, own in enumerate(self.jump):
            if own is not None and step != 1 and dim in self.dims(axis):
                jump[axis] = None if step is None else own * step
                notes += [] if step is None else [Note("jump", axis=axis, value=own * step)]
        shape = (*self.shape[:dim], taps.shape[1], *self.shape[dim + 1 :])
        moved = self.moved(shape, move)
        return replace(moved, jump=tuple(jump), trail=self.trail | frozenset(notes))

    def joined(self, dims: Iterable[int], layer: str, what: str, keepdim: bool = True) -> "Field":
        """Join all elements along `dims`, and note it where that joins all places of the map."""
        dims = sorted({dim % len(self.shape) for dim in dims})
        shape = [1 if dim in dims else side for dim, side in enumerate(self.shape)]
        along = tuple(dim + 1 for dim in dims)
        joined = self.moved(shape, lambda term: term.min(along, keepdims=True))
        joined = replace(joined, terms=tuple(_merge(terms) for terms in joined.terms))
        notes = []
        for axis, side in enumerate(self.sides):
            before = any(_whole(term, side).any() for term in self.terms[axis])
            if (
                self.dims(axis) & set(dims)
                and not before
                and any(_whole(term, side).all() for term in joined.terms[axis])
            ):
                notes.append(Note("whole", layer, what, axis))
        joined = joined.with_notes(*notes)
        return joined if keepdim else joined.view([side for dim, side in enumerate(shape) if dim not in dims])

    def view(self, shape: Sequence[int]) -> "Field":
        """The same elements in the same order under another shape."""
        shape, groups = tuple(shape), _groups(self.shape, tuple(shape))
        notes = []

        def move(term: np.ndarray) -> np.ndarray:
            full: list[int] = []  # the term's sides before it gets its new shape
            new: list[int] = []
            mixed = False
            for (start, end), (first, last) in groups:
                own, sides = term.shape[start + 1 : end + 1], shape[first:last]
                if max(own, default=1) == 1:
                    full += own
                    new += [1] * (last - first)
                else:
                    full += self.shape[start:end]  # constant ones among them are written out
                    new += sides
                    mixed |= (end - start, last - first) != (1, 1)
            term = np.broadcast_to(term, (2, *full)).reshape(2, *new)
            return _compress(term) if mixed else term

        moved = self.moved(shape, move)
        for axis, jump in enumerate(self.jump):
            for _, (first, last) in groups:
                varying = [dim for dim in range(first, last) if dim in moved.dims(axis)]
                if len(varying) > 1 and jump is not None:  # a side was cut into windows
                    inner = int(np.prod(shape[varying[0] + 1 : last]))
                    notes.append(Note("jump", axis=axis, value=jump * inner))
        return moved.with_notes(*notes)

    def permuted(self, order: Sequence[int]) -> "Field":
        """The dimensions in another order."""
        order = [dim % len(self.shape) for dim in order]
        axes = (0, *(dim + 1 for dim in order))
        return self.moved([self.shape[dim] for dim in order], lambda term: term.transpose(axes))

    def shifted(self, dim: int, start: int, side: int) -> "Field":
        """A tensor of length `side` along `dim`: this one from `start` on, nothing elsewhere."""
        taps = np.arange(side) - start
        taps[taps >= self.shape[dim]] = -1

        def widen(term: np.ndarray) -> np.ndarray:
            return np.repeat(term, self.shape[dim], dim + 1) if term.shape[dim + 1] == 1 < self.shape[dim] else term

        if side == self.shape[dim]:
            return self
        if self.shape[dim] == 1:  # a term of length 1 would stand for the whole side: write it out

            def place(term: np.ndarray) -> np.ndarray:
                return np.concatenate(
                    [term if at == start else np.full_like(term, NONE) for at in range(side)], dim + 1
                )

            return self.moved((*self.shape[:dim], side, *self.shape[dim + 1 :]), place)
        return self.moved(self.shape, widen).gather(dim, np.maximum(taps, -1)[None])

    def places(self) -> tuple[int, ...]:
        """The dimensions of the tensor that are places; the others are images, channels, heads."""
        varying = set().union(*(self.dims(axis) for axis in range(len(self.sides))))
        last = len(self.shape) - 1
        if len(self.shape) == len(self.sides) + 2:
            return tuple(range(1, last)) if 1 in varying and last not in varying else tuple(range(2, last + 1))
        if len(self.shape) == 3:
            return (2,) if last in varying else (1,)
        return tuple(range(1, last + 1))

    def intervals(self, axis: int) -> np.ndarray:
        """(2, ...) over `places`: the first and the last pixel read along an image axis.

        Where nothing is read, the first is larger than the last.
        """
        others = tuple(dim + 1 for dim in range(len(self.shape)) if dim not in self.places())
        terms = [term.min(others) for term in self.terms[axis]]
        joined = terms[0] if terms else np.full((2, *(1 for _ in self.places())), NONE)
        for term in terms[1:]:
            joined = np.minimum(joined, term)
        return np.stack([joined[0], -joined[1]])

    def interval(self, place: Sequence[int], axis: int) -> tuple[int, int]:
        """The first and the last pixel read at one place, an index for each of `places`."""
        both = self.intervals(axis)
        index = tuple(at if side > 1 else 0 for at, side in zip(place, both.shape[1:], strict=True))
        return int(both[(0, *index)]), int(both[(1, *index)])


def join(fields: Sequence[Field], shape: Sequence[int]) -> Field:
    """The field of a tensor computed element by element from others that broadcast to it."""
    shape = tuple(shape)
    terms, jump = [], []
    for axis in range(len(fields[0].terms)):
        broadcast = [
            term.reshape(2, *(1,) * (len(shape) - len(one.shape)), *term.shape[1:])
            for one in fields
            for term in one.terms[axis]
        ]
        terms.append(_merge(broadcast))
        steps = [
            (bool(one.dims(axis) & set(one.places())), one.jump[axis]) for one in fields if one.jump[axis] is not None
        ]
        jump.append(next((step for _, step in sorted(steps, key=lambda pair: not pair[0])), None))
    return Field(
        shape,
        fields[0].sides,
        tuple(terms),
        tuple(jump),
        frozenset().union(*(one.trail for one in fields)),
        frozenset().union(*(one.source for one in fields)),
    )


def window_taps(side: int, out: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> np.ndarray:
    """Taps (kernel, out) of a convolution or pool: i reads i * stride - padding + j * dilation."""
    reads = np.arange(out) * stride - padding + np.arange(kernel)[:, None] * dilation
    return np.where((reads >= 0) & (reads < side), reads, -1)


def transposed_taps(
    side: int, out: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> np.ndarray:
    """Taps (kernel, out) of a transposed convolution.

    Element j of the input writes to i = j * stride - padding + k * dilation; here i reads j.
    """
    moved = np.arange(out) + padding - np.arange(kernel)[:, None] * dilation
    return np.where((moved % stride == 0) & (moved >= 0) & (moved < side * stride), moved // stride, -1)


def bin_taps(side: int, out: int) -> np.ndarray:
    """Taps (k, out) of adaptive pooling.

    Bin i reads from floor(i * side / out) up to, not including, ceil((i + 1) * side / out).
    """
    first, end = np.arange(out) * side // out, -(-(np.arange(out) + 1) * side // out)
    reads = first + np.arange((end - first).max())[:, None]
    return np.where(reads < end, reads, -1)


def nearest_taps(side: int, step: Fraction, out: int, exact: bool) -> np.ndarray:
    """Taps (1, out) of nearest interpolation by `step` source elements per new element.

    exact: read at the new element's centre (torch's `nearest-exact`), not at its start.
    """
    at = (2 * np.arange(out) + 1) * step.numerator // (2 * step.denominator)
    return np.minimum(at if exact else np.arange(out) * step.numerator // step.denominator, side - 1)[None]


def linear_taps(side: int, step: Fraction, out: int, align_corners: bool, cubic: bool = False) -> np.ndarray:
    """Taps (2 or 4, out) of linear or cubic interpolation; -1 for a tap of weight zero."""
    i, (top, bottom) = np.arange(out), step.as_integer_ratio()
    # the place in the source is the fraction up / down
    up, down = (i * top, bottom) if align_corners else ((2 * i + 1) * top - bottom, 2 * bottom)
    up = up if cubic else np.clip(up, 0, (side - 1) * down)
    floor, between = up // down, up % down != 0
    reads = [floor - 1, floor, floor + 1, floor + 2] if cubic else [floor, floor + 1]
    return np.stack([np.where(between | (read == floor), np.clip(read, 0, side - 1), -1) for read in reads])


def _whole(term: np.ndarray, side: int) -> np.ndarray:
    """Which intervals of a term cover a whole side of the image."""
    return (term[0] <= 0) & (term[1] <= 1 - side)


def _compress(term: np.ndarray) -> np.ndarray:
    """The term with length 1 along the dimensions in which it is constant."""
    for dim in range(1, term.ndim):
        first = term.take([0], dim)
        if term.shape[dim] > 1 and (term == first).all():
            term = first
    return term


def _merge(terms: Iterable[np.ndarray]) -> tuple[np.ndarray, ...]:
    """Fewer terms with the same hull: two become one where it is no larger than the larger one."""
    kept: list[np.ndarray] = []
    for term in terms:
        for at, other in enumerate(kept):
            room = np.broadcast_shapes(term.shape, other.shape)
            if room in (term.shape, other.shape):
                kept[at] = _compress(np.minimum(term, other))
                break
        else:
            kept.append(_compress(term))
    return tuple(kept)


def _groups(old: tuple[int, ...], new: tuple[int, ...]) -> list[tuple[tuple[int, int], tuple[int, int]]]:
    """The shortest runs of dimensions that have equal products in two shapes of one tensor.

    (6, 4) and (2, 3, 4) give [((0, 1), (0, 2)), ((1, 2), (2, 3))]: dimension 0 was cut in two.
    """
    groups, i, j = [], 0, 0
    while i < len(old) or j < len(new):
        start, first = i, j
        p = q = 1
        if i < len(old):
            p, i = old[i], i + 1
        if j < len(new):
            q, j = new[j], j + 1
        while p != q:
            if p < q:
                p, i = p * old[i], i + 1
            else:
                q, j = q * new[j], j + 1
        groups.append(((start, i), (first, j)))
    return groups
