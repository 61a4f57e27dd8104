"""Measurements of the statements about variational inference with fractional noise."""

from __future__ import annotations

import math
import time

import numpy as np
import torch

from lab.claims import Effects, measures
from lab.generative import vi_fractional_sde as model
from lab.generative.studies import vi_fractional_sde as study

DOUBLE = torch.float64


@measures("vi_fractional_sde.closed-form-weights")
def closed_form(trial):
    """A, b by Gauss-Legendre over time and, for b, over the kernel, both types. Control: another Hurst index in the integrals."""
    gamma, horizon, worst = model.rates(4), 1.5, 0.0
    nodes, weights = (torch.from_numpy(one) for one in np.polynomial.legendre.leggauss(160))
    grid = lambda low, high: (low + (high - low) * (nodes + 1) / 2, weights * (high - low) / 2)  # noqa: E731
    t, wt = grid(0.0, horizon)
    total = gamma[:, None] + gamma
    for H in (0.2, 0.45, 0.8):
        true = H + 0.1 if trial.control else H
        # v = u^(H + 1/2) takes the singularity of the kernel u^(H - 1/2) away
        power = true + 0.5
        v, wv = grid(0.0, horizon**power)
        u = v ** (1 / power)
        kernel = wv / power / math.gamma(power)
        two = ((horizon - u) * torch.exp(-gamma[:, None] * u)) @ kernel
        # type I adds the covariance of Y(t) - Y(0) with the past of B, int_0^inf e^(-g v) ((t+v)^(H-1/2) - v^(H-1/2)) dv
        far, wf = grid(0.0, 1.0)
        s = far**6 * 60  # times below 60 / gamma
        ws = wf * 6 * far**5 * 60
        r = s / gamma[:, None]
        late = (t[:, None, None] + r) ** (true - 0.5) - r ** (true - 0.5)
        past = (
            (late * torch.exp(-s) * ws / gamma[:, None]).sum(-1) * torch.expm1(-gamma * t[:, None]) / math.gamma(power)
        )
        one = two + wt @ past
        var = lambda kind: (  # noqa: E731
            (1 - torch.exp(-total * t[:, None, None])) / total if kind == "II"
            else (2 - torch.exp(-gamma[:, None] * t[:, None, None]) - torch.exp(-gamma * t[:, None, None])) / total
        )  # fmt: skip
        for kind, b in (("II", two), ("I", one)):
            A = torch.einsum("t,tij->ij", wt, var(kind))
            found = model.quadratic(H, gamma, horizon, kind)
            worst = max(worst, float(((found[0] - A) / A).abs().max()), float(((found[1] - b) / b).abs().max()))
    return Effects(worst)


@measures("vi_fractional_sde.weights-are-optimal")
def optimal(trial):
    """Errors of the optimal weights less those of 20 neighbours and of the trapezoid rule. Control: exchanged."""
    gamma, generator, worst = model.rates(5), torch.Generator().manual_seed(trial.seeds[0]), -math.inf
    for H, kind in ((0.1, "II"), (0.3, "II"), (0.4, "II"), (0.7, "II"), (0.3, "I"), (0.8, "I")):
        best = model.optimal_weights(H, gamma, 1.0, kind)
        others = [best + 0.05 * torch.randn(5, generator=generator, dtype=DOUBLE) for _ in range(20)]
        if kind == "II" and H in (0.1, 0.3, 0.4):
            others.append(model.quadrature_weights(H, gamma))
        errors = [float(model.relative_error(one, H, gamma, 1.0, kind)) for one in (best, *others)]
        gaps = [errors[0] - other for other in errors[1:]]
        worst = max(worst, *(-g if trial.control else g for g in gaps))
    return Effects(worst)


