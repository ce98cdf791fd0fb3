"""Mean field of the fully connected CRF: the loop, for any kernels and any compatibility of labels.

Kraehenbuehl and Koltun 2011 (1210.5644), algorithm 1. The energy of labels x, with features f:

    E(x) = sum_i psi_u(x_i) + sum_{i < j} sum_m mu_m(x_i, x_j) k_m(f_i, f_j)

    Q = softmax(-psi_u)
    repeat  K_m Q                            message passing, one Gaussian filter for all labels
            E_i(l) = sum_m mu_m(l, .) K_m Q  compatibility transform and weighting
            Q = softmax(-psi_u - E)          local update

Memory decides on the time here. So pixels are sorted by tiles of the image (`_by_tiles`), kernels
that share a compatibility share a pass, normalisation and weight are multiplied into the lattices'
tables once, and the last part of a round, from slicing to softmax, is one kernel (`_softmax`).

N pixels, K labels (a row of them is padded to whole vectors), M lattice points of all kernels
together. Nothing here knows what an image is: see `atrous.refine.densecrf`.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import product
from math import prod
from typing import Literal, get_args

import numpy as np

from atrous.errors import DataError, nearest
from atrous.ops.compiling import njit
from atrous.ops.lattice import (
    Lattice,
    Rows,
    build_lattice,
    empty_table,
    exact_lattice,
    half_unit,
    response_to_ones,
    slice_rows,
    splat_blur,
)
from atrous.ops.threads import Team, give_back_memory
from atrous.ops.vectors import (
    WIDTH,
    aligned,
    exp,
    has_half,
    larger,
    largest,
    load,
    multiply_add,
    padded,
    prefetch,
    spread,
    store,
    total,
)

Normalisation = Literal["none", "mean", "before", "after", "symmetric"]
MOST_LABELS = 65536
"""Labels are uint8 or uint16."""
TOGETHER = 16
"""Pixels that take each step of the softmax together."""
CACHED = 8 << 20
"""Bytes of lattice points, in float32, that stay in a cache: there float16 would only cost time."""
LARGEST, HEAVIEST = 1e30, 1e27
"""The largest energy, and the largest weight of a kernel: their sums over all pixels are finite in float32."""
NEVER = -3e38
"""The log-probability of labels that only pad a row, near the least of float32: their e^x is 0."""


@dataclass(frozen=True)
class Kernel:
    """A term of the pairwise energy of a `MeanField`: k(i, j) = exp(-|f_i - f_j|^2 / 2).

    Args:
        features: (N, d), d = 1..8, each divided by its standard deviation.
        compatibility: a weight w (Potts: unlike labels cost w); or (K,) or (K, K), what messages of
            labels cost a label. Positive numbers there are costs: Potts is -w times the identity,
            but for a constant.
        normalisation: of the kernel's matrix K, with n = K 1 the sums of its rows.
            "none" K, "mean" K N / sum(n), "before" K diag(1/n), "after" diag(1/n) K, "symmetric"
            diag(1/sqrt(n)) K diag(1/sqrt(n)). pydensecrf's NO_NORMALIZATION is "none".
        self_term: whether a pixel is its own neighbour. It is in pydensecrf, it is not in the
            paper; n counts it anyway.
    """

    features: np.ndarray
    compatibility: float | np.ndarray
    normalisation: Normalisation = "symmetric"
    self_term: bool = True


@dataclass(frozen=True)
class _Term:
    """Kernels that share a compatibility: their lattices, one behind the other in one table."""

    lattices: list[Rows]
    vertices: np.ndarray
    """(N, corners of all lattices) uint32 rows that each pixel takes from."""
    weights: np.ndarray
    """How much of each, with normalisation and Potts weight in it."""
    own: np.ndarray
    """(N,) what a pixel's message holds of its own value and should not."""
    compatibility: np.ndarray | None
    """(K, K); None for Potts, whose weight is in `weights`."""


