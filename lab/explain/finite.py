r"""Error bars of KernelSHAP on a finite population: masks in strata by size, drawn in antithetic pairs without replacement.

An estimate that is a sum ``sum_p b_p r_p`` over the pairs, ``r_p`` a residual and ``b_p (q,)`` how it reads a pair, has the
variance of a stratified sample. With ``n_k`` of ``N_k`` pairs in stratum ``k``,

.. math:: V = \sum_k \Bigl(1 - \frac{n_k}{N_k}\Bigr) \frac{n_k}{n_k - 1} \sum_{p \in k} (u_p - \bar u_k)(u_p - \bar u_k)^T,
          \qquad u_p = b_p r_p.

What is enumerated has no part in it. The centred terms are summed over groups of pairs, whose squares add up to ``V`` in
expectation, so that Student's law with one degree of freedom less than groups turns the error into an interval.

With the odd-order proxy ``r_p`` are leave-one-out errors, which overstate where few pairs meet many players: the error bars
of 20 players were 1.27 times the true error at 100 draws and 1.12 times at 300; of 10 players, and of plain KernelSHAP, they
were 0.96 to 1.01 times it (sums of products of up to five players, 40 to 200 repeats).

Source: W. Cochran, 'Sampling Techniques', 3rd edition 1977, sections 5.3 and 7.8; residuals over ``sqrt(1 - h)``, h the
leverage, are unbiased in their squares: J. MacKinnon, H. White, Journal of Econometrics 1985.
"""

from __future__ import annotations

import torch


def applies(drawn, psi: torch.Tensor) -> bool:
    """Whether ``drawn`` are shared antithetic pairs in strata, some of them sampled, nothing else drawn, and ``psi`` masks."""
    design, group = drawn.design, drawn.group
    if (
        drawn.donor is not None
        or design.ndim != 2
        or psi.shape != design.shape
        or int(group.max()) < 1
        or len(design) % 2
    ):
        return False
    return not bool((design[0::2] + design[1::2] != 1).any()) and torch.equal(group[0::2], group[1::2])


def shares(drawn) -> torch.Tensor:
    """``(G, P)``: with which factor a group's sum takes each pair, so that its square is the group's part of ``V``."""
    group, log_proposal, inside = drawn.group[0::2], drawn.log_proposal[0::2], drawn.design[0::2].sum(1)
    size = torch.minimum(inside, drawn.design.shape[1] - inside)
    groups = int(group.max()) + 1
    member = torch.nn.functional.one_hot(group.clamp_min(0), groups).double() * (group >= 0)[:, None]  # (P, G)
    share = torch.zeros(groups, len(size), dtype=torch.float64)
    for k in size[group >= 0].unique():
        mine = (size == k) & (group >= 0)
        count = int(mine.sum())
        left = (1 - log_proposal[mine][0].exp()).clamp_min(0)
        centre = member[mine].sum(0) / count  # the part of the stratum's mean that a group takes off
        spread = (
            count - float(member[mine].sum(0).square().sum()) / count
        )  # of centred sums of groups, in variances of u
        factor = (left * count / spread).sqrt() if count > 1 else left.sqrt()
        share[:, mine] = factor * (member[mine].T - (centre[:, None] if count > 1 else 0.0))
    return share * (groups / max(groups - 1, 1)) ** 0.5


def deviations(share: torch.Tensor, reads: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
    """Deviations ``(R, G, q)`` whose jackknife variance is ``V``: ``share (G, P)``, ``reads (P, q)``, ``residual (R, P)``."""
    return torch.stack([(residual * mine) @ reads for mine in share], 1)


def plain(psi, weight, theta, y, share, inverse) -> torch.Tensor:
    """Deviations ``(N, G, q, C)`` of the least squares ``theta (N, q, C)`` of ``y (N, m, C)`` on pairs ``psi, -psi (m, q)``."""
    instances, _, channels = y.shape
    first, mass = psi[0::2], weight[0::2] + weight[1::2]
    rest = (y[:, 0::2] - y[:, 1::2]) / 2 - first @ theta
    leverage = mass * ((first @ inverse) * first).sum(1)
    rest = rest / (1 - leverage).clamp_min(0.05).sqrt()[:, None]
    found = deviations(share, mass[:, None] * first @ inverse, rest.mT.reshape(instances * channels, -1))
    return found.view(instances, channels, *found.shape[1:]).permute(0, 2, 3, 1)
