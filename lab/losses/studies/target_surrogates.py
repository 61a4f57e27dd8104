"""Experiments with target-based surrogates: logistic regression on synthetic and real tables, and imitation of an expert."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from lab import training
from lab.claims import tunes
from lab.losses.studies.common import table
from lab.losses.target_surrogates import SSO, loss_oracle
from lab.training.comparison import chosen, record, tune

CALLS, ROUNDS = 50, 60  # expensive gradients on a table, rounds of imitation
_RATES = tuple(round(10 ** (k / 3 - 3), 6) for k in range(12))
OPTIMIZERS = {  # twelve settings each: eta and inner steps, learning rate, growth of the step
    "sso": tuple((eta, inner) for eta in (1.0, 4.0, 8.0, 16.0) for inner in (1, 5, 20)),
    "adam": _RATES,
    "adagrad": tuple(round(10 * rate, 6) for rate in _RATES),
    "line search": tuple(round(1.0 + 0.2 * k, 1) for k in range(12)),
}
IMITATION = dict.fromkeys(
    ("1 inner step", "20 inner steps"), (0.25, 0.5, 1.0, 2.0)
)  # eta; 1 = 1/L is the largest with a guarantee


@tunes("target_surrogates")
def tune_arms(progress=None) -> None:
    """Tune every optimizer on a table by its loss after 50 calls, both arms of imitation by their loss, and write the record."""
    x, y = binary()

    def loss(arm, settings, seeds):
        return torch.stack([-final(arm, x, y, seeds, CALLS, value) for value in settings]).numpy()

    def imitation(arm, settings, seeds):
        return [[-imitate(eta, int(arm.split()[0]), seed, ROUNDS) for seed in seeds] for eta in settings]

    record(
        "target_surrogates", tune("optimizers", OPTIMIZERS, loss, progress=progress),
        tune("imitation", IMITATION, imitation, progress=progress),
    )  # fmt: skip


def tuned(study: str) -> dict:
    """The recorded settings of the study ``"optimizers"`` or ``"imitation"``."""
    grids: dict[str, Any] = {"optimizers": OPTIMIZERS, "imitation": IMITATION}
    return chosen("target_surrogates", study, grids[study])


def logistic(z, y):
    """Summed logistic loss of scores (B, 1) and labels in {0, 1}; 1/4-smooth in the scores."""
    return (nn.functional.softplus(z[:, 0]) - y * z[:, 0]).sum()


def problem(seed, n=200, d=8):
    """Gaussian rows (n, d), noisy labels of a linear rule (n,) and the generator that drew them."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64)
    y = (
        x @ torch.randn(d, generator=generator, dtype=torch.float64) + torch.randn(n, generator=generator) > 0
    ).double()
    return x, y, generator


def linear(d, generator):
    """A linear model with random weights."""
    model = nn.Linear(d, 1, dtype=torch.float64)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.5 * torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return model


def excess_losses(seed: int, calls: int, *, eta: float = 4.0, schedule: str = "decreasing"):
    """Full mean loss above its minimum before each call of SSO on batches of 32, (calls,)."""
    x, y, generator = problem(seed)
    best = linear(8, torch.Generator().manual_seed(seed))
    solver = torch.optim.LBFGS(best.parameters(), max_iter=500, tolerance_grad=1e-12, line_search_fn="strong_wolfe")

    def closure():
        solver.zero_grad()
        value = logistic(best(x), y) / len(x)
        value.backward()
        return value

    solver.step(closure)
    model = linear(8, generator)
    optimizer = SSO(model, eta, 5, schedule=schedule)
    found = []
    for _ in range(calls):
        with torch.no_grad():
            found.append((logistic(model(x), y) - logistic(best(x), y)) / len(x))
        rows = torch.randint(len(x), (32,), generator=generator)
        optimizer.step(x[rows], loss_oracle(logistic, y[rows]))
    return torch.stack(found)


def fitted_power(excess, lengths):
    """Power of T with which the mean of excess (seeds, calls) over the first T calls falls, T over ``lengths``, (seeds,)."""
    means = torch.stack([excess[:, :length].mean(1) for length in lengths], 1).log()
    steps = torch.tensor(lengths, dtype=torch.float64).log()
    centred = steps - steps.mean()
    return (means * centred).sum(1) / centred.square().sum()


