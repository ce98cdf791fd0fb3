"""The permutohedral lattice: a Gaussian filter over points in any feature space, in linear time.

Adams, Baek and Davis 2010. Three passes, all linear in the number of points:

    splat   every point gives its values to the d + 1 corners of the simplex around it
    blur    (1/2, 1, 1/2) along each of the lattice's d + 1 directions in turn
    slice   every point takes from the same d + 1 corners again

`lattice_build` finds the corners, and which lattice points are neighbours. This page filters by
them. Memory decides on the time, so the passes are arranged to meet rows while a cache has them:

    splat   is turned round: a lattice point *gathers* from its points. Each row is then written
            once, by one thread, and no two threads meet.
    blur    walks *chains*, lattice points of which each is the next one's neighbour. In a chain a
            row is read and written once, in place; its neighbours are still in registers.

N points, d features, C channels (a row is padded to whole vectors), M lattice points = rows.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy.spatial.distance import cdist

from atrous.errors import DataError
from atrous.ops.compiling import njit
from atrous.ops.lattice_build import blur_ones, chain, gather, number, simplices, slice_ones, splat_ones, unite
from atrous.ops.threads import Team
from atrous.ops.vectors import WIDTH, aligned, has_half, load, multiply_add, padded, prefetch, spread, store

LARGEST_DIMENSION = 8
FARTHEST = 2**30
"""How far from zero a feature may lie: its place in a simplex then has six digits in float64."""
TOO_FAR = (
    "the values divided by their widths are not finite or beyond 2^30; expected finite values, give larger widths "
    "or scale the image"
)
DENSE = 3
"""Up to so many dimensions lattice points are numbered by their keys: the chains of the first
direction then lie in a row. With more, few have neighbours, and they are numbered in the order in
which points come upon them: what lies near in the image lies near in memory."""
LARGEST_PART = 16384
"""Rows that a part of the lattice may have to be blurred in several directions before the next."""
BLOCK = 256
"""Rows, about, that gather and are blurred before the next ones."""
AHEAD = 8
"""How many rows before it needs a row a kernel asks the memory for it."""


@dataclass(frozen=True)
class Chains:
    """Lattice points of which each is the next one's neighbour in one direction.

    Or in several directions, part by part of the lattice: parts do not touch, so that the list may
    be cut between them and either side done first.
    """

    rows: np.ndarray
    """The rows of all chains, one chain behind the other."""
    starts: np.ndarray
    """Where in `rows` each chain begins, and where the last one ends."""
    bounds: np.ndarray
    """Chains at which the list may be cut, from 0 to their number."""
    firsts: np.ndarray | None = None
    """The first row right of each cut, where rows are numbered part by part: then the rows of a
    block gather and are blurred at once."""

    def backwards(self) -> "Chains":
        """With the last direction first."""
        bounds = (self.bounds[-1] - self.bounds)[::-1].copy()
        return Chains(self.rows[::-1].copy(), (self.starts[-1] - self.starts)[::-1].copy(), bounds)


@dataclass(frozen=True)
class Rows:
    """What lattice points gather from points, and the chains they are blurred along.

    All indices are uint32: half the memory of int64, and the tables are read from end to end.
    """

    starts: np.ndarray
    """(M + 1,) where each row's part of `sources` and `shares` begins."""
    sources: np.ndarray
    """The points that rows gather from."""
    shares: np.ndarray
    """How much of each, float32."""
    chains: tuple[Chains, ...]
    """For each direction; rows without a neighbour in it are left out."""

    def __len__(self) -> int:
        return len(self.starts) - 1


class Gathers(NamedTuple):
    """`Rows` without its chains, for kernels."""

    starts: np.ndarray
    sources: np.ndarray
    shares: np.ndarray


class Blocks(NamedTuple):
    """`Chains` that have `firsts`, for kernels."""

    rows: np.ndarray
    starts: np.ndarray
    bounds: np.ndarray
    firsts: np.ndarray


