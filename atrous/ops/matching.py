"""Maximum matchings of bipartite graphs: pairs of a row and a column, each in one pair at most.

scipy's `maximum_bipartite_matching` (1.17) searches again where it has failed before. It takes
hours for some graphs of a thousand boundary pixels; this one takes milliseconds.
"""

import numpy as np

from atrous.errors import DataError
from atrous.ops.compiling import njit


def matching_size(indptr: np.ndarray, indices: np.ndarray, columns: int) -> int:
    """The size of a maximum matching between rows and columns of a graph in CSR form.

    Time: edges times the square root of rows + columns.

    Args:
        indptr: (rows + 1,), row r has edges to the columns indices[indptr[r] : indptr[r + 1]].
        indices: columns, 0..columns - 1.
        columns: their number.

    Raises:
        DataError: these are not the integers of such a graph.

    Source:
        Hopcroft & Karp, SIAM Journal on Computing 1973.

    Example:
        >>> matching_size(np.array([0, 2, 3]), np.array([0, 1, 0]), 2)  # row 0: 0 or 1, row 1: 0
        2
    """
    starts, edges = np.asarray(indptr), np.asarray(indices)
    if not (starts.ndim == edges.ndim == 1 and starts.size and {starts.dtype.kind, edges.dtype.kind} <= set("iu")):
        raise DataError(
            f"the graph has indptr of shape {starts.shape} and type {starts.dtype}, indices of {edges.shape} and "
            f"{edges.dtype}; expected whole numbers, (rows + 1,) and (edges,)"
        )
    starts, edges = (np.ascontiguousarray(part, np.int64) for part in (starts, edges))
    if starts[0] < 0 or starts[-1] > len(edges) or (starts[1:] < starts[:-1]).any():
        raise DataError(f"indptr is no rising list within 0..{len(edges)}, the number of edges")
    if columns < 0 or (edges.size and not 0 <= edges.min() <= edges.max() < columns):
        raise DataError(f"indices are not all within 0..{columns - 1}, the columns of the graph")
    return int(_match(starts, edges, columns))


@njit(nogil=True, cache=True)
def _match(indptr, indices, columns):  # type: ignore[no-untyped-def]
    """In phases: each adds shortest augmenting paths until none of that length is left."""
    # In bounds, here and in what it calls: `matching_size` has checked the graph, and rows are met as `row_of` only.
    rows = len(indptr) - 1
    column_of, row_of = np.full(rows, -1), np.full(columns, -1)
    size = 0
    # A greedy start matches most rows, and leaves few phases to do.
    for row in range(rows):
        for edge in range(indptr[row], indptr[row + 1]):
            if row_of[indices[edge]] < 0:
                row_of[indices[edge]], column_of[row] = row, indices[edge]
                size += 1
                break
    level, queue, path = np.empty(rows, np.int64), np.empty(rows, np.int64), np.empty(rows + 1, np.int64)
    while _levels(indptr, indices, column_of, row_of, level, queue):
        # Each row's next edge to try. One that has failed is not tried again in this phase: that
        # bounds a phase by the number of edges.
        edges = indptr[:-1].copy()
        for root in range(rows):
            if column_of[root] < 0:
                size += _augment(root, indptr, indices, column_of, row_of, level, edges, path)
    return size


@njit(nogil=True, cache=True)
def _levels(indptr, indices, column_of, row_of, level, queue):  # type: ignore[no-untyped-def]
    """Number rows by their distance from unmatched ones, -1 if out of reach; is a free column near?

    Breadth first, along free edges to columns and matched edges back to rows.
    """
    # In bounds: a row has its level from when it enters the queue, and so enters once.
    head = tail = 0
    for row in range(len(level)):
        level[row] = -1
        if column_of[row] < 0:
            level[row], queue[tail] = 0, row
            tail += 1
    found = False
    while head < tail:
        row = queue[head]
        head += 1
        for edge in range(indptr[row], indptr[row + 1]):
            other = row_of[indices[edge]]
            if other < 0:
                found = True
            elif level[other] < 0:
                level[other], queue[tail] = level[row] + 1, other
                tail += 1
    return found


@njit(nogil=True, cache=True)
def _augment(root, indptr, indices, column_of, row_of, level, edges, path):  # type: ignore[no-untyped-def]
    """From an unmatched row look for a free column, level by level; 1 if found and matched, else 0.

    Along the path that is found, matched and unmatched edges change places. The path is a list, not
    a recursion: it may be longer than a thread's stack allows.
    """
    # In bounds: levels rise by one along the path, and there are no more than rows.
    depth = 0
    path[0] = root
    while depth >= 0:
        row = path[depth]
        if edges[row] == indptr[row + 1]:
            depth -= 1
            if depth >= 0:
                edges[path[depth]] += 1
            continue
        other = row_of[indices[edges[row]]]
        if other < 0:
            for step in range(depth, -1, -1):
                row = path[step]
                column_of[row] = indices[edges[row]]
                row_of[column_of[row]] = row
            return 1
        if level[other] == level[row] + 1:
            depth += 1
            path[depth] = other
        else:
            edges[row] += 1
    return 0
