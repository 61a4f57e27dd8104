"""The material point method: see :func:`mpm_step` and :func:`mpm_roll`."""

from lab.kernels.mpm.public import ClosedLaw, MpmState, mpm_roll, mpm_step

__all__ = ["ClosedLaw", "MpmState", "mpm_roll", "mpm_step"]
