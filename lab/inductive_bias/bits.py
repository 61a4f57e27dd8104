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

from lab.inductive_bias.laws import LOG2

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