@dataclass(frozen=True)
class Lattice:
    """A filter as tables: what rows gather from points, and what points take from rows again.

    An exact filter has this form too (`exact_lattice`).

    Example:
        >>> lattice = build_lattice(np.array([[0.0], [0.5], [9.0]]))
        >>> values = np.array([[1.0], [1], [0]])
        >>> (lattice.filter(values) / lattice.filter(np.ones((3, 1)))).round(2).tolist()
        [[1.0], [1.0], [0.0]]
    """

    rows: Rows
    vertices: np.ndarray
    """(N, d + 1) uint32 rows that each point takes from."""
    weights: np.ndarray
    """(N, d + 1) float32, how much of each."""
    own: np.ndarray
    """(N,) float32: what a point gets of its own value, if it is alone."""

    def filter(self, values: np.ndarray, *, half: bool = False, threads: int | None = None) -> np.ndarray:
        """The sum over all points j of kernel(i, j) values_j, as the lattice has it.

        Args:
            values: (N, C).
            half: keep rows in float16: half the memory and three digits. Float32 where the
                processor has no float16.
            threads: None takes all that are available.

        Returns:
            (N, C) float32.

        Raises:
            DataError: `values` has another shape or is complex.
        """
        return self._filter(values, self.rows, half, threads)

    def adjoint(self, values: np.ndarray, *, half: bool = False, threads: int | None = None) -> np.ndarray:
        """The transposed filter, with <a, filter(b)> = <adjoint(a), b>; arguments as for `filter`.

        Splat and slice are each other's transpose and each blur is its own; what remains is the
        order of the blurs.
        """
        backwards = tuple(chains.backwards() for chains in reversed(self.rows.chains))
        return self._filter(values, replace(self.rows, chains=backwards), half, threads)

    def _filter(self, values: np.ndarray, rows: Rows, half: bool, threads: int | None) -> np.ndarray:
        if values.ndim != 2 or len(values) != len(self.vertices) or values.dtype.kind not in "fiub":
            raise DataError(
                f"values have shape {values.shape} and type {values.dtype}; expected ({len(self.vertices)}, channels) "
                "of real numbers"
            )
        padding = np.zeros((len(values), padded(values.shape[1])), np.float32)
        padding[:, : values.shape[1]] = values
        with Team(threads) as team:
            unit = np.float32(1)
            if half and values.size:
                unit = half_unit(float(splat_blur(team, rows, one_channel(np.abs(values).max(1))).max()))
            table = splat_blur(team, rows, padding * unit, half=half)
            slice_rows(team, self.vertices, self.weights / unit, table, padding)
        return padding[:, : values.shape[1]]


def response_to_ones(lattice: Lattice) -> tuple[np.ndarray, float]:
    """(the filter of ones (N,) float32, the largest number of the blurred rows)."""
    table = splat_ones(lattice.rows.starts, lattice.rows.shares)
    for chains in lattice.rows.chains:
        blur_ones(chains.rows, chains.starts, table)
    return slice_ones(lattice.vertices, lattice.weights, table), float(table.max())


def one_channel(values: np.ndarray) -> np.ndarray:
    """(N,) -> (N, WIDTH) float32, all but the first column zero."""
    out = np.zeros((len(values), WIDTH), np.float32)
    out[:, 0] = values
    return out


def half_unit(most: float) -> np.float32:
    """The factor that brings rows whose largest number is `most` well into float16's range.

    A power of two, so that scaling loses no digit: the largest is then in 8,192..16,384, and
    float16 ends at 65,504. Blurring never makes rows of numbers >= 0 smaller, so that none is
    larger before the last blur.
    """
    return np.float32(2.0 ** np.floor(np.log2(16384 / max(most, 1e-30))))


def empty_table(rows: int, size: int, half: bool) -> np.ndarray:
    """(rows, size) for lattice points: float32, or uint16 for float16 numbers (see `vectors`)."""
    return aligned((rows, size), np.uint16 if half and has_half() else np.float32)


def splat_blur(
    team: Team, rows: Rows, values: np.ndarray, table: np.ndarray | None = None, *, half: bool = False
) -> np.ndarray:
    """Splat and blur the values of points.

    Args:
        team: the threads that do it.
        rows: the lattice points.
        values: (N, size) float32, size a multiple of `WIDTH`.
        table: (M, size) to write into; None makes one.
        half: whether a table that is made holds float16.

    Returns:
        The table, blurred.
    """
    table = empty_table(len(rows), values.shape[1], half) if table is None else table
    size, flat, rest = np.uint64(values.shape[1]), table.reshape(-1), list(rows.chains)
    gathers = Gathers(rows.starts, rows.sources, rows.shares)
    firsts = rest[0].firsts if rest else None
    if firsts is not None:
        chains = rest.pop(0)
        blocks = Blocks(chains.rows, chains.starts, chains.bounds, firsts)
        parts = balanced(rows.starts[firsts], team.threads)
        team.split(parts, _splat_blur, gathers, values.reshape(-1), size, flat, blocks)
    else:
        team.split(balanced(rows.starts, team.threads), _splat, gathers, values.reshape(-1), size, flat)
    for chains in rest:
        cuts = chains.bounds[balanced(chains.starts[chains.bounds], team.threads)].tolist()
        team.split(cuts, _blur, chains.rows, chains.starts, size, flat)
    return table


