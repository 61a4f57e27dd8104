"""Folded pairs against the same draws in an order that hides the pairs, and against sums by hand."""

import pytest
import torch

from lab.explain import folded, solve


def paired(pairs=40, players=5, instances=3, channels=1, noise=False):
    generator = torch.Generator().manual_seed(0)
    half = torch.randn(pairs, players, generator=generator, dtype=torch.float64)
    half = half if noise else torch.sign(half) / 2
    centre = 0.0 if noise else 0.5
    design = torch.stack([centre + half, centre - half], 1).reshape(2 * pairs, players)
    psi = torch.cat([torch.ones(2 * pairs, 1, dtype=torch.float64), design], 1)
    weight = torch.rand(instances, 2 * pairs, generator=generator, dtype=torch.float64) + 0.01
    y = torch.randn(instances, 2 * pairs, channels, generator=generator, dtype=torch.float64)
    return psi, weight, y


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("exact", [False, True])
def test_folded_fit_is_the_fit_of_the_draws_one_by_one(channels, noise, exact):
    psi, weight, y = paired(channels=channels, noise=noise)
    group = (torch.arange(40) % 8).repeat_interleave(2)
    if exact:
        group[:10] = -1
    order = torch.randperm(80, generator=torch.Generator().manual_seed(1))
    assert folded.Folded.of(psi, group) is not None and folded.Folded.of(psi[order], group[order]) is None
    one = solve.least_squares(psi, weight, y, group)
    other = solve.least_squares(psi[order], weight[:, order], y[:, order], group[order])
    torch.testing.assert_close(one.theta, other.theta, atol=1e-10, rtol=1e-9)
    torch.testing.assert_close(one.residual[:, order], other.residual, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(one.deviations, other.deviations, atol=1e-6, rtol=1e-4)


def test_equations_are_the_sums_by_hand():
    psi, weight, y = paired()
    pairs = folded.Folded.of(psi, torch.zeros(80, dtype=torch.long))
    gram, moment = pairs.equations(weight, (weight[..., None] * y).mT)
    centred = psi.clone()
    centred[:, 1:] -= 0.5
    torch.testing.assert_close(gram, torch.einsum("nm,mi,mj->nij", weight, centred, centred))
    torch.testing.assert_close(moment, torch.einsum("nm,mi,nmc->nic", weight, centred, y))


def test_designs_without_pairs_or_constant_are_not_folded():
    psi, _, _ = paired()
    group = torch.arange(80) // 2
    assert folded.Folded.of(psi[:, 1:], group) is None
    assert folded.Folded.of(psi[:79], group[:79]) is None
    assert folded.Folded.of(psi, torch.arange(80)) is None
