"""Counting pixel pairs (truth, prediction): exact in int64, one pass, no temporary arrays."""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True, boundscheck=False)
def _count(truth, prediction, classes, ignore, table):  # type: ignore[no-untyped-def]
    """Four tables in turn, so that runs of one pair do not wait for their own last increment."""
    size = truth.size
    for i in range(size):
        row = np.uint64(truth[i])
        if row == ignore:
            continue
        if row >= classes:
            return i
        column = np.uint64(prediction[i])
        if column > classes:
            column = classes
        table[i & 3, row, column] += 1
    return -1


def count_pairs(truth: np.ndarray, prediction: np.ndarray, classes: int, ignore: int = 255) -> np.ndarray:
    """(K, K + 1) int64: pixels of true class `row` predicted as `column`; the last column: predicted as no class.

    truth, prediction: integer arrays of one shape and any rank. Pixels whose truth is `ignore` count nowhere.
    A prediction outside 0..K-1 on a counted pixel is an error of the predictor, never dropped.
    Raises ValueError when shapes differ, a dtype is not integer or a true label is neither a class nor `ignore`.
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"truth has shape {truth.shape}, prediction {prediction.shape}; they must be equal")
    for name, array in (("truth", truth), ("prediction", prediction)):
        if array.dtype.kind not in "iub":
            raise ValueError(f"{name} has dtype {array.dtype}; expected integer class indices")
    table = np.zeros((4, classes, classes + 1), np.int64)
    flat = np.ascontiguousarray(truth).reshape(-1)
    bad = _count(flat, np.ascontiguousarray(prediction).reshape(-1), np.uint64(classes), np.uint64(ignore), table)
    if bad >= 0:
        raise ValueError(f"true label {flat[bad]} is neither a class 0..{classes - 1} nor the ignored {ignore}")
    return table.sum(0)
