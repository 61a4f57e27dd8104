"""Measurements of the statements about comp-sum losses."""

from __future__ import annotations

from itertools import product

import torch

from lab.claims import Effects, measures
from lab.losses.comp_sum import SmoothAdversarialCompSum, comp_sum_loss, conditional_risk, gamma_tau, t_tau
from lab.losses.studies import comp_sum as study
from lab.losses.studies.common import shown

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


@measures("comp_sum.family-contains-the-named-losses")
def family(trial):
    """Largest relative difference of the family from the named losses. Control: the index is off by a tenth."""
    generator = torch.Generator().manual_seed(trial.seeds[0])
    _, z = _draw(generator, 2000, 5)
    y = torch.randint(5, (2000,), generator=generator)
    p = torch.softmax(z, 1).gather(1, y[:, None])[:, 0]
    named = {0.0: 1 / p - 1, 1.0: -p.log(), 1.7: (1 - p**0.7) / 0.7, 2.0: 1 - p}
    differences = []
    for tau, exact in named.items():
        value = comp_sum_loss(z, y, tau + 0.1 * trial.control, reduction="none")
        differences.append(((value - exact).abs() / exact.abs().clamp_min(1e-3)).max())
    return Effects(torch.stack(differences).max(), {"taus": list(named)})


@measures("comp_sum.consistency-bound")
def consistency_bound(trial):
    """Smallest slack Gamma_tau(surrogate excess) - zero-one excess over random distributions and scores.

    Control: half of Gamma_tau.
    """
    rows = trial.of(2000, 20000, 200000)
    generator = torch.Generator().manual_seed(trial.seeds[0])
    tightest = {}
    for classes in (2, 3, 10):
        p, z = _draw(generator, rows, classes)
        z[: rows // 2] = p[: rows // 2].log() + 0.3 * torch.randn(
            rows // 2, classes, generator=generator, dtype=torch.float64
        )
        zero_one = p.amax(1) - p.gather(1, z.argmax(1, keepdim=True))[:, 0]
        for tau in TAUS:
            excess = (_risk(p, z, tau) - conditional_risk(p, tau)).clamp_min(0)
            bound = gamma_tau(excess, tau, classes) / (2 if trial.control else 1)
            tightest[f"tau {tau}, {classes} classes"] = float((bound - zero_one).min())
    return Effects(torch.tensor(list(tightest.values())).min(), {"smallest slack": tightest, "distributions": 3 * rows})


@measures("comp_sum.bound-is-tight")
def tight(trial):
    """Surrogate excess over T_tau, less 1, for two classes of probability (1 +- b)/2 whose scores tie, at tau <= 1 and any n.

    The details carry the ratio for 1 < tau < 2: there the distribution attains T_tau of two classes, so that the factor
    n^(tau - 1) of the bound leaves slack for more than two classes. Control: the scores of the two classes lie one apart.
    """
    worst, above = [], {}
    for tau in (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75):
        for classes in (2, 3, 10):
            for beta in (0.01, 0.3, 0.8):
                p = torch.zeros(1, classes, dtype=torch.float64)
                p[0, 0], p[0, 1] = (1 + beta) / 2, (1 - beta) / 2
                z = torch.full((1, classes), -80.0, dtype=torch.float64)
                z[0, 0], z[0, 1] = 0.0, float(trial.control)
                ratio = float((_risk(p, z, tau) - conditional_risk(p, tau)) / t_tau(beta, tau, classes))
                if tau <= 1:
                    worst.append(ratio - 1)
                else:
                    above[f"tau {tau}, {classes} classes, beta {beta}"] = ratio
    return Effects(torch.tensor(worst).abs().max(), {"excess over T above tau = 1": above})


