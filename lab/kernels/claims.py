"""Measurements of what the kernels promise."""

from __future__ import annotations

import math

import torch

import lab.kernels as kernels
from lab.claims import Measured, measures
from lab.kernels import spec, timing


@measures("kernels.exact")
def exact(data, seeds, budget):
    """The worst ratio of error to allowed error over operations, variants, outputs and gradients."""
    worst, where = 0.0, ""
    for name, description in kernels.specs().items():
        word = "cpu" if "cpu" in description.forms else "reference"
        for variant in (description.variants or {"": {}}).values():
            for seed in seeds:
                inputs = {**description.inputs(description.shapes["small"], seed=seed), **variant}
                truth = spec.with_gradients(description, inputs, word="reference", dtype=torch.float64)
                found = spec.with_gradients(description, inputs, word=word)
                for key in truth:
                    ratio = spec.relative_error(found[key], truth[key]) / description.bound(torch.float32)
                    if ratio > worst:
                        worst, where = ratio, f"{name}, {key}"
    return Measured(worst, (worst, worst), worst <= 1.0, {"worst": where})


@measures("kernels.extreme")
def extreme(data, seeds, budget):
    """Largest relative error of the loss at margins from 20 to 80."""
    worst = 0.0
    for gap in (20.0, 40.0, 60.0, 80.0):
        z, y = torch.tensor([[gap, 0.0, -1.0]]), torch.tensor([0])
        truth = math.log1p(math.exp(-gap) + math.exp(-gap - 1.0))
        for word in ("cpu", "reference"):
            with kernels.backend(word):
                worst = max(worst, abs(float(kernels.rowloss(z, y)) / truth - 1.0))
    usual = float(torch.nn.functional.cross_entropy(torch.tensor([[20.0, 0.0, -1.0]]), torch.tensor([0])))
    return Measured(worst, (worst, worst), worst <= 1e-5 and usual == 0.0, {"built-in loss at margin 20": usual})


@measures("kernels.replay")
def replay(data, seeds, budget):
    """Largest difference between a batch's outputs and those of networks replayed one by one."""
    generator = torch.Generator().manual_seed(0)
    x, worst = torch.randn(64, 6, generator=generator), 0.0
    network = kernels.RandomNetwork(6, (16, 16), 2, bias_scale=0.3)
    for seed in seeds:
        with kernels.backend("cpu"):
            batch = kernels.random_hypotheses(network, x, count=200, seed=seed, start=2**34, measure="values")
        for k in (0, 77, 199):
            alone = network.evaluate(x.double(), seed, 2**34 + k)
            worst = max(worst, spec.relative_error(batch[k], alone))
    return Measured(worst, (worst, worst), worst <= 1e-5)


@measures("kernels.speed")
def speed(data, seeds, budget):
    """Smallest ratio of torch's CPU time to ours over the Gaussian sum and the random networks."""
    size = {"smoke": 2000, "default": 4000, "full": 6000}[budget]
    generator = torch.Generator().manual_seed(seeds[0])
    x, y = torch.randn(size, 3, generator=generator), torch.randn(size, 3, generator=generator)
    v = torch.rand(size, 1, generator=generator)

    def distances():
        return torch.cat([torch.cdist(a, y, compute_mode="donot_use_mm_for_euclid_dist").square().mul(-0.5).exp() @ v
                          for a in x.split(500)])

    found = timing.alternate(lambda: kernels.pairwise(x, y, v), distances, compare=spec.relative_error, tolerance=1e-5,
                             rounds=3 if budget == "smoke" else 7)
    return Measured(found.ratio, (found.low, found.high), found.low >= 2.0, {"rounds": found.rounds})
