"""Claims about the unification: the eight methods against their instances of the framework, recovery, relations."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch

from lab import claims
from lab.claims import Measured, measures
from lab.explain import published, studies
from lab.explain.claims._means import INSTANCES, exact, mean_interval, subjects
from lab.explain.engine import explain
from lab.explain.presets import METHODS, clime, gradients, kernelshap, lime, occlusion, smoothgrad
from lab.explain.relations import relations
from lab.explain.risk import recipes
from lab.explain.surrogate import Linear

SIGMA = 0.1
EQUAL = {"C-LIME": {"SmoothGrad"}, "SmoothGrad": {"C-LIME"}}  # the same limit, by Stein's identity
ADDITIVE = ("C-LIME", "SmoothGrad", "Vanilla Gradients")


@dataclass(frozen=True)
class Heatmap:
    """Distance between published methods (rows) and instances of the framework (columns): the mean over instances of
    ``|a - b|_2``, in units of the row's mean ``|a|_2``."""

    names: tuple[str, ...]
    distance: torch.Tensor
    title: str

    def own_nearest(self, slack: float = 0.02) -> torch.Tensor:
        """For each row whether its own instance (or one that theory makes equal) is the nearest, up to sampling."""
        rows = []
        for i, name in enumerate(self.names):
            own = min(
                float(self.distance[i, self.names.index(n)])
                for n in {name} | (EQUAL.get(name, set()) & set(self.names))
            )
            rows.append(own <= float(self.distance[i].min()) + slack)
        return torch.tensor(rows)

    def to_frame(self):
        """Methods by instances."""
        import pandas as pd

        return pd.DataFrame(self.distance.numpy(), index=list(self.names), columns=list(self.names))


