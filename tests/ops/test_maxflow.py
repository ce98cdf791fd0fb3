from typing import NamedTuple

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.csgraph import maximum_flow

from atrous.ops.maxflow import ARC, NODE, SOURCE, cut


class Cut(NamedTuple):
    flow: int
    source_side: np.ndarray


def max_flow(graph: sparse.sparray | np.ndarray, source: int, sink: int) -> Cut:
    """The kernel on any graph (n, n) of capacities: arcs at the terminals become terms."""
    arcs = sparse.coo_array(graph)
    nodes = arcs.shape[0]
    row, column, capacity = (np.asarray(part, np.int64) for part in (*arcs.coords, arcs.data))
    useful = (row != column) & (column != source) & (row != sink) & (capacity > 0)
    row, column, capacity = row[useful], column[useful], capacity[useful]
    rise, fall = row == source, column == sink
    given, taken = (
        np.bincount(end[part], capacity[part], nodes).astype(np.int64) for end, part in ((column, rise), (row, fall))
    )
    direct, given[sink], taken[source] = given[sink], 0, 0
    built = paired(nodes, *(part[~(rise | fall)] for part in (row, column, capacity)))
    built[0]["term"][:-1] = given - taken
    flow = cut(*built) + np.minimum(given, taken).sum() + direct
    side = built[0]["tree"][:-1] == SOURCE
    side[source] = True
    return Cut(int(flow), side)


def paired(nodes: int, row: np.ndarray, column: np.ndarray, capacity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
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


def random_graph(seed: int) -> np.ndarray:
    """(n, n) int32 capacities, dense or thin, with arcs into the source, out of the sink and from a node to itself."""
    rng = np.random.default_rng(seed)
    nodes = rng.integers(2, 30)
    return ((rng.random((nodes, nodes)) < rng.uniform(0.05, 0.9)) * rng.integers(0, 50, (nodes, nodes))).astype(
        np.int32
    )


@pytest.mark.parametrize("seed", range(100))
def test_flow_is_scipys_and_the_cuts_capacity(seed: int) -> None:
    graph = random_graph(seed)
    sink = len(graph) - 1
    found = max_flow(sparse.csr_array(graph), 0, sink)
    plain = graph.copy()
    np.fill_diagonal(plain, 0)
    assert found.flow == maximum_flow(sparse.csr_array(plain), 0, sink).flow_value
    side = found.source_side
    assert side[0]
    assert not side[sink]
    assert found.flow == plain[side][:, ~side].sum()


@pytest.mark.parametrize("seed", range(30))
def test_source_side_is_the_smallest_of_all_minimum_cuts(seed: int) -> None:
    """All 2^(n - 2) cuts of a small graph: the minimal ones' common part is itself minimal, and is what is found."""
    rng = np.random.default_rng(seed)
    nodes = 8
    graph = (rng.random((nodes, nodes)) < 0.4) * rng.integers(1, 4, (nodes, nodes))
    sides = np.array([[True, *((code >> k) & 1 == 1 for k in range(nodes - 2)), False] for code in range(64)])
    capacity = np.array([graph[side][:, ~side].sum() for side in sides])
    found = max_flow(graph, 0, nodes - 1)
    assert found.flow == capacity.min()
    assert (found.source_side == sides[capacity == capacity.min()].all(0)).all()


def test_a_grid_of_thousands() -> None:
    rng = np.random.default_rng(0)
    side = 60
    index = np.arange(side * side).reshape(side, side)
    steps = [(index[1:], index[:-1]), (index[:, 1:], index[:, :-1])]
    pairs = np.concatenate([np.stack(step).reshape(2, -1).T for step in steps])
    source, sink = side * side, side * side + 1
    ends = np.where(rng.random(side * side) < 0.5, source, sink)
    row = np.concatenate([pairs[:, 0], pairs[:, 1], np.where(ends == source, source, index.ravel())])
    column = np.concatenate([pairs[:, 1], pairs[:, 0], np.where(ends == source, index.ravel(), sink)])
    graph = sparse.csr_array((rng.integers(1, 1000, len(row)).astype(np.int32), (row, column)), shape=(sink + 1,) * 2)
    found = max_flow(graph, source, sink)
    assert found.flow == maximum_flow(graph, source, sink).flow_value
    coo = sparse.coo_array(graph)
    assert found.flow == coo.data[found.source_side[coo.coords[0]] & ~found.source_side[coo.coords[1]]].sum()


def test_entries_of_one_place_are_summed() -> None:
    graph = sparse.coo_array((np.array([3, 4]), (np.array([0, 0]), np.array([1, 1]))), shape=(2, 2))
    assert max_flow(graph, 0, 1).flow == 7


def test_no_arcs_at_all() -> None:
    found = max_flow(sparse.csr_array((3, 3), dtype=np.int32), 0, 2)
    assert found.flow == 0
    assert found.source_side.tolist() == [True, False, False]
