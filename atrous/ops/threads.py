"""Threads for kernels that let go of Python's lock: nothing is shared by two calls, none is kept alive between them."""

import ctypes
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import count, pairwise
from typing import Any

import numba


def available() -> int:
    """As many as this process may use: the machine's, or fewer by NUMBA_NUM_THREADS or OMP_NUM_THREADS."""
    most = numba.config.NUMBA_NUM_THREADS  # type: ignore[attr-defined]
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return min(most, int(asked)) if asked.isdigit() and int(asked) else most


def give_back_memory() -> None:
    """Let the system have what this process has freed, where the C library (glibc) would keep it for later."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


class Team:
    """A fixed number of threads, this one among them, for the length of a `with` block."""

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads or available()

    def __enter__(self) -> "Team":
        self._pool = ThreadPoolExecutor(self.threads - 1) if self.threads > 1 else None
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def run(self, calls: Sequence[Callable[[], Any]]) -> list[Any]:
        """The result of each call, made by whichever thread is free; a call may `run` calls of its own."""
        results: list[Any] = [None] * len(calls)
        turn = count()

        def work() -> None:
            while (i := next(turn)) < len(calls):
                results[i] = calls[i]()

        helpers = min(self.threads, len(calls)) - 1
        others = [self._pool.submit(work) for _ in range(helpers)] if self._pool is not None else []
        work()
        for other in others:
            if not other.cancel():  # one that has not begun finds nothing left to do
                other.result()
        return results

    def split(self, bounds: int | Sequence[int], kernel: Callable[..., Any], *arguments: Any) -> list[Any]:
        """kernel(*arguments, first, last) for each part: of a number, in as many equal parts as there are threads."""
        if isinstance(bounds, int):
            bounds = [bounds * part // self.threads for part in range(self.threads + 1)]
        return self.run([partial(kernel, *arguments, first, last) for first, last in pairwise(bounds)])
