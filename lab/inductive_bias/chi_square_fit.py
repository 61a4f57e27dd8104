"""The published estimate of the tail, done well: a scaled non-central chi-square fitted to drawn losses.

``loss ~ scale * chi2'_dof(shift)``, fitted by maximum likelihood in coordinates that hardly interact (mean, squared
coefficient of variation, share of the shift), so that it is scale equivariant; the tail is integrated in log space.
Below the smallest draw the value is an extrapolation, and is marked as such: as ``eps -> 0`` the fitted tail falls
like ``eps^(dof/2)`` with the fitted ``dof``, the true one with the rank of the space.

Source: Boopathy, Yue, Hwang, Iyer, Fiete, 'Towards Exact Computation of Inductive Bias', IJCAI 2024: the family, and
the error in the number of sampled hypotheses, here in its usable form ``sd = sqrt(g' F^-1 g / m)`` (delta method,
``F`` the Fisher information of one draw, ``g`` the gradient of ``log P``). It covers sampling alone, not the choice
of the family.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lab import checks
from lab.inductive_bias.bits import Bits
from lab.inductive_bias.counting import share_interval
from lab.inductive_bias.laws import LOG2, SampleLaw
from lab.kernels.chi_square import chi_square_tail

DEPTH = 1.5  # an extrapolation is supported up to this multiple of log2(draws)


@dataclass(frozen=True, eq=False)
class ChiSquareFit:
    """A fitted ``scale * chi2'_dof(shift)``; ``information`` is the Fisher information of one draw in ``coordinates``."""

    dof: float
    shift: float
    scale: float
    coordinates: np.ndarray
    information: np.ndarray
    draws: int

    def nats(self, eps: float) -> float:
        """``-log P(loss <= eps)`` of the fitted law."""
        return -_log_cdf(self.coordinates, eps)

    def standard_error(self, eps: float, draws: int | None = None) -> float:
        """Standard deviation of :meth:`nats` (nats) that ``draws`` draws leave: ``sqrt(g' F^-1 g / draws)``."""
        draws = self.draws if draws is None else checks.integer("draws", draws, low=1)
        gradient = np.array(
            [
                (_log_cdf(self.coordinates + step, eps) - _log_cdf(self.coordinates - step, eps)) / 2e-4
                for step in 1e-4 * np.eye(3)
            ]
        )
        return math.sqrt(max(float(gradient @ np.linalg.pinv(self.information) @ gradient), 0.0) / draws)

    def draws_needed(self, eps: float, relative_error: float = 0.05) -> int:
        """Draws at which the sampling error of the bits falls to ``relative_error`` (if the family were true)."""
        return math.ceil((self.standard_error(eps, 1) / (relative_error * self.nats(eps))) ** 2)


def fit(losses, *, above: float | None = None) -> ChiSquareFit:
    """Maximum likelihood fit to positive losses; with ``above``, to the draws above that value (truncated likelihood).

    Raises:
        ValueError: fewer than 20 draws, draws that are not positive, or draws without spread.
    """
    from scipy.optimize import minimize

    x = checks.tensor("losses", losses, ndim=1).double().numpy()
    if above is not None:
        x = x[x > above]
    if len(x) < 20:
        raise ValueError(f"losses must hold at least 20 draws for a fit of three parameters, got {len(x)}")
    if x.min() <= 0:
        raise ValueError(f"losses must be positive for a fit, got a minimum of {x.min()}")
    unit = x.mean()
    x = x / unit
    cut = None if above is None else above / unit
    if x.std() < 1e-12:
        raise ValueError("losses must vary for a fit, got equal draws")

    def cost(coordinates):
        if not (abs(coordinates[0]) < 5 and -30 < coordinates[1] < 6 and abs(coordinates[2]) < 12):
            return 1e10 + float(np.abs(coordinates).sum())
        value = -float(_log_density(coordinates, x).mean())
        if cut is not None:
            value += _log_survival(coordinates, cut)
        return value if math.isfinite(value) else 1e10

    spread = 2 * math.log(x.std())
    starts = [np.array([0.0, spread, share]) for share in (-6.0, -1.0, 1.0, 4.0)]
    start = min(starts, key=cost)
    simplex = start + np.vstack([np.zeros(3), np.diag([0.5 * x.std(), 0.2, 1.0])])
    options = {"initial_simplex": simplex, "xatol": 1e-4, "fatol": 1e-9, "maxiter": 400}
    found = minimize(cost, start, method="Nelder-Mead", options=options).x
    information = _hessian(cost, found)
    dof, shift, scale = _parameters(found)
    coordinates = found + np.array([math.log(unit), 0.0, 0.0])
    return ChiSquareFit(dof, shift, scale * unit, coordinates, information, len(x))