def slice_rows(team: Team, vertices: np.ndarray, weights: np.ndarray, table: np.ndarray, out: np.ndarray) -> None:
    """Write into out (N, size) float32, for each point, the sum of its weights times its rows."""
    size = np.uint64(out.shape[1])
    team.split(len(out), _slice, vertices, weights, table.reshape(-1), size, out.reshape(-1))


def balanced(starts: np.ndarray, parts: int) -> list[int]:
    """Bounds that divide lists into `parts` of about equal length in all.

    starts: where each list begins, one behind the other, and where the last one ends.
    """
    wanted = np.linspace(0, int(starts[-1]), parts + 1)[1:-1]
    return [0, *np.searchsorted(starts, wanted).tolist(), len(starts) - 1]


# Indices in these kernels are uint64: numba makes a float of int64 + uint64, and tests every signed
# index for being negative. Three vectors of a row go together where there are as many (21 classes
# are three): a row's share or link is then read once for 24 numbers, not once for eight.
#
# In bounds: `sources` and `vertices` hold points and rows as `gather` and `number` count them, chains
# hold rows. The parts that threads take are of 0..M, of 0..N, or of the cuts between chains. And a
# row is `size` numbers, whole vectors, in the table as in the values. `prefetch` alone may miss, and
# does nothing then.


@njit(nogil=True, cache=True)
def _splat(gathers, values, size, table, first, last):  # type: ignore[no-untyped-def]
    """Rows first..last - 1 of the table gather from their points."""
    starts, sources, shares = gathers
    one, two, three, ahead = np.uint64(WIDTH), np.uint64(2 * WIDTH), np.uint64(3 * WIDTH), np.uint64(AHEAD)
    end_of_all = np.uint64(len(sources))
    for row in range(np.uint64(first), np.uint64(last)):
        begin, end = np.uint64(starts[row]), np.uint64(starts[row + np.uint64(1)])
        c = np.uint64(0)
        while c < size:
            a = b = d = spread(np.float32(0))
            triple = c + three <= size
            for e in range(begin, end):
                share, place = spread(shares[e]), sources[e] * size + c
                # Points of a row lie anywhere: no processor guesses the next address by itself.
                if e + ahead < end_of_all:
                    soon = sources[e + ahead] * size + c
                    prefetch(values, soon)
                    prefetch(values, soon + two)
                a = multiply_add(share, load(values, place), a)
                if triple:
                    b = multiply_add(share, load(values, place + one), b)
                    d = multiply_add(share, load(values, place + two), d)
            place = row * size + c
            store(table, place, a)
            if triple:
                store(table, place + one, b)
                store(table, place + two, d)
            c += three if triple else one


@njit(nogil=True, cache=True)
def _blur(rows, starts, size, table, first, last):  # type: ignore[no-untyped-def]
    """(1/2, 1, 1/2) along chains first..last - 1, in place; each row is read and written once.

    A row is written one step late, when the next one has been read. Its old values live on in
    registers until the row behind it is done: a0, a1, a2 are the row before, this row, the next.
    """
    one, two, three, ahead = np.uint64(WIDTH), np.uint64(2 * WIDTH), np.uint64(3 * WIDTH), np.uint64(AHEAD)
    half, zero = spread(np.float32(0.5)), spread(np.float32(0))
    end_of_all = np.uint64(len(rows))
    for chain_ in range(np.uint64(first), np.uint64(last)):
        begin, end = np.uint64(starts[chain_]), np.uint64(starts[chain_ + np.uint64(1)])
        c = np.uint64(0)
        while c < size:
            triple = c + three <= size
            place = rows[begin] * size + c
            a0 = b0 = d0 = b1 = d1 = zero
            a1 = load(table, place)
            if triple:
                b1, d1 = load(table, place + one), load(table, place + two)
            for i in range(begin + np.uint64(1), end):
                if i + ahead < end_of_all:
                    soon = rows[i + ahead] * size + c
                    prefetch(table, soon)
                    prefetch(table, soon + two)
                following = rows[i] * size + c
                a2 = load(table, following)
                store(table, place, multiply_add(half, a0 + a2, a1))
                a0, a1 = a1, a2
                if triple:
                    b2, d2 = load(table, following + one), load(table, following + two)
                    store(table, place + one, multiply_add(half, b0 + b2, b1))
                    store(table, place + two, multiply_add(half, d0 + d2, d1))
                    b0, b1, d0, d1 = b1, b2, d1, d2
                place = following
            # The last row has no next one: where the lattice has no point, it counts as zero.
            store(table, place, multiply_add(half, a0, a1))
            if triple:
                store(table, place + one, multiply_add(half, b0, b1))
                store(table, place + two, multiply_add(half, d0, d1))
            c += three if triple else one


