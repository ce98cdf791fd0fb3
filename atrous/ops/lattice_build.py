"""Where points lie in the permutohedral lattice, and which lattice points are neighbours: the kernels of `lattice.py`.

Elevated into the hyperplane of zero sum in d + 1 dimensions, a lattice point is d + 1 integers that leave one
remainder when divided by d + 1. Those less the last one, divided by d + 1, are d free integers: a step of the lattice
along axis j < d adds one to integer j, a step along axis d takes one from all. A key is the sum of these integers times
`steps`, so that a step along an axis adds a constant to it, steps[axis].
"""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def simplices(features, steps, keys, weights, own, first, last):  # type: ignore[no-untyped-def]
    """Of points first..last - 1 the vertices' keys (N, d + 1), barycentric weights (N, d + 1) and own response (N,).

    Adams, Baek and Davis 2010, section 3. Vertex k + 1 lies one step before vertex k along the axis of rank d - k.
    """
    d = features.shape[1]
    inverse = np.float32(1 / (d + 1))
    scale = np.array([np.sqrt(2 / 3) * (d + 1) / np.sqrt(i * (i + 1)) for i in range(1, d + 1)]).astype(np.float32)
    elevated, offset, blurred = np.empty(d + 1, np.float32), np.empty(d + 1, np.float32), np.empty(d + 1, np.float32)
    nearest, rank, axis = np.empty(d + 1, np.int64), np.empty(d + 1, np.int64), np.empty(d + 1, np.int64)
    for i in range(first, last):
        above = np.float32(0)
        for j in range(d, 0, -1):
            scaled = features[i, j - 1] * scale[j - 1]
            elevated[j] = above - np.float32(j) * scaled
            above += scaled
        elevated[0] = above
        excess = 0
        for j in range(d + 1):
            nearest[j] = np.int64(np.rint(elevated[j] * inverse))
            offset[j] = elevated[j] - np.float32(nearest[j] * (d + 1))
            excess += nearest[j]
            rank[j] = 0
        for j in range(d):
            for k in range(j + 1, d + 1):
                behind = np.int64(offset[j] < offset[k])
                rank[j] += behind
                rank[k] += 1 - behind
        for j in range(d + 1):
            rank[j] += excess
            shift = 1 if rank[j] < 0 else (-1 if rank[j] > d else 0)
            rank[j] += shift * (d + 1)
            nearest[j] += shift
            offset[rank[j]], axis[rank[j]] = 0.0, j
        for r in range(d + 1):
            j = axis[r]
            offset[r] = (elevated[j] - np.float32(nearest[j] * (d + 1))) * inverse
        key = np.int64(0)
        for j in range(d):
            key += (nearest[j] - nearest[d]) * steps[j]
        keys[i, 0], weights[i, 0] = key, 1 + offset[d] - offset[0]
        for k in range(1, d + 1):
            key -= steps[axis[d + 1 - k]]
            keys[i, k], weights[i, k] = key, offset[d - k] - offset[d + 1 - k]
        for k in range(d + 1):
            blurred[k] = weights[i, k]
        for j in range(d + 1):  # along axis j the simplex has one edge: from vertex d - rank to the next one
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
    """(the M different keys in the order in which they come, for each key (N, d + 1) uint32 its number)."""
    n, corners = keys.shape
    numbers = np.empty((n, corners), np.uint32)
    bits = 16
    slots = np.zeros((1 << bits, 2), np.int64)  # key and number, from 1; number 0: empty
    found, count = np.empty(1 << (bits - 1), np.int64), 0
    for i in range(n):
        for k in range(corners):
            key = keys[i, k]
            if i and key == keys[i - 1, k]:
                numbers[i, k] = numbers[i - 1, k]
                continue
            slot = _slot(slots, bits, key)
            if not slots[slot, 1]:
                if count == len(found):
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
    """Where the key is, or belongs: its hash's place or the next free one."""
    slot = (np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - bits)
    while slots[slot, 1] and slots[slot, 0] != key:
        slot = (slot + np.uint64(1)) & np.uint64((1 << bits) - 1)
    return slot


