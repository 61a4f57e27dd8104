"""Second-order saddlepoint approximation of the lower tail, differentiable in weights, shifts and threshold.

    P(Q <= q) = e^{K - s q} [ B_0 + k3 B_3 / 6 + k4 B_4 / 24 + k3^2 B_6 / 72 ],   B_0 = e^{l^2/2} Phi(-l),   l = |s|
    sqrt(K''),

with ``B_j`` the moments of the tilted normal over the pole and ``k3, k4`` the standardized cumulants of the tilted
law. Relative error of ``log P``: 1e-5 at 5 bits, 1e-8 at 100.

Source: H. E. Daniels, 'Tail Probability Approximations', International Statistical Review 1987, section 3.
"""

from __future__ import annotations

import math

import torch

from lab import checks

SQRT2 = math.sqrt(2)


def nats(weights, shifts, outputs: int, q) -> torch.Tensor:
    """``-log P(Q <= q)`` for ``Q = sum_i w_i chi2'_k(d_i / w_i)``, approximated; infinite for ``q <= 0``.

    Args:
        weights, shifts: ``(n,)``; gradients flow through both and through ``q`` (the saddlepoint is a constant: the
            exponent is stationary there, and the prefactor's dependence on it is kept by one Newton step).
        outputs: ``k``.
        q: ``(m,)`` thresholds.
    """
    weights = checks.tensor("weights", weights, ndim=1).double()
    shifts = checks.tensor("shifts", shifts, ndim=1).double()
    q = torch.as_tensor(q, dtype=torch.float64).reshape(-1)
    result = torch.full_like(q, math.inf)
    positive = q > 0
    if not bool(positive.any()) or len(weights) == 0:
        return torch.where(positive, torch.zeros_like(q), result) if len(weights) == 0 else result
    s = saddle(weights.detach(), shifts.detach(), outputs, q[positive].detach())
    first, second = cumulants(weights, shifts, outputs, s)[1:3]
    s = s + ((q[positive] - first) / second)
    found = -log_cdf_at(weights, shifts, outputs, s, q[positive])
    result = result.clone()
    result[positive] = found
    return result


def cumulants(weights, shifts, outputs, s):
    """``K, K', K'', K''', K''''`` at each ``s`` ``(m,)``."""
    r = 1 / (1 - 2 * s[:, None] * weights)
    a = weights * r
    e = shifts * r**2
    k = outputs
    return (
        (k / 2 * r.log() + s[:, None] * shifts * r).sum(1),
        (k * a + e).sum(1),
        (2 * k * a**2 + 4 * a * e).sum(1),
        (8 * k * a**3 + 24 * a**2 * e).sum(1),
        (48 * k * a**4 + 192 * a**3 * e).sum(1),
    )


def saddle(weights, shifts, outputs, q):
    """The root of ``K'(s) = q`` (Newton in ``y`` with ``1 - 2 s max(w) = e^y``, bracketed)."""
    top = weights.max()
    w, d, target = weights / top, shifts / top, (q / top).log()
    y = torch.zeros_like(q)
    low, high = torch.full_like(q, -700.0), torch.full_like(q, 690.0)
    for _ in range(100):
        r = 1 / ((1 - w) + w * y.exp()[:, None])
        a, e = w * r, d * r**2
        first, second = (outputs * a + e).sum(1), (2 * outputs * a**2 + 4 * a * e).sum(1)
        gap = first.log() - target
        if float(gap.abs().max()) < 1e-13:
            break
        low, high = torch.where(gap > 0, y, low), torch.where(gap > 0, high, y)
        trial = y + (gap * first / (0.5 * second * y.exp())).clamp(-40, 40)
        y = torch.where((trial > low) & (trial < high), trial, 0.5 * (low + high))
    return -0.5 * torch.expm1(y) / top


def log_cdf_at(weights, shifts, outputs, s, q):
    """The approximation at given saddlepoints; above the mean from the upper tail."""
    k0, _, k2, k3, k4 = cumulants(weights, shifts, outputs, s)
    # between the tails the expansion is in a removable singularity: nudge the saddlepoint off zero
    spread = k2.detach().sqrt()
    s = torch.where((s * spread).abs() < 1e-4, s - 2e-4 / spread, s)
    level = k0 - s * q
    l = s.abs() * k2.sqrt()
    skew, kurtosis = torch.where(s < 0, 1.0, -1.0) * k3 / k2**1.5, k4 / k2**2
    b0, b3, b4, b6 = _moments_over_pole(l)
    tail = b0 + skew * b3 / 6 + kurtosis * b4 / 24 + skew**2 * b6 / 72
    log_tail = level + tail.clamp_min(1e-300).log()
    upper = torch.log(-torch.expm1(log_tail.clamp(max=-1e-300)))
    return torch.where(s < 0, log_tail, upper)


def _moments_over_pole(l):
    """``1/(2 pi) int e^{-t^2/2} (it)^j / (l - it) dt`` for ``j = 0, 3, 4, 6``: by recursion, asymptotic for large ``l``."""
    c = 1 / math.sqrt(2 * math.pi)
    b0 = 0.5 * torch.special.erfcx(l / SQRT2)
    near = l.clamp(max=15.0)
    n0 = 0.5 * torch.special.erfcx(near / SQRT2)
    far = l.clamp(min=15.0)
    b3 = torch.where(l < 15, near**3 * n0 - (near**2 - 1) * c, c * (3 / far**2 - 15 / far**4 + 105 / far**6))
    b4 = torch.where(l < 15, near**4 * n0 - (near**3 - near) * c, c * (3 / far - 15 / far**3 + 105 / far**5))
    b6 = torch.where(
        l < 15, near**6 * n0 - (near**5 - near**3 + 3 * near) * c, c * (-15 / far + 105 / far**3 - 945 / far**5)
    )
    return b0, b3, b4, b6
