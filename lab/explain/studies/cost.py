"""What explanations cost and how fast they converge."""

from __future__ import annotations

import torch

from lab import source


def convergence(*, seeds=range(4), budget: str = "default", draws: tuple[int, ...] = (128, 256, 512, 1024)):
    """Error and coverage of KernelSHAP with and without the odd-order proxy, against exact Shapley values at d = 12.

    A frame with columns ``method``, ``draws``, ``error`` (mean relative L2), ``coverage`` (of the 95 % intervals), over
    networks with random weights of unit gain, one a seed.
    """
    import pandas as pd

    from lab import training
    from lab.explain.presets import kernelshap

    count = {"smoke": 5, "default": 15, "full": 50}[budget]
    found = []
    for seed in seeds:
        net = training.mlp(12, 1, widths=(32, 32), activation="tanh", seed=seed).double().requires_grad_(False)
        for parameter in net.parameters():
            parameter.mul_(2.0)
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(count, 12, generator=generator, dtype=torch.float64)
        exact = kernelshap(net, x, n_samples=4096).weights
        for name, proxy in (("KernelSHAP", False), ("with odd-order proxy", True)):
            for number in draws:
                one = kernelshap(net, x, n_samples=number, seed=seed, proxy=proxy)
                low, high = one.interval
                error = ((one.weights - exact).norm(dim=1) / exact.norm(dim=1)).mean()
                covered = ((low <= exact) & (exact <= high)).double().mean()
                found.append({"method": name, "draws": number, "error": float(error), "coverage": float(covered)})
    return pd.DataFrame(found).groupby(["method", "draws"], sort=False, as_index=False).mean()


def benchmark_table():
    """The committed comparison with captum, shap and lime as a frame: one row a case."""
    return source.committed_table("explanations.csv")


def timings(*, instances: int = 100, columns: int = 30, draws: int = 1000):
    """CPU milliseconds of every preset on this machine, beside the bare forward passes of the same network."""
    import time

    import pandas as pd

    from lab import training
    from lab.explain.presets import METHODS

    net = training.mlp(columns, 1, widths=(64, 64), seed=0).requires_grad_(False).eval()
    x = torch.randn(instances, columns, generator=torch.Generator().manual_seed(0))
    batch = x.repeat(draws // 25, 1)

    def clock(function):
        function()
        began = time.process_time()
        function()
        return 1e3 * (time.process_time() - began)

    found = [{"method": "forward passes alone", "ms": clock(lambda: [net(batch) for _ in range(25)])}]
    for name, method in METHODS.items():
        found.append({"method": name, "ms": clock(lambda method=method: method(net, x))})
    return pd.DataFrame(found)
