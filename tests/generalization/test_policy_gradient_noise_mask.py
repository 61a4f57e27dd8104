"""The noise mask: densities, draws, the policy's loss, both training phases, and one's own classifier."""

import pytest
import torch
from torch import nn

from lab import training
from lab.generalization.policy_gradient_noise_mask import (
    BetaMaskPolicy,
    log_density,
    masked,
    policy_loss,
    sample_mask,
    together,
    train_masked,
    train_stacked,
)


def test_density_is_that_of_the_beta_distribution(generator):
    alpha, beta = (0.3 + 3 * torch.rand(50, generator=generator, dtype=torch.float64) for _ in range(2))
    mask = sample_mask(alpha, beta, generator)
    wanted = torch.distributions.Beta(alpha, beta).log_prob(mask)
    torch.testing.assert_close(log_density(mask, alpha, beta), wanted)
    assert torch.isfinite(log_density(torch.tensor([1e-4, 1 - 1e-4]), torch.tensor(0.2), torch.tensor(9.0))).all()


def test_draws_have_the_mean_and_variance_of_their_distribution(generator):
    alpha, beta = torch.tensor([0.5, 2.0, 5.0]).expand(40_000, 3), torch.tensor([1.0, 2.0, 0.5]).expand(40_000, 3)
    draws, law = sample_mask(alpha, beta, generator), torch.distributions.Beta(alpha[0], beta[0])
    torch.testing.assert_close(draws.mean(0), law.mean, atol=0.01, rtol=0)
    torch.testing.assert_close(draws.var(0), law.variance, atol=0.01, rtol=0)
    assert 0 < float(draws.min()) and float(draws.max()) < 1


def test_score_function_has_the_sign_of_the_expected_losses_slope(generator):
    alpha = torch.tensor(0.4, dtype=torch.float64, requires_grad=True)  # one cell; the loss is the mask itself
    mask = sample_mask(alpha.exp().expand(20_000, 1), torch.full((20_000, 1), 2.0, dtype=torch.float64), generator)
    value = policy_loss(log_density(mask, alpha.exp(), torch.tensor(2.0, dtype=torch.float64)), mask[:, 0])
    (slope,) = torch.autograd.grad(value, alpha)
    a = float(alpha.exp())
    assert float(slope) == pytest.approx(a * 2 / (a + 2) ** 2, rel=0.1)  # d/dA of e^A / (e^A + 2)


def test_released_objective_is_a_product_of_means(generator):
    log_p, losses = torch.randn(6, 4, generator=generator), torch.rand(6, generator=generator)
    wanted = torch.stack([row.exp().sum().log() for row in log_p]).mean() * losses.mean()
    torch.testing.assert_close(policy_loss(log_p, losses, "coded"), wanted)


def test_mask_covers_the_image_in_cells(generator):
    x, mask = torch.rand(2, 3, 8, 8, generator=generator), torch.rand(2, 4, generator=generator)
    found = masked(x, mask, 2)
    torch.testing.assert_close(found[:, :, :4, 4:], x[:, :, :4, 4:] * mask[:, 1].view(2, 1, 1, 1))
    assert torch.equal(masked(x, torch.ones(2, 4), 2), x)


def case(generator, count=48):
    x = torch.rand(count, 1, 4, 4, generator=generator)
    y = (x.mean(dim=(1, 2, 3)) > x.mean()).long()
    models = [nn.Sequential(nn.Flatten(), training.mlp(16, 2, widths=(8,), seed=seed)) for seed in (0, 1)]
    policies = [BetaMaskPolicy(2, width=4, seed=seed) for seed in (0, 1)]
    return x, y, models, policies


@pytest.mark.parametrize("mode", ["split", "coded", "permuted", "uniform", "none"])
def test_models_train_together_as_alone(mode, generator):
    x, y, models, policies = case(generator)
    run = lambda rows, seeds: train_stacked(  # noqa: E731
        models[0], policies[0], together([models[k] for k in rows], [policies[k] for k in rows]), x, y, seeds=seeds, mode=mode,
        epochs=2, tuning_epochs=1, batch_size=16, learning_rate=1e-2,
    )  # fmt: skip
    (both, proposed, _), (alone, _, _) = run((0, 1), (3, 4)), run((1,), (4,))
    for name, value in alone.items():
        torch.testing.assert_close(both[name][1], value[0], atol=1e-4, rtol=1e-3)
    start = dict(policies[0].named_parameters())
    moved = any(not torch.equal(proposed[name][0], value) for name, value in start.items())
    assert moved == (mode in ("split", "coded", "permuted"))


def test_own_classifier_is_copied_and_learns(generator):
    x, y, models, _ = case(generator, 120)
    y = (x[:, 0, 0, 0] > 0.5).long()
    before = [value.clone() for value in models[0].parameters()]
    model = train_masked(models[0], x, y, grid=2, epochs=60, tuning_epochs=20, learning_rate=1e-2, batch_size=32)
    assert all(torch.equal(a, b) for a, b in zip(before, models[0].parameters()))
    assert float((model(x).argmax(1) == y).float().mean()) > 0.85


def test_bad_arguments_are_refused(generator):
    x, y, models, _ = case(generator)
    with pytest.raises(ValueError, match="4 axes"):
        train_masked(models[0], x[:, 0], y)
    with pytest.raises(ValueError, match="label"):
        train_masked(models[0], x, y[:3])
    with pytest.raises(ValueError, match="mode"):
        train_masked(models[0], x, y, mode="best")
    with pytest.raises(ValueError, match="grid"):
        BetaMaskPolicy(0)


def test_biomedical_patches_are_balanced_and_what_their_labels_say():
    from lab.generalization.studies import policy_gradient_noise_mask as study

    x, y, away, truth = study._pool("biomedical")
    assert x.shape[1:] == away.shape[1:] == (1, 8, 8)
    counts, kept = y.bincount(), truth.bincount()
    assert len(counts) == 4 and counts[0] == counts[1] and counts[2] == counts[3] and int(counts.min()) >= 60
    assert len(kept) == 2 and kept[0] == kept[1] and int(kept.min()) == 200
    assert float(x.min()) >= 0 and float(x.max()) <= 1
