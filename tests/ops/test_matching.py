import time

import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching, maximum_flow

from atrous.ops.matching import matching_size


def by_flow(graph: csr_array) -> int:
    """The same as a maximum flow from a source to every row and from every column to a sink."""
    rows, columns = graph.shape
    dense = np.zeros((rows + columns + 2,) * 2, np.int32)
    dense[0, 1 : rows + 1] = 1
    dense[1 : rows + 1, rows + 1 : -1] = graph.toarray()
    dense[rows + 1 : -1, -1] = 1
    return maximum_flow(csr_array(dense), 0, rows + columns + 1).flow_value


@pytest.mark.parametrize("seed", range(60))
def test_as_large_as_scipy_finds_on_small_graphs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(1, 14, 2)
    graph = csr_array((rng.random((rows, columns)) < rng.uniform(0.05, 0.5)).astype(np.int8))
    expected = (maximum_bipartite_matching(graph, perm_type="column") >= 0).sum()
    assert matching_size(graph.indptr, graph.indices, columns) == expected == by_flow(graph)


def test_long_alternating_ways_are_found() -> None:
    """Row k reaches columns k and k - 1; the greedy start leaves the last row out, which moves every other one."""
    count = 500
    pairs = [(k, c) for k in range(count) for c in (k, k + 1)] + [(count, 0)]
    rows, columns = zip(*pairs, strict=True)
    graph = csr_array((np.ones(len(pairs), np.int8), (rows, columns)), shape=(count + 1, count + 1))
    assert matching_size(graph.indptr, graph.indices, count + 1) == count + 1


def test_neighbouring_contours_take_no_time() -> None:
    """Points of a jagged line and of a part of it, near ones joined: the kind of graph on which scipy stalls."""
    rng = np.random.default_rng(0)
    line = np.stack([np.arange(1500), np.cumsum(rng.integers(-1, 2, 1500))], axis=1)
    other = line[rng.random(1500) < 0.9] + rng.integers(-2, 3, (1, 2))
    near = np.linalg.norm(line[:, None] - other[None], axis=2) <= 4.5
    graph = csr_array(near.astype(np.int8))
    matching_size(graph.indptr, graph.indices, len(other))  # compiled
    began = time.perf_counter()
    found = matching_size(graph.indptr, graph.indices, len(other))
    assert time.perf_counter() - began < 2
    assert found == by_flow(graph)


def test_empty_graphs() -> None:
    assert matching_size(np.zeros(1, int), np.zeros(0, int), 0) == 0
    assert matching_size(np.zeros(4, int), np.zeros(0, int), 5) == 0
