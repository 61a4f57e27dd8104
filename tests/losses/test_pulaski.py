import itertools

import pytest
import torch

from lab import source
from lab.losses.pulaski import (
    Draw,
    TinyProbUNet,
    energy_set_distance,
    focal_tversky_loss,
    generalized_energy_distance,
    pass_loss,
    set_loss,
    sinkhorn_set_distance,
)
from lab.losses.studies import pulaski as raters
from lab.training.comparison import TUNING_SEEDS


def test_energy_distance_of_single_masks_is_their_distance(generator):
    s, y = torch.rand(3, 1, 4, 4, generator=generator), torch.rand(3, 1, 4, 4, generator=generator)
    expected = (s - y).flatten(1).norm(dim=1)
    torch.testing.assert_close(energy_set_distance(s, y, scale=False), expected)
    torch.testing.assert_close(energy_set_distance(s, y), expected / 4)


def test_equal_sets_have_distance_zero_in_any_order(generator):
    s = torch.rand(2, 4, 5, 5, generator=generator, dtype=torch.float64)
    shuffled = s[:, [2, 0, 3, 1]]
    for distance in (energy_set_distance, sinkhorn_set_distance, generalized_energy_distance):
        assert distance(s, shuffled).abs().max() < 1e-6


def test_gradient_is_finite_where_samples_coincide():
    s = torch.full((1, 3, 2, 2), 0.5, requires_grad=True)
    energy_set_distance(s, torch.zeros(1, 2, 2, 2)).sum().backward()
    assert torch.isfinite(s.grad).all()
    assert s.grad.abs().sum() > 0


