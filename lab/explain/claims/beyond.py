"""Measurements of new methods: each changes one choice of the framework, and is measured where it should win."""

from __future__ import annotations

import numpy as np

from lab.claims import Effects, measures
from lab.explain.studies import extensions


@measures("explanations.new-methods")
def new_methods(trial):
    """The least, over the new methods, of the logarithm of the error of the method it extends over its own.

    Control: the old method on both sides.
    """
    gains = []
    for seed in trial.seeds:
        found = extensions.contests(seed=seed, budget=trial.budget, switched_off=trial.control)
        gains.append([float(np.log(one.old / max(one.new, 1e-12))) for one in found])
    ratios = np.exp(np.mean(gains, axis=0))
    return Effects(np.min(gains, axis=1), {one.method: round(float(r), 3) for one, r in zip(found, ratios)})
