"""Claims about choosing: no free lunch, the guiding principle, perturbation tests, disagreement, refusal."""

from __future__ import annotations

from functools import partial

import torch

from lab import claims
from lab.claims import Measured, measures
from lab.explain import studies
from lab.explain.choice import choose
from lab.explain.claims._means import exact, mean_interval, share_interval, subjects
from lab.explain.engine import prepare
from lab.explain.metrics import prediction_gap
from lab.explain.neighbourhoods import Gaussian, Masks, Uniform
from lab.explain.no_free_lunch import adversary
from lab.explain.presets import METHODS
from lab.explain.risk import Comparison, compare_task

MATCHED = {
    "noise 0.1": ("SmoothGrad 0.1", "C-LIME 0.1"),
    "noise 0.5": ("SmoothGrad 0.5", "C-LIME 0.5"),
    "noise 1": ("SmoothGrad 1", "C-LIME 1"),
    "path": ("Integrated Gradients",),
    "some removed": ("LIME",),
    "coalitions": ("KernelSHAP",),
    "one removed": ("Occlusion",),
}
GRADIENT = ("Vanilla Gradients", "SmoothGrad", "C-LIME")
MASK = ("LIME", "KernelSHAP", "Occlusion", "Integrated Gradients", "Gradients x Input")
NONLINEAR = {
    "smoke": ("relu network",),
    "default": ("tanh network", "relu network", "deep relu network"),
    "full": ("tanh network", "relu network", "deep relu network"),
}


@measures("explain.no-free-lunch")
def no_free_lunch(data, seeds, budget, family: str = "relu network") -> Measured:
    """The smallest error that an adversarial neighbourhood reaches, in units of ``d(f, G)``, over methods and instances."""
    least, near, distances = float("inf"), [], []
    count = {"smoke": 1, "default": 2, "full": 10}[budget]
    for seed in seeds:
        for one in subjects(
            data, seed, budget, families=(family,), columns={"smoke": 8, "default": 12, "full": 0}[budget]
        ):
            f, x = studies.one_output(one).f, studies.one_output(one).x[:count]
            known = {}
            for method in METHODS.values():
                found = method(f, x)
                for n in range(count):
                    place = (n, found.neighbourhood.operator)
                    broken = adversary(found, instance=n, points=256, seed=seed, known=known.get(place))
                    known[place] = broken.distance
                    distances.append(broken.distance.lower)
                    least = min(least, broken.reached / broken.distance.lower if broken.distance.lower > 1e-9 else 0.0)
                    near.append(broken.near / max(broken.distance.lower, 1e-300))
    kept = [value for value in near if value == value]
    return exact(
        least,
        least >= 1 - 1e-9 and min(distances) > 1e-9,
        distance_least=min(distances),
        own_neighbourhood=sum(kept) / max(len(kept), 1),
    )


def matrix(subject: studies.Subject, *, budget: str = "default", seed: int = 0) -> Comparison:
    """The no-free-lunch matrix of one subject."""
    task = prepare(subject.f, subject.x, target=0 if _several(subject) else None)
    return compare_task(task, n_samples={"smoke": 400, "default": 1000, "full": 4000}[budget], seed=seed)


@measures("explain.no-uniform-winner")
def no_uniform_winner(data, seeds, budget, families=None) -> Measured:
    """Share of models on which every method is told apart from the best on some neighbourhood.

    Also recorded: what the most even-handed method loses on its worst neighbourhood, ``min_m max_Z (risk_m(Z) - best(Z))``.
    """
    none, losses = [], {}
    for seed in seeds:
        for one in subjects(data, seed, budget, families=families or NONLINEAR[budget]):
            found = matrix(one, budget=budget, seed=seed)
            none.append(float(found.uniform_winner is None))
            losses[f"{one.title}, seed {seed}"] = float(found.behind.amax(1).min())
    value, interval = share_interval(none)
    return Measured(value, interval, value >= claims.by_id("explain.no-uniform-winner").margin, {"loses": losses})


@measures("explain.guiding-principle")
def guiding_principle(data, seeds, budget, matched=None) -> Measured:
    """Share of neighbourhoods on which the matched method is the best, or not told apart from it."""
    shares, failures = [], []
    for seed in seeds:
        for one in subjects(data, seed, budget, families=NONLINEAR[budget]):
            found = matrix(one, budget=budget, seed=seed)
            hits = 0
            for column, label in enumerate(found.neighbourhoods):
                rows = [found.methods.index(name) for name in (matched or MATCHED)[label]]
                good = bool(found.ties[rows, column].any())
                hits += good
                if not good:
                    failures.append(f"{label} on {one.title}: {found.best[label]}")
            shares.append(hits / len(found.neighbourhoods))
    value, interval = mean_interval(shares)
    return Measured(value, interval, value >= claims.by_id("explain.guiding-principle").margin, {"failures": failures})


