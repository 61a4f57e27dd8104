"""The compiled forms of the step, in two dimensions (``cpu2``) and three (``cpu3``): compiled ahead and kept."""

from __future__ import annotations

import numpy as np

from lab.kernels.mpm import loops, roll
from lab.kernels.mpm.cpu2 import SLIP


def warm():
    """Compile the kernels of this folder for float32 and float64, in two and three dimensions."""
    for dtype in (np.float32, np.float64):
        for d in (2, 3):
            state = loops.still(d, dtype)
            arguments = (np.ones(1, dtype), np.ones(1, dtype), np.zeros(d, dtype), (6,) * d, 1.0, 1e-3, SLIP, 1)
            loops.backward(*state, *arguments, *loops.forward(*state, *arguments)[1:3], *state[:4])
            roll.run(*state[:4], np.array([[0, 0, 1.0, 1.0, 0.0, 0.0]]), np.zeros(1, np.int64), 1, 1, *arguments)