@measures("comp_sum.gap-vanishes-when-realizable")
def gaps(trial):
    """Largest violation by minimizability gaps and approximation errors of linear scores, free and bounded.

    Realizable: class probabilities whose optimal scores are linear. Hard: exclusive or. Bounded scores cannot reach the
    Bayes risk of a point, so that their gap lies below their approximation error. Control: exclusive or in place of the
    realizable problem.
    """
    corners = torch.tensor([[-1.0, -1], [-1, 1], [1, -1], [1, 1]], dtype=torch.float64)
    generator = torch.Generator().manual_seed(trial.seeds[0])
    w = torch.randn(2, 2, generator=generator, dtype=torch.float64)
    exclusive = torch.tensor([[0.95, 0.05], [0.1, 0.9], [0.2, 0.8], [0.9, 0.1]], dtype=torch.float64)
    violations, found = [], {}
    for tau in (0.5, 1.0, 1.5):
        easy = torch.softmax(corners @ w * (2 - tau), 1)  # the optimal scores are log p / (2 - tau)
        realizable = _linear_gap(corners, exclusive if trial.control else easy, tau)
        free = _linear_gap(corners, exclusive, tau)
        bound = 0.4
        error = _linear_gap(corners, exclusive, tau, bound=bound)
        difference = (exclusive[:, 0] / exclusive[:, 1]).log() / (2 - tau)
        best = torch.stack([difference.clamp(-2 * bound, 2 * bound), torch.zeros(4, dtype=torch.float64)], 1)
        gap = error - float((_risk(exclusive, best, tau) - conditional_risk(exclusive, tau)).mean())
        violations += [abs(realizable), -free, -gap, gap - error]
        found[f"tau {tau}"] = {
            "realizable": realizable,
            "hard": free,
            "hard, bounded": gap,
            "its approximation error": error,
        }
    return Effects(torch.tensor(violations).max(), {"gaps": found})


