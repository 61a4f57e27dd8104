"""Contests of the methods beyond the eight: each against the method it extends, where it should win and where it loses.

Every contest is an error of both sides on the same draws or calls, against a reference that neither sees.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from lab import checks
from lab.explain.engine import Task, explain, prepare
from lab.explain.explanation import Explanation
from lab.explain.neighbourhoods import Categories, Gaussian, Masks, Scaling, Shapley, Uniform
from lab.explain.presets import integrated_gradients, kernelshap, lime, smoothgrad
from lab.explain.risk import Bench, converted
from lab.explain.surrogate import Linear, Sobolev


@dataclass(frozen=True)
class Contest:
    """``old`` and ``new`` errors (the same measure, smaller is better) of a method and the one it extends."""

    method: str
    extends: str
    where: str
    measure: str
    old: float
    new: float
    fair_loss: bool = False  # whether this is a place where the new method is expected to lose

    @property
    def won(self) -> bool:
        return self.new < self.old


@dataclass(frozen=True)
class Minimax:
    """The explanation of least worst risk over several neighbourhoods: ``weights (N, K)`` for additive noise or masks,
    its risks ``(Z, N)`` and the worst one ``(N,)``; ``mixture (N, Z)`` is the least favourable mix of the laws."""

    weights: torch.Tensor
    risks: torch.Tensor
    worst: torch.Tensor
    mixture: torch.Tensor
    operator: str


def minimax(
    f: Callable,
    x,
    neighbourhoods: list,
    *,
    baseline=None,
    target=None,
    n_samples: int = 1000,
    rounds: int = 300,
    seed=0,
    operator: str = "mix",
) -> Minimax:
    """``argmin_w max_Z risk_Z(w)``: the answer to no-free-lunch that does not have to pick a neighbourhood.

    The risks are convex quadratics in ``w``; by duality the minimum is least squares on the worst mixture of the laws, found
    by multiplicative weights. Coordinates are those of ``operator``. Source: von Neumann 1928; Y. Freund, R. Schapire, 'Adaptive
    Game Playing Using Multiplicative Weights', Games and Economic Behavior 1999.
    """
    task = prepare(f, x, baseline=baseline, target=target)
    if not task.box.single:
        raise ValueError("minimax is for one output; pass a target")
    if not neighbourhoods:
        raise ValueError("neighbourhoods is empty; at least one law is needed")
    checks.choice("operator", operator, ("add", "mix"))
    benches = [Bench.draw(task, law, n_samples, seed + i) for i, law in enumerate(neighbourhoods)]
    grams, moments, totals = zip(*[_quadratic(bench, operator) for bench in benches])
    gram, moment, total = torch.stack(grams, 1), torch.stack(moments, 1), torch.stack(totals, 1)  # (N, Z, ...)
    mixture = torch.full(total.shape, 1 / total.shape[1], dtype=torch.float64)
    best_worst = torch.full((len(total),), torch.inf, dtype=torch.float64)
    best = torch.zeros(len(total), gram.shape[-1], dtype=torch.float64)
    best_mixture = mixture
    for step in range(rounds):
        a = torch.einsum("nz,nzij->nij", mixture, gram)
        b = torch.einsum("nz,nzi->ni", mixture, moment)
        w = torch.linalg.lstsq(a + 1e-10 * torch.eye(a.shape[-1], dtype=a.dtype), b[..., None]).solution[..., 0]
        risk = total - 2 * torch.einsum("nzi,ni->nz", moment, w) + torch.einsum("ni,nzij,nj->nz", w, gram, w)
        worst = risk.amax(1)
        better = worst < best_worst
        best[better], best_worst[better] = w[better], worst[better]
        best_mixture = torch.where(better[:, None], mixture, best_mixture)
        push = (risk / risk.amax(1, keepdim=True).clamp_min(1e-300)) * 2.0 / (1 + step) ** 0.5
        mixture = torch.softmax(torch.log(mixture.clamp_min(1e-300)) + push, 1)
    risk = total - 2 * torch.einsum("nzi,ni->nz", moment, best) + torch.einsum("ni,nzij,nj->nz", best, gram, best)
    return Minimax(best, risk.T.contiguous(), best_worst, best_mixture, operator)


def worst_risk(task: Task, explanation: Explanation, laws: list, *, n_samples: int = 1000, seed=0) -> torch.Tensor:
    """``max_Z risk_Z`` of an explanation at every instance ``(N,)``, on the draws that :func:`minimax` uses."""
    found = []
    for i, law in enumerate(laws):
        bench = Bench.draw(task, law, n_samples, seed + i)
        gram, moment, total = _quadratic(bench, "mix")
        w = converted(explanation, "mix", task)[..., 0]
        found.append(total - 2 * (moment * w).sum(1) + torch.einsum("ni,nij,nj->n", w, gram, w))
    return torch.stack(found).amax(0)


def _quadratic(bench: Bench, operator: str):
    """``risk(w) = total - 2 moment . w + w' gram w`` with ``total = 1``, per instance, in the coordinates of ``operator``."""
    design = bench.design if bench.design.ndim == 3 else bench.design.expand(len(bench.share), -1, -1)
    if bench.law.operator != operator:
        gap = bench.task.players.difference.cpu()[:, None]
        design = design * torch.where(gap == 0, 0.0, 1 / gap) if operator == "mix" else design * gap
    centred = design - (bench.share[..., None] * design).sum(1, keepdim=True)
    scaled = centred * bench.share[..., None]
    y = bench.centred[..., 0]
    variance = (bench.share * y.square()).sum(1).clamp_min(1e-300)
    gram = scaled.mT @ centred / variance[:, None, None]
    moment = (scaled * y[..., None]).sum(1) / variance[:, None]
    return gram, moment, torch.ones(len(y), dtype=torch.float64)


