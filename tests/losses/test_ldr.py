import math
from types import SimpleNamespace

import mpmath
import numpy as np
import pytest
import torch
from scipy.stats import rankdata

from lab.losses import ALDRKLLoss, LDRKLLoss, ldr_kl_loss
from lab.losses.ldr import adaptive_temperature, margin_scores, normalize_scores
from lab.losses.studies import ldr as study


@pytest.fixture
def batch(generator):
    return 2 * torch.randn(8, 5, generator=generator, dtype=torch.float64), torch.randint(5, (8,), generator=generator)


def test_unit_temperature_without_margin_is_cross_entropy_less_log_classes(batch):
    z, y = batch
    expected = torch.nn.functional.cross_entropy(z, y) - math.log(5)
    torch.testing.assert_close(ldr_kl_loss(z, y, 1.0, margin=0.0), expected)


def test_small_temperature_approaches_the_crammer_singer_loss_at_rate_log_classes(batch):
    z, y = batch
    crammer_singer = margin_scores(z, y, 0.1).amax(1)
    for temperature in (1e-1, 1e-3, 1e-5):
        error = (crammer_singer - ldr_kl_loss(z, y, temperature, reduction="none")).abs().max()
        assert error <= temperature * math.log(5) + 1e-12


def test_large_temperature_approaches_the_mean_margin(batch):
    z, y = batch
    mean = margin_scores(z, y, 0.1).mean(1)
    torch.testing.assert_close(ldr_kl_loss(z, y, 1e6, reduction="none"), mean, atol=1e-4, rtol=0)


def test_loss_is_the_worst_case_over_label_distributions(batch, generator):
    z, y = batch
    scores = margin_scores(z, y, 0.1)
    value = ldr_kl_loss(z, y, 0.7, reduction="none")
    best = torch.softmax(scores / 0.7, 1)

    def objective(p):
        return (p * scores).sum(1) - 0.7 * (p * (p * 5).log()).sum(1)

    torch.testing.assert_close(objective(best), value)
    for _ in range(50):
        other = torch.softmax(torch.randn(8, 5, generator=generator, dtype=torch.float64), 1)
        assert (objective(other) <= value + 1e-12).all()


def test_gradient_is_the_maximizer_less_the_label(batch):
    z, y = batch
    z.requires_grad_()
    ldr_kl_loss(z, y, 0.7, reduction="sum").backward()
    expected = torch.softmax(margin_scores(z.detach(), y, 0.1) / 0.7, 1) - torch.nn.functional.one_hot(y, 5)
    torch.testing.assert_close(z.grad, expected)


def test_gradcheck_of_module_with_normalized_scores(batch):
    z, y = batch
    for kind in ("none", "softplus-mean", "l1-mean"):
        assert torch.autograd.gradcheck(lambda s, kind=kind: LDRKLLoss(2.0, normalize=kind)(s, y), z.requires_grad_())


def test_adaptive_temperature_maximizes_the_inner_problem(batch):
    z, y = batch
    scores, start, alpha = margin_scores(z, y, 0.1), 3.0, 2.0
    solved = adaptive_temperature(scores, start, alpha)
    grid = torch.linspace(0.4 * start, start, 4001, dtype=torch.float64)

    def value(temperature):
        worst = temperature * (torch.logsumexp(scores[:, None] / temperature[..., None], -1) - math.log(5))
        return worst - alpha * math.log(5) / (2 * start) * (temperature - start) ** 2

    over_grid = value(grid.expand(8, -1))
    torch.testing.assert_close(grid[over_grid.argmax(1)], solved, atol=1.2e-3, rtol=0)
    assert (value(solved[:, None])[:, 0] >= over_grid.amax(1) - 1e-12).all()