def _linear_gap(x, p, tau, bound=None):
    """inf over linear scores of the mean risk, less the mean of the pointwise infima."""
    design = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
    w = torch.zeros(design.shape[1], p.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [w], max_iter=500, tolerance_grad=1e-13, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

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


@measures("comp_sum.gap-grows-towards-small-tau")
def gap_over_tau(trial):
    """Gaps of bounded linear scores on deterministic labels of three clusters, over falling tau.

    Control: clusters that do not overlap and scores that may be large, whose gaps vanish.
    """
    spread, bound = (0.02, 40.0) if trial.control else (0.7, 2.0)
    generator = torch.Generator().manual_seed(trial.seeds[0])
    y = torch.arange(60) % 3
    centre = torch.tensor([[0.0, 1], [1, -1], [-1, -1]], dtype=torch.float64)[y]
    x = centre + spread * torch.randn(60, 2, generator=generator, dtype=torch.float64)
    p = torch.nn.functional.one_hot(y, 3).to(torch.float64)
    taus = trial.of((1.9, 1.0, 0.0), (1.9, 1.5, 1.0, 0.5, 0.0), (1.9, 1.75, 1.5, 1.25, 1.0, 0.75, 0.5, 0.25, 0.0))
    found = [_linear_gap(x, p, tau, bound=bound) for tau in taus]
    return Effects([found], {"gap over tau": dict(zip(map(str, taus), found))})


@measures("comp_sum.bounds-depend-on-classes-above-one")
def classes_above_one(trial):
    """Largest change of log Gamma_tau from 2 to 1000 classes up to tau = 1. Control: tau = 1.01 in place of 1."""
    value = torch.logspace(-6, -1, 20, dtype=torch.float64)
    change = {
        tau: float((gamma_tau(value, tau, 1000).log() - gamma_tau(value, tau, 2).log()).abs().max())
        for tau in (0.0, 0.5, 1.0, 1.01, 1.5)
    }
    wanted = [change[tau] for tau in (0.0, 0.5, 1.01 if trial.control else 1.0)]
    return Effects(torch.tensor(wanted).max(), {"change of the log": change})


@measures("comp_sum.cross-entropy-beats-both-ends", stacked=True)
def beats_both_ends(trial):
    """Accuracy of cross-entropy less that of the better end on each seed. Control: the labels are shuffled."""
    result = study.accuracies(trial.data, "clean", trial.seeds, trial.budget, shuffled=trial.control)
    ends = torch.stack([result.accuracy[name] for name in ("sum-exponential", "mean-absolute-error")])
    return Effects(result.accuracy["cross-entropy"] - ends.amax(0), shown(result))


@measures("comp_sum.label-noise-favours-bounded-losses", stacked=True)
def label_noise(trial):
    """Accuracy of generalized cross-entropy less that of cross-entropy under label noise. Control: clean labels."""
    result = study.accuracies(trial.data, "noisy", trial.seeds, trial.budget, noise=0.0 if trial.control else None)
    return Effects(result.accuracy["generalized-cross-entropy"] - result.accuracy["cross-entropy"], shown(result))


@measures("comp_sum.adversarial-bound")
def adversarial_bound(trial):
    """Smallest slack of the objective with nu = sqrt(n - 1)/rho over the adversarial rho-margin loss of a row.

    Random linear scores, rightly classified rows: the worst margin within a box lies at one of its corners. The objective is
    divided by Phi_tau(1), so that without perturbation it is at least the margin loss. Control: without the smooth term.
    """
    generator = torch.Generator().manual_seed(trial.seeds[0])
    features = 4
    corners = torch.tensor(list(product((-1.0, 1.0), repeat=features)), dtype=torch.float64)
    slack, losses = [], []
    for classes, rho in ((2, 1.0), (5, 0.5), (10, 2.0)):
        for row in range(trial.of(20, 200, 2000)):
            epsilon = (0.5, 0.02)[row % 2]
            w = 2 * torch.randn(features, classes, generator=generator, dtype=torch.float64)
            x = torch.randn(1, features, generator=generator, dtype=torch.float64)
            y = (x @ w).argmax(1)
            z = (x + epsilon * corners) @ w
            lead = z[:, y] - z.index_fill(1, y, -torch.inf).amax(1, keepdim=True)
            losses.append(float((1 - lead / rho).clamp(0, 1).max()))
            for tau in (0.0, 0.5, 1.0):
                objective = SmoothAdversarialCompSum(
                    tau, rho=rho, nu=0.0 if trial.control else None, epsilon=epsilon, steps=3, bounds=None
                )
                tie = comp_sum_loss(torch.zeros(1, 2, dtype=torch.float64), torch.zeros(1, dtype=torch.long), tau)
                value = objective(lambda inputs, w=w: inputs @ w, x, y, seed=generator)
                slack.append(float(value / tie) - losses[-1])
    return Effects(
        torch.tensor(slack).min(), {"rows": len(losses), "mean adversarial margin loss": sum(losses) / len(losses)}
    )


@measures("comp_sum.adversarial-robustness")
def robustness(trial):
    """Robust accuracy of the smooth loss less that of the better of adversarial training and TRADES on each seed.

    Control: training without a defence in its place.
    """
    return _against_the_better(trial, 1, study.NO_DEFENCE)


@measures("comp_sum.adversarial-clean-accuracy")
def clean_accuracy(trial):
    """The same on clean data. Control: adversarial training in its place."""
    return _against_the_better(trial, 0, "adversarial training")


def _against_the_better(trial, which, instead):
    found = study.under_attack(trial.data, trial.seeds, trial.budget)
    accuracy = {name: torch.tensor(values, dtype=torch.float64) for name, values in found[which].items()}
    better = torch.stack([accuracy[name] for name in study.BASELINES]).amax(0)
    clean, robust = ({name: sum(values) / len(values) for name, values in part.items()} for part in found[:2])
    return Effects(accuracy[instead if trial.control else study.METHOD] - better, {
        "clean accuracy": clean, "robust accuracy": robust, "weight and learning rate": found[2], "epsilon": study.EPSILON,
    })  # fmt: skip
