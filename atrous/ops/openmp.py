"""Rows of a picture divided among threads: torch's own, or a team of ours where numba lacks OpenMP.

A network has just run when these kernels start, and torch's threads are still awake from it. More
threads beside them would share the cores and make both slower.

A forked process has none of its parent's threads, and OpenMP, which does not know, would end or hang
there. It works with one thread.
"""

import os
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch

from atrous.ops.threads import Team, available

try:
    from numba.np.ufunc import omppool  # type: ignore[attr-defined]  # noqa: F401

    OPENMP = True
    numba.config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]  # type: ignore[attr-defined]
except ImportError:  # numba's own layer aborts the process when two threads call it at once
    OPENMP = False


FORKED = False


def _work_alone() -> None:
    global FORKED  # of a process, as its threads are
    FORKED = True
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_work_alone)


def split_rows(rows: int, kernel: Callable[..., None], parallel: Callable[..., None], *arguments: Any) -> None:
    """Run a kernel on `rows` rows, in equal parts, with as many threads as torch has.

    Args:
        rows: number of rows.
        kernel: called as kernel(*arguments, first, last); for the team of threads.
        parallel: called as parallel(*arguments, bounds), a `prange` over the kernel; for OpenMP.
        arguments: what both get first.
    """
    if FORKED:
        kernel(*arguments, 0, rows)
        return
    threads = torch.get_num_threads()
    if not OPENMP:
        with Team(min(available(), threads)) as team:
            team.split(rows, kernel, *arguments)
        return
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    parallel(*arguments, np.linspace(0, rows, min(threads, rows) + 1).astype(np.int64))
    # Numba's first launch sets OpenMP's number of threads, which is torch's too.
    if torch.get_num_threads() != threads:
        torch.set_num_threads(threads)
