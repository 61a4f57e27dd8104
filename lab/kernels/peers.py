"""Other libraries that compute an operation of the lab, timed beside it where they can be imported; no part of the lab needs
them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from lab.kernels.dispatch import _installed


def peer(op: str, inputs: Mapping) -> tuple[str, Callable[[], torch.Tensor]] | None:
    """Name of a library and a call that computes ``op`` of ``inputs`` forward, or ``None`` where there is none here."""
    if op == "pairwise" and _installed("pykeops"):
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