class MeanField:
    """Mean field of N pixels: `run` it, then ask for its `marginals`; lattices are built once.

    Args:
        unary: (K, N) energies -log p, K from 2 to 65,536.
        kernels: terms of the pairwise energy, each of N pixels.
        shape: of the image whose pixels these are; makes it faster.
        exact: sum over all pairs of pixels instead of the lattice; at most 8,192 pixels.
        half: keep lattice points in float16 where they outgrow the cache: half their memory.
        threads: None takes all that are available.

    Raises:
        DataError: sizes do not fit, numbers are not finite or beyond 1e30 (of weights 1e27), a
            normalisation is unknown, or `build_lattice` refuses features.

    Example:
        >>> import numpy as np
        >>> unary = -np.log([[0.9, 0.4, 0.4], [0.1, 0.6, 0.6]])
        >>> features = np.array([[0.0], [0.5], [9.0]])  # the first two pixels are alike
        >>> field = MeanField(unary, [Kernel(features, compatibility=3.0)])
        >>> field.run(5)
        5
        >>> field.marginals.argmax(0).tolist()
        [0, 0, 1]
    """

    def __init__(
        self,
        unary: np.ndarray,
        kernels: Sequence[Kernel],
        *,
        shape: tuple[int, ...] | None = None,
        exact: bool = False,
        half: bool = False,
        threads: int | None = None,
    ) -> None:
        if unary.ndim != 2 or not 2 <= len(unary) <= MOST_LABELS or not unary.shape[1]:
            raise DataError(f"unary has shape {unary.shape}; expected (labels, pixels), 2 to {MOST_LABELS} labels")
        self.labels, self.pixels = unary.shape
        shape = (self.pixels,) if shape is None else shape
        if not shape or min(shape) < 1 or prod(shape) != self.pixels:
            raise DataError(f"shape is {shape}, the unary energies are of {self.pixels} pixels; expected as many")
        self._team = Team(threads)
        half = half and has_half()
        potts = [kernel for kernel in kernels if np.ndim(kernel.compatibility) == 0]
        self._order = _by_tiles(shape)
        groups = [potts] * bool(potts) + [[kernel] for kernel in kernels if np.ndim(kernel.compatibility)]
        with self._team as team:
            self._terms = [_term(team, group, self.labels, self._order, exact, half) for group in groups]
            give_back_memory()  # building takes twice what the lattices hold
            self._logits = self._rows(unary, -1, NEVER)
        self._half = half
        self._marginals = self._table = np.empty((0, 0), np.float32)

    @contextmanager
    def _work(self) -> Iterator[Team]:
        """The threads; makes Q and the lattices' table first, if there are none.

        They come late on purpose: the caller can have let go of `unary` by then.
        """
        with self._team as team:
            if not self._table.size:
                rows = max((sum(map(len, term.lattices)) for term in self._terms), default=0)
                size = self._logits.shape[1]
                self._table = empty_table(max(rows, 1), size, self._half and 4 * rows * size > CACHED)
            if not self._marginals.size:
                self._marginals = aligned(self._logits.shape, np.float32)
                self._marginals[:] = 0
                self._update(self._logits, _nothing(self.pixels))
            yield team

    @property
    def marginals(self) -> np.ndarray:
        """(K, N) float32, Q: the probabilities of labels; assign others to go on from them.

        Raises:
            DataError: what is assigned has another shape, or numbers outside of 0..1.
        """
        with self._work() as team:
            return self._columns(team)

    @marginals.setter
    def marginals(self, values: np.ndarray) -> None:
        with self._team:
            self._marginals = self._rows(values, 1, 0)

    def last_marginals(self) -> np.ndarray:
        """`marginals`, after the field has freed everything else: it cannot run any more."""
        with self._work() as team:
            del self._terms, self._logits, self._table
            return self._columns(team)

    def run(
        self, iterations: int, *, tolerance: float = 0.0, monitor: Callable[[int, float], None] | None = None
    ) -> int:
        """Update all pixels at once, several times.

        Args:
            iterations: how often, at most.
            tolerance: ends when no probability has changed by more.
            monitor: called after each update with its number and the free energy, for which all
                filters run once more. As all pixels change at once, that can rise.

        Returns:
            How often it did.
        """
        for iteration in range(1, iterations + 1):
            with self._work():
                change = self._step()
            if monitor is not None:
                monitor(iteration, self.free_energy())
            if change <= tolerance:
                return iteration
        return iterations

    def free_energy(self) -> float:
        """KL(Q || P) without its constants.

        These are log Z, and what is between Potts as a gain of like labels and a cost of unlike
        ones.
        """
        entropy, unary, pairwise = self.parts()
        return unary + pairwise / 2 - entropy

    def parts(self) -> tuple[float, float, float]:
        """(entropy, mean unary energy, mean pairwise energy) of Q; every pair is counted twice."""
        with self._work():
            energy = self._energy()
        q, logits, energy = (rows[:, : self.labels] for rows in (self._marginals, self._logits, energy))
        log = np.log(np.maximum(q, 1e-20))
        entropy, unary, pairwise = (float(np.einsum("ij,ij->", q, rows, dtype=float)) for rows in (log, logits, energy))
        return -entropy, -unary, pairwise

    def _step(self) -> float:
        """One round; returns the largest change of a probability.

        With Potts alone, messages are sliced, summed and put through the softmax in one pass.
        """
        if len(self._terms) == 1 and self._terms[0].compatibility is None:
            self._pass(self._terms[0])
            return self._update(self._logits, self._terms[0])
        return self._update(self._logits - self._energy(), _nothing(self.pixels))

    def _pass(self, term: _Term) -> None:
        """Splat Q into a term's lattices and blur it there."""
        first = 0
        for rows in term.lattices:
            splat_blur(self._team, rows, self._marginals, self._table[first : first + len(rows)])
            first += len(rows)

    def _energy(self) -> np.ndarray:
        """(N, size): E, the sum of all terms' messages after their compatibility."""
        energy, message = np.zeros_like(self._logits), np.empty_like(self._logits)
        for term in self._terms:
            self._pass(term)
            slice_rows(self._team, term.vertices, term.weights, self._table, message)
            message -= term.own[:, None] * self._marginals
            if term.compatibility is None:
                energy -= message
            else:
                energy[:, : self.labels] += message[:, : self.labels] @ term.compatibility.T
        return energy

    def _update(self, logits: np.ndarray, term: _Term) -> float:
        q, size = self._marginals.reshape(-1), np.uint64(logits.shape[1])
        table, flat = self._table.reshape(-1), logits.reshape(-1)
        return max(self._team.split(self.pixels, _softmax, flat, term.vertices, term.weights, table, term.own, size, q))

    def _columns(self, team: Team) -> np.ndarray:
        """Q as (K, N), in the caller's order of pixels."""
        out = np.empty((self.labels, self.pixels), np.float32)
        team.split(self.pixels, _from_rows, self._marginals, self._order, out)
        return out

    def _rows(self, values: np.ndarray, sign: int, padding: float) -> np.ndarray:
        """(K, N) -> (N, size) float32 in the field's own order, times `sign`."""
        if np.shape(values) != (self.labels, self.pixels):
            raise DataError(f"values have shape {np.shape(values)}; expected {(self.labels, self.pixels)}")
        if np.asarray(values).dtype.kind not in "biuf":
            raise DataError(f"values are of type {np.asarray(values).dtype}; expected real numbers")
        with np.errstate(over="ignore"):  # infinite numbers are refused below
            values = np.ascontiguousarray(values, np.float32)
        least, most = (-LARGEST, LARGEST) if sign < 0 else (0.0, 1.0)
        if not (values.min() >= least and values.max() <= most):
            what = "energies" if sign < 0 else "marginals"
            raise DataError(f"{what} lie in {values.min():g}..{values.max():g}; expected {least:g}..{most:g}")
        rows = aligned((self.pixels, padded(self.labels)), np.float32)
        self._team.split(self.pixels, _to_rows, values, np.float32(sign), np.float32(padding), self._order, rows)
        return rows


