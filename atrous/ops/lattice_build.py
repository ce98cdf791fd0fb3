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
                if offset[j] < offset[k]:
                    rank[j] += 1
                else:
                    rank[k] += 1
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
    slot_key, slot_number = np.empty(1 << bits, np.int64), np.zeros(1 << bits, np.uint32)  # numbers from 1; 0 is empty
    found, count = np.empty(1 << (bits - 1), np.int64), 0
    for i in range(n):
        for k in range(corners):
            key = keys[i, k]
            if i and key == keys[i - 1, k]:
                numbers[i, k] = numbers[i - 1, k]
                continue
            slot = _slot(key, bits)
            while slot_number[slot] and slot_key[slot] != key:
                slot = (slot + np.uint64(1)) & np.uint64((1 << bits) - 1)
            if not slot_number[slot]:
                if count == len(found):
                    bits += 1
                    slot_key, slot_number = _rehash(found, bits)
                    found = np.concatenate((found, np.empty(count, np.int64)))
                    slot = _slot(key, bits)
                    while slot_number[slot]:
                        slot = (slot + np.uint64(1)) & np.uint64((1 << bits) - 1)
                found[count] = key
                count += 1
                slot_key[slot], slot_number[slot] = key, count
            numbers[i, k] = slot_number[slot] - np.uint32(1)
    return found[:count].copy(), numbers


@njit(nogil=True, cache=True, inline="always")
def _slot(key, bits):  # type: ignore[no-untyped-def]
    return (np.uint64(key) * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(64 - bits)


@njit(nogil=True, cache=True)
def _rehash(found, bits):  # type: ignore[no-untyped-def]
    slot_key, slot_number = np.empty(1 << bits, np.int64), np.zeros(1 << bits, np.uint32)
    for m in range(len(found)):
        slot = _slot(found[m], bits)
        while slot_number[slot]:
            slot = (slot + np.uint64(1)) & np.uint64((1 << bits) - 1)
        slot_key[slot], slot_number[slot] = found[m], m + 1
    return slot_key, slot_number


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
def chain(keys, step):  # type: ignore[no-untyped-def]
    """(rows, starts) of the sorted keys' runs in which each is the last one plus `step` > 0, without those of one."""
    m = len(keys)
    following, led = np.full(m, m, np.uint32), np.zeros(m, np.bool_)
    there, last = 0, keys[0]
    for i in range(m):
        wanted = keys[i] + step
        if wanted < last:  # keys without order run over the end of int64
            there = 0
        last = wanted
        while there < m and keys[there] < wanted:
            there += 1
        if there < m and keys[there] == wanted:
            following[i], led[there] = there, True
    count = chains = 0
    for i in range(m):
        if following[i] < m and not led[i]:
            chains += 1
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
