"""Evaluate very many random networks whose weights are never stored: see :func:`random_hypotheses`."""

from lab.kernels.random_hypotheses.network import RandomNetwork
from lab.kernels.random_hypotheses.public import random_hypotheses

__all__ = ["RandomNetwork", "random_hypotheses"]
