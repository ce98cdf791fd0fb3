"""Threads for kernels that release Python's lock, made for each call and ended with it.

A pool that is kept alive would be shared by callers of different threads, and would not survive a
fork (loader workers fork). Starting one takes about 65 us, a kernel runs for milliseconds.
"""

import ctypes
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import count, pairwise
from typing import Any

import numba

from atrous.errors import DataError

MOST = 64
"""Threads of a team; of more, each would do next to nothing."""


def available() -> int:
    """How many threads this process may use: the least of NUMBA_NUM_THREADS and OMP_NUM_THREADS.

    Where neither is set, as many as the machine has cores.
    """
    most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(most, int(asked)) if asked.isdigit() and int(asked) else most


def give_back_memory() -> None:
    """Return freed memory to the system, which glibc would keep for later; elsewhere do nothing."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class Team:
    """A fixed number of threads, the calling one among them, for the length of a `with` block.

    Example:
        >>> with Team(2) as team:
        ...     team.split(10, lambda first, last: last - first)
        [5, 5]
    """

    def __init__(self, threads: int | None = None) -> None:
        if threads is not None and threads < 1:
            raise DataError(f"threads is {threads}; expected a whole number from 1 on, or None for all")
        self.threads = min(threads or available(), MOST)

    def __enter__(self) -> "Team":
        self._pool = ThreadPoolExecutor(self.threads - 1) if self.threads > 1 else None
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def run(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """The result of each call, made by whichever thread is free; a call may `run` others."""
        results: list[Any] = [None] * len(calls)
        turn = count()  # next() holds Python's lock: no call is made twice

        def work() -> None:
            while (i := next(turn)) < len(calls):
                results[i] = calls[i]()

        helpers = min(self.threads, len(calls)) - 1
        others = [self._pool.submit(work) for _ in range(helpers)] if self._pool is not None else []
        work()
        # A helper that has not begun by now finds nothing left to do. Waiting for it could wait for
        # ever: where calls `run` others, all threads of the pool may be those that wait.
        for other in others:
            if not other.cancel():
                other.result()
        return results

    def split(self, bounds: int | Sequence[int], kernel: Callable[..., Any], *arguments: Any) -> list[Any]:
        """kernel(*arguments, first, last) for each part, on the threads of the team.

        bounds: where parts begin and the last one ends; or a number, which is divided into as many
        equal parts as there are threads.
        """
        if isinstance(bounds, int):
            bounds = [bounds * part // self.threads for part in range(self.threads + 1)]
        return self.run([partial(kernel, *arguments, first, last) for first, last in pairwise(bounds)])
