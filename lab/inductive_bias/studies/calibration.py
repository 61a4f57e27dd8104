"""Every estimator against known answers: error, coverage of its intervals, and how often it speaks up."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from lab import checks
from lab.inductive_bias.bit_methods import required_bits
from lab.inductive_bias.covariances import NNGP
from lab.inductive_bias.kernel_space import KernelSpace
from lab.inductive_bias.laws import GaussianQuadraticLaw, SampleLaw
from lab.inductive_bias.networks import WeightPriorSpace
from lab.inductive_bias.splitting import Splitting
from lab.inductive_bias.task import Task
from lab.kernels.random_hypotheses import RandomNetwork


def fresh_law(seed: int, *, directions: int = 100) -> GaussianQuadraticLaw:
    """An exact law with a random spectrum and random shifts, of known tail and easy to evaluate."""
    rng = np.random.default_rng(seed)
    index = np.arange(checks.integer("directions", directions, low=1))
    values = np.exp(-index / (directions * rng.uniform(0.1, 1.0)))
    shifts = values * rng.exponential(size=directions) * rng.uniform(0, 2)
    return GaussianQuadraticLaw(torch.tensor(values), torch.tensor(shifts), 1, 0.0, directions)


def splitting_against_exact(
    runs: int = 50,
    *,
    bits: tuple[float, float] = (10.0, 200.0),
    settings: Splitting | None = None,
    seed: int = 0,
    progress=None,
):
    """Splitting on fresh rare events of known size: ``exact, bits, low, high, evaluations``, one row a run."""
    import pandas as pd

    settings = settings or Splitting()
    rows = []
    for run in range(checks.integer("runs", runs, low=1)):
        law = fresh_law(10_000 + 1000 * seed + run)
        exact = float(np.geomspace(*bits, runs)[run]) if runs > 1 else bits[0]
        found = settings.bits(law.energy_law(), float(law.quantile([exact])[0]), seed=seed + run)
        rows.append(
            {
                "exact": exact,
                "bits": found.bits,
                "low": found.interval[0],
                "high": found.interval[1],
                "evaluations": found.meta["evaluations"],
            }
        )
        if progress is not None:
            progress((run + 1) / runs)
    return pd.DataFrame(rows)


def extrapolation_flags(runs: int = 40, *, draws: int = 2000, seed: int = 0):
    """Which fits are flagged: ``kind`` (true family or spectrum), ``depth`` (in log2 draws), ``error``, ``flagged, covered``.

    Fits of the true family within the supported depth should pass; fits of a spectrum beyond it must be flagged.
    """
    import pandas as pd

    rows = []
    for run in range(checks.integer("runs", runs, low=1)):
        rng = np.random.default_rng([seed, run])
        dof, shift = float(rng.uniform(5, 200)), float(rng.uniform(0, 100))
        spectrum = fresh_law(50_000 + 1000 * seed + run)
        for kind, depth in (("true family", 1.2), ("spectrum", 5.0)):
            target = depth * math.log2(draws)
            if kind == "true family":
                from scipy.stats import ncx2

                x, eps = ncx2.rvs(dof, shift, size=draws, random_state=rng), float(ncx2.ppf(2.0**-target, dof, shift))
            else:
                x, eps = spectrum.sample(draws, seed=run), float(spectrum.quantile([target])[0])
            found = required_bits(SampleLaw(x), eps, method="fit")
            rows.append(
                {
                    "kind": kind,
                    "depth": depth,
                    "exact": target,
                    "bits": found.bits,
                    "flagged": not found.valid,
                    "error": found.bits / target - 1,
                    "covered": found.interval[0] <= target <= found.interval[1],
                }
            )
    return pd.DataFrame(rows)


def counting_coverage(runs: int = 200, *, draws: int = 1000, bits: Sequence[float] = (1.0, 4.0, 8.0), seed: int = 0):
    """Share of Clopper-Pearson intervals that cover: ``bits, coverage``."""
    import pandas as pd

    law = fresh_law(77 + seed)
    eps = law.quantile(list(bits)).tolist()
    hits = np.zeros(len(eps))
    for run in range(checks.integer("runs", runs, low=1)):
        sample = SampleLaw(law.sample(draws, seed=1000 * seed + run))
        found = required_bits(sample, eps, method="counting")
        hits += [point.interval[0] <= exact <= point.interval[1] for point, exact in zip(found.points, bits)]
    return pd.DataFrame({"bits": list(bits), "coverage": hits / runs})


def networks_by_width(
    widths: Sequence[int],
    *,
    tolerance: float = 0.02,
    labels: int = 7,
    bias: float = 0.5,
    particles: int = 512,
    seed: int = 0,
):
    """Bits of random one-layer networks to fit ``labels`` labels, by width, beside their exact infinite limit:
    ``width, bits, low, high, exact``."""
    import pandas as pd

    x = torch.rand(labels + 1, 3, generator=checks.generator(seed), dtype=torch.float64)
    y = (2 * x[:, 0] - 1).numpy()
    task = Task((x[:labels], y[:labels]), (x[labels:], y[labels:]), centre=False)
    limit = KernelSpace(NNGP(1, bias_variance=bias**2), amplitude=1.0)
    exact = required_bits(limit.prior_law(task), tolerance).bits
    rows = []
    for width in widths:
        law = WeightPriorSpace(
            RandomNetwork(3, (checks.integer("widths", width, low=1),), 1, bias_scale=bias)
        ).prior_law(task)
        found = Splitting(particles=particles).bits(law, tolerance, seed=seed)
        rows.append(
            {"width": width, "bits": found.bits, "low": found.interval[0], "high": found.interval[1], "exact": exact}
        )
    return pd.DataFrame(rows)
