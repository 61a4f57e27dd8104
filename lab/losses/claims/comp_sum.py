"""Measurements of the statements about comp-sum losses."""

from __future__ import annotations

import torch

from lab.claims import Measured, measures
from lab.losses.comp_sum import comp_sum_loss, conditional_risk, gamma_tau, t_tau
from lab.losses.comparison import compare
from lab.losses.studies.common import scale, shown, table

TAUS = (0.0, 0.5, 1.0, 1.5, 1.7, 2.0)


def _draw(generator, rows, classes, spread=3.0):
    """Random class probabilities and scores, (rows, classes) in float64."""
    z = spread * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
    p = torch.softmax(spread * torch.randn(rows, classes, generator=generator, dtype=torch.float64), 1)
    return p, z


def _risk(p, z, tau):
    """Expected loss of each row's scores under its class probabilities."""
    rows, classes = p.shape
    y = torch.arange(classes).repeat(rows)
    losses = comp_sum_loss(z.repeat_interleave(classes, 0), y, tau, reduction="none").reshape(rows, classes)
    return (p * losses).sum(1)


@measures("comp-sum.family-contains-the-named-losses")
def family(data, seeds, budget):
    generator = torch.Generator().manual_seed(seeds[0])
    _, z = _draw(generator, 2000, 5)
    y = torch.randint(5, (2000,), generator=generator)
    p = torch.softmax(z, 1).gather(1, y[:, None])[:, 0]
    named = {0.0: 1 / p - 1, 1.0: -p.log(), 1.7: (1 - p**0.7) / 0.7, 2.0: 1 - p}
    worst = 0.0
    for tau, exact in named.items():
        value = comp_sum_loss(z, y, tau, reduction="none")
        worst = max(worst, float(((value - exact).abs() / exact.abs().clamp_min(1e-3)).max()))
    return Measured(worst, (worst, worst), worst <= 1e-9, {"taus": list(named)})