@measures("vi_fractional_sde.five-processes-suffice")
def five(trial):
    """Relative errors of type II with five processes. Control: with one."""
    gamma = model.rates(1 if trial.control else 5)
    errors = [
        float(model.relative_error(model.optimal_weights(H, gamma), H, gamma))
        for H in torch.arange(3, 10).double() / 10
    ]
    return Effects([max(errors), -min(*errors, -0.0) if min(errors) < -1e-9 else 0.0], {"errors": errors})


def _problem(seed, series=3):
    x, times = study.paths_of(0.35, series, seed, observations=5, error=0.2)
    return x, len(times), model.rates(4)


@measures("vi_fractional_sde.bound-below-evidence")
def below(trial):
    """Bounds less evidence for random controls and the best one. Control: half the divergence, i.e. the mean of the bound and of
    the expected log-likelihood."""
    x, count, gamma = _problem(trial.seeds[0])
    steps = 40
    places = torch.arange(1, count + 1) * (steps // count)
    noise = model.Noise(gamma, model.optimal_weights(0.35, gamma))
    generator = torch.Generator().manual_seed(trial.seeds[0])
    exact = model.evidence(noise, x, places, 0.2, 1.0, steps)
    best = model.optimal_control(noise, x, places, 0.2, 1.0, steps)

    def bound(control):
        value = model.exact_elbo(noise, control, x, places, 0.2, 1.0)
        if not trial.control:
            return value
        return 0.5 * (value + _likelihood(noise, control, x, places, steps))

    gaps = [float((bound(best) - exact).max())]
    for _ in range(20):
        shift = [0.3 * torch.randn(one.shape, generator=generator, dtype=DOUBLE) for one in (best.gain, best.offset)]
        moved = model.LinearControl(best.gain + shift[0], best.offset + shift[1], best.spread)
        gaps.append(float((bound(moved) - exact).max()))
    return Effects([max(gaps), float((bound(best) - exact).abs().max())], {"evidence": exact.tolist()})


def _likelihood(noise, control, x, places, steps):
    """The expected log-likelihood alone: the bound plus its divergence, from the law of x under the control."""
    F, G = model.linear_system(noise, 1.0, steps)
    dt = 1.0 / steps
    mean, P = torch.zeros(len(G), len(x), dtype=DOUBLE), torch.zeros(len(G), len(G), dtype=DOUBLE)
    total, at = torch.zeros(len(x), dtype=DOUBLE), {int(place): k for k, place in enumerate(places)}
    for n in range(steps):
        closed = F + dt * G[:, None] * control.gain[n]
        mean = F @ mean + dt * G[:, None] * (control.gain[n] @ mean + control.offset[n])
        P = closed @ P @ closed.T + control.spread[n].square() * dt * G[:, None] * G
        if n + 1 in at:
            total = total + model.log_normal(x[:, at[n + 1]], mean[0], 0.2) - 0.5 * P[0, 0] / 0.2**2
    return total


@measures("vi_fractional_sde.girsanov-limit")
def limit(trial):
    """Bound with the prior's noise less evidence, a series a row, over steps. Control: in the opposite order."""
    x, count, gamma = _problem(trial.seeds[0])
    noise = model.Noise(gamma, model.optimal_weights(0.35, gamma))
    gaps = []
    for steps in (20, 40, 80, 160, 320):
        places = torch.arange(1, count + 1) * (steps // count)
        control = model.optimal_control(noise, x, places, 0.2, 1.0, steps, free=False)
        value = model.exact_elbo(noise, control, x, places, 0.2, 1.0)
        gaps.append(value - model.evidence(noise, x, places, 0.2, 1.0, steps))
    levels = torch.stack(gaps, 1)
    return Effects(levels.flip(1) if trial.control else levels, {"gaps": levels.mean(0).tolist()})


@measures("vi_fractional_sde.bridge", stacked=True)
def bridge(trial):
    """Largest difference of deviation curves at H = 0.3 and 0.7. Control: the prior."""
    found = [
        study.bridge(
            study.Setting.of(trial.budget, hurst=H), seeds=trial.seeds, control="untrained" if trial.control else False
        ).largest()
        for H in (0.3, 0.7)
    ]
    return Effects(torch.maximum(*found), {"H = 0.3": float(found[0].mean()), "H = 0.7": float(found[1].mean())})


def _series(trial, control, hurst=0.7):
    setting = study.Setting.of(trial.budget, hurst=hurst)
    return study.run(setting, seeds=trial.seeds, data=trial.data, control=control if trial.control else False)


def _errors(trial, control="shuffled"):
    found = [_series(trial, control, H) for H in (0.3, 0.7)]
    error = lambda name: sum((getattr(one, name) - one.truth).abs() for one in found) / 2  # noqa: E731
    return {name: error(name) for name in ("elbo", "likelihood", "variogram")}, found[1].seconds


@measures("vi_fractional_sde.hurst-is-recovered", stacked=True)
def recovered(trial):
    """Mean absolute error over H = 0.3 and 0.7. Control: increments in another order."""
    errors, seconds = _errors(trial)
    return Effects(errors["elbo"], {name: float(v.mean()) for name, v in errors.items()} | {"seconds": seconds})


@measures("vi_fractional_sde.better-than-variogram", stacked=True)
def over_variogram(trial):
    """Error of the variogram less that of the bound. Control: the bound is told ten times the error."""
    errors, _ = _errors(trial, "misstated")
    return Effects(errors["variogram"] - errors["elbo"], {name: float(v.mean()) for name, v in errors.items()})


@measures("vi_fractional_sde.cheaper-than-likelihood")
def cheaper(trial):
    """Seconds of an exact likelihood with its covariance over those of a bound, at 800 values. Control: at 20."""
    count = 20 if trial.control else trial.of(200, 800, 2000)
    ratios = []
    for seed in trial.seeds:
        times = torch.arange(1, count + 1, dtype=DOUBLE) / count
        x = torch.randn(1, count, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE).cumsum(1) / count**0.5

        def exact(times=times, x=x):
            covariance = model.fractional_covariance(times, 0.7, "II") + 0.05**2 * torch.eye(len(times))
            return torch.distributions.MultivariateNormal(torch.zeros(len(times)).double(), covariance).log_prob(x)

        ratios.append(_seconds(exact) / _seconds(lambda x=x: model.fit_hurst(x, steps=x.shape[1], H=0.7, scale=1.0)))
    return Effects(ratios, {"values": count})


def _seconds(function):
    """The shorter of two runs."""
    spent = []
    for _ in range(2):
        began = time.process_time()
        function()
        spent.append(time.process_time() - began)
    return max(min(spent), 1e-6)


@measures("vi_fractional_sde.fractional-noise-fits-better", stacked=True)
def fits_better(trial):
    """Bound with the learned index less that with 1/2. Control: Brownian series."""
    found = _series(trial, "ordinary")
    return Effects(found.bound - found.ordinary, {"learned": found.elbo.tolist()})


def _video(trial):
    return study.video(
        study.Setting.of(trial.budget), seeds=trial.seeds, control="shuffled" if trial.control else False
    )


@measures("vi_fractional_sde.video-bound", stacked=True)
def video_bound(trial):
    """Bound a frame with fractional less ordinary noise. Control: the fractional model of shuffled frames."""
    found, plain = _video(trial), study.video(study.Setting.of(trial.budget), seeds=trial.seeds)
    gain = found.bound["fractional"] - plain.bound["ordinary"]
    return Effects(gain, {arm: float(v.mean()) for arm, v in found.bound.items()} | {"hurst": found.hurst.tolist()})


@measures("vi_fractional_sde.video-prediction", stacked=True)
def video_prediction(trial):
    """Log ratio of squared errors of the next frame. Control: the model of shuffled frames."""
    found = _video(trial)
    ratio = (found.repeated / found.following["fractional"]).log()
    return Effects(
        ratio, {arm: float(v.mean()) for arm, v in found.following.items()} | {"last": float(found.repeated.mean())}
    )