def _nothing(pixels: int) -> _Term:
    """A term without messages: `_softmax` is then the plain one."""
    own = np.zeros(pixels, np.float32)
    return _Term([], np.empty((pixels, 0), np.uint32), np.empty((pixels, 0), np.float32), own, None)


def _term(team: Team, kernels: Sequence[Kernel], labels: int, order: np.ndarray, exact: bool, half: bool) -> _Term:
    """The kernels that share a compatibility; their lattices are built at the same time."""
    # Most dimensions take longest: begun first, they do not keep the other threads waiting.
    kernels = sorted(kernels, key=lambda kernel: -kernel.features.shape[-1])
    built = team.run([partial(_lattice, team, kernel, order, exact, half) for kernel in kernels])
    firsts = np.cumsum([0, *(len(lattice.rows) for lattice, _ in built)])
    vertices = [lattice.vertices + np.uint32(first) for (lattice, _), first in zip(built, firsts, strict=False)]
    return _Term(
        [lattice.rows for lattice, _ in built],
        _beside(vertices),
        _beside([lattice.weights for lattice, _ in built]),
        np.asarray(np.sum([own for _, own in built], 0, dtype=np.float32)),
        _matrix(kernels[0].compatibility, labels),
    )


def _lattice(team: Team, kernel: Kernel, order: np.ndarray, exact: bool, half: bool) -> tuple[Lattice, np.ndarray]:
    """The lattice of pixels in this order, and what their messages hold of themselves in excess.

    Normalisation and Potts weight are multiplied into what pixels give and take. They need no pass
    of their own then, in any of the iterations.
    """
    if len(kernel.features) != len(order):
        raise DataError(f"a kernel has features of {len(kernel.features)} pixels, the unary energies of {len(order)}")
    features = kernel.features[order]
    lattice = exact_lattice(features) if exact else build_lattice(features, team=team)
    rows = lattice.rows
    give, take = _normalisers(response_to_ones(lattice)[0], kernel.normalisation)
    np.multiply(rows.shares, give[rows.sources], out=rows.shares)
    if half:
        unit = half_unit(response_to_ones(lattice)[1])
        np.multiply(rows.shares, unit, out=rows.shares)
        give, take = give * unit, take / unit
    if np.ndim(kernel.compatibility) == 0:
        take = take * np.float32(kernel.compatibility)
    np.multiply(lattice.weights, take[:, None], out=lattice.weights)
    return lattice, np.zeros_like(take) if kernel.self_term else lattice.own * give * take


