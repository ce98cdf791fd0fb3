"""Minimum cuts with integer capacities: Boykov & Kolmogorov (PAMI 2004), in numba.

Two search trees grow, one from the source and one from the sink. Where they meet there is a path:

    source -> p -> p' -> ... -> q' -> q -> sink
    |---- tree S ----|  bridge |- tree T -|

*Augment* sends as much flow along it as its narrowest arc can take. Nodes whose arc to their parent
is full then are orphans. *Adopt* gives an orphan another parent in its tree, or sets it free. The
trees are kept from one path to the next: that is what makes this quick on grids, where paths are
short and neighbours alike.

Time stamps and distances (section 3.2.3 and its note) keep branches short: a node whose distance to
the terminal was seen since the last augmentation need not walk there again. Why not scipy's
`maximum_flow` or OR-tools: docs/mrf.md.
"""

import numpy as np

from atrous.ops.compiling import njit

FREE, SOURCE, SINK = 0, 1, 2
"""A node's tree. At the end those outside the source's tree are on the sink's side of the cut."""

ROOT, ORPHAN, NONE = -1, -2, -3
"""Instead of an arc to a parent: the terminal itself is the parent; the parent is lost; the node is
free."""

NOWHERE = 2**31 - 1
"""The distance of a node whose way to the terminal ends at an orphan."""

MOST = 2**30
"""What the capacities at a node may sum to: residuals are int32, and can grow to twice as much."""

_FIELDS = ["first", "term", "tree", "parent", "stamp", "far", "following", "pixel"]
NODE = np.dtype([(name, np.int32) for name in _FIELDS])
"""A node, 32 bytes.

first: its first arc. term: what the source can still give it, if > 0; what it can give the sink, if
< 0. tree, parent (an arc that leads to it), stamp, far (arcs to the terminal, as of `stamp`),
following (the next one in the queue): the search's own. pixel: the caller's.
"""

ARC = np.dtype([(name, np.int32) for name in ("head", "back", "residual", "spare")])
"""An arc, 16 bytes, which are quicker than 12. head: the node it leads to; back: its reverse;
residual: what it can still take."""


@njit(nogil=True, cache=True)
def cut(nodes, arcs):  # type: ignore[no-untyped-def]
    """The maximum flow; nodes' .tree tells the minimum cut. Residuals and terms are used up.

    Of all minimum cuts it is the one nearest to the source: the source's tree ends with the nodes
    that the source can still reach, no more.

    In bounds, here and in what it calls, if the caller has filled nodes and arcs as told below
    (`graphcut._move` has): all indices are heads, reverses and firsts of the graph, the parent arc of
    a node is one of its own, and a node is an orphan once at a time, since its parent is then no arc.

    Args:
        nodes: (n + 1,) NODE with .first and .term given; the last one only ends the arcs of the one
            before it. A node's arcs follow one another.
        arcs: ARC with .head, .back and .residual given, each beside its reverse.
    """
    orphans, ends = np.empty(len(nodes), np.int32), np.full(2, -1, np.int32)
    for p in range(len(nodes) - 1):
        node = nodes[p]
        node.tree, node.parent, node.stamp, node.far, node.following = FREE, NONE, 0, 0, -1
        # What source and sink could exchange over this node alone was taken off by the caller: the
        # term has one sign, and the node one tree to begin in.
        if node.term != 0:
            node.tree = SOURCE if node.term > 0 else SINK
            node.parent, node.far = ROOT, 1
            _wait(p, nodes, ends)
    flow, time = 0, 0
    # The same p goes on after a path until it finds no more: other neighbours may be bridges too.
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
    """Put a node at the end of the queue of active ones, unless it waits there already.

    The queue is a chain of .following, without memory of its own; its last node follows itself.
    """
    if nodes[p].following < 0:
        if ends[0] < 0:
            ends[0] = p
        else:
            nodes[ends[1]].following = p
        nodes[p].following = p
        ends[1] = p


@njit(nogil=True, cache=True)
def _next(nodes, ends):  # type: ignore[no-untyped-def]
    """Take the first node from the queue, -1 if none waits. It may have been set free meanwhile."""
    p = ends[0]
    if p >= 0:
        ends[0] = -1 if nodes[p].following == p else nodes[p].following
        nodes[p].following = -1
    return p


@njit(nogil=True, cache=True)
def _grow(p, nodes, arcs, ends):  # type: ignore[no-untyped-def]
    """Take free neighbours into p's tree; where it meets the other tree return the bridge, else -1.

    The bridge is the arc from the source's tree to the sink's. An arc must be able to take flow in
    the direction that the flow would have: away from the source, towards the sink.
    """
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
        # A shorter way to the terminal, as far as the stamps tell: paths get shorter by it.
        elif other.stamp <= node.stamp and other.far > node.far:
            other.parent = arcs[a].back
            other.stamp = node.stamp
            other.far = node.far + 1
    return -1


@njit(nogil=True, cache=True)
def _augment(bridge, nodes, arcs, orphans):  # type: ignore[no-untyped-def]
    """Send along the path over the bridge what it takes: (flow, how many stand in `orphans` now).

    First to both terminals to find the narrowest arc, then again to change the residuals.
    """
    # Parent arcs lead to the terminal. The flow comes against them in the source's tree, and so it
    # is the reverse arcs that limit it there; in the sink's tree it goes along them.
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
    # From the bridge to the source, against the flow; then to the sink, with it.
    for side in range(2):
        q = end if side else start
        while nodes[q].parent >= 0:
            a = nodes[q].parent
            up, down = (a, arcs[a].back) if side else (arcs[a].back, a)
            arcs[up].residual -= least
            arcs[down].residual += least
            # Every arc as narrow as the narrowest is full now: one path can make many orphans.
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
    """Find each orphan the parent of its tree that is nearest to the terminal, or set it free.

    The children of a node that is set free become orphans. Its neighbours in the tree become
    active: they may take it in later.
    """
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
            # A neighbour may itself come from an orphan, or from this one: its way has to be
            # followed to the terminal, or the trees could close to a ring.
            distance = _distance(arc.head, time, nodes, arcs)
            if distance < nearest:
                best, nearest = a, distance
        # The own stamp too: later orphans of this round then find the way known.
        if best != NONE:
            node.parent, node.stamp, node.far = best, time, nearest + 1
            continue
        for a in range(node.first, nodes[q + 1].first):
            arc = arcs[a]
            other = nodes[arc.head]
            if other.tree != mine:
                continue
            # It could reach q again, and q is free now: it has to look around once more.
            if (arcs[arc.back].residual if mine == SOURCE else arc.residual) != 0:
                _wait(arc.head, nodes, ends)
            if other.parent >= 0 and arcs[other.parent].head == q:
                other.parent = ORPHAN
                orphans[lost] = arc.head
                lost += 1
        node.tree, node.parent = FREE, NONE


@njit(nogil=True, cache=True)
def _distance(start, time, nodes, arcs):  # type: ignore[no-untyped-def]
    """Arcs from a node to its terminal, NOWHERE if an orphan is on the way.

    Walks until a node that was marked in this round, then marks the way: all walks of a round
    together are as long as the tree, not each of them.
    """
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