def test_temperatures_stay_in_their_range_for_extreme_scores():
    scores = torch.tensor([[0.0, 1e4, -1e4], [0.0, 0.0, 0.0]], dtype=torch.float64)
    solved = adaptive_temperature(scores, 10.0, 2.0)
    assert solved[0] >= 5.0 - 1e-9
    assert solved[1] == 10.0


def test_stored_temperatures_converge_to_the_solved_ones(batch):
    z, y = batch
    stored = ALDRKLLoss(20, initial_temperature=2.0, normalize="none")
    index = torch.arange(8) + 5
    for _ in range(50):
        loss = stored(z, y, index)
    solved = ALDRKLLoss(None, initial_temperature=2.0, normalize="none")(z, y)
    torch.testing.assert_close(loss, solved, atol=1e-6, rtol=1e-6)
    assert (stored.temperatures[:5] == 2.0).all()
    with pytest.raises(ValueError, match="index is missing"):
        stored(z, y)


def test_normalization_is_finite_at_zero_scores():
    z = torch.zeros(2, 4, requires_grad=True)
    LDRKLLoss()(z, torch.tensor([0, 1])).backward()
    assert torch.isfinite(z.grad).all()
    assert torch.isfinite(normalize_scores(z, "l1-mean")).all()


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"temperature": 0.0}, "temperature must be greater than 0"),
        ({"margin": -1.0}, "margin must be at least 0"),
        ({"normalize": "l2"}, "normalize must be one of"),
    ],
)
def test_bad_arguments_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        LDRKLLoss(**arguments)
    with pytest.raises(ValueError, match="alpha must be greater than 1"):
        ALDRKLLoss(alpha=1.0)


@pytest.mark.parametrize("temperature", [1e-3, 0.7, 1.0, 30.0, 1e6])
def test_loss_equals_its_formula_in_fifty_digits(temperature, batch):
    z, y = batch
    found = ldr_kl_loss(z, y, temperature, margin=0.1, reduction="none").tolist()
    with mpmath.workdps(50):
        for row, label, value in zip(z.tolist(), y.tolist(), found):
            scores = [
                mpmath.mpf(s) - mpmath.mpf(row[label]) + (mpmath.mpf(0.1) if k != label else 0)
                for k, s in enumerate(row)
            ]
            exact = temperature * mpmath.log(mpmath.fsum(mpmath.exp(s / temperature) for s in scores) / 5)
            assert value == pytest.approx(float(exact), rel=1e-12, abs=1e-9 if temperature > 1e5 else 1e-13)


def test_gradient_through_the_adaptive_temperature_is_the_whole_derivative(batch):
    """The temperature is held constant in the backward pass; at the maximum over it this changes nothing."""
    z, y = batch
    z.requires_grad_()
    loss = ALDRKLLoss(None, initial_temperature=2.0, margin=0.1, normalize="none", reduction="sum")
    (ours,) = torch.autograd.grad(loss(z, y), z)
    for k in range(5):
        step = torch.zeros_like(z)
        step[:, k] = 1e-5
        slope = (loss(z.detach() + step, y) - loss(z.detach() - step, y)) / 2e-5
        assert slope.item() == pytest.approx(ours[:, k].sum().item(), abs=1e-6)


def test_ranks_are_those_of_scipy_with_ties_shared_and_averaged_over_noises(monkeypatch, generator):
    names, tables = ("a", "b", "c", "d"), {}

    def under_noise(losses, kind, level, seeds, budget, data):
        tables[kind, level] = torch.randint(3, (len(losses), len(seeds)), generator=generator) / 10
        return SimpleNamespace(accuracy=dict(zip(losses, tables[kind, level])))

    monkeypatch.setattr(study, "under_noise", under_noise)
    found = study.mean_ranks((0, 1, 2), "default", losses=names)
    expected = np.mean([rankdata(-table.numpy(), axis=0) for table in tables.values()], axis=0)
    assert len(tables) == len(study.SETTINGS)
    np.testing.assert_allclose(torch.stack([found[name] for name in names]), expected)
