"""Measurements of the statements about adversarial adaptive sampling."""

from __future__ import annotations

import numpy as np
import torch

from lab.claims import Effects, measures
from lab.physics import aas
from lab.physics.residuals import Networks
from lab.physics.studies import aas as study
from lab.physics.studies.aas import Setting


def _squares(trial, n=None):
    """r^2 (n, n) of an untrained network in the two-peak problem, and the sides of the box."""
    n = n or trial.of(12, 32, 64)
    problem, _ = study.peaks(Setting.of(trial.budget).exponent)
    net = Networks(2, width=8, depth=2, seeds=trial.seeds[:1], dtype=torch.float64)
    x = problem.box.centres(n).double()[None]
    return problem.of(net, x).detach().reshape(n, n).square(), problem.box.size


def _objective(p, r2, size, beta):
    return (r2 * p).mean((-2, -1)) - beta * aas.smoothness(p, size)


@measures("aas.minimax-identity")
def identity(trial):
    """Relative distance of the reached maximum from the mean plus the H^-1 norm over 4 beta, and of the density from mean 1.

    Control: the norm over 2 beta.
    """
    r2, size = _squares(trial)
    found = aas.adversary(r2, size, kappa=1.5)
    _, square = aas.potential(r2, size)
    value = r2.mean() + square / ((2 if trial.control else 4) * found.beta)
    reached = _objective(found.density, r2, size, found.beta)
    return Effects([float((reached - value).abs() / value), float((found.density.mean() - 1).abs())])


@measures("aas.exact-with-obstacle")
def obstacle(trial):
    """Violation of the optimality conditions where the closed form would be negative: the slope of the objective must be level
    where p > 0 and nowhere higher. Control: the closed form clipped at 0 and renormalized.
    """
    r2, size = _squares(trial)
    found = aas.adversary(r2, size, kappa=0.1)
    p = found.density
    if trial.control:
        p = (1 + aas.potential(r2, size)[0] / (2 * found.beta)).clamp_min(0)
        p = p / p.mean()
    p = p.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(_objective(p, r2, size, found.beta), p)
    inside = slope[p > 0]
    level, span = inside.mean(), slope.max() - slope.min()
    values = [
        float((inside - level).abs().max() / span),
        float((slope.max() - level) / span),
        float((p.detach().mean() - 1).abs()),
    ]
    return Effects(values, {"share of cells with p = 0": float((p == 0).double().mean())})


@measures("aas.flow-below-maximum")
def below(trial):
    """Value of a flow minus the exact maximum, over the mean of r^2, after the flow climbed the objective by quadrature.

    Control: minus the value of the uniform density.
    """
    r2, size = _squares(trial)
    n, box = len(r2), study.peaks(1.0)[0].box
    best, flow = aas.adversary(r2, size, kappa=1.0), aas.CouplingFlow(2, seeds=trial.seeds[:1])
    y = box.unit(box.centres(n))[None]
    optimizer = torch.optim.Adam(flow.parameters(), lr=5e-3)
    value = r2.mean()
    for _ in range(trial.of(40, 200, 1000)):
        p = flow.log_density(y).exp().double().reshape(n, n)
        value = _objective(p / p.mean(), r2, size, best.beta)
        optimizer.zero_grad()
        (-value / r2.mean()).backward()
        optimizer.step()
    mean, most, value = float(r2.mean()), float(best.value), float(value.detach())
    share = (value - mean) / (most - mean) if most != mean else 0.0
    return Effects((value - (mean if trial.control else most)) / mean, {"share of the largest gain": share})


@measures("aas.wasserstein-to-first-order")
def wasserstein(trial):
    """|W / N - 1| with W the Wasserstein-2 distance of r^2 / <r^2> from the uniform density, and N the distance that the
    adversary's gain at beta gives, the square root of 4 beta gain / <r^2>^2.

    r^2 is a product of two functions of one axis each, so W^2 is the sum of two one-dimensional optimal transport costs, by POT.
    Control: the standard deviation of r^2 / <r^2> in place of N.
    """
    import ot

    n, size = trial.of(200, 400, 800), (1.0, 1.0)
    g = torch.Generator().manual_seed(trial.seeds[0])
    axis = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    sides = []
    for _ in size:
        waves = torch.arange(1, 4, dtype=torch.float64)[:, None]
        height = torch.rand(3, 1, generator=g, dtype=torch.float64) * 2 - 1
        sides.append(1 + 0.01 * (height * torch.cos(torch.pi * waves * axis)).sum(0))
    r2 = 7 * sides[0][:, None] * sides[1]
    found = aas.adversary(r2, size, kappa=2.0)
    gain = (4 * found.beta * (found.value - r2.mean())).clamp_min(0)
    ours = float(gain.sqrt() / r2.mean())
    if trial.control:
        ours = float(r2.std() / r2.mean())
    cost = sum(quantile_cost(ot, axis, side) for side in sides)
    return Effects(abs(cost**0.5 / max(ours, 1e-300) - 1), {"Wasserstein distance": cost**0.5})


