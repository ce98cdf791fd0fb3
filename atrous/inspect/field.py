"""Which pixels of the image the elements of a tensor read: an interval per element and image axis, exact integers.

An operation moves intervals about (slices, views, reflections), joins those under a window (convolutions, pools,
interpolation) or joins all along an axis of the tensor (means, norms, attention). The box of an element is the product
of its intervals: what lies outside of it cannot change the element.

Axes: N images, C channels, D x H x W of a map; p image axes (2, volumes 3).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

import numpy as np

NONE = 2**30
"""Beyond any pixel: the interval of an element that reads none, such as one of a border of zeros."""


@dataclass(frozen=True)
class Note:
    """Something on the way to a tensor that matters to its field.

    kind: `whole` every place of a map was joined, `sweep` a recurrent layer ran over it, `grows` a window that grows
    with the image, `data` values choose the places that are read, `unknown` an operation without a rule; `resize` an
    interpolation of `value` source steps per step, `jump` a map of `value` pixels per element.
    """

    kind: str
    layer: str = ""
    what: str = ""
    axis: int = 0
    value: Fraction = Fraction(0)


@dataclass(frozen=True)
class Pool:
    """The pool that gave the places of its maxima: sides of its input and output, and its windows, per axis."""

    sides: tuple[int, ...]
    cells: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]


@dataclass(frozen=True)
class Field:
    """The field of a tensor of `shape`.

    terms: per image axis arrays (2, ...) that broadcast to (2, *shape), the first pixel and minus the last one; the
    interval of an element spans those of all terms, so that to join is to take the minimum. jump: pixels per element
    along each image axis, None where a map has no step of its own. trail: all notes on the way here. source: numbers of
    the stages that it comes from. sides: of the image.
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
        """Every pixel of an image (N, C, ...) reads itself."""
        terms = []
        for dim, side in enumerate(shape[2:], start=2):
            pixel = np.arange(side, dtype=np.int32)
            terms.append((np.stack([pixel, -pixel]).reshape(2, *(side if d == dim else 1 for d in range(len(shape)))),))
        return cls(shape, shape[2:], tuple(terms), (Fraction(1),) * len(terms), source=frozenset({-1}))

    def dims(self, axis: int) -> set[int]:
        """The dimensions of the tensor along which the intervals of an image axis differ."""
        return {dim for term in self.terms[axis] for dim in range(len(self.shape)) if term.shape[dim + 1] > 1}

    def with_notes(self, *notes: Note) -> "Field":
        """The same, a few notes further."""
        return replace(self, trail=self.trail | frozenset(notes))

    def moved(self, shape: Sequence[int], move: Callable[[np.ndarray], np.ndarray]) -> "Field":
        """The field of a tensor of another shape whose terms are `move(term)`."""
        return replace(
            self, shape=tuple(shape), terms=tuple(tuple(move(term) for term in terms) for terms in self.terms)
        )

    def gather(self, dim: int, taps: np.ndarray, step: Fraction | None = Fraction(1)) -> "Field":
        """Along `dim` element i reads the elements taps[:, i] of this one, -1 for none.

        taps: (k, out). step: elements of this tensor per element of the new one; None where that has no meaning.
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
        """All elements along `dims` are joined; notes it where that is every place of the map."""
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
        """The elements in the same order under another shape."""
        shape, groups = tuple(shape), _groups(self.shape, tuple(shape))
        notes = []

        def move(term: np.ndarray) -> np.ndarray:
            full: list[int] = []
            new: list[int] = []
            mixed = False
            for (start, end), (first, last) in groups:
                own, sides = term.shape[start + 1 : end + 1], shape[first:last]
                if max(own, default=1) == 1:
                    full += own
                    new += [1] * (last - first)
                else:
                    full += self.shape[start:end]
                    new += sides
                    mixed |= (end - start, last - first) != (1, 1)
            term = np.broadcast_to(term, (2, *full)).reshape(2, *new)
            return _compress(term) if mixed else term

        moved = self.moved(shape, move)
        for axis, jump in enumerate(self.jump):
            for _, (first, last) in groups:
                varying = [dim for dim in range(first, last) if dim in moved.dims(axis)]
                if len(varying) > 1 and jump is not None:  # windows: a side cut into pieces
                    inner = int(np.prod(shape[varying[0] + 1 : last]))
                    notes.append(Note("jump", axis=axis, value=jump * inner))
        return moved.with_notes(*notes)

    def permuted(self, order: Sequence[int]) -> "Field":
        """The dimensions in another order."""
        order = [dim % len(self.shape) for dim in order]
        axes = (0, *(dim + 1 for dim in order))
        return self.moved([self.shape[dim] for dim in order], lambda term: term.transpose(axes))

    def shifted(self, dim: int, start: int, side: int) -> "Field":
        """A tensor of length `side` along `dim` that holds this one from `start` on, and nothing elsewhere."""
        taps = np.arange(side) - start
        taps[taps >= self.shape[dim]] = -1

        def widen(term: np.ndarray) -> np.ndarray:
            return np.repeat(term, self.shape[dim], dim + 1) if term.shape[dim + 1] == 1 < self.shape[dim] else term

        if side == self.shape[dim]:
            return self
        if self.shape[dim] == 1:  # a single element: nothing to widen, one place to be at

            def place(term: np.ndarray) -> np.ndarray:
                return np.concatenate(
                    [term if at == start else np.full_like(term, NONE) for at in range(side)], dim + 1
                )

            return self.moved((*self.shape[:dim], side, *self.shape[dim + 1 :]), place)
        return self.moved(self.shape, widen).gather(dim, np.maximum(taps, -1)[None])

    def places(self) -> tuple[int, ...]:
        """The dimensions of the tensor that are places in a map; the others are images, channels and heads."""
        varying = set().union(*(self.dims(axis) for axis in range(len(self.sides))))
        last = len(self.shape) - 1
        if len(self.shape) == len(self.sides) + 2:
            return tuple(range(1, last)) if 1 in varying and last not in varying else tuple(range(2, last + 1))
        if len(self.shape) == 3:
            return (2,) if last in varying else (1,)
        return tuple(range(1, last + 1))

    def intervals(self, axis: int) -> np.ndarray:
        """(2, ...) over `places`: first and last pixel along an image axis that is read there; first > last: none."""
        others = tuple(dim + 1 for dim in range(len(self.shape)) if dim not in self.places())
        terms = [term.min(others) for term in self.terms[axis]]
        joined = terms[0] if terms else np.full((2, *(1 for _ in self.places())), NONE)
        for term in terms[1:]:
            joined = np.minimum(joined, term)
        return np.stack([joined[0], -joined[1]])

    def interval(self, place: Sequence[int], axis: int) -> tuple[int, int]:
        """First and last pixel that is read at a place, an index for each of `places`."""
        both = self.intervals(axis)
        index = tuple(at if side > 1 else 0 for at, side in zip(place, both.shape[1:], strict=True))
        return int(both[(0, *index)]), int(both[(1, *index)])


def join(fields: Sequence[Field], shape: Sequence[int]) -> Field:
    """The field of what is computed element by element from tensors that broadcast to `shape`."""
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
    """Taps (kernel, out) of a convolution or pool along a side: i reads i stride - padding + j dilation."""
    reads = np.arange(out) * stride - padding + np.arange(kernel)[:, None] * dilation
    return np.where((reads >= 0) & (reads < side), reads, -1)


def transposed_taps(
    side: int, out: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1
) -> np.ndarray:
    """Taps (kernel, out) of a transposed convolution: j writes to i where i = j stride - padding + k dilation."""
    moved = np.arange(out) + padding - np.arange(kernel)[:, None] * dilation
    return np.where((moved % stride == 0) & (moved >= 0) & (moved < side * stride), moved // stride, -1)


def bin_taps(side: int, out: int) -> np.ndarray:
    """Taps (k, out) of adaptive pooling: bin i reads from floor(i side / out) up to ceil((i + 1) side / out)."""
    first, end = np.arange(out) * side // out, -(-(np.arange(out) + 1) * side // out)
    reads = first + np.arange((end - first).max())[:, None]
    return np.where(reads < end, reads, -1)


def nearest_taps(side: int, step: Fraction, out: int, exact: bool) -> np.ndarray:
    """Taps (1, out) of nearest interpolation by `step` source elements; exact: at the centre of the new element."""
    at = (2 * np.arange(out) + 1) * step.numerator // (2 * step.denominator)
    return np.minimum(at if exact else np.arange(out) * step.numerator // step.denominator, side - 1)[None]


def linear_taps(side: int, step: Fraction, out: int, align_corners: bool, cubic: bool = False) -> np.ndarray:
    """Taps (2 or 4, out) of linear or cubic interpolation; a tap whose weight is exactly zero is none."""
    i, (top, bottom) = np.arange(out), step.as_integer_ratio()
    up, down = (
        (i * top, bottom) if align_corners else ((2 * i + 1) * top - bottom, 2 * bottom)
    )  # the source is up / down
    up = up if cubic else np.clip(up, 0, (side - 1) * down)
    floor, between = up // down, up % down != 0
    reads = [floor - 1, floor, floor + 1, floor + 2] if cubic else [floor, floor + 1]
    return np.stack([np.where(between | (read == floor), np.clip(read, 0, side - 1), -1) for read in reads])


def _whole(term: np.ndarray, side: int) -> np.ndarray:
    """Which intervals of a term are all of a side."""
    return (term[0] <= 0) & (term[1] <= 1 - side)


def _compress(term: np.ndarray) -> np.ndarray:
    """Dimensions along which a term is constant, as one."""
    for dim in range(1, term.ndim):
        first = term.take([0], dim)
        if term.shape[dim] > 1 and (term == first).all():
            term = first
    return term


def _merge(terms: Iterable[np.ndarray]) -> tuple[np.ndarray, ...]:
    """The same hull of fewer terms: two are one where that needs no more room than the larger."""
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
    """The shortest runs of dimensions with equal products in two shapes of one tensor."""
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
