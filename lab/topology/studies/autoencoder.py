r"""A topological autoencoder: the latent points keep the signed barcode of the data points of their batch.

.. math:: L = \frac1B \sum_i \|x_i - D(E(x_i))\|^2 + \lambda\, SW\big(\mu(x / \bar d_x), \mu(z / \bar d_z)\big)

with :math:`\mu` the H0 measure of the codensity-Rips bifiltration (two parameters) or of the Rips filtration (one), and
:math:`\bar d` the mean distance in the batch, so that only shape is compared.

Source: Michael Moor, Max Horn, Bastian Rieck, Karsten Borgwardt, 'Topological autoencoders', ICML 2020, for one parameter;
Scoccola and others, ICML 2024, for several.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch

from lab import checks, datasets, training
from lab.topology.persistence.distances import sliced_wasserstein
from lab.topology.persistence.filtrations import CodensityRips, Rips
from lab.topology.persistence.signed_measures import hilbert


@dataclass(frozen=True)
class Embedding:
    """A trained autoencoder's plane: latent points and labels, reconstruction error, trustworthiness of 10 neighbours,
    correlation of distances, distance of the two-parameter shapes, and the regularizer's share of the CPU time of a step.
    """

    latent: torch.Tensor
    label: torch.Tensor
    reconstruction: float
    trustworthiness: float
    correlation: float
    shape_distance: float
    regularizer_share: float
    parameters: int


def shape(points: torch.Tensor, parameters: int):
    """H0 measure of a cloud in units of its mean distance, of lengths (1) or of lengths and codensity (2)."""
    points = points.double()  # the density of float64 points has a gradient of its own, in two products
    scale = torch.pdist(points.detach()[:64]).mean().clamp_min(1e-12)
    kinds = {1: Rips, 2: lambda points: CodensityRips(points, 0.2)}
    return _centred(hilbert(kinds[checks.choice("parameters", parameters, (1, 2))](points / scale), 0))


def _centred(measure):
    """Codensity is compared up to a constant: it depends on the dimension of the space."""
    if measure.parameters == 1:
        return measure
    shift = torch.zeros(2, dtype=measure.points.dtype)
    codensity = measure.points[:, 1].detach().numpy()
    middle = (len(codensity) - 1) // 2
    shift[1] = float(np.partition(codensity, middle)[middle])
    return type(measure)(measure.points - shift, measure.weights, measure.index)


@lru_cache(maxsize=32)
def embed(
    parameters: int = 2,
    *,
    weight: float = 0.01,
    steps: int = 300,
    batch: int = 200,
    seed: int = 0,
    lines: int = 8,
    widths: tuple[int, ...] = (512, 512),
) -> Embedding:
    """Train an autoencoder of the digits to the plane; ``parameters`` 0 leaves the regularizer out.

    ``lines`` are those of the sliced distance between the shapes. Remembered for the process.
    """
    from sklearn.manifold import trustworthiness

    checks.choice("parameters", parameters, (0, 1, 2))
    data: Any = datasets.load("digits")
    x = data.x.reshape(len(data.x), -1).float()
    encoder = training.mlp(x.shape[1], 2, widths=tuple(widths), seed=seed)
    decoder = training.mlp(2, x.shape[1], widths=tuple(reversed(widths)), seed=seed + 1)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    batches = [x[rows] for rows in order[: len(x) // batch * batch].split(batch)]
    # batches stay together, so that the shape of the data of each is computed once
    shapes = [shape(points, parameters) if parameters else None for points in batches]
    total = extra = 0.0
    for step in range(checks.integer("steps", steps, low=1)):
        points, wanted = batches[step % len(batches)], shapes[step % len(batches)]
        began = time.process_time()
        z = encoder(points)
        loss = (decoder(z) - points).square().sum(1).mean()
        if parameters:
            inner = time.process_time()
            leaf = z.detach().requires_grad_()
            distance = sliced_wasserstein(wanted, shape(leaf, parameters), lines=lines, seed=step)
            (push,) = torch.autograd.grad(weight * distance, leaf)
            extra += time.process_time() - inner
            # the gradient of the regularizer enters through the latent points
            loss = loss + (z * push).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += time.process_time() - began
    with torch.no_grad():
        z = encoder(x)
        error = float((decoder(z) - x).square().sum(1).mean())
    distances = torch.stack([torch.pdist(x[:600]), torch.pdist(z[:600])])
    kept = trustworthiness(x[:1000].numpy(), z[:1000].numpy(), n_neighbors=10)
    apart = float(sliced_wasserstein(shape(x[:600], 2), shape(z[:600], 2)))
    return Embedding(
        z, data.label, error, kept, float(torch.corrcoef(distances)[0, 1]), apart, extra / total, parameters
    )
