"""Compiled contour integration; the weights come normalized to a maximum of one.

With ``s = (1 - e^y) / 2`` every factor ``1 - 2 s w = (1 - w) + w e^y`` is a sum of positive terms: no cancellation for
any ``y``, and ``log K'`` against ``y`` is nearly straight, so Newton's method needs a few steps. Relative to the
saddlepoint the exponent is the cumulant generating function of the tilted law, again free of cancellation.
"""

import math

import numpy as np
from numba import njit

OPENING = 0.7  # b: how far the hyperbola opens to the right


@njit(cache=True, nogil=True)
def tails(weights, shifts, dof, thresholds):
    """Rows ``(log cdf, log survival, log density, saddlepoint)`` for each threshold."""
    out = np.empty((thresholds.size, 4))
    uniform = True
    for i in range(dof.size):
        uniform = uniform and dof[i] == dof[0]
    tilted = np.empty_like(weights)
    shifted = np.empty_like(shifts)
    y = 0.0
    for j in range(thresholds.size):
        q = thresholds[j]
        if q <= 0.0:
            out[j, 0], out[j, 1], out[j, 2], out[j, 3] = -np.inf, 0.0, -np.inf, -np.inf
            continue
        y = _saddle(weights, shifts, dof, q, y)
        out[j, 3] = -0.5 * math.expm1(y)
        _tail(weights, shifts, dof, uniform, q, y, tilted, shifted, out[j])
    return out


@njit(cache=True, nogil=True)
def _derivatives(weights, shifts, dof, y):
    """``K'`` and ``K''`` at ``s = (1 - e^y) / 2``."""
    first = second = 0.0
    growth = math.exp(y)
    for i in range(weights.size):
        w = weights[i]
        r = 1.0 / ((1.0 - w) + w * growth)
        a = w * r
        e = shifts[i] * r * r
        first += dof[i] * a + e
        second += 2.0 * dof[i] * a * a + 4.0 * a * e
    return first, second


@njit(cache=True, nogil=True)
def _saddle(weights, shifts, dof, q, start):
    """The ``y`` with ``K'(s(y)) = q``: bracketed Newton on ``log K'``, which falls from infinity to zero in ``y``."""
    low, high = -745.0, 690.0
    y = start
    target = math.log(q)
    for _ in range(200):
        first, second = _derivatives(weights, shifts, dof, y)
        gap = math.log(first) - target
        if abs(gap) < 1e-13:
            break
        if gap > 0.0:
            low = y
        else:
            high = y
        step = gap * first / (0.5 * second * math.exp(y))
        step = min(max(step, -40.0), 40.0)
        trial = y + step
        if not low < trial < high:
            trial = 0.5 * (low + high)
        if trial == y:
            break
        y = trial
    return y


@njit(cache=True, nogil=True)
def _tail(weights, shifts, dof, uniform, q, y, tilted, shifted, row):
    _, second = _derivatives(weights, shifts, dof, y)
    s = -0.5 * math.expm1(y)
    sigma = 1.0 / math.sqrt(second)
    upper = s > 1.1 * sigma
    if not upper and s > -0.6 * sigma:
        # near the mean the pole at zero crowds the saddlepoint: integrate further left
        _, spread = _derivatives(weights, shifts, dof, 0.0)
        s = -0.6 / math.sqrt(spread)
        y = math.log1p(-2.0 * s)
        _, second = _derivatives(weights, shifts, dof, y)
        sigma = min(1.0 / math.sqrt(second), -s / 0.6)
    level = -s * q
    growth = math.expm1(y)
    for i in range(weights.size):
        w = weights[i]
        log_factor = math.log1p(w * growth)
        r = math.exp(-log_factor)
        tilted[i] = w * r
        shifted[i] = shifts[i] * r * r
        level += -0.5 * dof[i] * log_factor + s * shifts[i] * r
    step = 0.25
    tail, density = _nodes(tilted, shifted, dof, uniform, q, s, sigma, 0.0, step)
    for _ in range(10):
        more_tail, more_density = _nodes(tilted, shifted, dof, uniform, q, s, sigma, 0.5 * step, step)
        finer = 0.5 * (tail + more_tail)
        finer_density = 0.5 * (density + more_density)
        # the error squares at each halving of the step
        settled = abs(finer - tail) <= 1e-9 * abs(finer) and abs(finer_density - density) <= 1e-9 * abs(finer_density)
        tail, density = finer, finer_density
        step *= 0.5
        if settled:
            break
    row[2] = level + math.log(density / math.pi)
    log_tail = level + math.log(abs(tail) / math.pi)
    other = math.log1p(-min(math.exp(min(log_tail, 0.0)), 1.0 - 1e-16))
    if upper:
        row[0], row[1] = other, log_tail
    else:
        row[0], row[1] = min(log_tail, 0.0), other


