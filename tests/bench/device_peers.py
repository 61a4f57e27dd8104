"""Libraries that the benchmark of a device times beside the lab: ``python -m lab.kernels.bench --peers
tests.bench.device_peers``, where they are installed."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping

import torch


def peer(op: str, inputs: Mapping) -> tuple[str, Callable[[], torch.Tensor]] | None:
    """Name of a library and a call that computes ``op`` of ``inputs`` forward, or ``None`` where there is none here."""
    if op == "pairwise" and importlib.util.find_spec("pykeops") is not None:
        return "KeOps", lambda: _keops(**inputs)
    return None


def _keops(x, y, values, *, kernel, reduce, lengthscale):
    """The Gaussian sum by Benjamin Charlier and others, 'Kernel Operations on the GPU, with autodiff', JMLR 2021."""
    from pykeops.torch import LazyTensor

    if (kernel, reduce) != ("gaussian", "sum"):
        raise ValueError(f"the comparison is of Gaussian sums, got kernel={kernel!r}, reduce={reduce!r}")
    x, y = x / lengthscale, y / lengthscale
    squared = ((LazyTensor(x[:, None, :]) - LazyTensor(y[None, :, :])) ** 2).sum(-1)
    return (-squared / 2).exp() @ values
