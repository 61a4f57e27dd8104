"""Measurements of the statements about optimistic mirror descent in the stochastically extended adversarial model."""

from __future__ import annotations

import torch

from lab.claims import Effects, measures
from lab.online import regret
from lab.online.environments import SEA
from lab.online.optimistic_omd_sea import expected_bound
from lab.online.studies import optimistic_omd_sea as study

BETWEEN = ("random order", "corrupted", "slow drift")
BALL = 0.25  # radius for exp-concave losses: beta = .4, so that the logarithm is reached


def _run(trial, control: bool | str = False, **changes):
    return study.run(
        study.Setting.of(trial.budget, **changes), seeds=trial.seeds, control=control if trial.control else False
    )


def _shown(result, *arms):
    return {
        arm: {name: round(float(result.of(result.regret, arm, name)[:, -1].mean()), 2) for name in result.environments}
        for arm in arms
    }


def _exp_concave(trial, control: bool | str = False):
    return _run(trial, control, loss="squared", radius=BALL, noise=0.05, dimension=2)


@measures("optimistic_omd_sea.convex-path-bound", stacked=True)
def convex_path(trial):
    """Regret over its path's bound, linear losses. Control: hints turned."""
    result = _run(trial, "turned", loss="linear")
    return Effects(float(result.ratio("optimistic", result.bound["optimistic"]).max()), _shown(result, "optimistic"))


@measures("optimistic_omd_sea.strongly-convex-path-bound", stacked=True)
def strong_path(trial):
    """Regret over its path's bound, squared losses. Control: lambda overstated 50 times, in the steps and in the bound."""
    result, arm = _run(trial, "overstated"), "optimistic, strongly convex"
    return Effects(float(result.ratio(arm, result.bound[arm]).max()), _shown(result, arm))


@measures("optimistic_omd_sea.exp-concave-path-bound", stacked=True)
def concave_path(trial):
    """Regret over its path's bound, squared losses on a small ball. Control: steps up the gradient."""
    result, arm = _exp_concave(trial, "upwards"), "optimistic, exp-concave"
    return Effects(float(result.ratio(arm, result.bound[arm]).max()), _shown(result, arm))


@measures("optimistic_omd_sea.dynamic-path-bound", stacked=True)
def dynamic_path(trial):
    """Linearized dynamic regret over its bound, linear losses. Control: the smallest step size alone, its bound that of all."""
    full = study.run(study.Setting.of(trial.budget, loss="linear"), seeds=trial.seeds)
    result = _run(trial, "turned", loss="linear")
    return Effects(float((result.linearized / full.dynamic_bound).max()), {"control": "turned"})


@measures("optimistic_omd_sea.convex-expected-bound", stacked=True)
def convex_expected(trial):
    """Regret over the bound by noise and drift, linear losses. Control: hints turned."""
    result = _run(trial, "turned", loss="linear")
    return Effects(result.ratio("optimistic", result.expected["convex"]), _shown(result, "optimistic"))


@measures("optimistic_omd_sea.concave-single-losses", stacked=True)
def single(trial):
    """Regret over the same bound, half of the losses concave. Control: steps up the gradient."""
    result = _run(trial, "upwards", loss="random curvature")
    return Effects(result.ratio("optimistic", result.expected["convex"]), _shown(result, "optimistic"))


@measures("optimistic_omd_sea.ftrl-convex", stacked=True)
def ftrl_convex(trial):
    """Optimistic FTRL's regret over the bound by noise and drift, linear losses. Control: steps up the gradient."""
    result = _run(trial, "upwards", loss="linear")
    return Effects(result.ratio("optimistic FTRL", result.expected["convex"]), _shown(result, "optimistic FTRL"))


