"""From an effect and its interval to a verdict; from a verdict to what may be said of the claim.

:func:`judge` sees numbers alone. Setting, budget, own data and the number of replicates enter only in :func:`status`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from lab.claims.ledger import Claim
    from lab.claims.measure import Measured

Verdict = Literal["holds", "refuted", "undecided"]
VERDICTS = ("holds", "refuted", "undecided")
STATUSES = ("holds", "holds at small scale", "refuted", "undecided", "not testable here", "not run")
RISK = 0.05


def judge(
    region: tuple[float, float], value: float, low: float, high: float, *, exact: bool, n: int = 1, p: float | None = None,
    risk: float = RISK,
) -> Verdict:  # fmt: skip
    """Whether an effect lies in the region of a claim.

    ``holds``: the whole interval lies in the closed ``region`` and, where a test was made, its p-value is at most ``risk``.
    ``refuted``: the whole interval lies outside. ``undecided``: anything else, one replicate of a sampled effect, and NaN.
    A wider interval never turns another verdict into 'holds'.

    Args:
        region: the smallest and largest effect for which the statement is true; ends may be infinite.
        value, low, high: the effect and its interval.
        exact: the effect has no sampling error: ``value`` decides alone.
        n: replicates behind the interval.
        p: p-value of the test of the same statement, ``None`` where there is none.
        risk: the largest p-value that holds.
    """
    if math.isnan(value) or (not exact and (math.isnan(low) or math.isnan(high))):
        return "undecided"
    least, most = region
    if exact:
        return "holds" if least <= value <= most else "refuted"
    if n < 2:
        return "undecided"
    if high < least or low > most:
        return "refuted"
    inside = least <= low and high <= most
    return "holds" if inside and (p is None or p <= risk) else "undecided"


def status(measured: Measured | None, claim: Claim) -> str:
    """What the measurement says about the paper's statement, in words.

    A smoke run only 'works'; own data, other parameters and fewer replicates than the row asks for speak for themselves, with
    the reason in brackets, and never become one of :data:`STATUSES`.
    """
    if claim.untestable and measured is None:
        return "not testable here"
    if measured is None:
        return "not run"
    if measured.budget == "smoke":
        return "works"
    if measured.own:
        return f"{measured.verdict} (own data)" if measured.own == "data" else f"{measured.verdict} (own parameters)"
    if measured.replicates < claim.replicates:
        return f"{measured.verdict} ({measured.replicates} of {claim.replicates} replicates)"
    if measured.verdict == "holds" and claim.setting == "small":
        return "holds at small scale"
    return measured.verdict
