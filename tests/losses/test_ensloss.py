import pytest
import torch

from lab.losses import EnsLoss, sample_calibrated_derivatives
from lab.losses.ensloss import margins


@pytest.mark.parametrize("box_cox", [-1.0, -0.3, 0.0, 0.5, 1.0])
def test_every_draw_is_convex_and_calibrated(box_cox, generator):
    for _ in range(50):
        s = 2 * torch.randn(64, generator=generator)
        g = sample_calibrated_derivatives(s, generator, box_cox=box_cox, tail=False)
        ordered = g[s.argsort(stable=True)]
        assert (ordered.diff() >= 0).all()
        assert (g < 0).all()
        assert (g >= -1 - 2e-6).all()


def test_tail_correction_divides_by_margins_above_one(generator):
    s = torch.tensor([-3.0, 0.5, 2.0, 8.0])
    seeded = torch.Generator().manual_seed(3)
    plain = sample_calibrated_derivatives(s, seeded, tail=False)
    corrected = sample_calibrated_derivatives(s, torch.Generator().manual_seed(3))
    torch.testing.assert_close(corrected + 1e-6, (plain + 1e-6) / torch.tensor([1.0, 1.0, 2.0, 8.0]))


def test_gradient_is_the_sampled_derivative_times_the_label(generator):
    f = torch.randn(10, generator=generator, requires_grad=True)
    t = torch.randint(2, (10,), generator=generator)
    EnsLoss(seed=5, reduction="sum")(f, t).backward()
    s = margins(f.detach(), t)
    g = sample_calibrated_derivatives(s, torch.Generator().manual_seed(5))
    torch.testing.assert_close(f.grad, g * (2 * t - 1))


def test_derivatives_of_the_logistic_loss_give_its_gradient(generator):
    f = torch.randn(10, generator=generator, dtype=torch.float64, requires_grad=True)
    t = torch.randint(2, (10,), generator=generator)
    s = margins(f, t)
    (surrogate,) = torch.autograd.grad((-torch.sigmoid(-s.detach()) * s).mean(), f, retain_graph=True)
    (logistic,) = torch.autograd.grad(torch.nn.functional.binary_cross_entropy_with_logits(f, t.double()), f)
    torch.testing.assert_close(surrogate, logistic, atol=1e-12, rtol=1e-12)


def test_one_two_and_no_columns_agree(generator):
    f = torch.randn(6, generator=generator)
    t = torch.randint(2, (6,), generator=generator)
    two = torch.stack([torch.zeros(6), f], 1)
    assert EnsLoss(seed=1)(f, t) == EnsLoss(seed=1)(f[:, None], t[:, None]) == EnsLoss(seed=1)(two, t)


def test_same_seed_same_draws_and_calls_differ(generator):
    f, t = torch.randn(6, generator=generator), torch.tensor([0, 1, 0, 1, 1, 0])
    first, second = EnsLoss(seed=2), EnsLoss(seed=2)
    draws = [first(f, t).item() for _ in range(3)]
    assert draws == [second(f, t).item() for _ in range(3)]
    assert len(set(draws)) == 3


@pytest.mark.parametrize(
    "logits, target, words",
    [
        (torch.ones(3), torch.tensor([0, 1, 2]), r"target must lie in \[0, 2\)"),
        (torch.ones(3), torch.tensor([0.0, 1.0, 0.5]), "only 0 and 1"),
        (torch.ones(3, 4), torch.tensor([0, 1, 1]), "1 or 2 columns"),
        (torch.ones(3), torch.tensor([0, 1]), "target must have shape"),
        (torch.tensor([float("nan")]), torch.tensor([1]), "logits must be finite"),
    ],
)
def test_bad_input_is_refused(logits, target, words):
    with pytest.raises(ValueError, match=words):
        EnsLoss()(logits, target)


def test_batches_side_by_side_each_get_a_convex_draw_of_their_own(generator):
    f, t = 2 * torch.randn(3 * 20, generator=generator), torch.randint(2, (60,), generator=generator)
    f.requires_grad_()
    EnsLoss(seed=1, batches=3, reduction="sum")(f, t).backward()
    s = margins(f.detach(), t).reshape(3, 20)
    g = (f.grad * (2 * t - 1)).reshape(3, 20)
    drawn = sample_calibrated_derivatives(s, torch.Generator().manual_seed(1))
    torch.testing.assert_close(g, drawn)
    inside = [row[order][m[order] <= 1] for row, m, order in zip(g, s, s.argsort(dim=1))]
    assert all((row.diff() >= 0).all() for row in inside)
    assert not torch.equal(g[0].sort().values, g[1].sort().values)
    with pytest.raises(ValueError, match="7 equal batches, got 60 rows"):
        EnsLoss(batches=7)(f, t)