@njit(nogil=True, cache=True)
def gather(vertices, weights, rows):  # type: ignore[no-untyped-def]
    """(starts (rows + 1,), sources, shares): the table (point, corner) -> row read the other way round."""
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
    """(rows, starts) of the runs in which each row's key is the last one's plus `step` > 0; those of one are left out.

    ascending, order (M,): the keys sorted, and the rows that have them. Runs come in the order of their first rows.
    """
    m = len(order)
    following, led = np.full(m, m, np.uint32), np.zeros(m, np.bool_)
    there, last = 0, ascending[0]
    for i in range(m):
        wanted = np.int64(np.uint64(ascending[i]) + np.uint64(step))  # int64 may not overflow, says LLVM
        if wanted < last:  # keys without order run over the end of int64
            there = 0
        last = wanted
        while there < m and ascending[there] < wanted:
            there += 1
        if there < m and ascending[there] == wanted:
            following[order[i]], led[order[there]] = order[there], True
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
    """(M,) float32: what each row gathers where every point holds 1."""
    table = np.zeros(len(starts) - 1, np.float32)
    for row in range(len(table)):
        total = 0.0
        for e in range(starts[row], starts[row + 1]):
            total += shares[e]
        table[row] = total
    return table


@njit(nogil=True, cache=True)
def blur_ones(rows, starts, table):  # type: ignore[no-untyped-def]
    """(1/2, 1, 1/2) along chains, in place, of one number a row."""
    for i in range(len(starts) - 1):
        before = np.float32(0)
        for e in range(starts[i], starts[i + 1]):
            here = table[rows[e]]
            behind = table[rows[e + 1]] if e + 1 < starts[i + 1] else np.float32(0)
            table[rows[e]] = here + np.float32(0.5) * (before + behind)
            before = here


@njit(nogil=True, cache=True)
def slice_ones(vertices, weights, table):  # type: ignore[no-untyped-def]
    out = np.zeros(len(vertices), np.float32)
    for i in range(len(vertices)):
        for k in range(vertices.shape[1]):
            out[i] += weights[i, k] * table[vertices[i, k]]
    return out


@njit(nogil=True, cache=True)
def unite(m, rows, starts):  # type: ignore[no-untyped-def]
    """Chains of several directions, one direction after the other, put together by what they connect.

    (rows, starts, bounds, firsts, rank): all chains of one connected part of the lattice, direction by direction, then
    those of the next; the chain with which each part begins, and the end; the first row of each part, and the end, if
    rows are numbered anew part by part; and these new numbers (M,). Parts are in the order of their first rows.
    """
    parent = np.arange(m).astype(np.uint32)
    chains = len(starts) - 1
    for i in range(chains):
        for e in range(starts[i] + 1, starts[i + 1]):
            one, other = _root(parent, rows[e - 1]), _root(parent, rows[e])
            parent[max(one, other)] = min(one, other)
    part, firsts, parts = np.empty(m, np.uint32), np.zeros(m + 1, np.uint32), 0
    for i in range(m):
        root = _root(parent, np.uint32(i))
        if root == i:
            part[i] = parts
            parts += 1
        part[i] = part[root]
        firsts[part[i] + 1] += 1
    firsts = firsts[: parts + 1].copy()
    bounds, lengths = np.zeros(parts + 1, np.uint32), np.zeros(parts + 1, np.uint32)
    for i in range(chains):
        bounds[part[rows[starts[i]]] + 1] += 1
        lengths[part[rows[starts[i]]] + 1] += starts[i + 1] - starts[i]
    for i in range(parts):
        firsts[i + 1] += firsts[i]
        bounds[i + 1] += bounds[i]
        lengths[i + 1] += lengths[i]
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
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i