@njit(nogil=True, cache=True)
def _splat_blur(gathers, values, size, table, blocks, first, last):  # type: ignore[no-untyped-def]
    """Rows of blocks first..last - 1 gather, and are blurred while the cache still has them."""
    for block in range(first, last):
        _splat(gathers, values, size, table, blocks.firsts[block], blocks.firsts[block + 1])
        _blur(blocks.rows, blocks.starts, size, table, blocks.bounds[block], blocks.bounds[block + 1])


@njit(nogil=True, cache=True)
def _slice(vertices, weights, table, size, out, first, last):  # type: ignore[no-untyped-def]
    """Points first..last - 1 take from their rows."""
    w1 = np.uint64(WIDTH)
    corners = np.uint64(vertices.shape[1])
    for i in range(np.uint64(first), np.uint64(last)):
        for c in range(np.uint64(0), size, w1):
            sum_ = spread(np.float32(0))
            for k in range(corners):
                sum_ = multiply_add(spread(weights[i, k]), load(table, vertices[i, k] * size + c), sum_)
            store(out, i * size + c, sum_)


def build_lattice(features: np.ndarray, *, threads: int | None = None, team: Team | None = None) -> Lattice:
    """The lattice of points, to filter values by.

    The kernel between two points is about exp(-|f_i - f_j|^2 / 2), the point itself included, times
    a factor that depends on how densely the points lie (0.87 for the pixel grid, 0.4 to 0.6 with
    colours): compare normalised sums only.

    Args:
        features: (N, d), d = 1..8, each divided by its standard deviation.
        threads: None takes all that are available.
        team: threads to use that there are already, instead of `threads`.

    Raises:
        DataError: features are empty, not finite, beyond 2^30, or of another shape; or they are
            so many that their corners cannot be counted in 32 bits.

    Source:
        Adams, Baek and Davis, Eurographics 2010.
    """
    if team is None:
        with Team(threads) as own_team:
            return build_lattice(features, team=own_team)
    features, low, high = _checked(features, np.float32)
    n, d = features.shape
    steps = _steps(low, high)
    keys, weights, own = np.empty((n, d + 1), np.int64), np.empty((n, d + 1), np.float32), np.empty(n, np.float32)
    team.split(n, simplices, features, steps, keys, weights, own)
    found, vertices = number(keys)
    del keys  # the largest table, and all that follows would be built beside it
    order = np.argsort(found).astype(np.uint32)
    ascending, rank = found[order], None
    if d <= DENSE:
        rank = np.empty_like(order)
        rank[order] = np.arange(len(order), dtype=np.uint32)
        order = np.arange(len(order), dtype=np.uint32)
    chains, again = _chains(team, ascending, order, steps)
    vertices = (again if rank is None else again[rank])[vertices]
    starts, sources, shares = gather(vertices, weights, len(found))
    weights *= np.float32(1 / (1 + 0.5**d))
    return Lattice(Rows(starts, sources, shares, tuple(chains)), vertices, weights, own)


