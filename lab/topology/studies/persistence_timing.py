"""The committed table of speed of persistence, and a small live run."""

from __future__ import annotations

import time

import torch

from lab import checks, source
from lab.topology.persistence.diagrams import bars
from lab.topology.persistence.filtrations import FunctionRips, Image, Rips, density
from lab.topology.persistence.signed_measures import hilbert


def table():
    """The committed comparison as a frame: case, peer, milliseconds of both sides, ratio with quartiles, versions, date."""
    return source.committed_table("persistence.csv")


def live(largest: int = 1000, *, seed: int = 0):
    """Milliseconds of measures with their gradients on this machine, clouds of growing size up to ``largest`` points."""
    import pandas as pd

    largest = checks.integer("largest", largest, low=50, high=5000)
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for count in sorted({50, 100, 200, 500, 1000, 2000, 5000, largest}):
        if count > largest:
            break
        angle = 6.2831853 * torch.rand(count, generator=generator, dtype=torch.float64)
        noise = 0.15 * torch.randn(count, 2, generator=generator, dtype=torch.float64)
        x = (torch.stack([angle.cos(), angle.sin()], 1) + noise).requires_grad_()
        f = -density(x.detach(), 0.3)
        cases = {"function-Rips H0": lambda x=x, f=f: hilbert(FunctionRips(x, f), 0).points}
        if count <= 500:
            cases["function-Rips H1"] = lambda x=x, f=f: hilbert(FunctionRips(x, f), 1).points
            cases["Rips H1"] = lambda x=x: bars(Rips(x), 1).points
        for name, make in cases.items():
            rows.append({"case": f"{name}, n={count}", "kind": name, "n": count, "ms": _milliseconds(make, x)})
    image = torch.rand(2, 64, 64, generator=generator, dtype=torch.float64, requires_grad=True)
    spent = _milliseconds(lambda: hilbert(Image(image, parameters=2), 1).points, image)
    rows.append({"case": "bifiltered image H1, 64 x 64", "kind": "bifiltered image H1", "n": 4096, "ms": spent})
    return pd.DataFrame(rows)


def _milliseconds(make, leaf, rounds: int = 3) -> float:
    torch.autograd.grad(make().sum(), leaf)
    best = float("inf")
    for _ in range(rounds):
        began = time.process_time()
        torch.autograd.grad(make().sum(), leaf)
        best = min(best, time.process_time() - began)
    return 1e3 * best
