"""Numba's compiler for kernels that are kept on the disk: `from atrous.ops.compiling import njit`."""

from numba import njit, prange

from atrous.files import name_kernels_apart

__all__ = ["njit", "prange"]

name_kernels_apart()