def contests(*, seed: int = 0, budget: str = "default", switched_off: bool = False) -> list[Contest]:
    """All contests of the winning side; ``switched_off`` runs the old method on both sides (the claim must then fail)."""
    count = {"smoke": 6, "default": 15, "full": 50}[budget]
    f, x = _smooth_game(seed, count)
    off = switched_off
    return [
        _odd(f, x, seed, off), _tempered(f, x, seed, off), _sobolev(f, x, seed, off), _links(seed, count, off),
        _quadratics(seed, count, off), _sparse(seed, count, off), _categories(seed, count, off),
        _minimax(f, x, seed, off), _certificate(seed, count, off),
    ]  # fmt: skip


def losses(*, seed: int = 0) -> list[Contest]:
    """Contests on the ground of the old method, where the new one is expected to lose or to gain nothing."""
    f, x = _smooth_game(seed, 10)
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(12, generator=generator, dtype=torch.float64)

    def even(z):  # products of two players only: nothing odd beyond order one for the proxy to learn
        return (z[:, :6] * z[:, 6:]).sum(1) + z @ w

    exact = kernelshap(even, x, n_samples=4096).weights
    plain, odd = (kernelshap(even, x, n_samples=256, seed=seed, proxy=p).weights for p in (False, True))
    narrow, reference = 1.5, lime(f, x, width=1.5, n_samples=4096).weights
    quarter, full = (lime(f, x, width=narrow, n_samples=1000, temper=t, seed=seed).weights for t in (0.25, 1.0))
    laws = [Gaussian(0.1), Masks(Uniform())]
    task = prepare(f, x)
    own = Bench.draw(task, laws[0], 1000, seed + 7)
    compromise = minimax(f, x, laws, seed=seed)
    gram, moment, total = _quadratic(own, "mix")
    w2 = compromise.weights
    lost = float((total - 2 * (moment * w2).sum(1) + torch.einsum("ni,nij,nj->n", w2, gram, w2)).mean())
    return [
        Contest(
            "odd-order proxy",
            "KernelSHAP",
            "a game of pairs only",
            "error",
            _error(plain, exact),
            _error(odd, exact),
            True,
        ),
        Contest(
            "full tempering",
            "quarter tempering",
            "a narrow kernel",
            "error",
            _error(quarter, reference),
            _error(full, reference),
            True,
        ),
        Contest(
            "minimax",
            "SmoothGrad",
            "small noise alone",
            "risk",
            own.risk(smoothgrad(f, x, seed=seed)).value,
            lost,
            True,
        ),
        *_simple_losses(seed),
    ]


