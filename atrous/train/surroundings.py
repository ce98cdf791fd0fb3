"""The process around a training: what it changes for its own sake, and puts back for the caller."""

import ctypes
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np
import torch


@contextmanager
def left_as_found() -> Iterator[None]:
    """Leave the random generators of Python, numpy and torch, and torch's threads, as they were.

    A training seeds torch anew at every step: a caller who draws random numbers before and after it
    must not get the same ones each time.
    """
    python, numbers = random.getstate(), np.random.get_state()  # noqa: NPY002 - the caller's generator
    here, threads = torch.get_rng_state(), torch.get_num_threads()
    there = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numbers)  # noqa: NPY002
        torch.set_rng_state(here)
        if there:
            torch.cuda.set_rng_state_all(there)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)


TRIM, MMAP = -1, -3
"""M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of mallopt(3)."""
USUAL = {TRIM: ("MALLOC_TRIM_THRESHOLD_", 2**26), MMAP: ("MALLOC_MMAP_THRESHOLD_", 2**25)}
"""Parameter -> the variable that sets it, and where glibc itself has moved it once a large block was freed."""


def keep_freed_memory() -> bool:
    """Tell glibc to keep freed memory for the next step; with other C libraries nothing happens, and it returns False.

    By default glibc returns every large block to the system and asks for it again. On two cores a
    fifth of a training step went into clearing those pages. Now the process stays as large as its
    largest step.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for parameter in USUAL:
            mallopt(parameter, 2**31 - 1)
        return True
    return False


@contextmanager
def freed_memory_kept() -> Iterator[None]:
    """Keep freed memory, and give it back to the system at the end."""
    kept = keep_freed_memory()
    try:
        yield
    finally:
        if kept:
            library = ctypes.CDLL(None)
            for parameter, (variable, usual) in USUAL.items():
                asked = os.environ.get(variable, "")
                library.mallopt(parameter, int(asked) if asked.isdigit() else usual)
            library.malloc_trim(0)
