"""Comparisons of required bits with their peers; run behind the door (:mod:`tests.bench.peers`)."""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np
import torch

from lab.kernels.chi_square import chi_square_tail
from tests.bench import frame


def weights(count=200, decay=40.0):
    return np.exp(-np.arange(count) / decay)


def true_log10(q: float, count=200, decay=40.0) -> float:
    """By a straight Bromwich line at 40 digits: another contour, another arithmetic."""
    import mpmath

    with mpmath.workdps(40):
        w = [mpmath.exp(-mpmath.mpf(i) / mpmath.mpf(decay)) for i in range(count)]

        def cumulant(s):
            return -sum(mpmath.log(1 - 2 * s * v) for v in w) / 2

        low, high = mpmath.mpf("-1e8"), mpmath.mpf("-1e-8")
        for _ in range(200):
            middle = -mpmath.sqrt(low * high)
            low, high = (middle, high) if sum(v / (1 - 2 * middle * v) for v in w) < q else (low, middle)
        s = low
        scale = 1 / mpmath.sqrt(sum(2 * v**2 / (1 - 2 * s * v) ** 2 for v in w))
        level = cumulant(s) - s * q

        def integrand(t):
            z = s + 1j * t * scale
            return (mpmath.exp(cumulant(z) - z * q - level) / -z).real

        step = mpmath.mpf("0.05")
        total = integrand(0) / 2 + sum(integrand(step * j) for j in range(1, 400))
        return float((level + mpmath.log(total * step * scale / mpmath.pi)) / mpmath.log(10))


def gx2_log10(q: float, method: str, count=200) -> float:
    """What gx2 answers: the log10 of the probability, from whichever of its methods."""
    import gx2

    w, ones, zeros = weights(count), np.ones(count), np.zeros(count)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        p = float(np.ravel(gx2.cdf(q, w, ones, zeros, 0, 0, method=method))[0])
    if p == 0:
        return -math.inf
    return p if p < 0 else math.log10(p)


def accuracy(depths=(35.0, 30.0, 20.0, 10.0, 5.0), methods=("auto", "imhof", "ruben", "ellipse")) -> list[dict]:
    """Truth, ours and gx2 by method at several thresholds, in log10."""
    rows = []
    for q in depths:
        ours = float(chi_square_tail(weights(), 0.0, 1.0, [q]).log_cdf[0]) / math.log(10)
        row = {"q": q, "truth": true_log10(q), "ours": ours}
        for method in methods:
            try:
                row[method] = gx2_log10(q, method)
            except (ValueError, RuntimeError, TypeError, OverflowError) as error:
                row[method] = math.nan
                row[f"{method} says"] = str(error)[:80]
        rows.append(row)
    return rows


def gx2_ratio(count, q):
    """Speed where both are right."""
    import gx2

    w, ones, zeros = weights(count, count / 5), np.ones(count), np.zeros(count)

    def ours():
        return math.exp(float(chi_square_tail(w, 0.0, 1.0, [q]).log_cdf[0]))

    def theirs():
        return float(np.ravel(gx2.cdf(q, w, ones, zeros, 0, 0, method="imhof"))[0])

    return frame.ratio(
        f"tail of {count} weights at P = {ours():.1e}",
        ours,
        theirs,
        compare=lambda a, b: abs(a / b - 1),
        tolerance=1e-3,
        peer="gx2",
        packages=("scipy",),
        target=10.0,
        floor=3.0,
    )


def digits(n_train, n_test):
    from sklearn.datasets import load_digits

    from lab.inductive_bias import Task

    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))[: n_train + n_test]
    x, y = x[order] / 16, y[order]
    return Task((x[:n_train], y[:n_train]), (x[n_train:], y[n_train:]))


def adam_ratio(n):
    """The published conditioning, one epoch timed and multiplied by its 10,000, against the exact bits."""
    from lab.inductive_bias import RBF, KernelSpace, required_bits
    from lab.inductive_bias.published import condition_by_adam

    task = digits(n, n)
    space = KernelSpace(RBF(1.0), amplitude=1.0)

    def ours():
        return required_bits(space.loss_law(task), 0.05).bits

    row = frame.ratio(
        f"bits of digits, {n} + {n} points",
        ours,
        lambda: condition_by_adam(task, epochs=1),
        compare=lambda a, b: 0.0,
        tolerance=1.0,
        peer="published route",
        packages=("scipy",),
        target=1e5,
        floor=1e5,
        rounds=5,
    )
    return replace(row, peer_ms=1e4 * row.peer_ms, ratio=1e4 * row.ratio, low=1e4 * row.low, high=1e4 * row.high)