def perturbation(
    subject: studies.Subject, *, top: int = 3, seed: int = 0, n_samples: int = 1000
) -> dict[str, dict[str, float]]:
    """Mean ``|change of f|``, in units of the spread of ``f``, when the least important features are removed or jittered.

    ``{"removed": {method: value}, "jittered": {...}}``; small is good.
    """
    laws = {"removed": Masks(Uniform()), "jittered": Gaussian(0.1)}
    with torch.no_grad():
        spread = float(subject.f(subject.background).std())
    found = {label: {} for label in laws}
    for name, method in METHODS.items():
        sampled = (
            {"n_samples": n_samples, "seed": seed} if name in ("LIME", "KernelSHAP", "C-LIME", "SmoothGrad") else {}
        )
        weights = method(subject.f, subject.x, **sampled)
        for label, law in laws.items():
            gap = prediction_gap(weights, top=top, important=False, neighbourhood=law, seed=seed + 1)
            found[label][name] = float(gap.mean()) / spread
    return found


@measures("explain.perturbation-flip")
def perturbation_flip(data, seeds, budget, swap: bool = False) -> Measured:
    """The smaller of two relative advantages: of mask methods under removal, of gradient methods under jitter."""
    removal, jitter = [], []
    for seed in seeds:
        for one in subjects(data, seed, budget, families=NONLINEAR[budget][-1:]):
            found = perturbation(studies.one_output(one), seed=seed, n_samples=400 if budget == "smoke" else 1000)
            first, second = (GRADIENT, MASK) if not swap else (MASK, GRADIENT)
            removal.append(_ahead(_mean(found["removed"], second), _mean(found["removed"], first)))
            jitter.append(_ahead(_mean(found["jittered"], first), _mean(found["jittered"], second)))
    (a, a_interval), (b, b_interval) = mean_interval(removal), mean_interval(jitter)
    value, interval = (a, a_interval) if a_interval[0] <= b_interval[0] else (b, b_interval)
    return Measured(value, interval, a_interval[0] > 0 and b_interval[0] > 0, {"removal": a, "jitter": b})


@measures("explain.disagreement")
def disagreement(data, seeds, budget, only: tuple[str, ...] = ()) -> Measured:
    """Mean share of the top three features on which two of the eight methods differ."""
    found = []
    names = only or tuple(METHODS)
    for seed in seeds:
        for one in subjects(data, seed, budget, families=NONLINEAR[budget][-1:]):
            f = studies.one_output(one).f
            tops = [METHODS[name](f, one.x).weights.abs().topk(3).indices for name in names]
            pairs = [(a, b) for i, a in enumerate(tops) for b in tops[i + 1 :]]
            shared = [(a[:, :, None] == b[:, None]).any(2).double().mean() for a, b in pairs]
            found.append(1 - float(sum(shared)) / max(len(shared), 1) if shared else 0.0)
    value, interval = mean_interval(found)
    return Measured(value, interval, interval[0] > claims.by_id("explain.disagreement").margin, {"each": found})


@measures("explain.refusal")
def refusal(data, seeds, budget, threshold: float = 0.2) -> Measured:
    """Share of right answers on functions that no linear model follows and on linear ones, over all questions of removal."""
    right = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        ones = torch.ones(1, 4, dtype=torch.float64)
        w = torch.randn(4, generator=generator, dtype=torch.float64)
        unfaithful = (
            lambda z: (z[:, 0] - z[:, 1]).square(),  # exclusive or on masks
            lambda z: z[:, 0] * z[:, 1],
            lambda z: z[:, 0] * z[:, 1] * z[:, 2],
        )
        for f in unfaithful:
            right += [
                choose(f, ones[:, :3], q, threshold=threshold, seed=seed).refused for q in ("removal", "coalitions")
            ]
        x = torch.randn(3, 4, generator=generator, dtype=torch.float64)
        questions = ("noise", "removal", "coalitions", "one removed", "path")
        right += [
            not choose(partial(torch.matmul, other=w), x, q, threshold=threshold, seed=seed).refused for q in questions
        ]
    value = sum(right) / len(right)
    return exact(value, value == 1.0, answers=len(right))


def _ahead(better: float, worse: float) -> float:
    """``(worse - better) / (worse + better)``: comparable between models of different steepness."""
    return (worse - better) / max(worse + better, 1e-300)


def _mean(values: dict[str, float], names: tuple[str, ...]) -> float:
    return sum(values[name] for name in names) / len(names)


def _several(subject: studies.Subject) -> bool:
    return studies.one_output(subject) is not subject