@measures("optimistic_omd_sea.ftrl-strongly-convex", stacked=True)
def ftrl_strong(trial):
    """Its regret over the bound by the largest noise and drift, squared losses. Control: steps up the gradient."""
    result, arm = _run(trial, "upwards"), "FTRL, strongly convex"
    return Effects(result.ratio(arm, result.expected[arm]), _shown(result, arm))


@measures("optimistic_omd_sea.strongly-convex-expected-bound", stacked=True)
def strong_expected(trial):
    """Regret over the bound by noise and drift, squared losses. Control: steps up the gradient."""
    result, arm = _run(trial, "upwards"), "optimistic, strongly convex"
    return Effects(result.ratio(arm, result.expected["strongly convex"]), _shown(result, arm))


@measures("optimistic_omd_sea.bound-below-that-of-ftrl", stacked=True)
def below(trial):
    """Our bound less that of Sachs et al. with the same constants, relative, every environment and horizon, for squared,
    regression and random-curvature losses. Control: the bounds exchanged."""
    ratios = []
    for loss in ("squared", "regression", "random curvature"):
        where = study.environment(study.Setting.of(trial.budget, loss=loss, noise=1.0), trial.seeds)
        at = regret.horizons(where.rounds)
        ours, theirs = (expected_bound(where, "strongly convex", at, of=of) for of in ("mirror descent", "FTRL"))
        excess = (ours - theirs) / theirs.abs()
        ratios.append((-excess if trial.control else excess).amax())
    return Effects(float(torch.stack(ratios).max()))


