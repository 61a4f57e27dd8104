"""The public function of local fits: checks, blocks, the solution."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lab import checks
from lab.kernels import dispatch
from lab.kernels.perturb_gram import reference
from lab.kernels.perturb_gram.law import Perturbations


@dataclass(frozen=True)
class Gram:
    """Weighted normal equations of n local fits, in float64; p = dimension + 1 with an intercept, which stands first.

    Attributes:
        matrix: (n, p, p), or (1, p, p) where all instances share the weights: sum w z z^T.
        moment: (n, p): sum w z f.
        square: (n,): sum w f^2.
        total: (n,) or (1,): sum w.
        effective: (n,) or (1,): (sum w)^2 / sum w^2, the effective number of perturbations.
        intercept: whether z begins with 1.
    """

    matrix: torch.Tensor
    moment: torch.Tensor
    square: torch.Tensor
    total: torch.Tensor
    effective: torch.Tensor
    intercept: bool

    def solve(self, *, ridge: float = 0.0) -> torch.Tensor:
        """Coefficients (n, p) of the weighted least-squares fit; the intercept, if any, first.

        Args:
            ridge: added to the diagonal except the intercept's, in the unit of ``total`` times xi squared.

        Raises:
            ValueError: the equations are singular (fewer perturbations than coefficients, or a constant coordinate).
        """
        ridge = checks.number("ridge", ridge, low=0.0)
        diagonal = torch.full((self.matrix.shape[-1],), ridge, dtype=torch.float64, device=self.matrix.device)
        if self.intercept:
            diagonal[0] = 0.0
        size = self.matrix.diagonal(dim1=-2, dim2=-1).clamp_min(torch.finfo(torch.float64).tiny).rsqrt()
        scaled = (self.matrix + torch.diag(diagonal)) * size[:, :, None] * size[:, None, :]
        factor, failed = torch.linalg.cholesky_ex(scaled)
        smallest = factor.diagonal(dim1=-2, dim2=-1).amin(-1)
        singular = (failed > 0) | ~(smallest > 1e-7)
        if dispatch.eager() and bool(singular.any()):
            raise ValueError(
                f"the local fit has no unique solution for {int(singular.sum())} of {len(singular)} sets "
                "of weights; draw more perturbations or pass ridge > 0"
            )
        right = (self.moment * size)[..., None]
        return torch.cholesky_solve(right, factor.expand(len(right), -1, -1))[..., 0] * size

    def residual(self, coefficients: torch.Tensor) -> torch.Tensor:
        """Weighted mean squared residual (n,) of the given coefficients (n, p)."""
        fitted = ((self.matrix @ coefficients[..., None])[..., 0] * coefficients).sum(-1)
        return (self.square - 2.0 * (self.moment * coefficients).sum(-1) + fitted) / self.total


def perturb_gram(
    perturbations: Perturbations | torch.Tensor,
    outputs: torch.Tensor,
    weights: torch.Tensor | None = None,
    *,
    seed: int = 0,
    start: int = 0,
    intercept: bool = True,
) -> Gram:
    r"""Weighted normal equations of local linear fits of a model's outputs on perturbations.

    .. math:: A_i = \sum_s w_{is} z_s z_s^\top,\qquad b_i = \sum_s w_{is} f_{is} z_s,\qquad z_s = (1, \xi_s)

    One draw of perturbations serves all instances. Given as a law they are drawn again inside, block by block, and
    never
    stored: the model's outputs at ``x_i + xi_s`` are all that a new set of weights needs (a new kernel width costs no
    model call).

    Args:
        perturbations: (m, d) tensor, or a :class:`Perturbations` law whose draws ``start``, ..., ``start + m - 1``
            under
            ``seed`` were the ones evaluated.
        outputs: (n, m) model outputs, or (m,) for one instance.
        weights: ``None`` (ones), (m,) shared, or (n, m); non-negative.
        seed, start: of the law.
        intercept: whether the fit has a constant term.

    Returns:
        :class:`Gram`; differentiable in outputs, weights and given perturbations.

    Raises:
        ValueError, TypeError: NaN, infinite, empty, complex, mismatched shapes, negative weights.
    """
    eager = dispatch.eager()
    f = checks.tensor("outputs", outputs, ndim=(1, 2), floating=True, finite=eager)
    f = f[None] if f.ndim == 1 else f
    count = f.shape[1]
    seed = checks.integer("seed", seed, low=0, high=2**64 - 1)
    start = checks.integer("start", start, low=0, high=2**63 - 1 - count)
    if isinstance(perturbations, Perturbations):
        law, dimension = perturbations, perturbations.dimension
    else:
        law = None
        xi = checks.tensor("perturbations", perturbations, shape=(count, None), finite=eager).to(f.device)
        dimension = xi.shape[1]
    w = None
    if weights is not None:
        w = checks.tensor("weights", weights, ndim=(1, 2), finite=eager).to(f.device)
        if tuple(w.shape) not in ((count,), tuple(f.shape)):
            raise ValueError(f"weights must have shape ({count},) or {tuple(f.shape)}, got {tuple(w.shape)}")
        if eager and bool((w < 0).any()):
            raise ValueError(f"weights must not be negative, got a smallest value of {float(w.min()):.6g}")
    dtype = torch.float64 if f.dtype == torch.float64 else torch.float32
    f, w = f.to(dtype), None if w is None else w.to(dtype)
    p = dimension + intercept
    table = p * (p + 1) // 2 if p <= reference.NARROW else p * p
    per_draw = table if w is not None and w.ndim == 2 else p
    size = max(1, reference.HELD // per_draw)

    def blocks():
        for first in range(0, count, size):
            k = min(size, count - first)
            if law is None:
                yield first, xi[first : first + k].to(dtype)
            else:
                yield first, law.draw(k, seed=seed, start=start + first, dtype=dtype, device=f.device)

    graph = torch.is_grad_enabled() and any(
        value is not None and value.requires_grad for value in (f, w, None if law else xi)
    )
    choice = dispatch.choose("perturb_gram", f, refused="a gradient is asked for" if graph else "")
    if choice.path == "triton" and w is not None and w.ndim == 2 and p <= 128:
        from lab.kernels.perturb_gram import triton

        drawn = torch.cat([block for _, block in blocks()])
        matrix = triton.matrices(drawn, w, intercept)
        _, moment, square, total, squares = reference.accumulate([(0, drawn)], f, w, intercept, matrix=False)
    else:
        matrix, moment, square, total, squares = reference.accumulate(blocks(), f, w, intercept)
    return Gram(matrix, moment, square, total, total.square() / squares, intercept)
