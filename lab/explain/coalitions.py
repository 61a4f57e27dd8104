"""Masks ``z`` in ``{0, 1}^K``: all of them where they are few, else antithetic pairs ``(z, 1 - z)`` in strata of equal
size.

The Shapley kernel depends on ``|z|`` alone. Sizes ``k`` and ``K - k`` form one stratum of pairs; strata are enumerated
from the outside in while the budget covers them (their weight is then exact), the rest of the budget is spread over the
others and every stratum keeps its total kernel mass. Pairs of one draw stay in one jackknife group.

Source: I. Covert, S.-I. Lee, 'Improving KernelSHAP', AISTATS 2021 (pairs); C. Musco, R. T. Witter, 'Provably Accurate
Shapley Value Estimation via Leverage Score Sampling', ICLR 2025 (allocation over sizes).
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache

import torch

GROUPS = 20  # jackknife groups


def log_binomial(total: int, chosen: torch.Tensor) -> torch.Tensor:
    """``log C(total, chosen)``."""
    chosen = chosen.double()
    return math.lgamma(total + 1) - torch.lgamma(chosen + 1) - torch.lgamma(total - chosen + 1)


def every_mask(count: int) -> torch.Tensor:
    """All ``2^K`` masks, ``(2^K, K)`` float64, in binary order (last player fastest)."""
    codes = torch.arange(2**count)
    return (codes[:, None] >> torch.arange(count - 1, -1, -1) & 1).double()


def uniform_pairs(count: int, draws: int, generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Independent fair masks in pairs: ``(design, log proposal, group)``."""
    pairs = max(draws // 2, 1)
    z = (torch.rand(pairs, count, generator=generator, dtype=torch.float64) < 0.5).double()
    design = torch.stack([z, 1 - z], 1).reshape(2 * pairs, count)
    return design, torch.full((2 * pairs,), -count * math.log(2)), _pair_groups(pairs)


def size_strata(count: int, draws: int, generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Masks of sizes ``1..K-1`` in strata: ``(design, log proposal, group)``; ``group`` is -1 in enumerated strata.

    The proposal is the expected number of times that a mask is drawn, so ``exp(log target - log proposal)`` are
    importance weights for any law over masks.
    """
    sizes = list(range(1, count // 2 + 1))
    available = {k: math.comb(count, k) // (2 if 2 * k == count else 1) for k in sizes}
    budget, sampled = max(draws // 2, 1), list(sizes)
    enumerated = []
    while sampled:
        share = _shares(count, sampled, budget)
        full = [k for k in sampled if available[k] <= share[k]]
        if not full:
            break
        enumerated += full
        budget -= sum(available[k] for k in full)
        sampled = [k for k in sampled if k not in full]
    blocks, proposals, groups = [], [], []
    for k in enumerated:
        z = _all_of_size(count, k)
        if 2 * k == count:
            z = z[: available[k]]
        blocks.append(torch.stack([z, 1 - z], 1).reshape(-1, count))
        proposals.append(torch.zeros(2 * len(z), dtype=torch.float64))
        groups.append(torch.full((2 * len(z),), -1))
    counts = _round_shares(_shares(count, sampled, budget), budget) if sampled else {}
    offset = 0
    for k, number in counts.items():
        if number == 0:
            continue
        z = _sample_of_size(count, k, number, generator)
        blocks.append(torch.stack([z, 1 - z], 1).reshape(-1, count))
        proposals.append(torch.full((2 * number,), math.log(number / available[k]), dtype=torch.float64))
        groups.append(((torch.arange(number) + offset) % GROUPS).repeat_interleave(2))
        offset += number
    design, proposal, group = torch.cat(blocks), torch.cat(proposals), torch.cat(groups)
    # group by group, the enumerated strata last: sums over a group run along memory
    order = torch.where(group < 0, GROUPS, group).argsort(stable=True)
    return design[order], proposal[order], group[order]


def _shares(count: int, sizes: list[int], budget: int) -> dict[int, float]:
    """Pairs for each stratum: in proportion to the square root of its kernel mass, between mass and leverage."""
    mass = {k: math.sqrt((count - 1) / (k * (count - k))) for k in sizes}
    total = sum(mass.values())
    return {k: budget * mass[k] / total for k in sizes}


def _round_shares(shares: dict[int, float], budget: int) -> dict[int, int]:
    counts = {k: max(int(share), 1) for k, share in shares.items()}
    by_remainder = sorted(shares, key=lambda k: int(shares[k]) - shares[k])
    for k in itertools.cycle(by_remainder):
        if sum(counts.values()) >= budget:
            break
        counts[k] += 1
    while sum(counts.values()) > max(budget, 1):
        largest = max(counts, key=lambda k: (counts[k], k))
        if counts[largest] == 1:
            drop = max(k for k in counts if counts[k])  # fewer pairs than strata: the innermost strata go without
            del counts[drop]
        else:
            counts[largest] -= 1
    return counts


@lru_cache(maxsize=8)
def _all_of_size(count: int, size: int) -> torch.Tensor:
    """All masks of one size; the tensor is shared between calls and only read."""
    chosen = torch.tensor(list(itertools.combinations(range(count), size)))
    return torch.zeros(len(chosen), count, dtype=torch.float64).scatter_(1, chosen, 1.0)


def _sample_of_size(count: int, size: int, number: int, generator) -> torch.Tensor:
    """Distinct masks of one size where the stratum is small enough to list, else independent ones."""
    if math.comb(count, size) <= 20_000:
        z = _all_of_size(count, size)
        if 2 * size == count:
            z = z[: len(z) // 2]
        return z[torch.randperm(len(z), generator=generator)[:number]]
    order = torch.rand(number, count, generator=generator).argsort(1)[:, :size]
    return torch.zeros(number, count, dtype=torch.float64).scatter_(1, order, 1.0)


def _pair_groups(pairs: int) -> torch.Tensor:
    """Jackknife groups of independent pairs: neighbours stay together, so that sums over a group run along memory."""
    return (torch.arange(pairs) * min(GROUPS, pairs) // pairs).repeat_interleave(2)
