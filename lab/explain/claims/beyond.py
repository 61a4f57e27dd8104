"""The claim about new methods: each changes one choice of the framework, and is measured where it should win."""

from __future__ import annotations

import torch

from lab import claims
from lab.claims import Measured, measures
from lab.explain import beyond
from lab.explain.claims._means import mean_interval


@measures("explain.new-methods")
def new_methods(data, seeds, budget, switched_off: bool = False) -> Measured:
    """For every new method, the error of the method it extends over its own, and the least of these ratios."""
    results: dict[str, list[float]] = {}
    for seed in seeds:
        for result in beyond.contests(seed=seed, budget=budget, switched_off=switched_off):
            results.setdefault(result.method, []).append(result.old / max(result.new, 1e-12))
    means = {name: mean_interval(torch.tensor(ratios).log()) for name, ratios in results.items()}
    least = min(means, key=lambda name: means[name][1][0])
    value, (low, high) = means[least]
    ratios = {name: round(float(torch.tensor(mean).exp()), 3) for name, (mean, _) in means.items()}
    bounds = [float(torch.tensor(end).exp()) for end in (value, low, high)]
    margin = claims.by_id("explain.new-methods").margin
    return Measured(bounds[0], (bounds[1], bounds[2]), bounds[1] > margin, {"ratios": ratios, "least": least})