def _by_tiles(shape: tuple[int, ...]) -> np.ndarray:
    """Pixels of an image by tiles of about 1,024: what is near in the image is then near in memory.

    Near pixels share lattice points; a row of the image alone would meet each of them again only a
    whole row later.
    """
    side = round(1024 ** (1 / len(shape)))
    index = np.arange(np.prod(shape), dtype=np.uint32).reshape(shape)
    corners = product(*(range(0, size, side) for size in shape))
    return np.concatenate([index[tuple(slice(c, c + side) for c in corner)].reshape(-1) for corner in corners])


def _beside(tables: list[np.ndarray]) -> np.ndarray:
    return tables[0] if len(tables) == 1 else np.concatenate(tables, 1)


def _normalisers(n: np.ndarray, normalisation: str) -> tuple[np.ndarray, np.ndarray]:
    """(N,) each, to multiply values by before and after the filter; n is the filter of ones."""
    one, inverse = np.ones_like(n), 1 / (n + np.float32(1e-20))
    match normalisation:
        case "none":
            return one, one
        case "mean":
            return one, np.full_like(n, len(n) / n.sum(dtype=float))
        case "before":
            return inverse, one
        case "after":
            return one, inverse
        case "symmetric":
            return np.sqrt(inverse), np.sqrt(inverse)
    raise DataError(f"unknown normalisation {normalisation!r}; {nearest(normalisation, get_args(Normalisation))}")


def _matrix(compatibility: float | np.ndarray, labels: int) -> np.ndarray | None:
    """(K, K) float32 for a vector or matrix, None for a number."""
    matrix = np.asarray(compatibility, np.float32)
    if not (np.abs(matrix) <= HEAVIEST).all():
        raise DataError(f"compatibility is {compatibility}; expected finite numbers up to {HEAVIEST:g}")
    if matrix.ndim == 0:
        return None
    matrix = np.diag(matrix) if matrix.ndim == 1 else matrix
    if matrix.shape != (labels, labels):
        raise DataError(f"compatibility has shape {np.shape(compatibility)}; expected a number, ({labels},) or square")
    return matrix