@measures("comp-sum.consistency-bound")
def consistency_bound(data, seeds, budget):
    """Smallest slack Gamma_tau(surrogate excess) - zero-one excess over random distributions and scores."""
    rows = {"smoke": 2000, "default": 20000, "full": 200000}[budget]
    generator = torch.Generator().manual_seed(seeds[0])
    slack, tightest = float("inf"), {}
    for classes in (2, 3, 10):
        p, z = _draw(generator, rows, classes)
        z[: rows // 2] = p[: rows // 2].log() + 0.3 * torch.randn(rows // 2, classes, generator=generator, dtype=torch.float64)
        zero_one = p.amax(1) - p.gather(1, z.argmax(1, keepdim=True))[:, 0]
        for tau in TAUS:
            excess = (_risk(p, z, tau) - conditional_risk(p, tau)).clamp_min(0)
            gap = gamma_tau(excess, tau, classes) - zero_one
            tightest[f"tau {tau}, {classes} classes"] = float(gap.min())
            slack = min(slack, float(gap.min()))
    return Measured(slack, (slack, slack), slack >= -1e-9, {"smallest slack": tightest, "distributions": 3 * rows})


@measures("comp-sum.bound-is-tight")
def tight(data, seeds, budget):
    """Surrogate excess less T_tau for two classes of probability (1 +- b)/2 whose scores tie, at tau <= 1 and any n.

    The details carry the same for 1 < tau < 2: there the distribution attains T_tau of two classes, so that the factor
    n^(tau - 1) of the bound leaves slack for more than two classes.
    """
    worst, above = 0.0, {}
    for tau in (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75):
        for classes in (2, 3, 10):
            for beta in (0.01, 0.3, 0.8):
                p = torch.zeros(1, classes, dtype=torch.float64)
                p[0, 0], p[0, 1] = (1 + beta) / 2, (1 - beta) / 2
                z = torch.full((1, classes), -80.0, dtype=torch.float64)
                z[0, :2] = 0.0
                excess = float(_risk(p, z, tau) - conditional_risk(p, tau))
                bound = float(t_tau(beta, tau, classes))
                if tau <= 1:
                    worst = max(worst, abs(excess - bound))
                else:
                    above[f"tau {tau}, {classes} classes, beta {beta}"] = excess / bound
    return Measured(worst, (worst, worst), worst <= 1e-4, {"excess over T above tau = 1": above})


@measures("comp-sum.gap-vanishes-when-realizable")
def gaps(data, seeds, budget):
    """Minimizability gap and approximation error of linear scores, free and bounded, on a realizable and on a hard problem.

    Realizable: class probabilities whose optimal scores are linear. Hard: exclusive or. Bounded scores cannot reach the
    Bayes risk of a point, so that their gap must be strictly below their approximation error.
    """
    corners = torch.tensor([[-1.0, -1], [-1, 1], [1, -1], [1, 1]], dtype=torch.float64)
    generator = torch.Generator().manual_seed(seeds[0])
    w = torch.randn(2, 2, generator=generator, dtype=torch.float64)
    exclusive = torch.tensor([[0.95, 0.05], [0.1, 0.9], [0.2, 0.8], [0.9, 0.1]], dtype=torch.float64)
    violation, shown, strict = 0.0, {}, True
    for tau in (0.5, 1.0, 1.5):
        easy = torch.softmax(corners @ w * (2 - tau), 1)  # the optimal scores are log p / (2 - tau)
        realizable = _linear_gap(corners, easy, tau)
        free = _linear_gap(corners, exclusive, tau)
        bound = 0.4
        error = _linear_gap(corners, exclusive, tau, bound=bound)
        difference = (exclusive[:, 0] / exclusive[:, 1]).log() / (2 - tau)
        best = torch.stack([difference.clamp(-2 * bound, 2 * bound), torch.zeros(4, dtype=torch.float64)], 1)
        gap = error - float((_risk(exclusive, best, tau) - conditional_risk(exclusive, tau)).mean())
        violation = max(violation, abs(realizable), -min(free, 0.0), -min(gap, 0.0), max(gap - error, 0.0))
        strict = strict and gap < error - 1e-3 and free > 1e-2
        shown[f"tau {tau}"] = {"realizable": realizable, "hard": free, "hard, bounded": gap, "its approximation error": error}
    return Measured(violation, (violation, violation), violation <= 1e-6 and strict, {"gaps": shown})


def _linear_gap(x, p, tau, bound=None):
    """inf over linear scores of the mean risk, less the mean of the pointwise infima."""
    design = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    w = torch.zeros(design.shape[1], p.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([w], max_iter=500, tolerance_grad=1e-13, tolerance_change=1e-16, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        z = design @ w
        value = _risk(p, z if bound is None else bound * torch.tanh(z), tau).mean()
        value.backward()
        return value

    optimizer.step(closure)
    with torch.no_grad():
        z = design @ w
        reached = _risk(p, z if bound is None else bound * torch.tanh(z), tau).mean()
    return float(reached - conditional_risk(p, tau).mean())


@measures("comp-sum.gap-grows-towards-small-tau")
def gap_over_tau(data, seeds, budget):
    """Gaps of bounded linear scores on deterministic labels of three overlapping clusters, over tau."""
    generator = torch.Generator().manual_seed(seeds[0])
    y = torch.arange(60) % 3
    centre = torch.tensor([[0.0, 1], [1, -1], [-1, -1]], dtype=torch.float64)[y]
    x = centre + 0.7 * torch.randn(60, 2, generator=generator, dtype=torch.float64)
    p = torch.nn.functional.one_hot(y, 3).to(torch.float64)
    taus = (0.0, 0.5, 1.0, 1.5, 1.9)
    found = [_linear_gap(x, p, tau, bound=2.0) for tau in taus]
    step = min(before - after for before, after in zip(found, found[1:]))
    return Measured(step, (step, step), step > 0, {"gap over tau": dict(zip(map(str, taus), found))})


@measures("comp-sum.bounds-depend-on-classes-above-one")
def classes_above_one(data, seeds, budget):
    value = torch.logspace(-6, -1, 20, dtype=torch.float64)
    change = {
        tau: float((gamma_tau(value, tau, 1000) / gamma_tau(value, tau, 2) - 1).abs().max()) for tau in (0.0, 0.5, 1.0, 1.01, 1.5)
    }
    below = max(change[tau] for tau in (0.0, 0.5, 1.0))
    return Measured(below, (below, below), below <= 1e-9 < min(change[1.01], change[1.5]), {"relative change": change})


@measures("comp-sum.cross-entropy-beats-both-ends")
def beats_both_ends(data, seeds, budget):
    x, y = table(data)
    names = ("sum-exponential", "cross-entropy", "mean-absolute-error")
    result = compare(names, x, y, **scale(budget, seeds))
    ends = {name: result.difference("cross-entropy", name) for name in names if name != "cross-entropy"}
    mean, low, high = min(ends.values())
    return Measured(mean, (low, high), low > 0 and mean >= 0.004, shown(result), seeds=result.seeds)


@measures("comp-sum.label-noise-favours-bounded-losses")
def label_noise(data, seeds, budget):
    x, y = table(data)
    names = ("cross-entropy", "generalized-cross-entropy")
    result = compare(names, x, y, noise=0.4, **scale(budget, seeds))
    mean, low, high = result.difference("generalized-cross-entropy", "cross-entropy")
    return Measured(mean, (low, high), low > 0 and mean >= 0.003, shown(result), seeds=result.seeds)


@measures("comp-sum.adversarial-bound")
def adversarial_bound(data, seeds, budget):
    """Slack of the objective with nu = sqrt(n - 1)/rho over the rho-margin loss at random perturbed scores, per row."""
    rows = {"smoke": 5000, "default": 50000, "full": 500000}[budget]
    generator = torch.Generator().manual_seed(seeds[0])
    slack = float("inf")
    for classes, rho in ((2, 1.0), (5, 0.5), (10, 2.0)):
        clean = 3 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)
        moved = clean + torch.randn(rows, classes, generator=generator, dtype=torch.float64)
        y = torch.randint(classes, (rows,), generator=generator)
        margin = moved.gather(1, y[:, None])[:, 0] - moved.scatter(1, y[:, None], -torch.inf).amax(1)
        margin_loss = (1 - margin / rho).clamp(0, 1)
        change = moved - clean
        distance = (change.gather(1, y[:, None]) - change).norm(dim=1)
        for tau in (0.0, 0.5, 1.0):
            # log 2 <= Phi_tau(1) for tau <= 1: scaled so that the surrogate is at least the zero-one loss
            unit = float(comp_sum_loss(torch.zeros(1, 2, dtype=torch.float64), torch.tensor([0]), tau))
            plain = comp_sum_loss(clean / rho, y, tau, reduction="none") / unit
            slack = min(slack, float((plain + (classes - 1) ** 0.5 / rho * distance - margin_loss).min()))
    return Measured(slack, (slack, slack), slack >= 0, {"rows": rows})
