"""The same integrals in plain torch: bisection for the saddlepoint, complex logarithms, a fixed fine trapezoid rule."""

from __future__ import annotations

import math

import torch


def tails(weights, shifts, dof, thresholds):
    """Rows ``(log cdf, log survival, log density, saddlepoint)``; the weights have a maximum of one."""
    rows = [_row(weights, shifts, dof, float(q)) for q in thresholds]
    return torch.stack(rows) if rows else thresholds.new_empty(0, 4)


def _row(weights, shifts, dof, q):
    if q <= 0:
        return torch.tensor([-math.inf, 0.0, -math.inf, -math.inf], dtype=torch.float64)

    def first(y):
        r = 1 / ((1 - weights) + weights * math.exp(y))
        return float((dof * weights * r + shifts * r**2).sum())

    low, high = -700.0, 690.0
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if first(middle) > q else (low, middle)
    saddle = -0.5 * math.expm1(low)
    s, upper = saddle, False
    sigma = _spread(weights, shifts, dof, s)
    if s > 1.1 * sigma:
        upper = True
    elif s > -0.6 * sigma:
        s = -0.6 * _spread(weights, shifts, dof, 0.0)
        sigma = min(_spread(weights, shifts, dof, s), -s / 0.6)
    factor = 1 - 2 * s * weights
    level = float((-dof / 2 * factor.log() + s * shifts / factor).sum()) - s * q
    t = torch.arange(0, 8, 1 / 128, dtype=torch.float64)
    u = torch.complex(0.7 * sigma * (t.cosh() - 1), sigma * t.sinh())
    z = 1 - 2 * u[:, None] * (weights / factor)
    exponent = (-dof / 2 * z.log() + u[:, None] * (shifts / factor**2) / z).sum(1) - u * q
    integrand = exponent.exp() * sigma * torch.complex(t.cosh(), -0.7 * t.sinh())
    integrand = torch.where(exponent.real < -60, torch.zeros_like(integrand), integrand)
    integrand[0] /= 2
    density = level + math.log(float(integrand.real.sum()) / 128 / math.pi)
    tail = level + math.log(abs(float((integrand / (s + u)).real.sum())) / 128 / math.pi)
    other = math.log1p(-min(math.exp(min(tail, 0.0)), 1 - 1e-16))
    pair = (other, tail) if upper else (min(tail, 0.0), other)
    return torch.tensor([*pair, density, saddle], dtype=torch.float64)


def _spread(weights, shifts, dof, s):
    r = 1 / (1 - 2 * s * weights)
    return 1 / math.sqrt(float((2 * dof * (weights * r) ** 2 + 4 * weights * shifts * r**3).sum()))
