"""UDIM: crafted images, the penalty in closed form, its step, and one's own model."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, vmap

from lab import training
from lab.generalization.stacked import stack
from lab.generalization.udim import (
    Classifier,
    craft,
    inconsistency,
    objective_parts,
    sam_loss,
    small_classifier,
    step_gradient,
    train_stacked,
    train_udim,
)


@pytest.fixture
def case(generator):
    network = small_classifier(6, 3, 1, widths=(8, 7)).double()
    x = torch.rand(10, 6, generator=generator, dtype=torch.float64)
    p = {name: value.detach() for name, value in network.named_parameters()}
    return network, p, x, torch.arange(10) % 3


def loss_of(network, y):
    return lambda p, x: F.cross_entropy(functional_call(network, p, (x,)), y)


def test_crafted_images_move_by_eta_along_the_landscapes_gradient(case):
    network, p, x, y = case
    loss = loss_of(network, y)
    moved = craft(loss, p, x, 0.05, 0.3)
    torch.testing.assert_close((moved - x).norm(dim=1), torch.full((10,), 0.3, dtype=torch.float64))

    def landscape(x):
        return loss(p, x) + 0.05 * sum(g.square().sum() for g in grad(loss)(p, x).values()).sqrt()

    step, slope = 1e-6, torch.zeros_like(x)
    for i in range(10):
        for j in range(6):
            ends = []
            for sign in (1, -1):
                other = x.clone()
                other[i, j] += sign * step
                ends.append(landscape(other))
            slope[i, j] = (ends[0] - ends[1]) / (2 * step)
    torch.testing.assert_close(moved - x, 0.3 * slope / slope.norm(dim=1, keepdim=True), atol=1e-5, rtol=1e-4)
    assert float(loss(p, moved)) > float(loss(p, x))
    assert torch.equal(craft(loss, p, x, 0.05, 0.0), x)


def test_penalty_is_that_of_gradients_item_by_item(case):
    network, p, x, y = case
    (z, logits), (h, moved) = (network(one, features=True) for one in (x, x + 0.2))
    head = {name: value for name, value in p.items() if name.startswith("head")}

    def one(head, z, y):
        return F.cross_entropy((z @ head["head.weight"].T + head["head.bias"])[None], y[None])

    parts = [vmap(grad(one), (None, 0, 0))(head, features.detach(), y) for features in (z, h)]
    rows = [torch.cat([part["head.weight"].flatten(1), part["head.bias"]], 1) for part in parts]
    mean = rows[0].mean(0)
    v, w = ((one - mean).square().mean(0) for one in rows)
    norm = rows[1][:, :21].square().sum(1).mean() / 21 + rows[1][:, 21:].square().sum(1).mean() / 3
    found = inconsistency(z, logits, h, moved, y)
    torch.testing.assert_close(found[0], (v - w).square().mean() / 4, atol=1e-14, rtol=1e-10)
    torch.testing.assert_close(found[1], norm)
    assert float(inconsistency(z, logits, z, logits, y)[0]) < 1e-30


def test_without_weight_the_step_is_sams_and_without_rho_the_plain_gradient(case):
    network, p, x, y = case
    plain, sam = step_gradient(network, "erm")(p, x, y), step_gradient(network, "sam")(p, x, y)
    for name, g in step_gradient(network, "udim", weight=0.0)(p, x, y).items():
        torch.testing.assert_close(g, sam[name])
    for name, g in step_gradient(network, "sam", rho=0.0)(p, x, y).items():
        torch.testing.assert_close(g, plain[name])
    warm = step_gradient(network, "udim", warm=True)(p, x, y)
    assert all(torch.equal(warm[name], sam[name]) for name in sam)


def test_step_adds_the_gradient_of_the_penalty(case):
    network, p, x, y = case
    moved = craft(loss_of(network, y), p, x, 0.05, 1.0)

    def penalty(q):
        return sum(
            inconsistency(
                *functional_call(network, q, (x,), {"features": True}),
                *functional_call(network, q, (moved,), {"features": True}),
                y,
            )
        )

    extra = grad(penalty)(p)
    sam, found = step_gradient(network, "sam")(p, x, y), step_gradient(network, "udim", weight=3.0)(p, x, y)
    for name in p:
        torch.testing.assert_close(found[name] - sam[name], 3 * extra[name])


def test_sum_of_the_parts_is_the_worst_domain_and_above_the_average(generator):
    losses = torch.rand(7, generator=generator)
    own, more = objective_parts(losses)
    torch.testing.assert_close(own + more, losses.max())
    assert own + more >= losses.mean()


def test_sam_loss_is_no_smaller_than_the_loss_to_first_order(case):
    network, p, x, y = case
    loss = lambda q: loss_of(network, y)(q, x)  # noqa: E731
    assert float(sam_loss(loss, p, 0.05)) > float(loss(p))
    torch.testing.assert_close(sam_loss(loss, p, 0.0), loss(p))


def test_warm_up_is_sam_and_seeds_are_a_batch_axis(case):
    network, _, x, y = case
    x, network = x.float(), network.float()
    models = [small_classifier(6, 3, seed, widths=(8, 7)) for seed in (0, 1)]
    run = lambda arm, models, seeds, **options: train_stacked(  # noqa: E731
        network, stack(models), x, y, arm, seeds=seeds, epochs=2, batch_size=4, **options
    )
    warm, sam = run("udim", models, (0, 1), warmup=1.0), run("sam", models, (0, 1))
    both, alone = run("udim", models, (0, 1)), run("udim", models[1:], (1,))
    for name in sam:
        assert torch.equal(warm[name], sam[name])
        torch.testing.assert_close(both[name][1], alone[name][0], atol=1e-5, rtol=1e-4)


def test_own_model_is_copied_and_learns(generator):
    x = torch.randn(60, 4, generator=generator)
    y = (x[:, 0] > 0).long()
    start = Classifier(nn.Sequential(training.mlp(4, 16, widths=()), nn.ReLU()), nn.Linear(16, 2))
    before = [value.clone() for value in start.parameters()]
    model = train_udim(start, x, y, epochs=40, eta=0.3, learning_rate=1e-2)
    assert all(torch.equal(a, b) for a, b in zip(before, start.parameters()))
    assert float((model(x).argmax(1) == y).float().mean()) > 0.9


def test_bad_arguments_are_refused(case):
    network, _, x, y = case
    with pytest.raises(ValueError, match="arm"):
        step_gradient(network, "best")
    with pytest.raises(ValueError, match="eta"):
        step_gradient(network, "udim", eta=-1.0)
    with pytest.raises(TypeError, match=r"head must be a torch.nn.Linear"):
        Classifier(nn.Identity(), nn.Identity())
    with pytest.raises(TypeError, match="must be a Classifier"):
        train_udim(nn.Linear(6, 3), x, y)
    with pytest.raises(ValueError, match="label"):
        train_udim(network, x, y[:3])
