"""Losses of one row of scores: see :func:`rowloss`."""

from lab.kernels.rowloss.family import (
    RowLoss,
    comp_sum,
    generalized_cross_entropy,
    label_distributionally_robust,
    margin,
    mean_absolute_error,
)
from lab.kernels.rowloss.public import kl_dro_weights, rowloss

__all__ = [
    "RowLoss",
    "comp_sum",
    "generalized_cross_entropy",
    "kl_dro_weights",
    "label_distributionally_robust",
    "margin",
    "mean_absolute_error",
    "rowloss",
]
