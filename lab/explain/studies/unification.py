"""Are the eight methods one? Each as its own paper defines it, against the instances of the framework."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lab import checks
from lab.explain import published
from lab.explain.engine import explain, prepare
from lab.explain.neighbourhoods import Gaussian
from lab.explain.presets import METHODS, clime, gradients, kernelshap, lime, occlusion, smoothgrad
from lab.explain.risk import recipes
from lab.explain.studies.models import Subject

SIGMA = 0.1
EQUAL = {"C-LIME": {"SmoothGrad"}, "SmoothGrad": {"C-LIME"}}  # the same limit, by Stein's identity
CLOSED_FORMS = ("KernelSHAP", "Occlusion", "Vanilla Gradients", "Integrated Gradients", "Gradients x Input")
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


def heatmap(subject: Subject, *, n_samples: int = 1000, seed: int = 0, switched: bool = False) -> Heatmap:
    """The equivalence heat map of one subject with one output; trees show the methods without gradients.

    ``switched=True`` pairs every method with another's instance, as a check that the map can fail.
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


def on_same_draws(subject: Subject, *, seed: int = 0, switched: bool = False) -> dict[str, float]:
    """Each method's own formula against :func:`explain` with its neighbourhood and loss alone: relative L2 distance.

    Both sides see the same perturbations, and masks are all enumerated, so that only rounding and the step of the
    published path sum are left. ``switched=True`` hands every method the neighbourhood and loss of the next.
    """
    x, f = subject.x, subject.f
    base, width = torch.zeros(x.shape[1], dtype=x.dtype), x.shape[1] ** 0.5
    masks = torch.cartesian_prod(*[torch.tensor([0.0, 1.0], dtype=x.dtype)] * x.shape[1])
    noise = prepare(f, x).draw(Gaussian(SIGMA), 1000, checks.generator(seed)).design / SIGMA
    theirs = {
        "Vanilla Gradients": published.vanilla_gradients(f, x),
        "SmoothGrad": published.smoothgrad(f, x, sigma=SIGMA, noise=noise),
        "C-LIME": published.clime(f, x, sigma=SIGMA, noise=noise),
        "Integrated Gradients": published.integrated_gradients(f, x, base),
        "Gradients x Input": published.gradient_x_input(f, x, base),
        "LIME": published.lime(f, x, base, width=width, masks=masks),
        "KernelSHAP": published.shapley(f, x, base),
        "Occlusion": published.occlusion(f, x, base),
    }
    choices = {name.removesuffix(f" {SIGMA:g}"): choice for name, choice in recipes((SIGMA,)).items()}
    names = tuple(theirs)
    found = {}
    for name, other in zip(names, names[1:] + names[:1]):
        law, loss = choices[other if switched else name]
        ours = explain(f, x, neighbourhood=law, loss=loss, n_samples=1000, seed=seed).weights
        found[name] = float((ours - theirs[name]).norm() / theirs[name].norm())
    return found
