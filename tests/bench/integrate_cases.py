"""The adaptive integrator against torchdiffeq at the same method and tolerances, forward and backward; run behind the door."""

from __future__ import annotations

import torch

from tests.bench import frame


def network_field(items: int, width: int, tolerance: float) -> frame.Row:
    """States through a network of one hidden layer over [0, 1] and the gradient of all its weights."""
    from torchdiffeq import odeint

    from lab.integrate import dopri5
    from lab.training import mlp

    network = mlp(width, width, widths=(width,), activation="tanh", seed=0)
    y = torch.randn(items, width, generator=torch.Generator().manual_seed(0), requires_grad=True)
    times = torch.tensor([0.0, 1.0])
    leaves = [y, *network.parameters()]
    field = lambda t, y: network(y)  # noqa: E731

    def gradient(end):
        return torch.cat([part.flatten() for part in torch.autograd.grad(end.square().sum(), leaves)])

    return frame.ratio(
        f"states {items} x {width}, tolerance {tolerance:g}",
        lambda: gradient(dopri5(field, y, times, tolerance, tolerance).y[-1]),
        lambda: gradient(odeint(field, y, times, rtol=tolerance, atol=tolerance, method="dopri5")[-1]),
        compare=lambda ours, theirs: float((ours - theirs).norm() / theirs.norm()),
        tolerance=100 * tolerance,
        peer="torchdiffeq",
        target=2.0,
        floor=1.6,
    )