@njit(cache=True, nogil=True)
def _nodes(tilted, shifted, dof, uniform, q, s, sigma, first, step):
    """Trapezoid sums of both integrals at ``t = first, first + step, ...``; the node at zero counts half."""
    tail = density = 0.0
    t = first
    small = 0
    while small < 2 and t < 12.0:
        sinh, cosh = math.sinh(t), math.cosh(t)
        ur, ui = sigma * OPENING * (cosh - 1.0), sigma * sinh
        real, imaginary = _exponent(tilted, shifted, dof, uniform, ur, ui)
        real -= ur * q
        imaginary -= ui * q
        if real < -48.0:
            small += 1
        else:
            small = 0
            magnitude = math.exp(real)
            er, ei = magnitude * math.cos(imaginary), magnitude * math.sin(imaginary)
            # times ds / (i dt) = sigma (cosh t - i b sinh t)
            dr, di = sigma * cosh, -sigma * OPENING * sinh
            fr, fi = er * dr - ei * di, er * di + ei * dr
            zr, zi = s + ur, ui
            share = 0.5 if t == 0.0 else 1.0
            density += share * fr
            tail += share * (fr * zr + fi * zi) / (zr * zr + zi * zi)
        t += step
    return tail * step, density * step


@njit(cache=True, nogil=True)
def _exponent(tilted, shifted, dof, uniform, ur, ui):
    """Real and imaginary part of ``sum_i -m_i/2 log(1 - 2 u w_i) + u e_i / (1 - 2 u w_i)`` for ``Im u >= 0``.

    With one ``m`` for all, the factors are multiplied and one logarithm is taken. Each factor turns clockwise by less
    than half a turn, so the product has passed the cut whenever it goes from the lower to the upper half-plane.
    """
    real = imaginary = 0.0
    pr, pi = 1.0, 0.0
    turns = 0
    logarithm = 0.0
    below = False
    for i in range(tilted.size):
        w = tilted[i]
        zr, zi = 1.0 - 2.0 * ur * w, -2.0 * ui * w
        norm = zr * zr + zi * zi
        scale = shifted[i] / norm
        # u / z = u conj(z) / |z|^2
        real += scale * (ur * zr + ui * zi)
        imaginary += scale * (ui * zr - ur * zi)
        if uniform:
            pr, pi = pr * zr - pi * zi, pr * zi + pi * zr
            if below and pi >= 0.0:
                turns += 1
            below = pi < 0.0
            size = abs(pr) + abs(pi)
            if size > 1e100 or size < 1e-100:
                logarithm += math.log(size)
                pr /= size
                pi /= size
        else:
            real -= 0.25 * dof[i] * math.log(norm)
            imaginary -= 0.5 * dof[i] * math.atan2(zi, zr)
    if uniform:
        logarithm += 0.5 * math.log(pr * pr + pi * pi)
        angle = math.atan2(pi, pr) - 2.0 * math.pi * turns
        real -= 0.5 * dof[0] * logarithm
        imaginary -= 0.5 * dof[0] * angle
    return real, imaginary