@measures("optimistic_omd_sea.bound-stops-growing-with-the-noise", stacked=True)
def stops(trial):
    """Noise in the first twentieth alone: growth of our bound over the last nine tenths of the rounds less that of the
    bound of Sachs et al., over the latter bound. Control: noise in all rounds."""
    rounds = study.Setting.of(trial.budget).rounds
    noise = torch.full((rounds,), 1.0, dtype=torch.float64)
    noise[rounds // 20 :] = 1.0 if trial.control else 0.0
    where = SEA(torch.full((rounds, 3), 0.2), noise, seeds=trial.seeds)
    at = torch.tensor([rounds // 10, rounds])
    ours, theirs = (expected_bound(where, "strongly convex", at, of=of) for of in ("mirror descent", "FTRL"))
    less = (ours - theirs).diff(dim=1)[:, 0] / theirs[:, 1].abs()
    return Effects(float(less.max()))


@measures("optimistic_omd_sea.exp-concave-expected-bound", stacked=True)
def concave_expected(trial):
    """Regret over the bound by d log of noise and drift, squared losses on a small ball. Control: steps up the gradient."""
    result, arm = _exp_concave(trial, "upwards"), "optimistic, exp-concave"
    return Effects(result.ratio(arm, result.expected["exp-concave"]), _shown(result, arm))


@measures("optimistic_omd_sea.no-noise-no-growth", stacked=True)
def still(trial):
    """Exponent of growth without noise and drift, linear losses. Control: hints turned."""
    result = _run(trial, "turned", loss="linear")
    return Effects(regret.slope(result.at, result.of(result.regret, "optimistic", "constant")))


@measures("optimistic_omd_sea.noise-grows-as-root", stacked=True)
def root(trial):
    """Exponent of growth under noise less 1/2, squared losses and the convex steps. Control: the same without noise."""
    result = _run(trial, loss="squared", noise=1.0)
    found = result.of(result.regret, "optimistic", "constant" if trial.control else "i.i.d.")
    return Effects(regret.slope(result.at, found) - 0.5)


def _growth(result, arm, name="i.i.d."):
    """Regret at the last horizon over that at a sixteenth of it."""
    found = result.of(result.regret, arm, name)
    early = int((result.at - result.at[-1] / 16).abs().argmin())
    return found[:, -1] / found[:, early].clamp_min(1e-9)


@measures("optimistic_omd_sea.strongly-convex-grows-as-logarithm", stacked=True)
def logarithm(trial):
    """R(T) / R(T/16) under noise, squared losses, steps 2 / (lambda t). Control: the steps for convex losses."""
    result = _run(trial, noise=1.0)
    arm = "optimistic" if trial.control else "optimistic, strongly convex"
    return Effects(_growth(result, arm), _shown(result, arm))


@measures("optimistic_omd_sea.exp-concave-grows-as-logarithm", stacked=True)
def concave_logarithm(trial):
    """R(T) / R(T/16) under noise, regression in the plane with noise 1: beta sum |g|^2 / 2 exceeds the 1 of the metric from about
    round 200 on, before which no logarithm can show. Control: steps up the gradient."""
    result = _run(trial, "upwards", loss="regression", noise=1.0, dimension=2)
    arm = "optimistic, exp-concave"
    return Effects(_growth(result, arm), _shown(result, arm, "Newton step", "gradient descent"))


def _gain(result):
    """Regret a round of the better of gradient descent and AdaGrad less that of the optimistic learner, under switches."""
    last = {arm: result.of(result.regret, arm, "switching")[:, -1] for arm in study.TUNED}
    best = torch.minimum(last["gradient descent"], last["AdaGrad"])
    return Effects((best - last["optimistic"]) / float(result.at[-1]), {a: float(v.mean()) for a, v in last.items()})


@measures("optimistic_omd_sea.hint-gains-under-switches", stacked=True)
def switches(trial):
    """Linear losses that switch every 20 rounds, every learner at the step size of its theory. Control: they switch every round."""
    return _gain(_run(trial, loss="linear", noise=0.1, period=1 if trial.control else 20))


@measures("optimistic_omd_sea.hint-gains-over-tuned-steps", stacked=True)
def over_tuned(trial):
    """The same with step sizes tuned alike for these losses. Control: hints turned."""
    return _gain(_run(trial, "turned", loss="linear", noise=0.1, tuned=True))


@measures("optimistic_omd_sea.hint-costs-on-independent-losses", stacked=True)
def costs(trial):
    """Regret over root of rounds, the optimistic learner less gradient descent, i.i.d. linear losses, step sizes of theory.
    Control: losses that switch."""
    result = _run(trial, loss="linear", noise=1.0)
    name = "switching" if trial.control else "i.i.d."
    ours, plain = (result.of(result.regret, arm, name)[:, -1] for arm in ("optimistic", "gradient descent"))
    return Effects((ours - plain) / float(result.at[-1]) ** 0.5)


@measures("optimistic_omd_sea.dynamic-regret-below-one-step-size", stacked=True)
def dynamic(trial):
    """Dynamic regret a round with one adaptive step size less that with many under Hedge, linear losses that switch every 20
    rounds. Control: losses without noise and drift."""
    result = _run(trial, loss="linear", noise=0.1)
    name = "constant" if trial.control else "switching"
    one, many = (result.of(result.dynamic, arm, name)[:, -1] for arm in ("optimistic", "two layers"))
    return Effects((one - many) / float(result.at[-1]), {"one": float(one.mean()), "many": float(many.mean())})


@measures("optimistic_omd_sea.excess-risk-of-the-average", stacked=True)
def risk(trial):
    """Exponent of the excess risk of the average point in the number of rounds, i.i.d. squared losses. Control: the average of the
    first ten points, whatever the rounds."""
    result = _run(trial, noise=1.0)
    found = result.of(result.risk, "optimistic, strongly convex", "i.i.d.")
    found = found[:, :1].expand_as(found) if trial.control else found
    return Effects(regret.slope(result.at, found, least=1e-12))


@measures("optimistic_omd_sea.between-the-ends", stacked=True)
def between(trial):
    """Regret over the bound by noise and drift in random order, under corruption and slow drift. Control: steps up the gradient."""
    result = _run(trial, "upwards", loss="linear")
    return Effects(result.ratio("optimistic", result.expected["convex"], BETWEEN), _shown(result, "optimistic"))
