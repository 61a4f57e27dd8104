"""Which method for which question: every method on every neighbourhood, adversaries, perturbation tests, refusals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from lab.explain.choice import choose
from lab.explain.engine import prepare
from lab.explain.metrics import prediction_gap
from lab.explain.neighbourhoods import Gaussian, Masks, Uniform
from lab.explain.no_free_lunch import adversary
from lab.explain.presets import METHODS
from lab.explain.risk import Comparison, compare_task, recipes
from lab.explain.studies.models import Subject, one_output

MATCHED = {
    "noise 0.1": ("SmoothGrad 0.1", "C-LIME 0.1"),
    "noise 0.5": ("SmoothGrad 0.5", "C-LIME 0.5"),
    "noise 1": ("SmoothGrad 1", "C-LIME 1"),
    "path": ("Integrated Gradients",),
    "some removed": ("LIME",),
    "coalitions": ("KernelSHAP",),
    "one removed": ("Occlusion",),
}
MISMATCHED = {
    "noise 0.1": ("Occlusion",),
    "noise 0.5": ("LIME",),
    "noise 1": ("KernelSHAP",),
    "path": ("Vanilla Gradients",),
    "some removed": ("Vanilla Gradients",),
    "coalitions": ("SmoothGrad 0.1",),
    "one removed": ("C-LIME 1",),
}
GRADIENT = ("Vanilla Gradients", "SmoothGrad", "C-LIME")
MASK = ("LIME", "KernelSHAP", "Occlusion", "Integrated Gradients", "Gradients x Input")
ROUNDING = 1e-9  # distances from the class below this share of the spread of f are those of a linear f


@dataclass(frozen=True)
class Broken:
    """What an adversary does to every method at every instance, in units of the distance ``d(f, G)`` of the black box from
    the linear models: ``least`` of the errors reached, ``near`` the mean error on the method's own neighbourhood."""

    least: float
    near: float
    smallest_distance: float


def adversaries(subject: Subject, *, instances: int = 2, seed: int = 0) -> Broken:
    """The adversarial neighbourhood of every method at the first ``instances`` rows of a subject with one output."""
    f, x = subject.f, subject.x[:instances]
    with torch.no_grad():
        floor = ROUNDING * float(f(subject.background).std())
    reached, near, distances, known = [], [], [], {}
    for method in METHODS.values():
        found = method(f, x)
        for n in range(len(x)):
            place = (n, found.neighbourhood.operator)
            broken = adversary(found, instance=n, points=256, seed=seed, known=known.get(place))
            known[place] = broken.distance
            unit = max(broken.distance.lower, floor)
            distances.append(broken.distance.lower)
            reached.append(broken.reached / unit)
            near.append(broken.near / unit)
    own = torch.tensor(near, dtype=torch.float64)
    return Broken(min(reached), float(own.nanmean()), min(distances))


def matrix(subject: Subject, *, budget: str = "default", seed: int = 0, one_method: bool = False) -> Comparison:
    """The no-free-lunch matrix of one subject; ``one_method`` puts SmoothGrad under every name."""
    task = prepare(subject.f, subject.x, target=0 if one_output(subject) is not subject else None)
    methods = dict.fromkeys(recipes(), recipes()["SmoothGrad 0.1"]) if one_method else None
    return compare_task(task, methods, n_samples={"smoke": 400, "default": 1000, "full": 4000}[budget], seed=seed)


def loss_of_the_most_even(found: Comparison) -> float:
    """``min_m max_Z`` of what a method's R^2 on a neighbourhood stays below the best one's; 0 where a method is the best, or
    not significantly different from it, on all. An R^2 below 0, worse than a constant, counts as 0."""
    risk = found.value.nan_to_num(nan=1.0).clamp(max=1.0)
    lost = (risk - risk.amin(0)).masked_fill(found.ties, 0.0)
    return float(lost.amax(1).min())


def matched_hits(found: Comparison, matched: dict[str, tuple[str, ...]]) -> dict[str, bool]:
    """For each neighbourhood whether its method explains part of ``f`` there and is the best or not significantly worse."""
    explains = found.value < 1.0
    hits = {}
    for column, label in enumerate(found.neighbourhoods):
        rows = [found.methods.index(name) for name in matched[label]]
        hits[label] = bool((found.ties & explains)[rows, column].any())
    return hits


def perturbation(
    subject: Subject, *, top: int = 3, seed: int = 0, n_samples: int = 1000
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


def advantages(
    found: dict[str, dict[str, float]], *, removal: tuple[str, ...] = MASK, jitter: tuple[str, ...] = GRADIENT
) -> tuple[float, float]:
    """How far the family ``removal`` is ahead of ``jitter`` under removal, and behind it under jitter.

    ``(worse - better) / (worse + better)`` of the families' mean changes: comparable between models of different steepness.
    """
    removed, jittered = ({f: _mean(found[law], f) for f in (removal, jitter)} for law in ("removed", "jittered"))
    return _ahead(removed[removal], removed[jitter]), _ahead(jittered[jitter], jittered[removal])


def disagreement(subject: Subject, *, top: int = 3, names: tuple[str, ...] = tuple(METHODS)) -> float:
    """Mean share of the ``top`` features on which two of the methods ``names`` differ, over pairs and instances."""
    f = one_output(subject).f
    tops = [METHODS[name](f, subject.x).weights.abs().topk(top).indices for name in names]
    pairs = [(a, b) for i, a in enumerate(tops) for b in tops[i + 1 :]]
    shared = [(a[:, :, None] == b[:, None]).any(2).double().mean() for a, b in pairs]
    return 1 - float(sum(shared)) / len(shared)


def right_answers(*, seed: int = 0, threshold: float = 0.2) -> dict[str, bool]:
    """Whether the choice refuses three games that no linear model follows, and answers for a linear one, by question."""
    generator = torch.Generator().manual_seed(seed)
    w = torch.randn(4, generator=generator, dtype=torch.float64)
    x = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    ones = torch.ones(1, 3, dtype=torch.float64)
    unfaithful = {
        "exclusive or": lambda z: (z[:, 0] - z[:, 1]).square(),  # on masks
        "product of two": lambda z: z[:, 0] * z[:, 1],
        "product of three": lambda z: z[:, 0] * z[:, 1] * z[:, 2],
    }
    right = {
        f"{name}, {q}": choose(f, ones, q, threshold=threshold, seed=seed).refused
        for name, f in unfaithful.items()
        for q in ("removal", "coalitions")
    }
    for q in ("noise", "removal", "coalitions", "one removed", "path"):
        answer = choose(partial(torch.matmul, other=w), x, q, threshold=threshold, seed=seed)
        right[f"linear, {q}"] = not answer.refused
    return right


def _ahead(better: float, worse: float) -> float:
    return (worse - better) / max(worse + better, 1e-300)


def _mean(values: dict[str, float], names: tuple[str, ...]) -> float:
    return sum(values[name] for name in names) / len(names)