def test_gradcheck(generator):
    s = torch.rand(2, 3, 2, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    y = torch.rand(2, 2, 2, 2, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda v: energy_set_distance(v, y), s)


def test_sinkhorn_at_small_blur_is_the_best_assignment(generator):
    s, y = (torch.rand(1, 3, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    cost = 0.5 * torch.cdist(s, y).square()[0]
    best = min(sum(cost[i, p[i]] for i in range(3)) for p in itertools.permutations(range(3))) / 3
    assert sinkhorn_set_distance(s, y, 0.01, iterations=3000, scale=False).item() == pytest.approx(
        best.item(), rel=0.02
    )


def test_generalized_energy_distance_by_hand():
    full, empty = torch.ones(2, 2), torch.zeros(2, 2)
    samples, masks = torch.stack([full, empty])[None], torch.stack([full, full])[None]
    # E d(S, Y) = 1/2, E d(S, S') = 1/2, E d(Y, Y') = 0
    assert generalized_energy_distance(samples, masks).item() == pytest.approx(0.5)
    assert generalized_energy_distance(empty[None, None], empty[None, None]).item() == 0.0


def test_focal_tversky_is_small_for_the_right_mask(generator):
    target = (torch.rand(2, 8, 8, generator=generator) > 0.7).float()
    assert focal_tversky_loss(target, target) < 1e-4 < focal_tversky_loss(1 - target, target)


@pytest.mark.parametrize("dimension", [2, 3])
def test_network_samples_masks_of_the_image_size_reproducibly(dimension, generator):
    model = TinyProbUNet(widths=(4, 8), dimension=dimension, seed=0)
    x = torch.rand(2, 1, *[8] * dimension, generator=generator)
    masks = model.sample(x, 3, seed=1)
    assert masks.shape == (2, 3, *[8] * dimension)
    assert torch.equal(masks, model.sample(x, 3, seed=1))
    assert not torch.equal(masks[:, 0], masks[:, 1])


@pytest.mark.parametrize("distance", ["energy", "sinkhorn", "cross-entropy", "focal-tversky"])
def test_training_loss_reaches_every_part_of_the_network(distance, generator):
    model = TinyProbUNet(widths=(4, 8), seed=0)
    x = torch.rand(2, 1, 8, 8, generator=generator)
    masks = (torch.rand(2, 4, 8, 8, generator=generator) > 0.5).float()
    set_loss(model, x, masks, distance=distance, seed=0).backward()
    for name, p in model.named_parameters():
        assert p.grad is not None, name
        assert torch.isfinite(p.grad).all(), name


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="must share batch and space"):
        energy_set_distance(torch.ones(2, 3, 4, 4), torch.ones(2, 3, 5, 5))
    with pytest.raises(ValueError, match="x \\(batch, channels, ...space\\) and raters"):
        set_loss(TinyProbUNet(widths=(4, 8)), torch.ones(2, 1, 8, 8), torch.ones(2, 3, 9, 9))
    with pytest.raises(ValueError, match="samples must be finite"):
        energy_set_distance(torch.full((1, 1, 2, 2), torch.nan), torch.ones(1, 1, 2, 2))


def test_every_loss_of_the_study_trains(generator):
    x, masks = torch.rand(2, 1, 8, 8, generator=generator), (torch.rand(2, 3, 8, 8, generator=generator) > 0.5).float()
    model = TinyProbUNet(widths=(4, 8))
    for distance in ("energy", "sinkhorn", "cross-entropy", "focal-tversky", "dice"):
        value = set_loss(model, x, masks, distance=distance)
        value.backward()
        assert torch.isfinite(value)
    with pytest.raises(ValueError, match="distance must be one of"):
        set_loss(model, x, masks, distance="hausdorff")


def test_dice_is_the_tversky_index_with_equal_weights(generator):
    p, t = torch.rand(2, 5, 5, generator=generator), (torch.rand(2, 5, 5, generator=generator) > 0.5).float()
    overlap = 2 * (p * t).flatten(1).sum(1)
    dice = (overlap + 2) / (p.flatten(1).sum(1) + t.flatten(1).sum(1) + 2)
    torch.testing.assert_close(focal_tversky_loss(p, t, alpha=0.5, gamma=1.0), (1 - dice).mean())


def test_every_loss_gets_as_many_trials_and_the_best_of_them(monkeypatch, tmp_path):
    tried = []

    def evaluate(loss, setting, runs):
        assert {seed for seed, _ in runs} == set(TUNING_SEEDS)
        assert len(set(runs)) == len(runs) == len(TUNING_SEEDS) * len({trial for _, trial in runs})
        tried.extend((loss, setting.radius, trial) for _, trial in runs)
        return [(torch.tensor([abs(trial[0] - 3e-2)]), 0.0) for _, trial in runs]

    monkeypatch.setattr(source, "project_root", lambda: tmp_path)
    monkeypatch.setattr(raters, "evaluate", evaluate)
    raters.tune_trials()
    for radius, (_, losses) in raters.STUDIES.items():
        assert all(raters.tuned(loss, radius)[0] == 3e-2 for loss in losses)
        assert {len({trial for one, r, trial in tried if (one, r) == (loss, radius)}) for loss in losses} == {
            len(raters.TRIALS)
        }


@pytest.mark.parametrize("loss", ["energy", "dice", raters.DETERMINISTIC])
def test_networks_trained_together_equal_networks_trained_alone(loss):
    setting = raters.Setting(images=12, size=8, steps=3)
    runs = ((3, (1e-2, 1e-2)), (4, (3e-2, 1e-1)))
    together = raters.fitted(loss, setting, runs)
    for model, run in zip(together, runs):
        (alone,) = raters.fitted(loss, setting, (run,))
        for (name, first), second in zip(model.named_parameters(), alone.parameters()):
            torch.testing.assert_close(first, second, atol=2e-4, rtol=1e-3, msg=name)
    assert not torch.equal(next(together[0].parameters()), next(together[1].parameters()))


def test_a_pass_has_the_loss_and_gradients_of_the_same_draws_written_out(generator):
    """The energy distance, the latent divergence by torch's own normal distributions, and their sum."""
    model = TinyProbUNet(widths=(4, 8), seed=0).double()
    x = torch.rand(3, 1, 6, 6, generator=generator, dtype=torch.float64)
    masks = (torch.rand(3, 4, 6, 6, generator=generator) > 0.5).double()
    noise = torch.randn(3, 4, 2, generator=generator, dtype=torch.float64)
    value = pass_loss(model, Draw(x, masks[:, :1], noise), masks, "energy", 0.3)
    prior, posterior = model.distributions(x, masks[:, :1])
    normal = [torch.distributions.Normal(mean, log.exp()) for mean, log in (prior, posterior)]
    decoded = torch.sigmoid(model.decode(x, posterior[0][:, None] + posterior[1].exp()[:, None] * noise))
    divergence = torch.distributions.kl_divergence(normal[1], normal[0]).sum(1).mean()
    torch.testing.assert_close(value, energy_set_distance(decoded, masks).mean() + 0.3 * divergence)


def test_slices_of_volumes_are_drawn_with_one_latent_and_with_many():
    setting = raters.Setting(images=4, size=6, radius=1.0, dimension=3, steps=1)
    rows = raters.slice_by_slice((0, 1), setting, (1e-2, 1e-2), count=3)
    assert len(rows) == 2
    assert rows.shape == (2, 2) and 0 <= rows.min() and rows.max() <= 2
