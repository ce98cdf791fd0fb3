"""Maximum flow and minimum cut with integer capacities: Boykov & Kolmogorov (PAMI 2004), in numba.

Two search trees grow from the source and from the sink. Where they meet, flow goes along the path, and what its full
arcs cut off is adopted by another branch or set free; time stamps and distances (their section 3.2.3 and its note) keep
branches short. Why not scipy's `maximum_flow` or OR-tools': docs/mrf.md.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from scipy import sparse

from atrous.errors import DataError

FREE, SOURCE, SINK = 0, 1, 2
"""Trees of nodes. What is not on the source's at the end lies on the sink's side of the cut."""

ROOT, ORPHAN, NONE = -1, -2, -3
"""In place of an arc to a parent: the node hangs on the terminal itself, has lost its parent, is free."""

NOWHERE = 2**31 - 1
"""The distance of a node that hangs on an orphan."""

MOST = 2**30
"""Capacities at a node sum to no more: residuals are int32, and can grow to twice of it."""

_FIELDS = ["first", "term", "tree", "parent", "stamp", "far", "following", "pixel"]
NODE = np.dtype([(name, np.int32) for name in _FIELDS])
"""first: its first arc; term > 0: what the source can still give it, < 0: what it can give the sink; the rest is the
search's own, but for pixel, which is the caller's and rounds the record to 32 bytes."""

ARC = np.dtype([(name, np.int32) for name in ("head", "back", "residual", "spare")])
"""head: the node it leads to; back: its reverse; residual: what it can still take. 16 bytes are quicker than 12."""


class Cut(NamedTuple):
    """flow: its value, which is the capacity of the cut. source_side (n,) bool: nodes the source still reaches."""

    flow: int
    source_side: np.ndarray


def max_flow(graph: sparse.sparray | np.ndarray, source: int, sink: int) -> Cut:
    """The maximum flow from node `source` to node `sink`, and the minimum cut that lies nearest to the source.

    graph: (n, n), integer capacities >= 0 from row to column; those at one node may sum to 2^30. Raises DataError for
    another shape, other numbers, terminals that are equal or not there.
    """
    arcs = sparse.coo_array(graph)
    nodes = arcs.shape[0]
    if arcs.shape != (nodes, nodes) or arcs.dtype.kind not in "iu":
        raise DataError(f"a graph of shape {arcs.shape} and type {arcs.dtype}; expected (n, n) integer capacities")
    if source == sink or not (0 <= source < nodes and 0 <= sink < nodes):
        raise DataError(f"source {source} and sink {sink}; expected two different nodes of 0..{nodes - 1}")
    row, column, capacity = (np.asarray(part, np.int64) for part in (*arcs.coords, arcs.data))
    if (capacity < 0).any():
        raise DataError(f"a capacity is {capacity.min()}; expected none below 0")
    useful = (row != column) & (column != source) & (row != sink) & (capacity > 0)
    row, column, capacity = row[useful], column[useful], capacity[useful]
    given, taken = (_sums(end, capacity, nodes) for end in (column, row))
    if max(np.delete(given + taken, [source, sink]), default=0) > MOST:
        raise DataError(f"capacities at a node sum to more than {MOST}; divide all of them by a common number")
    rise, fall = row == source, column == sink
    given, taken = _sums(column[rise], capacity[rise], nodes), _sums(row[fall], capacity[fall], nodes)
    direct, given[sink], taken[source] = given[sink], 0, 0
    built = _paired(nodes, *(part[~(rise | fall)] for part in (row, column, capacity)))
    built[0]["term"][:-1] = given - taken
    flow = cut(*built) + np.minimum(given, taken).sum() + direct
    side = built[0]["tree"][:-1] == SOURCE
    side[source] = True
    return Cut(int(flow), side)


def _sums(place: np.ndarray, amount: np.ndarray, size: int) -> np.ndarray:
    sums = np.zeros(size, np.int64)
    np.add.at(sums, place, amount)
    return sums


def _paired(nodes: int, row: np.ndarray, column: np.ndarray, capacity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(NODE, ARC) of arcs from row to column, beside each its reverse of capacity 0."""
    count = len(row)
    start = np.concatenate([row, column])
    order = np.argsort(start, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(2 * count)
    arcs, ends = np.zeros(2 * count, ARC), np.zeros(nodes + 1, NODE)
    arcs["head"] = np.concatenate([column, row])[order]
    arcs["back"] = np.roll(place, count)[order]
    arcs["residual"] = np.concatenate([capacity, np.zeros(count, np.int64)])[order]
    ends["first"][1:] = np.cumsum(np.bincount(start, minlength=nodes))
    return ends, arcs


@njit(nogil=True, cache=True)
def cut(nodes, arcs):  # type: ignore[no-untyped-def]
    """The flow between the terminals; .tree says where each node is at the end, residuals and terms are used up.

    nodes: (n + 1,) NODE with .first and .term given, the last only ends the arcs of the one before; arcs: ARC. The
    source's tree ends as small as a minimum cut allows: it holds the nodes that the source still reaches.
    """
    orphans, ends = np.empty(len(nodes), np.int32), np.full(2, -1, np.int32)
    for p in range(len(nodes) - 1):
        node = nodes[p]
        node.tree, node.parent, node.stamp, node.far, node.following = FREE, NONE, 0, 0, -1
        if node.term != 0:
            node.tree = SOURCE if node.term > 0 else SINK
            node.parent, node.far = ROOT, 1
            _wait(p, nodes, ends)
    flow, time = 0, 0
    p = _next(nodes, ends)
    while p >= 0:
        bridge = _grow(p, nodes, arcs, ends)
        if bridge < 0:
            p = _next(nodes, ends)
            continue
        time += 1
        least, lost = _augment(bridge, nodes, arcs, orphans)
        flow += least
        _adopt(lost, time, nodes, arcs, orphans, ends)
        if nodes[p].tree == FREE:
            p = _next(nodes, ends)
    return flow


@njit(nogil=True, cache=True)
def _wait(p, nodes, ends):  # type: ignore[no-untyped-def]
    """Put a node at the end of the queue of active ones, a chain of .following; the last follows itself."""
    if nodes[p].following < 0:
        if ends[0] < 0:
            ends[0] = p
        else:
            nodes[ends[1]].following = p
        nodes[p].following = p
        ends[1] = p


@njit(nogil=True, cache=True)
def _next(nodes, ends):  # type: ignore[no-untyped-def]
    """Take the first from the queue, -1 where none waits. Its node may have been set free meanwhile."""
    p = ends[0]
    if p >= 0:
        ends[0] = -1 if nodes[p].following == p else nodes[p].following
        nodes[p].following = -1
    return p


@njit(nogil=True, cache=True)
def _grow(p, nodes, arcs, ends):  # type: ignore[no-untyped-def]
    """Take free neighbours into p's tree. Where it meets the other tree: the arc from the source's to the sink's."""
    node = nodes[p]
    mine = node.tree
    if mine == FREE:
        return -1
    for a in range(node.first, nodes[p + 1].first):
        if (arcs[a].residual if mine == SOURCE else arcs[arcs[a].back].residual) == 0:
            continue
        q = arcs[a].head
        other = nodes[q]
        if other.tree == FREE:
            other.tree = mine
            other.parent = arcs[a].back
            other.stamp = node.stamp
            other.far = node.far + 1
            _wait(q, nodes, ends)
        elif other.tree != mine:
            return a if mine == SOURCE else arcs[a].back
        elif other.stamp <= node.stamp and other.far > node.far:  # a shorter way to the terminal
            other.parent = arcs[a].back
            other.stamp = node.stamp
            other.far = node.far + 1
    return -1


@njit(nogil=True, cache=True)
def _augment(bridge, nodes, arcs, orphans):  # type: ignore[no-untyped-def]
    """Push along the path over the bridge what it takes: (flow, how many now stand in `orphans`)."""
    least = arcs[bridge].residual
    start, end = arcs[arcs[bridge].back].head, arcs[bridge].head
    q = start
    while nodes[q].parent >= 0:
        a = nodes[q].parent
        least = min(least, arcs[arcs[a].back].residual)
        q = arcs[a].head
    least = min(least, nodes[q].term)
    q = end
    while nodes[q].parent >= 0:
        a = nodes[q].parent
        least = min(least, arcs[a].residual)
        q = arcs[a].head
    least = min(least, -nodes[q].term)
    arcs[bridge].residual -= least
    arcs[arcs[bridge].back].residual += least
    lost = 0
    for side in range(2):  # from the bridge to the source, against the flow; then to the sink, with it
        q = end if side else start
        while nodes[q].parent >= 0:
            a = nodes[q].parent
            up, down = (a, arcs[a].back) if side else (arcs[a].back, a)
            arcs[up].residual -= least
            arcs[down].residual += least
            if arcs[up].residual == 0:
                nodes[q].parent = ORPHAN
                orphans[lost] = q
                lost += 1
            q = arcs[a].head
        nodes[q].term += least if side else -least
        if nodes[q].term == 0:
            nodes[q].parent = ORPHAN
            orphans[lost] = q
            lost += 1
    return least, lost


@njit(nogil=True, cache=True)
def _adopt(lost, time, nodes, arcs, orphans, ends):  # type: ignore[no-untyped-def]
    """Find each orphan a parent of its own tree, as near to the terminal as can be, or free it and orphan its own."""
    while lost:
        lost -= 1
        q = orphans[lost]
        node = nodes[q]
        mine = node.tree
        best, nearest = NONE, NOWHERE
        for a in range(node.first, nodes[q + 1].first):
            arc = arcs[a]
            if nodes[arc.head].tree != mine or (arcs[arc.back].residual if mine == SOURCE else arc.residual) == 0:
                continue
            distance = _distance(arc.head, time, nodes, arcs)
            if distance < nearest:
                best, nearest = a, distance
        if best != NONE:
            node.parent, node.stamp, node.far = best, time, nearest + 1
            continue
        for a in range(node.first, nodes[q + 1].first):
            arc = arcs[a]
            other = nodes[arc.head]
            if other.tree != mine:
                continue
            if (arcs[arc.back].residual if mine == SOURCE else arc.residual) != 0:
                _wait(arc.head, nodes, ends)
            if other.parent >= 0 and arcs[other.parent].head == q:
                other.parent = ORPHAN
                orphans[lost] = arc.head
                lost += 1
        node.tree, node.parent = FREE, NONE


@njit(nogil=True, cache=True)
def _distance(start, time, nodes, arcs):  # type: ignore[no-untyped-def]
    """Arcs from a node to its terminal, NOWHERE if it hangs on an orphan; the way is marked, to be known next time."""
    walk, distance = start, 0
    while nodes[walk].stamp != time:
        distance += 1
        if nodes[walk].parent == ROOT:
            nodes[walk].stamp, nodes[walk].far = time, 1
            break
        if nodes[walk].parent < 0:
            return NOWHERE
        walk = arcs[nodes[walk].parent].head
    else:
        distance += nodes[walk].far
    walk, here = start, distance
    while nodes[walk].stamp != time:
        nodes[walk].stamp, nodes[walk].far = time, here
        here -= 1
        walk = arcs[nodes[walk].parent].head
    return distance
