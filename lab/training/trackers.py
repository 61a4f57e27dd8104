r"""A running mean of positive numbers, kept as its logarithm.

.. math:: u \leftarrow (1 - \gamma) u + \gamma w, \qquad \log u \leftarrow
          \log\bigl(e^{\log u + \log(1 - \gamma)} + e^{\log w + \log\gamma}\bigr),

for weights w of any size, such as partition functions and importance weights, that a running mean itself could not hold.

Source: M. Wang, E. Fang, H. Liu, 'Stochastic compositional gradient descent', Mathematical Programming 161, 2017, equation (2.3),
for the tracked inner expectation.
"""

from __future__ import annotations

import math

import torch

from lab import checks


def log_running_mean(log_mean: torch.Tensor, log_new: torch.Tensor, gamma: float) -> torch.Tensor:
    """The logarithm of the running mean after one more value, entry by entry.

    Args:
        log_mean: logarithms before; NaN where nothing was seen, and the new value is then taken as it is.
        log_new: logarithms of the new values, in a shape that broadcasts.
        gamma: weight of the new value, in (0, 1]; 1 forgets all before.

    >>> float(log_running_mean(torch.tensor(0.0), torch.tensor(math.log(3.0)), 0.5).exp())
    2.0
    """
    gamma = checks.number("gamma", gamma, low=0.0, high=1.0, open_low=True)
    new = torch.isnan(log_mean)
    if gamma == 1:
        return torch.where(new, log_new, log_new)
    known = torch.where(new, -math.inf, log_mean)  # no NaN may reach a gradient
    mixed = torch.logaddexp(known + math.log1p(-gamma), log_new + math.log(gamma))
    return torch.where(new, log_new, mixed)
