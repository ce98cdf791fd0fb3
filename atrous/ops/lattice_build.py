"""Where points lie in the permutohedral lattice, and which lattice points are neighbours.

The kernels that build what `lattice.py` filters by. Adams, Baek and Davis 2010, section 3.

Points are elevated into the hyperplane of zero sum in d + 1 dimensions. A lattice point there is
d + 1 integers that leave the same remainder when divided by d + 1. Subtract the last one and divide
by d + 1: d free integers remain, its *coordinates*. A step of the lattice along axis j < d adds one
to coordinate j, a step along axis d takes one from all.

In bounds, all of it: rows are numbered by `number`, from 0 to M - 1, and every other kernel meets
these numbers only; `build_lattice` has made the tables for its points and dimensions, at most 2^32
corners of them.

A *key* is one int64 for a lattice point: the sum of its coordinates times `steps`. A step along an
axis adds a constant to it, steps[axis], so that neighbours are found by keys alone.
"""

import numpy as np

from atrous.ops.compiling import njit


@njit(nogil=True, cache=True)
def simplices(features, steps, keys, weights, own, first, last):  # type: ignore[no-untyped-def]
    """For points first..last - 1: the vertices' keys, barycentric weights, and the own response.

    keys, weights: (N, d + 1); own: (N,), what a point gets back of its own value if it is alone.
    Vertex k + 1 lies one step before vertex k along the axis of rank d - k.

    The *order* of a point's offsets from a lattice point of remainder 0 tells the simplex around
    it: steps along the axes in that order visit all d + 1 vertices. So the ranks of the offsets are
    all that is needed, and no simplex is searched for.
    """
    d = features.shape[1]
    # In float64: far from zero float32 has no digits left for the place within a simplex, and weights leave 0..1.
    inverse = 1 / (d + 1)
    scale = np.array([np.sqrt(2 / 3) * (d + 1) / np.sqrt(i * (i + 1)) for i in range(1, d + 1)])
    elevated, offset, blurred = np.empty(d + 1), np.empty(d + 1), np.empty(d + 1, np.float32)
    nearest, rank, axis = np.empty(d + 1, np.int64), np.empty(d + 1, np.int64), np.empty(d + 1, np.int64)
    for i in range(first, last):
        # Elevate by the paper's triangular basis: d additions instead of a matrix product.
        above = 0.0
        for j in range(d, 0, -1):
            scaled = features[i, j - 1] * scale[j - 1]
            elevated[j] = above - j * scaled
            above += scaled
        elevated[0] = above
        # Round each coordinate to a multiple of d + 1. The sum of these, `excess`, may not be zero.
        excess = 0
        for j in range(d + 1):
            nearest[j] = np.int64(np.rint(elevated[j] * inverse))
            offset[j] = elevated[j] - nearest[j] * (d + 1)
            excess += nearest[j]
            rank[j] = 0
        # rank[j]: how many offsets are larger. Of equal ones the earlier comes first, so that ranks
        # are a permutation of 0..d.
        for j in range(d):
            for k in range(j + 1, d + 1):
                behind = np.int64(offset[j] < offset[k])
                rank[j] += behind
                rank[k] += 1 - behind
        # Back into the hyperplane: the coordinates that were rounded up most go down by one, or the
        # other way round. Adding `excess` to the ranks modulo d + 1 leaves a permutation of 0..d,
        # and so every index below is in range, whatever `excess` is (rounding gives at most (d + 1) / 2).
        for j in range(d + 1):
            rank[j] += excess
            shift = -(rank[j] // (d + 1))
            rank[j] += shift * (d + 1)
            nearest[j] += shift
            offset[rank[j]], axis[rank[j]] = 0.0, j
        for r in range(d + 1):
            j = axis[r]
            offset[r] = (elevated[j] - nearest[j] * (d + 1)) * inverse
        # Hashed keys overflow. uint64 wraps round; LLVM takes for granted that int64 never does.
        key = np.uint64(0)
        for j in range(d):
            key += np.uint64(nearest[j] - nearest[d]) * np.uint64(steps[j])
        keys[i, 0], weights[i, 0] = np.int64(key), 1 + offset[d] - offset[0]
        for k in range(1, d + 1):
            key -= np.uint64(steps[axis[d + 1 - k]])
            keys[i, k], weights[i, k] = np.int64(key), offset[d - k] - offset[d + 1 - k]
        # The own response: splat, blur and slice within this one simplex. Along axis j it has one
        # edge, from vertex d - rank to the next one.
        for k in range(d + 1):
            blurred[k] = weights[i, k]
        for j in range(d + 1):
            k = d - rank[j]
            other = k + 1 if k < d else 0
            one = blurred[k]
            blurred[k] += 0.5 * blurred[other]
            blurred[other] += 0.5 * one
        response = 0.0
        for k in range(d + 1):
            response += weights[i, k] * blurred[k]
        own[i] = response / (1 + 0.5**d)


@njit(nogil=True, cache=True)
def number(keys):  # type: ignore[no-untyped-def]
    """(the M different keys as they first come, for each key its number among them, uint32).

    By a hash table, which takes a quarter to two thirds of the time of a sort on photographs. At
    least half of it stays empty, so that the walk to a free slot is short, and ends.
    """
    n, corners = keys.shape
    numbers = np.empty((n, corners), np.uint32)
    bits = 16
    slots = np.zeros((1 << bits, 2), np.int64)  # key and number, from 1; number 0: empty
    found, count = np.empty(1 << (bits - 1), np.int64), 0
    for i in range(n):
        for k in range(corners):
            key = keys[i, k]
            # Neighbouring pixels mostly lie in the same simplex: no look into the table then.
            if i and key == keys[i - 1, k]:
                numbers[i, k] = numbers[i - 1, k]
                continue
            slot = _slot(slots, bits, key)
            if not slots[slot, 1]:
                if count == len(found):  # half full: twice the table, all keys anew
                    bits += 1
                    slots = np.zeros((1 << bits, 2), np.int64)
                    for m in range(count):
                        slot = _slot(slots, bits, found[m])
                        slots[slot, 0], slots[slot, 1] = found[m], m + 1
                    found = np.concatenate((found, np.empty(count, np.int64)))
                    slot = _slot(slots, bits, key)
                found[count] = key
                count += 1
                slots[slot, 0], slots[slot, 1] = key, count
            numbers[i, k] = slots[slot, 1] - 1
    return found[:count].copy(), numbers


@njit(nogil=True, cache=True, inline="always")
def _slot(slots, bits, key):  # type: ignore[no-untyped-def]
    """Where the key is or belongs: at the place of its hash, or at the next one that is free.

    Fibonacci hashing, the top bits of key * 2^64 / golden ratio: neighbours' keys differ by a
    constant, and their low bits alone would crowd together.
    """
    slot = (np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - bits)
    while slots[slot, 1] and slots[slot, 0] != key:
        slot = (slot + np.uint64(1)) & np.uint64((1 << bits) - 1)
    return slot


@njit(nogil=True, cache=True)
def gather(vertices, weights, rows):  # type: ignore[no-untyped-def]
    """(starts (rows + 1,), sources, shares): for each row its points, from each point its rows.

    A counting sort: the points of a row keep their order, so that sums do not depend on threads.
    """
    # In bounds: a row has as many places as it was counted, all in all n * corners.
    n, corners = vertices.shape
    starts = np.zeros(rows + 1, np.uint32)
    for i in range(n):
        for k in range(corners):
            starts[vertices[i, k] + 1] += 1
    for m in range(rows):
        starts[m + 1] += starts[m]
    place = starts[:-1].copy()
    sources, shares = np.empty(n * corners, np.uint32), np.empty(n * corners, np.float32)
    for i in range(n):
        for k in range(corners):
            at = place[vertices[i, k]]
            place[vertices[i, k]] += 1
            sources[at], shares[at] = i, weights[i, k]
    return starts, sources, shares


@njit(nogil=True, cache=True)
def chain(ascending, order, step):  # type: ignore[no-untyped-def]
    """(rows, starts) of the chains in which each row's key is the one before it plus `step` > 0.

    Rows without a neighbour in this direction are left out: blurring leaves them as they are.
    Chains come in the order of their first rows. ascending, order (M,): the keys sorted, and the
    rows that have them. Both `ascending` and the keys that are wanted only grow, so that one walk
    along the list finds all neighbours, without a look into the hash table.
    """
    # In bounds: each key has one that leads to it at most. So chains do not meet, and each row of `count` is in one; a
    # ring would need a multiple of `step` below M steps to be 2^64, and no sum of `_steps` is even so often.
    m = len(order)
    following, led = np.full(m, m, np.uint32), np.zeros(m, np.bool_)
    there, last = 0, ascending[0]
    for i in range(m):
        wanted = np.int64(np.uint64(ascending[i]) + np.uint64(step))
        if wanted < last:  # hashed keys have wrapped round: begin at the least again
            there = 0
        last = wanted
        while there < m and ascending[there] < wanted:
            there += 1
        if there < m and ascending[there] == wanted:
            following[order[i]], led[order[there]] = order[there], True
    # Count first, to make tables of the right size; then follow each chain from the row that none
    # leads to.
    count = chains = 0
    for i in range(m):
        chains += following[i] < m and not led[i]
        count += led[i] or following[i] < m
    rows, starts = np.empty(count, np.uint32), np.empty(chains + 1, np.uint32)
    at = number = 0
    for i in range(m):
        if following[i] < m and not led[i]:
            starts[number] = at
            number += 1
            j = np.uint32(i)
            while j < m:
                rows[at] = j
                at += 1
                j = following[j]
    starts[number] = at
    return rows, starts


@njit(nogil=True, cache=True)
def splat_ones(starts, shares):  # type: ignore[no-untyped-def]
    """(M,) float32: what each row gathers if every point holds 1."""
    table = np.zeros(len(starts) - 1, np.float32)
    for row in range(len(table)):
        total = 0.0
        for e in range(starts[row], starts[row + 1]):
            total += shares[e]
        table[row] = total
    return table


@njit(nogil=True, cache=True)
def blur_ones(rows, starts, table):  # type: ignore[no-untyped-def]
    """(1/2, 1, 1/2) along chains, in place, of a table with one number a row."""
    for i in range(len(starts) - 1):
        before = np.float32(0)
        for e in range(starts[i], starts[i + 1]):
            here = table[rows[e]]
            behind = table[rows[e + 1]] if e + 1 < starts[i + 1] else np.float32(0)
            table[rows[e]] = here + np.float32(0.5) * (before + behind)
            before = here


@njit(nogil=True, cache=True)
def slice_ones(vertices, weights, table):  # type: ignore[no-untyped-def]
    """(N,) float32: what each point takes from a table with one number a row."""
    out = np.zeros(len(vertices), np.float32)
    for i in range(len(vertices)):
        for k in range(vertices.shape[1]):
            out[i] += weights[i, k] * table[vertices[i, k]]
    return out


@njit(nogil=True, cache=True)
def unite(m, rows, starts):  # type: ignore[no-untyped-def]
    """Chains of several directions, sorted by the connected part of the lattice that they lie in.

    rows, starts: the chains, one direction after the other. Returns (rows, starts, bounds, firsts,
    rank): the chains of one part, direction by direction, then those of the next; the chain that
    each part begins with, and the end; the first row of each part, and the end, by new numbers; and
    these numbers (M,), by which a part's rows lie in a row. Parts come in the order of their first
    rows.

    Filtering can finish a part in all its directions before the next part, while a cache has it.
    """
    # In bounds: parts are no more than rows, and the two sorts write as many as they counted. No chain is empty.
    # Union-find. The smaller row becomes the root, so that parts come in the order of their rows.
    parent = np.arange(m).astype(np.uint32)
    chains = len(starts) - 1
    for i in range(chains):
        for e in range(starts[i] + 1, starts[i + 1]):
            one, other = _root(parent, rows[e - 1]), _root(parent, rows[e])
            parent[max(one, other)] = min(one, other)
    # Number the parts, and count their rows: `firsts`, one place later, becomes a running sum.
    part, firsts, parts = np.empty(m, np.uint32), np.zeros(m + 1, np.uint32), 0
    for i in range(m):
        root = _root(parent, np.uint32(i))
        if root == i:
            part[i] = parts
            parts += 1
        part[i] = part[root]
        firsts[part[i] + 1] += 1
    firsts = firsts[: parts + 1].copy()
    # Count each part's chains and their lengths, all directions together.
    bounds, lengths = np.zeros(parts + 1, np.uint32), np.zeros(parts + 1, np.uint32)
    for i in range(chains):
        bounds[part[rows[starts[i]]] + 1] += 1
        lengths[part[rows[starts[i]]] + 1] += starts[i + 1] - starts[i]
    for i in range(parts):
        firsts[i + 1] += firsts[i]
        bounds[i + 1] += bounds[i]
        lengths[i + 1] += lengths[i]
    # Two counting sorts by part: of the rows, then of the chains with all they hold. Both are
    # stable, so that directions keep their order within a part: the filter depends on it.
    rank, place = np.empty(m, np.uint32), firsts.copy()
    for i in range(m):
        rank[i] = place[part[i]]
        place[part[i]] += 1
    new_rows, new_starts, place = np.empty(len(rows), np.uint32), np.empty(chains + 1, np.uint32), bounds.copy()
    for i in range(chains):
        to = part[rows[starts[i]]]
        new_starts[place[to]] = lengths[to]
        place[to] += 1
        for e in range(starts[i], starts[i + 1]):
            new_rows[lengths[to]] = rows[e]
            lengths[to] += 1
    new_starts[chains] = len(rows)
    return new_rows, new_starts, bounds, firsts, rank


@njit(nogil=True, cache=True)
def _root(parent, i):  # type: ignore[no-untyped-def]
    """The root of a row's part; halves the way there for the next time."""
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i