@njit(nogil=True, cache=True)
def _softmax(logits, vertices, weights, table, own, size, q, first, last):  # type: ignore[no-untyped-def]
    """q = softmax(logits + what a pixel takes from the table - own q), pixels first..last - 1.

    Returns the largest change of a number of q. Three loops over a few pixels, not one loop over
    all: within each loop pixels do not depend on one another, so that the processor overlaps their
    waiting for memory, for the exponentials and for the division.
    """
    # In bounds: `_lattice` has checked that each lattice is of these pixels, `_work` makes the table for the term with
    # the most rows, and a row is `size` numbers in all of them.
    together, one, two, three = np.uint64(TOGETHER), np.uint64(WIDTH), np.uint64(2 * WIDTH), np.uint64(3 * WIDTH)
    corners, zero = np.uint64(vertices.shape[1]), spread(np.float32(0))
    rows, peaks = np.empty(together * size, np.float32), np.empty(together, np.float32)
    change, stop = zero, np.uint64(last)
    for start in range(np.uint64(first), stop, together):
        count = min(together, stop - start)
        # Slice: logits and messages of all lattices into `rows`, and each pixel's largest number.
        for n in range(count):
            i = start + n
            # The rows of the next pixel are asked for now.
            if i + one < stop:
                for k in range(corners):
                    place = vertices[i + one, k] * size
                    prefetch(table, place)
                    prefetch(table, place + two)
            mine, top, c = spread(-own[i]), spread(np.float32(NEVER)), np.uint64(0)
            while c < size:
                at, to = i * size + c, n * size + c
                a = multiply_add(mine, load(q, at), load(logits, at))
                if c + three <= size:
                    b = multiply_add(mine, load(q, at + one), load(logits, at + one))
                    d = multiply_add(mine, load(q, at + two), load(logits, at + two))
                    for k in range(corners):
                        weight, place = spread(weights[i, k]), vertices[i, k] * size + c
                        a = multiply_add(weight, load(table, place), a)
                        b = multiply_add(weight, load(table, place + one), b)
                        d = multiply_add(weight, load(table, place + two), d)
                    store(rows, to + one, b)
                    store(rows, to + two, d)
                    top = larger(top, larger(b, d))
                    step = three
                else:
                    for k in range(corners):
                        a = multiply_add(spread(weights[i, k]), load(table, vertices[i, k] * size + c), a)
                    step = one
                store(rows, to, a)
                top = larger(top, a)
                c += step
            peaks[n] = largest(top)
        # Exponentials, of numbers <= 0 so that none overflows, and one over their sum.
        for n in range(count):
            peak, sums = spread(peaks[n]), zero
            for to in range(n * size, n * size + size, one):
                value = exp(load(rows, to) - peak)
                store(rows, to, value)
                sums = sums + value
            peaks[n] = np.float32(1) / total(sums)
        # Write q in place, and notice how far it has moved.
        for n in range(count):
            norm, at = spread(peaks[n]), (start + n) * size
            for to in range(n * size, n * size + size, one):
                value = load(rows, to) * norm
                moved = value - load(q, at)
                change = larger(change, larger(moved, zero - moved))
                store(q, at, value)
                at += one
    return largest(change)


@njit(nogil=True, cache=True)
def _to_rows(values, sign, padding, order, rows, first, last):  # type: ignore[no-untyped-def]
    """(K, N) times sign -> (N, size), pixels in another order.

    Sixteen at a time: a transposition reads or writes far apart, and so both sides stay in a cache.
    """
    # In bounds: `order` is a permutation of the pixels (`MeanField` checks the shape), values are (K, N) (`_rows`).
    labels, size = values.shape[0], rows.shape[1]
    for start in range(first, last, 16):
        stop = min(start + 16, last)
        for k in range(labels):
            for i in range(start, stop):
                rows[i, k] = sign * values[k, order[i]]
        for i in range(start, stop):
            rows[i, labels:size] = padding


@njit(nogil=True, cache=True)
def _from_rows(rows, order, values, first, last):  # type: ignore[no-untyped-def]
    """The way back: (N, size) -> (K, N) in the caller's order; in bounds as `_to_rows`."""
    for start in range(first, last, 16):
        stop = min(start + 16, last)
        for k in range(values.shape[0]):
            for i in range(start, stop):
                values[k, order[i]] = rows[i, k]
