"""Functions that compiled functions call and nobody else."""

from __future__ import annotations

from numba import njit

inner = njit(cache=True, nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]
"""As ``njit(cache=True, nogil=True)`` without the ways in from Python and C, which take an eighth of the compiler's time. To
call such a function from Python is a fault that ends the process."""