def _checked(features: np.ndarray, dtype: type) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features (N, d) of this type, and per axis their least and largest; else a DataError."""
    features = np.asarray(features)
    if features.ndim != 2 or not 1 <= features.shape[1] <= LARGEST_DIMENSION or not len(features):
        raise DataError(f"features have shape {features.shape}; expected (points, 1..{LARGEST_DIMENSION}), points >= 1")
    if len(features) * (features.shape[1] + 1) >= 2**32:
        raise DataError(f"{len(features):,} points have 2^32 corners or more, which the lattice counts in 32 bits")
    if features.dtype.kind not in "fiub":
        raise DataError(f"features have type {features.dtype}; expected real numbers")
    low, high = features.min(0), features.max(0)
    if not max(-float(low.min()), float(high.max())) < FARTHEST:  # nan too: it is not less than anything
        raise DataError(TOO_FAR)
    return np.ascontiguousarray(features, dtype), low.astype(dtype), high.astype(dtype)


def _chains(team: Team, ascending: np.ndarray, order: np.ndarray, steps: np.ndarray) -> tuple[list[Chains], np.ndarray]:
    """(chains of all directions, new numbers of the rows).

    By the new numbers the parts of the first list have their rows in a row, so that they can gather
    and be blurred block by block. With many dimensions half of the directions connect few rows:
    parts small enough for the cache are then blurred in all of these directions at once. Otherwise
    each direction has a list of its own.
    """
    directions = team.run([partial(chain, ascending, order, step) for step in np.abs(steps)])
    m, middle = len(order), -(-len(directions) // 2)
    halves, united = (directions[:middle], directions[middle:]), [None, None]
    if len(directions) > DENSE + 1:
        both = team.run([partial(unite, m, *_joined(half)) for half in halves])
        united = [one if np.diff(one[3]).max() <= LARGEST_PART else None for one in both]
    rows, starts, bounds, firsts, again = united[0] or unite(m, *directions[0])
    blocks = _spread_out(firsts, max(64, m // BLOCK))
    lists = [Chains(again[rows], starts, bounds[blocks], firsts[blocks])]
    if united[1]:
        rows, starts, bounds, *_ = united[1]
        lists.append(Chains(again[rows], starts, bounds[_spread_out(starts[bounds], 64)]))
    alone = (halves[0][1:] if united[0] is None else []) + (halves[1] if united[1] is None else [])
    singles = [Chains(again[rows], starts, _spread_out(starts, 64).astype(np.uint32)) for rows, starts in alone]
    return (lists + singles if united[0] else lists[:1] + singles + lists[1:]), again


def _joined(directions: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """(rows, starts) of several directions as one list."""
    offsets = np.cumsum([0, *(len(rows) for rows, _ in directions)]).astype(np.uint32)
    starts = [starts[:-1] + offset for (_, starts), offset in zip(directions, offsets, strict=False)]
    return np.concatenate([rows for rows, _ in directions]), np.concatenate([*starts, offsets[-1:]])


def _spread_out(places: np.ndarray, parts: int) -> np.ndarray:
    """Indices of ascending places about equally far apart, among them the first and the last."""
    return np.unique(np.searchsorted(places, np.linspace(0, int(places[-1]), parts + 1)))


def _steps(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """(d + 1,) int64: what a step along each axis adds to a lattice point's key (`lattice_build`).

    low, high: the features' least and largest, which bound the d integers of a lattice point. These
    are the digits of its key, in mixed radix, if all fit into 62 bits. Two keys are then equal only
    where all digits are, since the difference of two digits is less than their radix: the range of
    the real coordinates, and 12. A digit leaves that range by 1 through rounding, by 1 through the
    shift to a lattice point, by 1 on the way to the other vertices and by 1 to a neighbour that is
    looked for; at both ends that makes 8, and leaves 4 for rounding errors.

    Otherwise keys are hashes, sums with random multipliers: two of a million points have the same
    key with a chance of one in ten million.
    """
    d = len(low)
    axis = np.arange(1, d + 1)
    scale = np.sqrt(2 / 3) * (d + 1) / np.sqrt(axis * (axis + 1))
    elevate = np.triu(np.ones((d + 1, d)))  # row i: what each scaled feature adds to coordinate i
    elevate[axis, axis - 1] = -axis
    matrix = (elevate[:-1] - elevate[-1]) * scale / (d + 1)
    extent = np.ceil(np.abs(matrix) @ (high.astype(float) - low)) + 12
    if np.prod(extent) * extent.max() < 2**62:
        steps = np.concatenate([[1], np.cumprod(extent[:-1].astype(np.int64))])
    else:
        steps = np.random.default_rng(0).integers(2**62, size=d)
    return np.append(steps, -steps.sum())


def exact_lattice(features: np.ndarray) -> Lattice:
    """The Gaussian itself in the same form: each point has a row that gathers from all; no blur.

    It has N x N numbers: for small N, and to tell what the lattice leaves out.

    Args:
        features: (N, d), each divided by its standard deviation, N up to 8,192, d = 1..8.

    Raises:
        DataError: more than 8,192 points, or features as `build_lattice` refuses them.
    """
    n = len(features)
    if n > 8192:
        raise DataError(f"{n} points have {n * n} pairs; the exact sum is for at most 8192, leave `exact` out")
    f, _, _ = _checked(features, np.float64)
    shares = np.empty((n, n), np.float32)
    for some in np.array_split(np.arange(n), -(-n // 256)):
        # From differences: products of numbers far from zero would have no digits left for them.
        shares[some] = np.exp(-0.5 * cdist(f[some], f, "sqeuclidean"))
    shares[shares < 1e-30] = 0  # products of denormal numbers are slow
    every = np.arange(n, dtype=np.uint32)
    starts = np.arange(n + 1, dtype=np.uint32) * np.uint32(n)
    own, weights = np.ones(n, np.float32), np.ones((n, 1), np.float32)
    return Lattice(Rows(starts, np.tile(every, n), shares.reshape(-1), ()), every[:, None], weights, own)
