"""Measurements of what the kernels promise."""

from __future__ import annotations

import math

import torch

import lab.kernels as kernels
from lab.claims import Effects, measures
from lab.kernels import spec, timing


@measures("kernels.exact")
def exact(trial):
    """The worst ratio of error to allowed error over operations, variants, outputs and gradients.

    Control: the compiled form's outputs are zeros.
    """
    worst, where = [], {}
    for seed in trial.seeds:
        worst.append(0.0)
        for name, description in kernels.specs().items():
            word = "cpu" if "cpu" in description.forms else "reference"
            for variant in (description.variants or {"": {}}).values():
                inputs = {**description.inputs(description.shapes["small"], seed=seed), **variant}
                truth = spec.with_gradients(description, inputs, word="reference", dtype=torch.float64)
                found = spec.with_gradients(description, inputs, word=word)
                for key in truth:
                    output = torch.zeros_like(found[key]) if trial.control else found[key]
                    ratio = spec.relative_error(output, truth[key]) / description.bound(torch.float32)
                    if ratio > worst[-1]:
                        worst[-1], where[seed] = ratio, f"{name}, {key}"
    return Effects(worst, {"worst": where})


@measures("kernels.extreme")
def extreme(trial):
    """Largest relative error of the loss at margins from 20 to 80. Control: the built-in cross-entropy."""
    worst = 0.0
    for gap in (20.0, 40.0, 60.0, 80.0):
        z, y = torch.tensor([[gap, 0.0, -1.0]]), torch.tensor([0])
        truth = math.log1p(math.exp(-gap) + math.exp(-gap - 1.0))
        for word in ("cpu", "reference"):
            with kernels.backend(word):
                loss = torch.nn.functional.cross_entropy(z, y) if trial.control else kernels.rowloss(z, y)
            worst = max(worst, abs(float(loss) / truth - 1.0))
    return Effects(worst)


@measures("kernels.replay")
def replay(trial):
    """Largest difference between a batch's outputs and those of networks replayed one by one.

    Control: the network replayed is the next one of the batch.
    """
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(64, 6, generator=generator)
    network = kernels.RandomNetwork(6, (16, 16), 2, bias_scale=0.3)
    worst = []
    for seed in trial.seeds:
        with kernels.backend("cpu"):
            batch = kernels.random_hypotheses(network, x, count=200, seed=seed, start=2**34, measure="values")
        alone = {k: network.evaluate(x.double(), seed, 2**34 + k + trial.control) for k in (0, 77, 199)}
        worst.append(max(spec.relative_error(batch[k], values) for k, values in alone.items()))
    return Effects(worst)


@measures("kernels.speed")
def speed(trial):
    """Ratio of the CPU time of chunked torch distances to that of the Gaussian sum, one cloud a replicate.

    Control: torch distances against themselves.
    """
    size = trial.of(2000, 4000, 6000)
    ratios = []
    for seed in trial.seeds:
        generator = torch.Generator().manual_seed(seed)
        x, y = torch.randn(size, 3, generator=generator), torch.randn(size, 3, generator=generator)
        v = torch.rand(size, 1, generator=generator)

        def distances(x=x, y=y, v=v):
            parts = [torch.cdist(a, y, compute_mode="donot_use_mm_for_euclid_dist") for a in x.split(500)]
            return torch.cat([part.square().mul(-0.5).exp() @ v for part in parts])

        def ours(x=x, y=y, v=v):
            return kernels.pairwise(x, y, v)

        found = timing.alternate(
            distances if trial.control else ours, distances, compare=spec.relative_error, tolerance=1e-5, rounds=3
        )
        ratios.append(found.ratio)
    return Effects(ratios, {"points": size})