def bits(law: SampleLaw, eps: float) -> Bits:
    """Required bits by extrapolation from draws, with what supports it and what does not."""
    losses, total = law.losses, len(law.losses)
    meta = {**law.meta, "draws": law.drawn, "kept": total}
    hits = int((losses <= eps).sum())
    bound = -math.log2(share_interval(hits, total)[1]) if total else 0.0
    if total < 20 or float(losses.max() - losses.min()) == 0.0 or float(losses.min()) <= 0.0 or eps == 0.0:
        why = (
            "fewer than 20 draws"
            if total < 20
            else "eps is zero"
            if eps == 0.0
            else "the losses are discrete or constant"
        )
        refused = (f"no continuous family can be fitted ({why}); the draws say only: more than {bound:.2f} bits",)
        return Bits(bound, (bound, math.inf), "fit", False, refused, eps, meta)
    whole, upper, low = _fits(law)
    value, error = whole.nats(eps) / LOG2, whole.standard_error(eps) / LOG2
    doubts = _doubts(losses, eps, upper, low, value, error)
    meta.update(
        dof=whole.dof, shift=whole.shift, scale=whole.scale, sampling_error=error, depth=value / math.log2(total)
    )
    reasons = ["fitted scaled non-central chi-square", *doubts]
    if law.optimizer:
        reasons.append("draws of a training procedure, not of a prior's posterior")
    if doubts:
        interval = (min(bound, value), math.inf)
    else:
        interval = (max(value - 1.96 * error, min(bound, value)), value + 1.96 * error)
    return Bits(value, interval, "fit", not doubts, tuple(reasons), eps, meta)


def shifted_gamma_nats(losses, eps: float) -> float:
    """``-log P`` of the gamma law, shifted in location, that has the draws' mean, variance and third cumulant."""
    x = np.asarray(losses, dtype=float)
    first, second = x.mean(), x.var()
    third = ((x - first) ** 3).mean()
    if third <= 1e-9 * second**1.5:
        z = (eps - first) / math.sqrt(second)
        from scipy.special import log_ndtr

        return -float(log_ndtr(z))
    scale = third / (2 * second)
    shape = second / scale**2
    start = first - shape * scale
    if eps <= start:
        return math.inf
    return -float(chi_square_tail([scale / 2], 0.0, 2 * shape, [eps - start]).log_cdf[0])


@lru_cache(maxsize=64)
def _fits(law: SampleLaw):
    """The fit to all draws, the fit to the upper 80 %, and the 5 % quantile; a law is immutable, so one pair serves it."""
    losses = law.losses
    low, edge = np.quantile(losses.numpy(), [0.05, 0.2])
    upper = fit(losses, above=float(edge)) if int((losses > edge).sum()) >= 20 else None
    return fit(losses), upper, float(low)


