"""Required bits: how much information it takes to specify a hypothesis of a space that generalizes to loss ``eps``.

    bits = -log2 P( test loss <= eps | the hypothesis fits the training set )

``required_bits(law, eps)`` takes the best method that the law allows: exact integration, enumeration, counting draws,
multilevel splitting, and last the published extrapolation by a fitted family, which is marked as such.

Source: Boopathy, Yue, Hwang, Iyer, Fiete, 'Towards Exact Computation of Inductive Bias', IJCAI 2024 (the definition).
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field

import numpy as np
import torch

from lab import checks
from lab.inductive_bias.laws import LOG2, DiscreteLaw, EnergyLaw, GaussianQuadraticLaw, SampleLaw

METHODS = ("auto", "exact", "saddlepoint", "enumeration", "counting", "splitting", "fit")


@dataclass(frozen=True)
class Bits:
    """An amount of required prior knowledge and all that it depends on.

    ``interval`` is a 95 % interval (for exact values, what two rank decisions span). ``valid`` says whether the
    number is supported, ``reasons`` why or why not, ``method`` how it was found. ``meta`` holds sizes, amplitude,
    width, noise, seed.
    """

    bits: float
    interval: tuple[float, float]
    method: str
    valid: bool
    reasons: tuple[str, ...]
    eps: float
    meta: dict = field(default_factory=dict)

    def __post_init__(self):
        # minus the logarithm of one is no negative zero
        object.__setattr__(self, "bits", self.bits + 0.0)
        object.__setattr__(self, "interval", tuple(end + 0.0 for end in self.interval))

    @property
    def nats(self) -> float:
        return self.bits * LOG2

    @property
    def reachable(self) -> bool:
        return math.isfinite(self.bits)

    @property
    def verdict(self) -> str:
        """``valid``, ``extrapolated``, ``unreachable``, or ``not reached`` (splitting found no such hypothesis)."""
        if not self.reachable:
            return "not reached" if self.method == "splitting" else "unreachable"
        return "valid" if self.valid else "extrapolated"

    def sentence(self) -> str:
        """The number and its reason in words."""
        reason = "; ".join(self.reasons)
        if self.verdict == "not reached":
            return f"No such hypothesis was found: {reason}."
        if not self.reachable:
            return f"No amount of prior knowledge is enough: {reason}."
        low, high = self.interval
        spread = "" if high - low <= 2e-4 * abs(self.bits) + 1e-12 else f" (95 %: {low:.3g} to {high:.3g})"
        return f"{self.bits:.4g} bits{spread}, by {self.method}: {reason}."

    def to_dict(self) -> dict:
        return {**asdict(self), "verdict": self.verdict}

    def _repr_html_(self) -> str:
        from html import escape

        colour = {"valid": "#009E73", "extrapolated": "#999999", "unreachable": "#D55E00", "not reached": "#D55E00"}[
            self.verdict
        ]
        return (
            f'<div style="border-left:4px solid {colour};padding:.3em .8em"><b style="color:{colour}">'
            f"{self.verdict}</b> {escape(self.sentence())}</div>"
        )


@dataclass(frozen=True)
class BitsCurve:
    """Required bits at several ``eps``."""

    points: tuple[Bits, ...]

    @property
    def eps(self) -> np.ndarray:
        return np.array([point.eps for point in self.points])

    @property
    def bits(self) -> np.ndarray:
        return np.array([point.bits for point in self.points])

    def __len__(self):
        return len(self.points)

    def __getitem__(self, index):
        return self.points[index]

    def to_frame(self):
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "eps": p.eps,
                    "bits": p.bits,
                    "low": p.interval[0],
                    "high": p.interval[1],
                    "method": p.method,
                    "verdict": p.verdict,
                    "reasons": "; ".join(p.reasons),
                }
                for p in self.points
            ]
        )


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
    from lab.inductive_bias import chi_square_fit, counting
    from lab.inductive_bias.splitting import Splitting

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