def _simple_losses(seed: int) -> list[Contest]:
    """Grounds on which a richer surrogate, loss or law only adds variance, bias or calls."""
    generator = torch.Generator().manual_seed(seed)
    w, spread = torch.randn(12, generator=generator, dtype=torch.float64), Gaussian(0.5)
    x = torch.randn(10, 12, generator=generator, dtype=torch.float64)
    waves = 40 * torch.randn(12, 12, generator=generator, dtype=torch.float64)

    def error(f, arguments: dict, truth=w) -> float:
        found = explain(f, x, **{"neighbourhood": spread, "n_samples": 240, "seed": seed, **arguments}).weights
        return _error(found, torch.as_tensor(truth).expand_as(found))

    def pair(method, extends, where, f, old: dict, new: dict, truth=w) -> Contest:
        return Contest(method, extends, where, "error", error(f, old, truth), error(f, new, truth), True)

    linear = lambda z: z @ w + 50  # noqa: E731
    rough = lambda z: z @ w + 0.1 * torch.sin(z @ waves).sum(1)  # noqa: E731
    path = [integrated_gradients(torch.tanh, x[:, :1], n_samples=50, until=u).diagnostics.calls for u in (None, 1e-15)]
    few = [explain(rough, x, neighbourhood=spread, model=Linear(degree=d), n_samples=240, seed=seed) for d in (1, 2)]
    risks = [Bench.draw(one.problem.task, spread, 1000, seed + 5).risk(one).value for one in few]
    rows = torch.randn(200, 12, generator=generator, dtype=torch.float64)
    at_zero = {"neighbourhood": Masks(Shapley()), "baseline": 0.0}
    return [
        pair("Sobolev loss", "C-LIME", "a rough model: gradients are noise", rough, {}, {"loss": Sobolev(1.0)}),
        pair("log link", "C-LIME", "a linear model", linear, {}, {"model": Linear(link="log")}),
        Contest("quadratic surrogate", "C-LIME", "no products, few draws", "risk", risks[0], risks[1], True),
        pair("sparse surrogate", "C-LIME", "every feature counts", linear, {}, {"model": Linear(penalty=0.3)}),
        pair("categorical neighbourhood", "KernelSHAP", "numbers with a baseline of their own", linear, at_zero,
             {"neighbourhood": Categories(rows, Shapley())}, w * x),
        Contest("path with a certificate", "Integrated Gradients", "a smooth model: calls to certify it", "calls",
                float(path[0]), float(path[1]), True),
    ]  # fmt: skip


def _smooth_game(seed: int, count: int):
    """A random tanh network on 12 standardised features: interactions of all orders, exact values by enumeration."""
    generator = torch.Generator().manual_seed(1000 + seed)
    first = torch.randn(24, 12, generator=generator, dtype=torch.float64) / 12**0.5
    bias = torch.randn(24, generator=generator, dtype=torch.float64)
    last = torch.randn(24, generator=generator, dtype=torch.float64) / 24**0.5
    x = torch.randn(count, 12, generator=generator, dtype=torch.float64)
    return (lambda z: torch.tanh(1.5 * z @ first.T + bias) @ last), x


def _odd(f, x, seed, off) -> Contest:
    exact = kernelshap(f, x, n_samples=4096).weights
    plain, new = (kernelshap(f, x, n_samples=512, seed=seed, proxy=p and not off).weights for p in (False, True))
    return Contest(
        "odd-order proxy", "KernelSHAP", "512 of 4096 masks", "error", _error(plain, exact), _error(new, exact)
    )


def _tempered(f, x, seed, off) -> Contest:
    exact = lime(f, x, width=1.0, n_samples=4096).weights
    errors = [[_error(lime(f, x, width=1.0, n_samples=1000, seed=100 * seed + r, temper=t).weights, exact) for r in range(6)]
              for t in (0.0, 0.0 if off else 0.25)]  # fmt: skip
    plain, new = (sum(part) / len(part) for part in errors)
    return Contest("tempered LIME", "LIME", "a narrow kernel", "error", plain, new)


def _sobolev(f, x, seed, off) -> Contest:
    law = Gaussian(0.5)
    exact = explain(f, x, neighbourhood=law, loss="gradient", n_samples=40_000, seed=seed + 99).weights
    squared = explain(f, x, neighbourhood=law, n_samples=240, seed=seed).weights
    both = explain(f, x, neighbourhood=law, loss="squared" if off else Sobolev(0.25), n_samples=240, seed=seed).weights
    return Contest("Sobolev loss", "C-LIME", "few draws", "error", _error(squared, exact), _error(both, exact))


def _links(seed, count, off) -> Contest:
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(8, generator=generator, dtype=torch.float64)
    x = torch.randn(count, 8, generator=generator, dtype=torch.float64)
    model = Linear() if off else Linear(link="log")
    f = lambda z: torch.exp(z @ w / 4)  # noqa: E731
    old, new = (explain(f, x, neighbourhood=Gaussian(0.3), model=m, seed=seed).weights for m in (Linear(), model))
    truth = (w / 4).expand_as(old)
    return Contest(
        "log link", "C-LIME", "an exponential model", "error", _error(old, truth), max(_error(new, truth), 1e-9)
    )


