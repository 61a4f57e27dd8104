"""Measurements of the statements about target-based surrogates."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from lab.claims import Effects, measures
from lab.losses.studies import target_surrogates as study
from lab.losses.studies.target_surrogates import logistic
from lab.losses.target_surrogates import SSO, loss_oracle, target_surrogate


@measures("target_surrogates.majorizes")
def majorizes(trial):
    """Smallest gap of surrogate over loss at random parameters, and less the distance where they should touch.

    Logistic (eta = 4) and softmax (eta = 2) losses. Control: eta ten times larger.
    """
    x, y, generator = study.problem(trial.seeds[0])
    labels = torch.randint(4, (len(x),), generator=generator)

    def softmax(z, target):
        return F.cross_entropy(z, target, reduction="sum")

    gaps, touching = [], []
    for loss, target, outputs, eta in ((logistic, y, 1, 4.0), (softmax, labels, 4, 2.0)):
        eta = 10 * eta if trial.control else eta
        w = torch.randn(8, outputs, generator=generator, dtype=torch.float64)
        z_t = x @ w
        value, gradient = loss_oracle(loss, target)(z_t)
        touching.append(abs(value + float(target_surrogate(z_t, z_t, gradient, eta)) - float(loss(z_t, target))))
        for k in range(trial.of(100, 1000, 10000)):
            z = x @ (w + 10.0 ** (k % 5 - 3) * torch.randn(w.shape, generator=generator, dtype=torch.float64))
            gaps.append((value + float(target_surrogate(z, z_t, gradient, eta)) - float(loss(z, target))) / len(x))
    return Effects([min(gaps), -max(touching)], {"smallest gap": min(gaps), "distance at the centre": max(touching)})


def _turned(oracle):
    """An oracle whose gradient has the wrong sign."""

    def wrong(z):
        loss, gradient = oracle(z)
        return loss, -gradient

    return wrong


@measures("target_surrogates.stationary")
def stationary(trial):
    """Gradient norm of the mean loss at the end, and outer steps that rose, with three inner minimizers of a linear model.

    Control: the gradient with its sign turned.
    """
    x, y, _ = study.problem(trial.seeds[0])
    oracle = _turned(loss_oracle(logistic, y)) if trial.control else loss_oracle(logistic, y)
    steps = trial.of(150, 1500, 6000)
    found, shown = [], {}
    for inner_steps, inner in ((1, "armijo"), (10, "armijo"), (5, 0.02)):
        model = study.linear(8, torch.Generator().manual_seed(trial.seeds[0]))
        optimizer = SSO(model, 4.0, inner_steps, inner)
        losses = torch.tensor([optimizer.step(x, oracle).loss for _ in range(steps)], dtype=torch.float64)
        gradient = torch.autograd.grad(logistic(model(x), y) / len(x), list(model.parameters()))
        norm = float(sum(g.square().sum() for g in gradient)) ** 0.5
        rises = float((losses.diff() - 1e-9).clamp_min(0).count_nonzero())
        found += [norm, rises]
        shown[f"{inner_steps} steps, {inner}"] = {"gradient norm": norm, "steps that rose": rises}
    return Effects(found, {"arms": shown, "outer steps": steps})


@measures("target_surrogates.one-step-is-sgd")
def one_step(trial):
    """Largest difference of the parameters from those of gradient descent over 200 batches. Control: five inner steps."""
    x, y, generator = study.problem(trial.seeds[0])
    first = study.linear(8, generator)
    second = torch.nn.Linear(8, 1, dtype=torch.float64)
    second.load_state_dict(first.state_dict())
    optimizer = SSO(first, 1.0, 5 if trial.control else 1, 0.01)
    plain = torch.optim.SGD(second.parameters(), lr=0.01)
    worst = []
    for _ in range(200):
        rows = torch.randperm(len(x), generator=generator)[:32]
        optimizer.step(x[rows], loss_oracle(logistic, y[rows]))
        plain.zero_grad()
        logistic(second(x[rows]), y[rows]).backward()
        plain.step()
        worst += [float((p - q).detach().abs().max()) for p, q in zip(first.parameters(), second.parameters())]
    return Effects(max(worst))


@measures("target_surrogates.projected-sgd")
def projected(trial):
    """Largest difference of outputs after solving one surrogate from the projected gradient step. Control: one inner step."""
    x, y, generator = study.problem(trial.seeds[0], n=60)
    model = study.linear(8, generator)
    with torch.no_grad():
        z_t = model(x)
    _, gradient = loss_oracle(logistic, y)(z_t.clone())
    SSO(model, 2.0, 1 if trial.control else 500).step(x, loss_oracle(logistic, y))
    design = torch.cat([x, torch.ones(60, 1, dtype=torch.float64)], 1)
    target = design @ torch.linalg.lstsq(design, z_t - 2.0 * gradient).solution
    with torch.no_grad():
        return Effects(float((model(x) - target).abs().max()))


@measures("target_surrogates.convex-rate")
def convex_rate(trial):
    """Power of T at which the mean excess loss over the first T calls falls, T doubling from 25, with steps eta/sqrt(t).

    Logistic regression on noisy labels, so that its optimum is finite; batches of 32 rows, five inner steps. Control: constant
    steps of sixteen times 1/L.
    """
    lengths = [25 * 2**k for k in range(trial.of(2, 5, 7) + 1)]
    options = {"eta": 64.0, "schedule": "constant"} if trial.control else {}
    excess = torch.stack([study.excess_losses(seed, lengths[-1], **options) for seed in trial.seeds])
    shown = {str(length): float(excess[:, :length].mean()) for length in lengths}
    return Effects(study.fitted_power(excess, lengths), {"mean excess loss over the first calls": shown})


@measures("target_surrogates.inner-steps-help", stacked=True)
def inner_steps(trial):
    """Relative reduction of the full loss by ten inner steps against one after ten calls, at conservative steps eta (1 and 4).

    A step of the inner line search must not pass the minimum along the gradient (c = 1/2). With c = 0.1 a single step may run
    1.8 times as far, so that one inner step acts like a larger eta; the details show that arm and eta = 16 as well. Control:
    one inner step for both.
    """
    x, y = study.binary(trial.data)
    many, found, shown = 1 if trial.control else 10, {}, {}
    for eta in (1.0, 4.0, 16.0):
        for share in (0.5, 0.1):
            one, ten = (study.final("sso", x, y, trial.seeds, 10, (eta, inner, share)) for inner in (1, many))
            found[eta, share] = 1 - ten / one
            shown[f"eta {eta:g}, c {share:g}"] = {"one step": float(one.mean()), "ten steps": float(ten.mean())}
    worst = min((1.0, 4.0), key=lambda eta: float(found[eta, 0.5].mean()))
    return Effects(found[worst, 0.5], {"loss after 10 calls": shown})


@measures("target_surrogates.matches-adaptive", stacked=True)
def matches(trial):
    """Relative difference of the loss after 50 calls against the best of Adam, Adagrad and line search, all tuned alike.

    Control: one inner step at eta = 1.
    """
    x, y = study.binary(trial.data)
    settings = study.tuned("optimizers") | ({"sso": (1.0, 1)} if trial.control else {})
    calls = trial.of(5, study.CALLS, study.CALLS)
    reached = {arm: study.final(arm, x, y, trial.seeds, calls, value) for arm, value in settings.items()}
    best = min((arm for arm in reached if arm != "sso"), key=lambda arm: float(reached[arm].mean()))
    details = {"loss": {arm: float(v.mean()) for arm, v in reached.items()}, "settings": settings, "best": best}
    return Effects(1 - reached["sso"] / reached[best], details)


@measures("target_surrogates.imitation")
def imitation(trial):
    """Relative reduction of the cumulative loss of imitation by twenty inner steps against one, both tuned alike.

    Control: one inner step for both.
    """
    rounds, tuned = trial.of(2, study.ROUNDS, study.ROUNDS), study.tuned("imitation")
    losses = {
        inner: torch.tensor(
            [study.imitate(tuned[arm], inner, seed, rounds) for seed in trial.seeds], dtype=torch.float64
        )
        for inner, arm in ((1, "1 inner step"), (20, "20 inner steps"))
    }
    details = {
        "cumulative loss": {f"{inner} inner steps": float(v.mean()) for inner, v in losses.items()},
        "eta": tuned,
    }
    return Effects(1 - losses[1 if trial.control else 20] / losses[1], details)
