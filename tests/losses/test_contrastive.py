import math

import mpmath
import pytest
import torch

from lab.losses.contrastive_temperature import (
    hard_info_nce,
    info_nce,
    penalty_entropy,
    relative_penalty,
    tolerance,
    uniformity,
)


def views(generator, n=12, d=6):
    return torch.randn(n, d, generator=generator, dtype=torch.float64), torch.randn(
        n, d, generator=generator, dtype=torch.float64
    )


def test_loss_is_cross_entropy_of_the_dense_similarities(generator):
    a, b = views(generator)
    unit = torch.nn.functional.normalize
    dense = unit(a, dim=1) @ unit(b, dim=1).T / 0.2
    torch.testing.assert_close(info_nce(a, b, 0.2), torch.nn.functional.cross_entropy(dense, torch.arange(12)))


@pytest.mark.parametrize("temperature", [0.05, 0.07, 0.3, 1.0])
def test_relative_penalty_is_the_ratio_of_gradients(temperature, generator):
    s = (2 * torch.rand(9, generator=generator, dtype=torch.float64) - 1).requires_grad_()
    loss = torch.logsumexp(s / temperature, 0) - s[0] / temperature
    (g,) = torch.autograd.grad(loss, s)
    torch.testing.assert_close(
        g[1:].abs() / g[0].abs(), relative_penalty(s.detach()[1:], temperature), atol=1e-9, rtol=1e-9
    )


def test_entropy_of_the_penalty_increases_with_temperature(generator):
    s = 2 * torch.rand(20, 15, generator=generator, dtype=torch.float64) - 1
    entropies = torch.stack([penalty_entropy(s, t) for t in (0.03, 0.07, 0.2, 0.5, 1.0, 5.0, 100.0)])
    assert (entropies.diff(dim=0) > 0).all()
    assert (entropies[-1] - math.log(15)).abs().max() < 1e-3


def test_all_negatives_kept_is_the_plain_loss_and_fewer_is_smaller(generator):
    a, b = views(generator)
    torch.testing.assert_close(hard_info_nce(a, b, 0.3, 1.0), info_nce(a, b, 0.3))
    assert hard_info_nce(a, b, 0.3, 0.2) < info_nce(a, b, 0.3)


def test_gradients_agree_with_finite_differences(generator):
    a, b = views(generator, 5, 3)
    assert torch.autograd.gradcheck(lambda x, y: info_nce(x, y, 0.5), (a.requires_grad_(), b.requires_grad_()))
    assert torch.autograd.gradcheck(lambda x, y: hard_info_nce(x, y, 0.5, 0.5), (a, b))


def test_uniformity_of_two_opposite_points_and_of_one_place():
    opposite = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert uniformity(opposite).item() == pytest.approx(-8.0)
    assert uniformity(torch.ones(4, 3)).item() == pytest.approx(0.0, abs=1e-6)


def test_tolerance_counts_pairs_of_one_class_without_the_diagonal():
    f = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert tolerance(f, torch.tensor([0, 0, 1])).item() == pytest.approx(0.0)
    assert tolerance(f, torch.tensor([0, 1, 0])).item() == pytest.approx(1.0)
    with pytest.raises(ValueError, match="no two items of one class"):
        tolerance(f, torch.tensor([0, 1, 2]))


def test_half_precision_at_a_low_temperature_is_finite(generator):
    a, b = views(generator)
    assert torch.isfinite(info_nce(a.half(), b.half(), 0.05))


@pytest.mark.parametrize(
    "a, b, temperature, words",
    [
        (torch.ones(3, 2), torch.ones(4, 2), 0.1, "same shape"),
        (torch.ones(1, 2), torch.ones(1, 2), 0.1, "at least 2 rows"),
        (torch.ones(3, 2), torch.ones(3, 2), 0.0, "temperature"),
        (torch.full((3, 2), float("inf")), torch.ones(3, 2), 0.1, "a must be finite"),
    ],
)
def test_bad_input_is_refused(a, b, temperature, words):
    for loss in (info_nce, hard_info_nce):
        with pytest.raises(ValueError, match=words):
            loss(a, b, temperature)


@pytest.mark.parametrize("temperature", [0.01, 0.07, 1.0, 50.0])
def test_contrastive_loss_equals_its_formula_in_forty_digits(temperature, generator):
    a, b = (
        torch.nn.functional.normalize(torch.randn(5, 3, generator=generator, dtype=torch.float64), dim=1)
        for _ in range(2)
    )
    found = info_nce(a, b, temperature, reduction="none").tolist()
    with mpmath.workdps(40):
        rows = [[mpmath.fdot(u, v) / temperature for v in b.tolist()] for u in a.tolist()]
        for i, value in enumerate(found):
            exact = mpmath.log(mpmath.fsum(mpmath.exp(s) for s in rows[i])) - rows[i][i]
            assert value == pytest.approx(float(exact), rel=1e-9, abs=1e-12)