def _quadratics(seed, count, off) -> Contest:
    generator = torch.Generator().manual_seed(seed)
    matrix = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    x = torch.randn(count, 6, generator=generator, dtype=torch.float64)
    f = lambda z: torch.einsum("ni,ij,nj->n", z, matrix, z)  # noqa: E731
    law = Gaussian(1.0)
    found = [explain(f, x, neighbourhood=law, model=Linear(degree=1 if off else d), seed=seed) for d in (1, 2)]
    risks = [Bench.draw(one.problem.task, law, 1000, seed + 5).risk(one).value for one in found]
    return Contest("quadratic surrogate", "C-LIME", "products of features", "risk", risks[0], max(risks[1], 1e-9))


def _sparse(seed, count, off) -> Contest:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(count, 20, generator=generator, dtype=torch.float64)
    waves = 20 * torch.randn(20, 20, generator=generator, dtype=torch.float64)
    f = lambda z: 2 * z[:, 0] - z[:, 1] + 0.3 * torch.sin(z @ waves).sum(1)  # noqa: E731
    truth = torch.zeros(count, 20, dtype=torch.float64)
    truth[:, 0], truth[:, 1] = 2.0, -1.0
    old, new = (
        explain(f, x, neighbourhood=Gaussian(1.0), model=Linear(penalty=p), n_samples=60, seed=seed).weights
        for p in (None, None if off else 0.15)
    )
    return Contest(
        "sparse surrogate",
        "C-LIME",
        "two features among twenty, 60 draws",
        "error",
        _error(old, truth),
        _error(new, truth),
    )


def _categories(seed, count, off) -> Contest:
    """Levels 0..3 with an effect a level, two columns correlated; a swap to an observed level against one fixed baseline."""
    generator = torch.Generator().manual_seed(seed)
    levels = torch.randint(0, 4, (400, 5), generator=generator)
    effect = torch.randn(5, 4, generator=generator, dtype=torch.float64)
    f = lambda z: effect[torch.arange(5), z.long().clamp(0, 3)].sum(1)  # noqa: E731
    x, data = levels[:count].double(), levels.double()
    mean = torch.stack([effect[j, levels[:, j]].mean() for j in range(5)])
    truth = effect[torch.arange(5), levels[:count]] - mean  # what a level adds to the average level
    fixed = explain(f, x, neighbourhood=Masks(Shapley()), baseline=0.0, seed=seed).weights
    law = Masks(Shapley()) if off else Categories(data, Shapley())
    swapped = explain(f, x, neighbourhood=law, baseline=0.0 if off else None, seed=seed, n_samples=2000).weights
    return Contest(
        "categorical neighbourhood",
        "KernelSHAP",
        "columns of levels",
        "error",
        _error(fixed, truth),
        _error(swapped, truth),
    )


def _minimax(f, x, seed, off) -> Contest:
    laws = [Gaussian(0.1), Masks(Uniform())]
    task = prepare(f, x)
    singles = [task.explain(law, Linear(), "squared", seed=seed) for law in laws]
    worst = min(float(worst_risk(task, one, laws, seed=seed).mean()) for one in singles)
    new = worst if off else float(minimax(f, x, laws, seed=seed).worst.mean())
    return Contest(
        "minimax", "the better of C-LIME and LIME", "small noise and removal together", "worst risk", worst, new
    )


def _certificate(seed, count, off) -> Contest:
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(32, 10, generator=generator, dtype=torch.float64)
    bias, last = (torch.randn(32, generator=generator, dtype=torch.float64) for _ in range(2))
    x = torch.randn(count, 10, generator=generator, dtype=torch.float64)
    f = lambda z: torch.relu(z @ first.T + bias) @ last  # noqa: E731
    fixed = integrated_gradients(f, x, n_samples=50)
    certain = fixed if off else integrated_gradients(f, x, n_samples=50, until=1e-6)
    truth = explain(f, x, neighbourhood=Scaling(0, 1), loss="gradient", n_samples=20, until=1e-10).weights
    return Contest(
        "path with a certificate",
        "Integrated Gradients",
        "kinks of a ReLU network",
        "error",
        _error(fixed.weights, truth),
        max(_error(certain.weights, truth), 1e-12),
    )


def _error(weights: torch.Tensor, truth: torch.Tensor) -> float:
    """Mean relative L2 error over instances."""
    return float(((weights - truth).norm(dim=1) / truth.norm(dim=1).clamp_min(1e-12)).mean())
