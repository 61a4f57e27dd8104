"""The bits of a loss law by the method that fits it: exact, saddlepoint, enumeration, counting, splitting, chi-square fit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import overload

import numpy as np
import torch

from lab import checks
from lab.inductive_bias import chi_square_fit, counting
from lab.inductive_bias.bits import Bits, BitsCurve
from lab.inductive_bias.laws import LOG2, DiscreteLaw, EnergyLaw, GaussianQuadraticLaw, SampleLaw
from lab.inductive_bias.splitting import Splitting

METHODS = ("auto", "exact", "saddlepoint", "enumeration", "counting", "splitting", "fit")


@overload
def required_bits(
    law, eps: float, *, method: str = "auto", seed: int | torch.Generator = 0, splitting=None
) -> Bits: ...
@overload
def required_bits(
    law,
    eps: Sequence[float] | torch.Tensor | np.ndarray,
    *,
    method: str = "auto",
    seed: int | torch.Generator = 0,
    splitting=None,
) -> Bits | BitsCurve: ...
def required_bits(
    law, eps, *, method: str = "auto", seed: int | torch.Generator = 0, splitting=None
) -> Bits | BitsCurve:
    """Required bits of the hypotheses' loss law at ``eps``.

    Args:
        law: :class:`GaussianQuadraticLaw`, :class:`DiscreteLaw`, :class:`SampleLaw` or :class:`EnergyLaw`.
        eps: the loss that counts as generalizing, in the unit of the metric; a number gives :class:`Bits`, several
            give a :class:`BitsCurve`.
        method: ``"auto"`` takes the first that the law allows of exact, enumeration, counting, splitting, fit; or one
        by
            name (``"saddlepoint"`` is the fast second-order approximation of exact).
        seed: for splitting and for the draws of a fit on an exact law.
        splitting: a :class:`lab.inductive_bias.splitting.Splitting` with other settings.

    Returns:
        :class:`Bits`; infinite where no hypothesis reaches ``eps``, with the reason.

    Raises:
        ValueError: negative or NaN ``eps``, or a method that the law does not allow.
        TypeError: not a law.
    """
    checks.choice("method", method, METHODS)
    allowed = _allowed(law)
    if method != "auto":
        checks.choice(f"method of a {type(law).__name__}", method, allowed)
    if isinstance(eps, (int, float)) and not isinstance(eps, bool):
        return _at(law, [checks.number("eps", eps, low=0.0)], method, seed, splitting)[0]
    values = checks.tensor("eps", eps, ndim=(0, 1)).double()
    if bool((values < 0).any()):
        raise ValueError(f"eps must be at least 0, got {float(values.min())}")
    points = _at(law, values.reshape(-1).tolist(), method, seed, splitting)
    return points[0] if values.ndim == 0 else BitsCurve(tuple(points))


def _allowed(law):
    for kind, methods in (
        (GaussianQuadraticLaw, ("exact", "saddlepoint", "splitting", "counting", "fit")),
        (DiscreteLaw, ("enumeration",)),
        (SampleLaw, ("counting", "fit")),
        (EnergyLaw, ("splitting", "counting")),
    ):
        if isinstance(law, kind):
            return methods
    raise TypeError(f"law must be a loss law (space.loss_law(task)), got {type(law).__name__}")


def _at(law, eps, method, seed, splitting):
    if isinstance(law, DiscreteLaw):
        return [_enumerated(law, value) for value in eps]
    if isinstance(law, GaussianQuadraticLaw):
        if method in ("auto", "exact"):
            return _exact(law, eps)
        if method == "saddlepoint":
            return _saddlepoint(law, eps)
        if method in ("counting", "fit"):
            law = SampleLaw(law.sample(10_000, seed=seed), meta={**law.meta, "draws": 10_000})
        else:
            law = law.energy_law()
    if isinstance(law, EnergyLaw):
        if method == "counting":
            if law.constraint is not None:
                raise ValueError("method 'counting' needs draws that fit the training set; use 'splitting'")
            law = SampleLaw(law.sample(10_000, seed=seed), meta={**law.meta, "draws": 10_000})
        else:
            runner = splitting or Splitting()
            return [runner.bits(law, value, seed=seed) for value in eps]
    return [
        counting.bits(law, value)
        if method == "counting" or (method == "auto" and counting.enough(law, value))
        else chi_square_fit.bits(law, value)
        for value in eps
    ]


def _exact(law, eps):
    nats = law.nats(eps)
    coarser = law.coarser.nats(eps) if law.coarser is not None else nats
    points = []
    for value, exact, coarse in zip(eps, nats.tolist(), coarser.tolist()):
        bits, other = abs(exact) / LOG2, abs(coarse) / LOG2
        reasons, valid = ["contour integral of the exact law"], True
        if not law.fits_training:
            reasons = [
                f"no function of the space fits the training set "
                f"(unexplained share {law.meta.get('training_residual', math.nan):.2g})"
            ]
        elif math.isinf(bits):
            reasons = [f"eps lies below the floor {law.minimum:.4g}, the loss that no hypothesis of the space avoids"]
        elif abs(bits - other) > 0.01 * bits + 1e-6:
            # the number is made by directions whose variance is rounding: such a direction is a condition, not a chance
            reasons = [f"decided by rounding: {bits:.4g} or {other:.4g} bits at two rank cuts; taken as unreachable"]
            bits = math.inf
            valid = False
        elif law.effective_directions > 0.5 * law.count / law.outputs:
            reasons.append("white-noise regime: test points are nearly independent, bits grow with their number")
        low, high = min(bits, other), max(bits, other)
        points.append(Bits(bits, (low, high), "exact", valid, tuple(reasons), value, dict(law.meta)))
    return points


def _saddlepoint(law, eps):
    from lab.inductive_bias.saddlepoint import nats

    found = nats(law.eigenvalues, law.shifts, law.outputs, torch.tensor(eps) * law.count - law.floor)
    if not law.fits_training:
        found = torch.full_like(found, math.inf)
    reason = "second-order saddlepoint approximation"
    return [
        Bits(float(v) / LOG2, (float(v) / LOG2,) * 2, "saddlepoint", math.isfinite(v), (reason,), e, dict(law.meta))
        for v, e in zip(found.tolist(), eps)
    ]


def _enumerated(law, eps):
    bits = float(law.nats(eps)) / LOG2
    best = float(law.losses[law.log_weights > -math.inf].min())
    reason = (
        f"sum over {len(law.losses)} hypotheses" if math.isfinite(bits) else f"the best hypothesis has loss {best:.4g}"
    )
    return Bits(bits, (bits, bits), "enumeration", True, (reason,), eps, dict(law.meta))
