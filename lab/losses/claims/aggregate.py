"""Measurements of the statements about learning from aggregate responses."""

from __future__ import annotations

import torch

from lab.claims import Effects, measures
from lab.losses.aggregate import aggregate_loss, asymptotic_risk
from lab.losses.studies import aggregate as study

SIZES = (2, 4, 8)


@measures("aggregate.instance-is-regularized-bag")
def identity(trial):
    """Relative difference of instance less bag loss from the variance within bags. Control: rho = 1/2 for the instance loss."""
    generator = torch.Generator().manual_seed(trial.seeds[0])
    f = torch.randn(200, 6, generator=generator, dtype=torch.float64)
    ybar = torch.randn(200, generator=generator, dtype=torch.float64)
    instance, bag = aggregate_loss(f, ybar, 0.5 if trial.control else 1.0), aggregate_loss(f, ybar, 0.0)
    spread = f.var(1, correction=0).mean()
    return Effects(abs(float((instance - bag) / spread - 1)))


@measures("aggregate.bias-and-variance")
def bias_and_variance(trial):
    """Instance less bag bias, bag less instance variance; the smaller counts. Control: the bag estimator as both."""
    found = torch.stack([study.simulate(seed, (0.0, 0.0 if trial.control else 1.0), k=2) for seed in trial.seeds])
    bias, variance = found[:, 1, 1] - found[:, 0, 1], found[:, 0, 2] - found[:, 1, 2]
    details = {"squared bias, bag and instance": found[:, :, 1].mean(0).tolist(),
               "variance, bag and instance": found[:, :, 2].mean(0).tolist()}  # fmt: skip
    return Effects(torch.minimum(bias, variance), details)


@measures("aggregate.interpolation-wins", stacked=True)
def interpolation(trial):
    """Relative reduction of error at the least favourable bag size; on a user's table of test error, bags of eight.

    Control: the better end in the interior weight's place.
    """
    if trial.data is not None:
        reduction, weights = study.reduction_on_table(trial.data, trial.seeds, at_end=trial.control)
        return Effects(reduction, {"weights": weights, "bag size": 8})
    found = {k: study.reduction_by_interpolation(trial.seeds, k, at_end=trial.control) for k in SIZES}
    worst = min(found, key=lambda k: float(found[k][0].mean()))
    details = {k: {"weight": rho, "reduction": float(reduction.mean())} for k, (reduction, rho) in found.items()}
    return Effects(found[worst][0], {"by bag size": details})


@measures("aggregate.risk-curve", stacked=True)
def risk_curve(trial):
    """Relative difference of simulated risk and formula where their means differ most, over weights and bag sizes.

    Control: the formula for responses without noise.
    """
    d = trial.of(80, 240, 800)
    rhos, found = (0.05, 0.2, 0.5, 1.0), {}
    for k in SIZES[:2]:
        simulated = torch.stack([study.simulate(seed, rhos, n=5 * d, d=d, k=k)[:, 1:].sum(1) for seed in trial.seeds])
        for column, rho in enumerate(rhos):
            theory = asymptotic_risk(rho, items_per_feature=5, k=k, noise=0.0 if trial.control else 0.25)["risk"]
            found[f"k {k}, rho {rho}"] = simulated[:, column] / theory - 1
    worst = max(found, key=lambda name: abs(float(found[name].mean())))
    return Effects(
        found[worst], {"features": d, "relative difference": {name: float(v.mean()) for name, v in found.items()}}
    )


@measures("aggregate.best-weight")
def best_weight(trial):
    """Weight of least risk by the formula over noise, and over features for each bag. Control: the weight of largest risk."""
    by_noise = {noise: study.extreme_weight(2, noise, 5, largest=trial.control)[0] for noise in (0.05, 0.25, 1.0, 4.0)}
    by_overlap = {
        1 / bags: study.extreme_weight(2, 0.25, 2 * bags, largest=trial.control)[0] for bags in (6, 3, 2, 1.5)
    }
    details = {"best weight by noise variance": by_noise, "by features a bag": by_overlap}
    return Effects([list(by_noise.values()), list(by_overlap.values())], details)


@measures("aggregate.bag-size")
def bag_size(trial):
    """Weight of least simulated error over bag sizes, items held. Control: the weight of largest error.

    By the formula the weight first falls and then rises slowly, as fewer bags meet as many features; with the number of bags
    held it falls, since a larger bag brings less of both signal and noise.
    """
    d, weights = trial.of(20, 80, 400), tuple(k / 40 for k in range(1, 13))
    rows = []
    for seed in trial.seeds:
        errors = [study.simulate(seed, weights, n=5 * d, d=d, k=k)[:, 0] for k in SIZES]
        rows.append([weights[int(one.argmax() if trial.control else one.argmin())] for one in errors])
    details = {
        "by the formula, five items a feature": {k: study.extreme_weight(k, 0.25, 5)[0] for k in SIZES},
        "by the formula, two bags a feature": {k: study.extreme_weight(k, 0.25, 2 * k)[0] for k in SIZES},
    }
    return Effects(rows, details)


@measures("aggregate.risk-grows-with-bag-size")
def risk_by_size(trial):
    """Logarithm of simulated error over bag sizes, each at its best weight by the formula. Control: bags of two throughout."""
    weights = {k: study.extreme_weight(k, 0.25, 5)[0] for k in SIZES}
    sizes = (2, 2, 2) if trial.control else SIZES
    errors = torch.stack([
        torch.stack([study.simulate(seed, (weights[k],), k=k)[0, 0] for k in sizes]) for seed in trial.seeds
    ])  # fmt: skip
    return Effects(
        errors.log(), {"best weight by the formula": weights, "error": dict(zip(SIZES, errors.mean(0).tolist()))}
    )


@measures("aggregate.private-mechanism")
def private(trial):
    """Excess of the log probability ratios of releases over epsilon, and bias of the release. Control: run with twice epsilon."""
    epsilon, clip, k = 0.7, 1.5, 5
    excess, bias = study.log_likelihood_excess(epsilon, clip, k, stated=2 * epsilon if trial.control else epsilon)
    return Effects([excess, bias], {"excess": excess, "bias over the noise scale": bias, "epsilon": epsilon})


@measures("aggregate.optimal-bag-size")
def optimal_bag_size(trial):
    """Relative reduction of simulated error by the best bag size inside the range against the better end, both by the formula.

    Control: epsilon so large that nothing is private.
    """
    epsilon = 1e6 if trial.control else 1.0
    expected = {k: study.private_weight(k, epsilon)[1] for k in study.BAG_SIZES}
    inside = min(study.BAG_SIZES[1:-1], key=expected.__getitem__)
    end = min((study.BAG_SIZES[0], study.BAG_SIZES[-1]), key=expected.__getitem__)
    errors = study.private_risks(trial.seeds, epsilon, sizes=(inside, end))
    details = {
        "bag size inside and end": (inside, end),
        "error": errors.mean(0).tolist(),
        "risk by the formula": expected,
    }
    return Effects(1 - errors[:, 0] / errors[:, 1], details)