def _doubts(losses, eps, upper, low, value, error):
    """Why the extrapolation is not supported; empty where it is."""
    total = len(losses)
    doubts = []
    depth = value / math.log2(total)
    if depth > DEPTH:
        doubts.append(f"extrapolated to {depth:.1f} times the depth of {total} draws (log2 = {math.log2(total):.1f})")
    if upper is None:
        return [*doubts, "too few draws to check the lower tail"]
    predicted, spread = upper.nats(low), upper.standard_error(low)
    gap = abs(-predicted - math.log(0.05))
    if gap > 3 * math.hypot(spread, math.sqrt(0.95 / (0.05 * total))):
        doubts.append(f"the upper 80 % of the draws predict {100 * math.exp(-predicted):.2g} % below the 5 % quantile")
    other = shifted_gamma_nats(losses, eps) / LOG2
    if abs(other - value) > max(0.25 * value, 4 * error):
        doubts.append(f"a shifted gamma with equal moments gives {other:.3g} bits")
    return doubts


def _parameters(coordinates):
    """``(dof, shift, scale)`` from log mean, log squared coefficient of variation, logit share of the shift."""
    mean, spread = math.exp(coordinates[0]), math.exp(coordinates[1])
    share = 1 / (1 + math.exp(-coordinates[2]))
    total = 2 * (1 + share) / spread
    return total * (1 - share), total * share, mean / total


def _log_density(coordinates, x):
    dof, shift, scale = _parameters(coordinates)
    z = x / scale
    root = np.sqrt(shift * z)
    return (
        -math.log(2 * scale)
        - 0.5 * (np.sqrt(z) - math.sqrt(shift)) ** 2
        + (dof / 4 - 0.5) * np.log(z / shift)
        + _log_bessel(dof / 2 - 1, root)
    )


def _log_bessel(order, x):
    """``log I_order(x) - x`` for ``order > -1``: the uniform expansion above 15, the scaled function below.

    Source: Abramowitz, Stegun, 'Handbook of Mathematical Functions', 1964, 9.7.7 and 9.3.9.
    """
    from scipy.special import gammaln, ive

    if order < 15:
        value = ive(order, x)
        series = order * np.log(np.maximum(x, 1e-300) / 2) - gammaln(order + 1) - x
        return np.where(value > 1e-290, np.log(np.maximum(value, 1e-300)), series)
    z = x / order
    root = np.sqrt(1 + z**2)
    p = 1 / root
    exponent = order * (root + np.log(z / (1 + root))) - x
    p2 = p * p
    u1 = p * (3 - 5 * p2) / 24
    u2 = p2 * (81 - 462 * p2 + 385 * p2**2) / 1152
    u3 = p * p2 * (30375 - 369603 * p2 + 765765 * p2**2 - 425425 * p2**3) / 414720
    series = u1 / order + u2 / order**2 + u3 / order**3
    return exponent - 0.5 * np.log(2 * math.pi * order * root) + np.log1p(series)


def _log_cdf(coordinates, eps):
    dof, shift, scale = _parameters(coordinates)
    return float(chi_square_tail([scale], [shift * scale], dof, [eps]).log_cdf[0])


def _log_survival(coordinates, cut):
    dof, shift, scale = _parameters(coordinates)
    return float(chi_square_tail([scale], [shift * scale], dof, [cut]).log_survival[0])


def _hessian(cost, at):
    """Second differences; a step that leaves a flat direction flat gives a zero row, which the pseudo-inverse drops."""
    steps = np.diag(np.maximum(1e-3, 1e-3 * np.abs(at)))
    hessian = np.empty((3, 3))
    centre = cost(at)
    for i in range(3):
        for j in range(i + 1):
            if i == j:
                value = (cost(at + steps[i]) - 2 * centre + cost(at - steps[i])) / steps[i, i] ** 2
            else:
                value = (
                    cost(at + steps[i] + steps[j])
                    - cost(at + steps[i] - steps[j])
                    - cost(at - steps[i] + steps[j])
                    + cost(at - steps[i] - steps[j])
                )
                value /= 4 * steps[i, i] * steps[j, j]
            hessian[i, j] = hessian[j, i] = value
    return hessian
