r"""InfoNCE in-batch contrastive loss on :func:`lab.kernels.pairwise`, without the n-by-n matrix."""

from __future__ import annotations

import torch

from lab import checks
from lab.kernels import dispatch
from lab.kernels.infonce import reference

SMALL = 40_000

__all__ = ["infonce"]


def infonce(a: torch.Tensor, b: torch.Tensor, *, temperature: float | torch.Tensor = 0.1) -> torch.Tensor:
    r"""The in-batch contrastive loss of each row, with gradients in ``a``, ``b`` and ``temperature``.

    .. math:: \ell_i = \log\sum_{j=1}^{m} e^{a_i\cdot b_j/t} - a_i\cdot b_i/t

    This is the cross-entropy of the matrix a b^T / t with label i in row i, at a memory of n + m rows. Features are
    taken as they are; normalize them first for the cosine form. Rows of ``b`` beyond the n-th are further negatives.

    Args:
        a: (n, d) features of the first view.
        b: (m, d) features of the second view, m >= n; row i is the positive of a's row i.
        temperature: t > 0, a number or a scalar tensor.

    Returns:
        (n,) losses.

    Raises:
        ValueError, TypeError: NaN, infinite, empty, complex, mismatched shapes, m < n, temperature <= 0.

    Source: Aaron van den Oord, Yazhe Li, Oriol Vinyals, 'Representation Learning with Contrastive Predictive Coding',
    2018, equation 4; the temperature as in Feng Wang, Huaping Liu, 'Understanding the Behaviour of Contrastive Loss',
    CVPR 2021, equation 1.
    """
    eager = dispatch.eager()
    a = checks.tensor("a", a, ndim=2, floating=True, finite=eager)
    b = checks.tensor("b", b, shape=(None, a.shape[1]), floating=True, finite=eager)
    if a.dtype != b.dtype or a.device != b.device:
        raise TypeError(
            f"a and b must agree in dtype and device, got {a.dtype} on {a.device} and {b.dtype} on {b.device}"
        )
    if len(b) < len(a):
        raise ValueError(f"b must have a row for every row of a ({len(a)}), got {len(b)}")
    if len(b) < 2:
        raise ValueError("b must have at least 2 rows: one positive and one negative")
    if isinstance(temperature, (int, float)) and not isinstance(temperature, bool):
        t = torch.tensor(checks.number("temperature", temperature, low=0.0, open_low=True), dtype=torch.float64)
        t = t.to(device=a.device, dtype=torch.float64 if a.dtype == torch.float64 else torch.float32)
    else:
        t = checks.tensor("temperature", temperature, ndim=0, finite=eager).to(device=a.device)
        if eager and float(t.detach()) <= 0:
            raise ValueError(f"temperature must be greater than 0, got {float(t.detach()):.6g}")
    choice = dispatch.choose("infonce", a, b, work=len(a) * len(b), small=SMALL)
    if choice.path == "triton":
        from lab.kernels.infonce import op

        return op.infonce(a, b, t)
    # On the CPU the matrix product of torch is the fast form: blocks of the matrix are made and forgotten.
    return reference.blocked(a, b, t)
