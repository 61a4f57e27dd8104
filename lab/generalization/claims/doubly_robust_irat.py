"""Measurements of the statements about doubly robust instance-reweighted adversarial training."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch.func import grad, jacfwd

from lab.claims import Effects, measures
from lab.generalization.doubly_robust_irat import (
    barrier_curvature,
    barrier_optimum,
    eliminated_objective,
    hypergradient,
    worst_weights,
)
from lab.generalization.studies import doubly_robust_irat as study
from lab.generalization.studies.doubly_robust_irat import Setting

EPSILON, C = 0.2, 0.05


def _draw(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@measures("doubly_robust_irat.weights")
def weights(trial):
    """Mirror ascent on the penalized sum against the closed form. Control: no step of it."""
    values = []
    for seed in trial.seeds:
        losses, r = _draw(seed, 7).abs(), 0.5
        w = torch.full_like(losses, 1 / 7)
        for _ in range(0 if trial.control else 300):
            w = torch.softmax(w.log() + 0.5 / r * (losses - r * (7 * w).log()), 0)
        equal = worst_weights(losses, 1e6) - 1 / 7
        values += [float((w - worst_weights(losses, r)).abs().max()), float(equal.abs().max())]
    return Effects(values)


@measures("doubly_robust_irat.eliminated")
def eliminated(trial):
    """Gradient and value of the eliminated objective against the weighted sum. Control: equal weights."""
    values = []
    for seed in trial.seeds:
        losses, r = _draw(seed, 9).abs().requires_grad_(), 0.7
        value = eliminated_objective(losses, r)
        (slope,) = torch.autograd.grad(value, losses)
        w = torch.full((9,), 1 / 9, dtype=torch.float64) if trial.control else worst_weights(losses.detach(), r)
        inner = (w * losses).sum() - r * (w * (9 * w).log()).sum()
        values += [float((slope - w).abs().max()), abs(float(value.detach() - inner.detach()))]
    return Effects(values)


@measures("doubly_robust_irat.inner-optimum")
def inner(trial):
    """Residual of ``g = 2 c delta / (eps^2 - delta^2)`` at the optimum. Control: the optimum of 2 c."""
    values = []
    for seed in trial.seeds:
        g = _draw(seed, 200)
        delta = barrier_optimum(g, EPSILON, 2 * C if trial.control else C)
        values.append(float((2 * C * delta / (EPSILON**2 - delta**2) - g).abs().max()))
    return Effects(values)


def _toy(seed, hidden=6):
    """A smooth network, four items of three coordinates, losses by item as a function of parameters and delta."""
    p = {"first": 0.8 * _draw(seed, hidden, 3), "second": 0.8 * _draw(seed + 100, 2, hidden)}
    x, y = _draw(seed + 200, 4, 3), torch.tensor([0, 1, 0, 1])

    def rows(p, delta):
        return F.cross_entropy(torch.tanh((x + delta) @ p["first"].T) @ p["second"].T, y, reduction="none")

    return p, rows


def _solved(rows, p, start=None, iterations=10):
    """delta* by Newton's method on the attack's stationarity, item by item."""
    delta = torch.zeros(4, 3, dtype=torch.float64) if start is None else start
    barrier = lambda d: C * (1 / (EPSILON - d) - 1 / (EPSILON + d))  # noqa: E731
    for _ in range(iterations):
        slope = lambda d: grad(lambda e: rows(p, e).sum())(d)  # noqa: E731
        residual = barrier(delta) - slope(delta)
        own = jacfwd(slope)(delta).reshape(12, 12)
        move = torch.linalg.solve(torch.diag(barrier_curvature(delta, EPSILON, C).flatten()) - own, residual.flatten())
        step = 1.0
        while bool(((delta - step * move.reshape(4, 3)).abs() >= EPSILON).any()):
            step /= 2
        delta = delta - step * move.reshape(4, 3)
    return delta


@measures("doubly_robust_irat.hypergradient")
def through_the_attack(trial):
    """Against central differences of the losses at solved attacks. Control: first order."""
    values = []
    for seed in trial.seeds:
        p, rows = _toy(seed)
        w = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
        found = hypergradient(
            rows, p, _solved(rows, p), w, epsilon=EPSILON, c=C, implicit=not trial.control, exact=True
        )
        for name, k in (("first", 4), ("second", 5)):
            ends = []
            for sign in (1, -1):
                q = {key: value.clone() for key, value in p.items()}
                q[name].view(-1)[k] += sign * 1e-5
                ends.append((w * rows(q, _solved(rows, q))).sum())
            slope = (ends[0] - ends[1]) / 2e-5
            values.append(float((found[name].flatten()[k] - slope).abs() / slope.abs()))
    return Effects(values)


@measures("doubly_robust_irat.converges")
def converges(trial):
    """Norm of the eliminated objective's gradient after descent over that at the start. Control: ascent."""
    values = []
    for seed in trial.seeds:
        p, rows = _toy(seed)
        start, delta = None, None
        for _ in range(40):
            delta = _solved(rows, p, delta, 10 if delta is None else 3)
            w = worst_weights(rows(p, delta), 0.5)
            g = hypergradient(rows, p, delta, w, epsilon=EPSILON, c=C, exact=True)
            g = {name: one + 0.05 * p[name] for name, one in g.items()}  # a ridge: the toy has no minimum without one
            norm = float(sum(one.square().sum() for one in g.values()) ** 0.5)
            start = norm if start is None else start
            p = {name: value + (1.0 if trial.control else -1.0) * g[name] for name, value in p.items()}
        values.append(norm / start)
    return Effects(values)


def _run(trial, control=False, **changes):
    return study.run(Setting.of(trial.budget, **changes), seeds=trial.seeds, data=trial.data, control=control)


def _shown(found):
    return {arm: round(float(values.mean()), 4) for arm, values in found.items()}


@measures("doubly_robust_irat.uneven-robustness", stacked=True)
def uneven(trial):
    """Mean less tail robust accuracy of plain adversarial training. Control: the strongest three classes."""
    result = _run(trial)
    classes = result.classes["plain"]
    tail = classes.sort(1, descending=bool(trial.control)).values[:, :3].mean(1)
    return Effects(classes.mean(1) - tail, {"classes": classes.mean(0).tolist()})


@measures("doubly_robust_irat.tail", stacked=True)
def tail(trial):
    """Tail accuracy less that of plain adversarial training. Control: equal weights."""
    found = _run(trial, control="equal" if trial.control else False).tail
    return Effects(found["done"] - found["plain"], _shown(found))


def _against(found, own, others):
    best = max(others, key=lambda arm: float(found[arm].mean()))
    return Effects(found[own] - found[best], {"best of the others": best, **_shown(found)})


@measures("doubly_robust_irat.mean-robustness", stacked=True)
def mean_robustness(trial):
    """Strong accuracy less that of the heuristic of best mean. Control: plain adversarial training in its place."""
    return _against(_run(trial).strong, "plain" if trial.control else "done", ("margin", "geometry", "loss"))


@measures("doubly_robust_irat.tail-beats-heuristics", stacked=True)
def tail_beats(trial):
    """Tail accuracy less that of the heuristic of best mean. Control: plain adversarial training in its place."""
    return _against(_run(trial).tail, "plain" if trial.control else "done", ("margin", "geometry", "loss"))


@measures("doubly_robust_irat.tracker", stacked=True)
def tracker(trial):
    """Tail accuracy less that of the batch's softmax. Control: plain adversarial training in its place."""
    return _against(_run(trial).tail, "plain" if trial.control else "done", ("batch",))