def binary(data=None):
    """Standardized features (items, features) and labels 0 and 1 of a table of two classes."""
    x, y = table(data, "breast_cancer")
    if int(y.max()) != 1:
        raise ValueError(f"data must have two classes, got {int(y.max()) + 1}")
    x = x.double()
    return (x - x.mean(0)) / x.std(0).clamp_min(1e-9), y.double()


def run(arm, x, y, seed, calls, value, batch=64):
    """Full mean loss after each of ``calls`` expensive gradients of one arm, (calls,).

    ``arm`` is ``"sso"`` with ``value`` = (eta, inner steps) or (eta, inner steps, share c of its line search), ``"line search"``
    with the growth of its step, or a torch optimizer (``"adam"``, ``"adagrad"``, ``"sgd"``) with its learning rate.
    """
    generator = torch.Generator().manual_seed(seed)
    model = nn.Linear(x.shape[1], 1, dtype=torch.float64)
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    if arm == "sso":
        eta, inner, *share = value
        optimizer = SSO(model, eta, inner, armijo=share[0] if share else 0.5)
    elif arm == "line search":
        optimizer = None
    else:
        optimizer = {"adam": torch.optim.Adam, "adagrad": torch.optim.Adagrad, "sgd": torch.optim.SGD}[arm](
            model.parameters(), lr=value
        )
    length, losses = 1.0, []
    for _ in range(calls):
        rows = torch.randint(len(x), (batch,), generator=generator)
        if arm == "sso":
            optimizer.step(x[rows], loss_oracle(logistic, y[rows]))
        else:
            loss = logistic(model(x[rows]), y[rows]) / batch
            gradient = torch.autograd.grad(loss, list(model.parameters()))
            if arm == "line search":
                length = _armijo(model, x[rows], y[rows], batch, float(loss.detach()), gradient, length * value)
            else:
                for p, g in zip(model.parameters(), gradient):
                    p.grad = g
                optimizer.step()
        with torch.no_grad():
            losses.append(logistic(model(x), y) / len(x))
    return torch.stack(losses)


def curves(arms, seeds, calls, data=None):
    """Full mean loss over expensive gradients on a table of two classes, ``{name: (seeds, calls)}``; arms as (arm, value)."""
    x, y = binary(data)
    return {name: torch.stack([run(arm, x, y, s, calls, value) for s in seeds]) for name, (arm, value) in arms.items()}


def final(arm, x, y, seeds, calls, value):
    """Full mean loss after the last call, one value per seed."""
    return torch.stack([run(arm, x, y, seed, calls, value)[-1] for seed in seeds])


@torch.no_grad()
def _armijo(model, x, y, batch, loss, gradient, length):
    """Stochastic line search (S. Vaswani et al., NeurIPS 2019): c = 0.5, shrink 0.7; its loss evaluations are free here."""
    squared = float(sum(g.square().sum() for g in gradient))
    for _ in range(60):
        for p, g in zip(model.parameters(), gradient):
            p.sub_(length * g)
        if float(logistic(model(x), y) / batch) <= loss - 0.5 * length * squared:
            return length
        for p, g in zip(model.parameters(), gradient):
            p.add_(length * g)
        length *= 0.7
    return length


def imitate(eta: float, inner: int, seed: int, rounds: int) -> float:
    """Cumulative squared loss of imitating a linear-quadratic expert of a double integrator over ``rounds``.

    Each round rolls out the learner for 20 steps (the expensive oracle), asks the expert for its action in the visited states,
    and updates by ``inner`` steps at ``eta``.
    """
    generator = torch.Generator().manual_seed(seed)
    dynamics = torch.tensor([[1.0, 0.1], [0.0, 1.0]], dtype=torch.float64)
    push = torch.tensor([0.0, 0.1], dtype=torch.float64)
    expert = torch.tensor([-1.5, -1.8], dtype=torch.float64)
    model = training.mlp(2, 1, widths=(16,), activation="tanh", seed=seed, dtype=torch.float64)
    optimizer = SSO(model, eta, inner)
    total = 0.0
    for _ in range(rounds):
        state = torch.randn(8, 2, generator=generator, dtype=torch.float64)
        visited = []
        with torch.no_grad():
            for _ in range(20):
                visited.append(state)
                state = state @ dynamics.T + model(state).clamp(-3, 3) * push
                state = state.clamp(-4, 4)
        states = torch.cat(visited)
        wanted = (states @ expert).clamp(-3, 3)[:, None]

        def squared(z, target):
            return 0.5 * (z - target).square().sum()

        step = optimizer.step(states, loss_oracle(squared, wanted))
        total += step.loss / len(states)
    return total
