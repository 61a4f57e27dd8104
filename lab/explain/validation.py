"""What is refused before a fit, and what a reader should know after it."""

from __future__ import annotations

import torch

from lab import checks
from lab.explain import neighbourhoods, solve
from lab.explain.neighbourhoods import Gaussian, LeaveOneOut, Masks, Scaling, Shapley
from lab.explain.surrogate import Linear, Link, Sobolev


def link_of(model) -> Link:
    """The link of ``model``, which must be a :class:`Linear`."""
    if not isinstance(model, Linear):
        raise TypeError(f"model must be Linear(...), got {model!r}")
    return model.link


def check_choice(law, model, loss, link: str, proxy) -> None:
    """Refuse combinations of neighbourhood, surrogate and loss that mean nothing."""
    if not isinstance(model, Linear):
        raise TypeError(f"model must be Linear(...), got {model!r}")
    if model.link != link:
        raise ValueError(f"the instances were prepared for link={link!r}, the model has {model.link!r}")
    if not isinstance(loss, Sobolev):
        checks.choice("loss", loss, ("squared", "gradient"))
    if loss != "squared" and (model.degree != 1 or model.penalty is not None):
        raise ValueError("degree=2 and penalty go with the squared loss")
    if isinstance(loss, Sobolev) and law.anchor != "none":
        raise ValueError("Sobolev is for neighbourhoods without anchors: Gaussian, or a sampler of your own")
    if loss != "squared" and isinstance(law, (neighbourhoods.Categories, LeaveOneOut)):
        raise ValueError(f"{type(law).__name__} has no derivative in xi; use loss='squared'")
    if not model.intercept and law.anchor != "none":
        raise ValueError(f"{law} fixes the intercept; leave intercept=True")
    if model.penalty is not None and law.anchor != "none":
        raise ValueError("penalty is for neighbourhoods without anchors (Gaussian, Masks with Exponential or Uniform)")
    if proxy and not (isinstance(law, Masks) and isinstance(law.kernel, Shapley) and model.degree == 1):
        raise ValueError("proxy is for Masks(Shapley()) with degree=1")


def doubts(fit: solve.Fit, ess: torch.Tensor, exact: bool, law) -> tuple[tuple[str, ...], torch.Tensor]:
    """What a reader should know before believing the weights, and which instances are sound."""
    texts, size = [], fit.theta.shape[1]
    sound = torch.ones(len(fit.theta), dtype=torch.bool)
    singular = ~torch.isfinite(fit.condition) | (fit.condition > solve.SINGULAR)
    if bool(singular.any()):
        sound &= ~singular
        texts.append(
            f"the fit is singular for {int(singular.sum())} of {len(sound)} instances: the draws do not tell all "
            f"{size} "
            "weights apart (more draws, fewer players, or a wider kernel); the smallest solution is returned"
        )
    if (
        not exact
        and not (isinstance(law, Masks) and isinstance(law.kernel, Shapley))
        and not isinstance(law, LeaveOneOut)
    ):
        few = (
            ess < 2 * (size + 1) if not isinstance(law, (Gaussian, Scaling)) or size > 0 and ess.min() < 10 else ess < 0
        )
        if bool(few.any()):
            sound &= ~few
            texts.append(
                f"only {float(ess.min()):.0f} effective draws for {size} weights ({int(few.sum())} of {len(sound)} "
                f"instances): "
                "the kernel is narrow for these draws; widen it, temper it, or draw more"
            )
    if fit.groups == 1:
        sound &= False
        texts.append("too few draws for an interval: a single jackknife group")
    return tuple(texts), sound
