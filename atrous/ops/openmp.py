"""Rows of a picture divided among threads: torch's own where numba shares OpenMP with it, else a team of ours."""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import torch

from atrous.ops.threads import Team, available

try:  # torch's own threads, still awake from the network; others would share the cores with them
    from numba.np.ufunc import omppool  # type: ignore[attr-defined]  # noqa: F401

    OPENMP = True
    numba.config.THREADING_LAYER_PRIORITY = ["omp", "tbb", "workqueue"]  # type: ignore[attr-defined]
except ImportError:  # numba's own layer aborts the process under concurrent calls
    OPENMP = False


def split_rows(kernel: Callable[..., None], parallel: Callable[..., None], *arguments: Any) -> None:
    """The kernel on equal parts of the rows, one a thread: as many as torch has."""
    threads, height = torch.get_num_threads(), len(arguments[1])
    if not OPENMP:
        with Team(min(available(), threads)) as team:
            team.split(height, kernel, *arguments)
        return
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))  # type: ignore[attr-defined]
    parallel(*arguments, np.linspace(0, height, min(threads, height) + 1).astype(np.int64))
    if torch.get_num_threads() != threads:  # numba's first launch sets OpenMP's count, which is torch's too
        torch.set_num_threads(threads)
