"""Local fits on antithetic draws, folded in half: one product for two draws.

With the constant in front, rows ``2 p`` and ``2 p + 1`` of a paired design are ``(1, c + h_p)`` and ``(1, c - h_p)``: masks
``z`` and ``1 - z`` around ``c = 1 / 2``, noise ``xi`` and ``-xi`` around 0. In the coordinates around ``c``, with ``even`` and
``odd`` the sum and the difference of the weights of a pair, the normal equations are::

    A = [ sum even          sum odd h'       ]        b = [ sum w y                      ]
        [ sum odd h         sum even h h'    ]            [ sum (w y - w' y') h          ]

so that half of the products are left, and none with the constant; the leverages of a pair share their quadratic form. Leaving
out a group of draws is replaced by its first-order form, as for other designs (:mod:`lab.explain.solve`).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from lab.kernels.perturb_gram import perturb_gram
from lab.kernels.perturb_gram.reference import products, triangle


@dataclass(frozen=True)
class Folded:
    """``centre (k,)`` and ``half (m / 2, k)`` of a design of ``k`` columns after the constant one."""

    centre: torch.Tensor
    half: torch.Tensor

    @classmethod
    def of(cls, psi: torch.Tensor, group: torch.Tensor) -> Folded | None:
        """The pairs of ``psi (m, 1 + k)``, or ``None`` where it has no constant in front or no pairs around one centre."""
        if psi.ndim != 2 or len(psi) % 2 or len(psi) == 0 or psi.shape[1] < 2:
            return None
        first, second = psi[0::2], psi[1::2]
        total = first + second
        if not bool((total == total[0]).all()) or not bool((psi[:, 0] == 1).all()):
            return None
        if not torch.equal(group[0::2], group[1::2]):
            return None
        centre = total[0, 1:] / 2
        return cls(centre, first[:, 1:] - centre)

    def equations(self, weight: torch.Tensor, weighted: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """``A (N, q, q)`` and ``b (N, q, C)`` for ``weight (N, m)`` and ``weighted = w y (N, C, m)``."""
        instances, size = len(weight), self.half.shape[1] + 1
        first, second = weight[:, 0::2], weight[:, 1::2]
        even = first + second
        lean = (first - second) / even.clamp_min(torch.finfo(torch.float64).tiny)
        normal = perturb_gram(self.half, lean, even, intercept=False)
        gram = weight.new_empty(instances, size, size)
        gram[:, 0, 0] = normal.total
        gram[:, 0, 1:] = gram[:, 1:, 0] = normal.moment
        gram[:, 1:, 1:] = normal.matrix
        odd = weighted[..., 0::2] - weighted[..., 1::2]
        return gram, torch.cat([weighted.sum(-1)[..., None], odd @ self.half], -1).mT

    def fitted(self, theta: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The constant ``(N, C, 1)`` and the part ``(N, C, m / 2)`` that changes sign within a pair, of ``theta (N, q, C)``."""
        rows = theta.mT
        flat = rows[..., 1:].reshape(-1, self.half.shape[1]) @ self.half.T
        return rows[..., :1], flat.view(*rows.shape[:2], -1)

    def stays(self, weight: torch.Tensor, inverse: torch.Tensor) -> torch.Tensor:
        """``1 - leverage`` of every draw, ``(N, m)`` float32: as they only scale residuals, that is enough digits."""
        half = self.half.float()
        same = quadratic_forms(half, inverse[:, 1:, 1:]).add_(inverse[:, :1, 0].float())
        apart = 2 * inverse[:, 0, 1:].float() @ half.T
        out = weight.float()
        pairs = out.view(len(out), -1, 2)
        pairs[..., 0] *= same + apart
        pairs[..., 1] *= same - apart
        return out.neg_().add_(1)

    def sums(self, score: torch.Tensor, spans, groups: int) -> torch.Tensor:
        """``sum_i score_i psi_i`` within every group of draws ``(start, stop)``: ``(N, groups C, q)`` of ``score (N, C, m)``."""
        instances, channels, draws = score.shape
        pairs = score.view(instances * channels, draws // 2, 2)
        odd, total = pairs[..., 0] - pairs[..., 1], pairs[..., 0] + pairs[..., 1]
        out = score.new_zeros(groups, instances * channels, self.half.shape[1] + 1)
        member = score.new_zeros(draws // 2, groups)
        for g, start, stop in spans:
            if g < groups:
                a, b = start // 2, stop // 2
                out[g, :, 1:] = odd[:, a:b] @ self.half[a:b]
                member[a:b, g] = 1.0
        out[..., 0] = (total @ member).T
        return out.view(groups, instances, channels, -1).transpose(0, 1).flatten(1, 2)

    def sorted(self, order: torch.Tensor | None) -> Folded:
        """The same with the draws in another order that keeps pairs together."""
        return self if order is None else Folded(self.centre, self.half[order[0::2] // 2])

    def uncentred(self, theta: torch.Tensor) -> torch.Tensor:
        """Coefficients ``(..., q, C)`` in the coordinates of the design: the constant is that at 0."""
        out = theta.clone()
        out[..., 0, :] -= torch.einsum("k,...kc->...c", self.centre, theta[..., 1:, :])
        return out


def quadratic_forms(psi: torch.Tensor, matrix: torch.Tensor, held: int = 2**17) -> torch.Tensor:
    """``psi_i' matrix[n] psi_i`` for all instances and draws: ``(N, m)`` float32 from symmetric ``matrix (N, q, q)``.

    As leverages these only scale residuals, which needs no more digits.
    """
    draws, size = psi.shape
    place = triangle(size)[0]
    twice = 2 - torch.eye(size).flatten()[place]
    flat = matrix.flatten(1)[:, place].float() * twice
    psi, step = psi.float(), max(1, 2 * held // size**2)
    parts = [flat @ products(psi[start : start + step]) for start in range(0, draws, step)]
    return parts[0] if len(parts) == 1 else torch.cat(parts, 1)