def heatmap(subject: studies.Subject, *, n_samples: int = 1000, seed: int = 0, switched: bool = False) -> Heatmap:
    """The equivalence heat map of one subject with one output; trees show the methods without gradients.

    ``switched=True`` pairs every method with another's neighbourhood, as a check that the map can fail.
    """
    x, f = subject.x, subject.f
    base, width = torch.zeros(x.shape[1], dtype=x.dtype), x.shape[1] ** 0.5
    ours = {
        "LIME": lambda: lime(f, x, width=width, n_samples=n_samples, seed=seed),
        "KernelSHAP": lambda: kernelshap(f, x, n_samples=n_samples, seed=seed),
        "Occlusion": lambda: occlusion(f, x),
        "C-LIME": lambda: clime(f, x, sigma=SIGMA, n_samples=n_samples, seed=seed),
        "SmoothGrad": lambda: smoothgrad(f, x, sigma=SIGMA, n_samples=n_samples, seed=seed),
        "Vanilla Gradients": lambda: gradients(f, x),
        "Integrated Gradients": lambda: METHODS["Integrated Gradients"](f, x, until=1e-6),
        "Gradients x Input": lambda: METHODS["Gradients x Input"](f, x),
    }
    theirs = {
        "LIME": lambda: published.lime(f, x, base, width=width, n_samples=4 * n_samples, seed=seed + 1),
        "KernelSHAP": lambda: published.shapley(f, x, base, permutations=n_samples // 4, seed=seed + 1),
        "Occlusion": lambda: published.occlusion(f, x, base),
        "C-LIME": lambda: published.clime(f, x, sigma=SIGMA, n_samples=4 * n_samples, seed=seed + 1),
        "SmoothGrad": lambda: published.smoothgrad(f, x, sigma=SIGMA, n_samples=n_samples, seed=seed + 1),
        "Vanilla Gradients": lambda: published.vanilla_gradients(f, x),
        "Integrated Gradients": lambda: published.integrated_gradients(f, x, base),
        "Gradients x Input": lambda: published.gradient_x_input(f, x, base),
    }
    names = tuple(n for n in ours if subject.differentiable or n in ("LIME", "KernelSHAP", "Occlusion"))
    instances = [ours[n]().weights for n in names]
    if switched:
        instances = instances[1:] + instances[:1]
    methods = [theirs[n]() for n in names]
    # pooled, as the paper's mean distances are: where f is saturated, weights are nothing but rounding and draws
    size = [a.norm(dim=1).mean().clamp_min(1e-300) for a in methods]
    rows = [[float((a - b).norm(dim=1).mean() / unit) for b in instances] for a, unit in zip(methods, size)]
    return Heatmap(names, torch.tensor(rows, dtype=torch.float64), subject.title)


@measures("explain.unification")
def unification(data, seeds, budget, switched: bool = False) -> Measured:
    """Rows of the heat maps in which a method is nearest to its own instance."""
    count = {"smoke": 1500, "default": 2000, "full": 4000}[budget]
    maps = [
        heatmap(one, n_samples=count, seed=seed, switched=switched)
        for seed in seeds
        for one in subjects(data, seed, budget)
    ]
    shares = [float(one.own_nearest().double().mean()) for one in maps]
    value, interval = mean_interval(shares)
    diagonal = {one.title: [round(float(v), 4) for v in one.distance.diagonal()] for one in maps}
    return Measured(
        value,
        interval,
        value >= claims.by_id("explain.unification").margin,
        {"diagonal": diagonal, "names": list(maps[0].names)},
    )


@measures("explain.closed-forms")
def closed_forms(data, seeds, budget) -> Measured:
    """The largest relative distance between methods and instances that both have closed forms."""
    exact_names = ("KernelSHAP", "Occlusion", "Vanilla Gradients", "Integrated Gradients", "Gradients x Input")
    worst = {name: 0.0 for name in exact_names}
    for seed in seeds:
        # a smooth network: sums of 1000 steps of a ReLU network are no closed form
        for one in subjects(data, seed, budget, families=("tanh network",), columns=8):
            found = heatmap(one, n_samples=256, seed=seed)
            for name in exact_names:
                place = found.names.index(name)
                worst[name] = max(worst[name], float(found.distance[place, place]))
    value = max(worst.values())
    return exact(value, value <= claims.by_id("explain.closed-forms").margin, **worst)


@measures("explain.only-neighbourhood-and-loss")
def only_neighbourhood_and_loss(data, seeds, budget) -> Measured:
    """The largest difference between a preset and ``explain`` with its neighbourhood and loss alone."""
    worst, different = 0.0, 0
    chosen = recipes((SIGMA,))
    for seed in seeds:
        for one in subjects(data, seed, budget, families=("relu network",)):
            seen = set()
            for name, (law, loss) in chosen.items():
                preset = METHODS[name.removesuffix(f" {SIGMA:g}")]
                arguments = {"proxy": False} if preset is kernelshap else {}
                arguments |= {"n_samples": 50} if name == "Integrated Gradients" else {}
                direct = explain(
                    one.f, one.x, neighbourhood=law, loss=loss, n_samples=50 if name == "Integrated Gradients" else 1000
                )
                worst = max(worst, float((preset(one.f, one.x, **arguments).weights - direct.weights).abs().max()))
                seen.add((repr(law), loss))
            different = len(seen)
    return exact(worst, worst == 0 and different == 8, pairs=different)


@measures("explain.recovery-linear")
def recovery_linear(data, seeds, budget, family: str = "linear") -> Measured:
    """Relative L1 distance from the weights (additive noise) and from weights times input (the others)."""
    worst, wrong = 0.0, float("inf")
    for seed in seeds:
        for one in subjects(data, seed, budget, families=(family,)):
            if one.weights is None or one.link != "identity":
                w = torch.linalg.lstsq(one.background, _outputs(one, one.background)).solution
                f = partial(_product, w) if family == "linear" else one.f
            else:
                w, f = one.weights, one.f
            for name, method in METHODS.items():
                found = method(f, one.x).weights
                truth = w.expand_as(found) if name in ADDITIVE else w * one.x
                other = w * one.x if name in ADDITIVE else w.expand_as(found)
                worst = max(worst, float((found - truth).abs().sum() / truth.abs().sum()))
                wrong = min(wrong, float((found - other).abs().sum() / other.abs().sum()))
    holds = worst <= claims.by_id("explain.recovery-linear").margin and wrong > 0.1
    return exact(worst, holds, distance_from_the_other_answer=wrong)


@measures("explain.recovery-logistic")
def recovery_logistic(data, seeds, budget) -> Measured:
    """L1 distance of a logistic surrogate from the weights of a trained logistic regression, and of a linear one.

    Explained is the less likely class of every instance: a probability beside 0 keeps its digits, one beside 1 does not.
    """
    worst, linear = 0.0, float("inf")
    for seed in seeds:
        one = studies.table("breast_cancer", "linear", seed=seed, instances=INSTANCES[budget], budget=budget)
        f, less, sign = _two_classes(one)
        for sigma in (0.1, 0.01):
            for method in (clime, smoothgrad):
                logistic = method(f, one.x, sigma=sigma, target=less, model=Linear(link="logit")).weights
                worst = max(worst, float((sign * logistic - one.weights).abs().sum(1).max()))
            plain = sign * clime(f, one.x, sigma=sigma, target=less).weights
            linear = min(linear, float((plain - one.weights).abs().sum(1).mean()))
    holds = worst <= claims.by_id("explain.recovery-logistic").margin and linear > 100 * worst
    return exact(worst, holds, linear_surrogate=linear)


@measures("explain.validated-widely")
def validated_widely(data, seeds, budget, switched: bool = False) -> Measured:
    """Subjects of every kind on which all methods are nearest to their own instances."""
    found = {}
    count = {"smoke": 1500, "default": 2000, "full": 4000}[budget]
    few = {"smoke": 5, "default": 15, "full": 50}[budget]
    for seed in seeds:
        chosen = [
            studies.table(name, family, seed=seed, instances=few, budget=budget)
            for name, family in (
                ("diabetes", "trees"),
                ("breast_cancer", "deep relu network"),
                ("breast_cancer", "trees"),
                ("wine", "tanh network"),
            )
        ]
        for one in [*chosen, studies.superpixelled(seed=seed, instances=few, budget=budget)]:
            found[f"{one.title}, seed {seed}"] = float(
                heatmap(studies.one_output(one), n_samples=count, seed=seed, switched=switched)
                .own_nearest()
                .double()
                .mean()
            )
    value, interval = mean_interval(list(found.values()))
    return Measured(value, interval, value >= claims.by_id("explain.validated-widely").margin, found)


@measures("explain.relations")
def measured_relations(data, seeds, budget) -> Measured:
    """The largest deviation of a measured rate from the theory's, over the map of relations."""
    worst, slopes = 0.0, {}
    for seed in seeds:
        one = studies.table("diabetes", "tanh network", seed=seed, instances=min(INSTANCES[budget], 20), budget=budget)
        for edge in relations(one.f, one.x, seed=seed, draws=1024 if budget == "smoke" else 4096):
            slopes.setdefault(edge.id, []).append(round(edge.slope, 3))
            # orthogonal pairs and draws without replacement may be faster than independent draws
            gap = edge.slope - edge.expected
            short = max(gap, 0) if edge.parameter == "draws" else abs(gap)
            worst = max(worst, short)
    return exact(worst, worst <= claims.by_id("explain.relations").margin, **slopes)


def _two_classes(one: studies.Subject):
    """The probabilities ``(n, 2)`` of a logistic regression, the less likely class of its instances, and its sign."""
    with torch.no_grad():
        offset = torch.logit(one.f(torch.zeros(1, one.x.shape[1], dtype=one.x.dtype)))

    def f(x):
        logit = x @ one.weights.to(x) + offset
        return torch.stack([torch.sigmoid(-logit), torch.sigmoid(logit)], 1)

    with torch.no_grad():
        less = f(one.x).argmin(1)
    return f, less, (2 * less - 1).double()[:, None]


def _product(w: torch.Tensor, batch: torch.Tensor) -> torch.Tensor:
    return batch @ w


def _outputs(one: studies.Subject, rows: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return one.f(rows).reshape(len(rows))
