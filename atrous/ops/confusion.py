"""Counts of pixel pairs (truth, prediction): exact in int64, one pass, no temporary arrays."""

from typing import Any

import numpy as np

from atrous.ops.compiling import njit

BYTES = 8
"""Label maps of 8 or 16 bits are read in words of so many bytes. In most words all pixels are one
pair, and one addition counts them."""


@njit(nogil=True, cache=True, boundscheck=False)
def _count(truth, prediction, classes, ignore, table):  # type: ignore[no-untyped-def]
    """Count pixel by pixel, in four tables in turn.

    Neighbours mostly add to the same place. With one table each addition would wait for the one
    before it to reach memory.
    """
    # In bounds: `prediction` is as long as `truth`; row <= classes + 1, column <= classes, whatever the labels hold.
    for i in range(truth.size):
        # uint64 turns a label below 0 into a huge one, `ignore` too: it is no class, as it should be.
        row = np.uint64(truth[i])
        column = np.uint64(prediction[i])
        if row == ignore:
            row = classes
        elif row >= classes:
            row = classes + np.uint64(1)
        table[i & 3, row * (classes + np.uint64(1)) + min(column, classes)] += 1


def _word_counter(bits: int) -> Any:
    """The kernel for labels of 8 or 16 bits; rows, columns: a label's part of a place."""
    pixels, step, low = 64 // bits, np.uint64(bits), np.uint64(2**bits - 1)
    # A label times `ones` fills a word: 0x0101...01 for bytes.
    ones = np.uint64((2**64 - 1) // (2**bits - 1))

    @njit(nogil=True, cache=True, boundscheck=False)
    def count(truth, prediction, rows, columns, table):  # type: ignore[no-untyped-def]
        # In bounds: `rows` and `columns` have a place for every label of so many bits, `_places` made them.
        for i in range(truth.size):
            true, guess = truth[i], prediction[i]
            if true == (true & low) * ones and guess == (guess & low) * ones:
                table[i & 3, rows[true & low] + columns[guess & low]] += pixels
            else:
                for k in range(pixels):
                    table[k & 3, rows[true & low] + columns[guess & low]] += 1
                    true >>= step
                    guess >>= step

    return count


_COUNT_WORDS = {np.dtype(np.uint8): _word_counter(8), np.dtype(np.uint16): _word_counter(16)}


def count_pairs(truth: np.ndarray, prediction: np.ndarray, classes: int, ignore: int = 255) -> np.ndarray:
    """How many pixels of each true class were predicted as each class.

    Args:
        truth: integer labels of any shape, each 0..K-1 or `ignore`.
        prediction: integer labels of the same shape. What is outside 0..K-1 is counted as wrong,
            not dropped.
        classes: K, at least 1.
        ignore: the label of pixels that count nowhere; it wins over a class of that number.

    Returns:
        (K, K + 1) int64, rows of truth, columns of predictions; the last column counts predictions
        that are no class.

    Raises:
        ValueError: shapes differ, a dtype is not integer, there is no class, `ignore` has more than
            64 bits, or a true label is neither a class nor `ignore`.

    Example:
        >>> count_pairs(np.array([0, 0, 1, 255]), np.array([0, 1, 1, 1]), 2)
        array([[1, 1, 0],
               [0, 1, 0]])
    """
    if truth.shape != prediction.shape:
        raise ValueError(f"truth has shape {truth.shape}, prediction {prediction.shape}; they must be equal")
    for name, array in (("truth", truth), ("prediction", prediction)):
        if array.dtype.kind not in "iub":
            raise ValueError(f"{name} has dtype {array.dtype}; expected integer class indices")
    if classes < 1 or not -(2**63) <= ignore < 2**64:
        raise ValueError(f"classes is {classes}, ignore {ignore}; expected at least 1 class, and a label of 64 bits")
    flat, guess = _flat(truth), _flat(prediction)
    table = np.zeros((4, (classes + 2) * (classes + 1)), np.int64)  # rows: classes, ignored, others
    dtype = np.result_type(flat, guess)
    labels = 256**dtype.itemsize
    done = 0
    if dtype in _COUNT_WORDS and flat.size >= labels:
        done = flat.size // BYTES * BYTES
        true, other = (part[:done].astype(dtype, copy=False).view(np.uint64) for part in (flat, guess))
        _COUNT_WORDS[dtype](true, other, *_places(classes, ignore, labels), table)
    if done < flat.size:
        _count(flat[done:], guess[done:], np.uint64(classes), np.uint64(ignore % 2**64), table)
    counts = table.sum(0).reshape(classes + 2, classes + 1)
    if counts[-1].any():
        bad = flat[((flat < 0) | (flat >= classes)) & (flat != ignore)][0]
        raise ValueError(f"true label {bad} is neither a class 0..{classes - 1} nor the ignored {ignore}")
    return counts[:classes]


def _flat(labels: np.ndarray) -> np.ndarray:
    """(n,), read-only and of the machine's byte order: kernels are then compiled for one kind of array."""
    flat = np.ascontiguousarray(labels, labels.dtype.newbyteorder("=")).reshape(-1)
    flat.flags.writeable = False
    return flat


def _places(classes: int, ignore: int, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """For each label the start of its row, and its column, in a flat (K + 2, K + 1) table."""
    label = np.arange(labels, dtype=np.uint64)
    rows = np.where(label < classes, label, classes + 1)
    rows[label == ignore] = classes
    return (rows * (classes + 1)).astype(np.uint64), np.minimum(label, classes).astype(np.uint64)
