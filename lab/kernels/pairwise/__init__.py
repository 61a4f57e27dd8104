"""Map-reduce over all pairs of two point sets: see :func:`pairwise`."""

from lab.kernels.pairwise.public import KERNELS, pairwise

__all__ = ["KERNELS", "pairwise"]