def fit_ratio():
    """SciPy's fit of 10,000 draws, as published, against the exact curve at seven thresholds."""
    from scipy.stats import ncx2

    from lab.inductive_bias import RBF, KernelSpace, required_bits

    law = KernelSpace(RBF(), amplitude=1.0).loss_law(digits(300, 500))
    draws = law.sample(10_000).numpy()
    eps = law.quantile([1.0, 5.0, 20.0, 80.0, 200.0, 400.0, 800.0])
    with np.errstate(all="ignore"):
        return frame.ratio(
            "exact curve of 7 thresholds against SciPy's fit of 10,000 draws",
            lambda: required_bits(law, eps).bits,
            lambda: ncx2.fit(draws, floc=0),
            compare=lambda a, b: 0.0,
            tolerance=1.0,
            peer="scipy",
            target=10.0,
            floor=5.0,
            rounds=3,
        )


def overhead_ratio(n):
    """What the bits cost beyond their linear algebra: Cholesky, solve and eigendecomposition alone are the peer."""
    from lab.inductive_bias import RBF, KernelSpace, required_bits

    task = digits(n, n)
    space = KernelSpace(RBF(3.0), amplitude=1.0)
    kernel = RBF(3.0)
    x, u = task.train_inputs, task.test_inputs

    def ours():
        return required_bits(space.loss_law(task), 0.02).bits

    def theirs():
        k_tt, k_ts, k_ss = kernel(x, x), kernel(x, u), kernel(u, u)
        factor = torch.linalg.cholesky(k_tt)
        a = torch.linalg.solve_triangular(factor, torch.cat([k_ts, task.train_targets], 1), upper=False)
        return torch.linalg.eigh(k_ss - a[:, :n].T @ a[:, :n])[0]

    return frame.ratio(
        f"bits against their linear algebra, {n} + {n} points",
        ours,
        theirs,
        compare=lambda a, b: 0.0,
        tolerance=1.0,
        peer="torch",
        target=1 / 1.2,
        floor=1 / 1.5,
        rounds=7,
    )


def training_ratio(width=64, models=64, against="published loop"):
    """Networks side by side against one after the other, ten epochs on 300 digits, from start to test losses.

    ``against`` is the published way (loaders, a test after every epoch) or this lab's own plain loop, which does
    nothing but the steps.
    """
    from lab.inductive_bias.published import train_in_turn
    from lab.training import fit, fit_loop, mlp

    task = digits(300, 300)
    x, y, u = task.train_inputs.float(), task.train_targets.float(), task.test_inputs.float()
    few = max(1, models // 16)

    def network(seed):
        return mlp(64, 10, widths=(width, width, width), seed=seed)

    def run(function, count):
        fitted = function(network, x, y, seeds=count, loss="squared_error", epochs=10, batch_size=32)
        return task.losses(fitted.predict(u).double())

    def theirs():
        if against == "published loop":
            return train_in_turn(network, task, networks=few)
        return run(fit_loop, few)

    row = frame.ratio(
        f"{models} networks of width {width}, 10 epochs, against the {against}",
        lambda: run(fit, models),
        theirs,
        # the published loop draws its own batches: equal in law, not in each network
        compare=lambda a, b: (
            float((a.mean() / b.mean() - 1).abs()) if against == "published loop" else float((a[:few] - b).abs().max())
        ),
        tolerance=0.2 if against == "published loop" else 1e-4,
        peer="torch",
        target=10.0,
        floor=8.0,
        rounds=3,
    )
    # the other side trained a part of the networks, one after the other: its time is proportional to their number
    scale = models / few
    return replace(row, peer_ms=scale * row.peer_ms, **{k: scale * getattr(row, k) for k in ("ratio", "low", "high")})