def quantile_cost(ot, axis: torch.Tensor, density: torch.Tensor) -> float:
    """Squared Wasserstein-2 distance of a density on cells from the uniform one: sorted optimal transport of 20,000 quantiles."""
    n, count = len(axis), 20_000
    edges = torch.cat([torch.zeros(1), (density / density.sum()).cumsum(0)]).double().numpy()
    levels = ((torch.arange(count, dtype=torch.float64) + 0.5) / count).numpy()
    places = np.interp(levels, edges, np.linspace(0, 1, n + 1))
    return float(ot.emd2_1d(places, levels, metric="sqeuclidean"))


@measures("aas.one-objective")
def one_objective(trial):
    """Relative distance of the gradient of the maximum by the network's weights, by central differences, from the gradient of
    <r^2 p*> at fixed p*. Control: p* replaced by the uniform density.
    """
    n, h = trial.of(8, 16, 32), 1e-5
    problem, _ = study.peaks(4.0)
    net = Networks(2, width=5, depth=2, seeds=trial.seeds[:1], dtype=torch.float64)
    x = problem.box.centres(n).double()[None]

    def squares():
        return problem.of(net, x).reshape(n, n).square()

    with torch.no_grad():
        beta = 0.3 * float(aas.adversary(squares(), problem.box.size, kappa=1.0).least)
    fixed = aas.adversary(squares().detach(), problem.box.size, beta=beta).density
    weight = net.weights[1]
    (ours,) = torch.autograd.grad((squares() * (1 if trial.control else fixed)).mean(), weight)
    numeric = torch.zeros_like(weight)
    with torch.no_grad():
        for k in range(weight.numel()):
            ends = []
            for sign in (1, -1):
                weight.view(-1)[k] += sign * h
                ends.append(float(aas.adversary(squares(), problem.box.size, beta=beta).value))
                weight.view(-1)[k] -= sign * h
            numeric.view(-1)[k] = (ends[0] - ends[1]) / (2 * h)
    return Effects(float((ours - numeric).norm() / numeric.norm()))


def _plane(trial, control=None):
    return study.run(Setting.of(trial.budget), seeds=trial.seeds, control=trial.control if control is None else control)


def _arm(trial):
    return "permuted" if trial.control else "adversary"


def _over(a, b, **details):
    return Effects(
        a.double() / b.double(), {name: [round(float(v), 4) for v in values] for name, values in details.items()}
    )


@measures("aas.sampling-error-dominates", stacked=True)
def sampling(trial):
    """Error with 4 times as many uniform points over that with the usual number. Control: the usual number in both places."""
    found = _plane(trial, False).error
    many, few = found["uniform" if trial.control else "more points"], found["uniform"]
    return _over(many, few, many=many, few=few)


@measures("aas.error", stacked=True)
def error(trial):
    """Error with the adversary's points over that with uniform ones. Control: the adversary's cells in random order."""
    found = _plane(trial).error
    return _over(found[_arm(trial)], found["uniform"], ours=found[_arm(trial)], uniform=found["uniform"])


@measures("aas.residual-variance", stacked=True)
def variance(trial):
    """Var(r^2) / <r^2>^2 over that with uniform points. Control as for the error."""
    found = _plane(trial).ratio
    return _over(found[_arm(trial)], found["uniform"], ours=found[_arm(trial)], uniform=found["uniform"])


@measures("aas.monte-carlo-error", stacked=True)
def monte_carlo(trial):
    """Mean relative Monte Carlo error of weighted losses over that after uniform training. Control as for the error."""
    found, setting = _plane(trial), Setting.of(trial.budget)
    means = {}
    for arm in (_arm(trial), "uniform"):
        each = [
            study.monte_carlo_errors(r2, 2, setting.points, 20, seed) for r2, seed in zip(found.r2[arm], trial.seeds)
        ]
        means[arm] = torch.stack(each).mean(1)
    return _over(means[_arm(trial)], means["uniform"], ours=means[_arm(trial)], uniform=means["uniform"])


@measures("aas.beats-residual-density", stacked=True)
def beats(trial):
    """Error over that with points in proportion to r^2. Control: the two exchanged."""
    found = _plane(trial, False).error
    ours, other = found["adversary"], found["residual"]
    return _over(*((other, ours) if trial.control else (ours, other)), ours=ours, other=other)


def _high(trial):
    found = study.more(Setting.of(trial.budget), seeds=trial.seeds, control=trial.control)
    return found, "mirrored" if trial.control else "flow"


@measures("aas.more-dimensions", stacked=True)
def more_dimensions(trial):
    """Error with the points of a flow over that with uniform ones. Control: the points reflected at the centre of the box."""
    found, arm = _high(trial)
    return _over(found.error[arm], found.error["uniform"], ours=found.error[arm], uniform=found.error["uniform"])


@measures("aas.flow-flattens-residual", stacked=True)
def flattens(trial):
    """Var(r^2) / <r^2>^2 over that with uniform points, in more dimensions. Control: the points reflected."""
    found, arm = _high(trial)
    return _over(found.ratio[arm], found.ratio["uniform"], ours=found.ratio[arm], uniform=found.ratio["uniform"])
