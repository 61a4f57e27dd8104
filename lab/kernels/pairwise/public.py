"""The public function of pair reductions: checks, choice of the form, pieces that bound memory."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.utils.checkpoint import checkpoint

from lab import checks
from lab.kernels import dispatch
from lab.kernels.pairwise import reference
from lab.kernels.pairwise.reference import KERNELS, REDUCTIONS

SMALL = 40_000
DENSE = 1 << 24  # numbers of the dense matrix that the reference holds at once


def pairwise(
    x: torch.Tensor,
    y: torch.Tensor,
    values: torch.Tensor | None = None,
    *,
    kernel: str = "gaussian",
    reduce: str = "sum",
    lengthscale: float | torch.Tensor = 1.0,
) -> torch.Tensor:
    r"""Reduce a kernel of all pairs of points without storing the matrix; memory grows as n + m.

    .. math:: \text{sum: } \sum_j k(x_i, y_j)\,v_j \qquad \text{logsumexp: } \log\sum_j e^{s(x_i, y_j) + v_j} \qquad
              \text{argmin: } \arg\min_j\,-s(x_i, y_j) - v_j

    with r = |x - y|/l: ``gaussian`` k = exp(-r^2/2), ``laplacian`` exp(-r), ``matern32``, ``matern52``, ``imq``
    (1 + r^2)^(-1/2), ``energy`` -r, ``dot`` x.y/l^2. The score s is log k, and k itself for ``energy`` and ``dot``.
    So the argmin of any distance kernel is the nearest neighbour (ties go to the first), and that of ``dot`` the
    largest product.

    Args:
        x: (n, d) points.
        y: (m, d) points.
        values: ``sum``: v of shape (m,) or (m, c), ones if ``None``. Otherwise (m,), zeros if ``None``.
        kernel: one of :data:`KERNELS`.
        reduce: ``"sum"``, ``"logsumexp"`` or ``"argmin"``.
        lengthscale: l > 0, a number or a tensor of shape () or (d,), in the unit of the points.

    Returns:
        (n,) or (n, c); int64 indices (n,) for ``argmin``. Gradients in x, y, values and lengthscale (none for
        ``argmin``).

    Raises:
        ValueError, TypeError: NaN, infinite, empty, complex, mismatched dimensions, unknown words, lengthscale <= 0.

    Source of the kernels: Carl Rasmussen, Christopher Williams, 'Gaussian Processes for Machine Learning', 2006,
    chapter 4.
    """
    checks.choice("kernel", kernel, KERNELS)
    checks.choice("reduce", reduce, REDUCTIONS)
    eager = dispatch.eager()
    x = checks.tensor("x", x, ndim=2, floating=True, finite=eager)
    y = checks.tensor("y", y, shape=(None, x.shape[1]), floating=True, finite=eager)
    if y.dtype != x.dtype or y.device != x.device:
        raise TypeError(
            f"x and y must agree in dtype and device, got {x.dtype} on {x.device} and {y.dtype} on {y.device}"
        )
    if values is None:
        v = (torch.ones if reduce == "sum" else torch.zeros)(len(y), dtype=x.dtype, device=x.device)
    else:
        v = checks.tensor("values", values, ndim=(1, 2) if reduce == "sum" else 1, finite=eager)
        if len(v) != len(y):
            raise ValueError(f"values must have one row per point of y ({len(y)}), got shape {tuple(v.shape)}")
        v = v.to(dtype=x.dtype, device=x.device)
    scale = _scale(lengthscale, x)
    x, y = x / scale, y / scale

    work = len(x) * len(y)
    refused = "a matrix product is the fast form of this sum" if kernel == "dot" and reduce == "sum" else ""
    choice = dispatch.choose("pairwise", x, y, v, work=work, small=SMALL, refused=refused)
    columns = v[:, None] if reduce == "sum" and v.ndim == 1 else v
    if choice.path == "reference":
        result = _dense(x, y, columns, kernel, reduce)
    else:
        from lab.kernels.pairwise import op

        result = op.reduce(x, y, columns, kernel, reduce, choice.path)
    return result[:, 0] if reduce == "sum" and v.ndim == 1 else result


def _dense(x, y, v, kernel, reduce):
    function: Callable = {"sum": reference.weighted_sum, "logsumexp": reference.logsumexp, "argmin": reference.argmin}[
        reduce
    ]
    per_pair = 1 if kernel == "dot" else x.shape[1]
    rows = max(1, DENSE // max(1, len(y) * per_pair))
    if len(x) <= rows or (kernel == "dot" and reduce == "sum"):
        return function(x, y, v, kernel)
    pieces = x.split(rows)
    if torch.is_grad_enabled() and dispatch.eager() and (x.requires_grad or y.requires_grad or v.requires_grad):
        # Each piece is computed again in the backward pass, so memory stays that of one piece.
        return torch.cat([checkpoint(function, piece, y, v, kernel, use_reentrant=False) for piece in pieces])
    return torch.cat([function(piece, y, v, kernel) for piece in pieces])


def _scale(lengthscale, x: torch.Tensor) -> torch.Tensor | float:
    if isinstance(lengthscale, (int, float)) and not isinstance(lengthscale, bool):
        return checks.number("lengthscale", lengthscale, low=0.0, open_low=True)
    scale = checks.tensor("lengthscale", lengthscale, finite=dispatch.eager())
    if tuple(scale.shape) not in ((), (1,), (x.shape[1],)):
        raise ValueError(f"lengthscale must have shape () or ({x.shape[1]},), got {tuple(scale.shape)}")
    if dispatch.eager() and bool((scale <= 0).any()):
        raise ValueError(f"lengthscale must be greater than 0, got a smallest value of {float(scale.min()):.6g}")
    return scale.to(dtype=x.dtype, device=x.device)
