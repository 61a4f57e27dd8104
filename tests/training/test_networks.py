"""Networks: shapes, and weights that come from the seed alone."""

import math

import pytest
import torch
from torch import nn

from lab.training import cnn, initialize, mlp, unet


@pytest.mark.parametrize(
    "build, shape, wanted",
    [
        (lambda s: mlp(5, 3, widths=(7, 6, 5), seed=s), (4, 5), (4, 3)),
        (lambda s: mlp(5, 3, widths=(), seed=s), (4, 5), (4, 3)),
        (lambda s: cnn(2, 3, widths=(4, 8), convolutions=2, seed=s), (4, 2, 9, 12), (4, 3)),
        (lambda s: cnn(1, 3, widths=(4,), dimension=1, seed=s), (4, 1, 9), (4, 3)),
        (lambda s: cnn(1, 3, widths=(4, 4), dimension=3, normalization="group", seed=s), (2, 1, 8, 9, 5), (2, 3)),
        (lambda s: unet(1, 2, widths=(4, 8, 12), seed=s), (2, 1, 13, 22), (2, 2, 13, 22)),
        (lambda s: unet(1, 2, widths=(4, 8), dimension=3, seed=s), (1, 1, 7, 8, 9), (1, 2, 7, 8, 9)),
    ],
)
def test_shapes_and_seeds(build, shape, wanted):
    state = torch.random.get_rng_state()
    first, second, other = build(3), build(torch.Generator().manual_seed(3)), build(4)
    assert torch.equal(state, torch.random.get_rng_state())
    x = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    assert first(x).shape == wanted
    assert torch.equal(first(x), second(x))
    assert not torch.equal(first(x), other(x))


def test_initial_weights_follow_torchs_distribution():
    weight = mlp(100, 400, widths=(), seed=0)[0].weight
    bound = 1 / math.sqrt(100)
    assert float(weight.detach().abs().max()) <= bound
    assert weight.var().item() == pytest.approx(bound**2 / 3, rel=0.02)
    assert float(nn.Linear(100, 400).weight.var()) == pytest.approx(weight.var().item(), rel=0.05)


def test_unet_uses_its_deep_levels():
    network = unet(1, 1, widths=(4, 8, 8), seed=0)
    x = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0)).requires_grad_()
    (gradient,) = torch.autograd.grad(network(x)[0, 0, 16, 16], x)
    touched = gradient[0, 0].nonzero()
    assert int(touched.max() - touched.min()) >= 20


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: mlp(0, 1), "inputs"),
        (lambda: mlp(2, 1, widths=(0,)), "widths"),
        (lambda: mlp(2, 1, widths=8), "sequence"),
        (lambda: mlp(2, 1, activation="rleu"), "did you mean 'relu'"),
        (lambda: cnn(1, 2, widths=()), "at least 1"),
        (lambda: unet(1, 1, dimension=4), "dimension"),
        (lambda: mlp(2, 1, seed=-1), "seed"),
        (lambda: initialize(nn.LSTM(2, 2), 0), "no initial distribution"),
    ],
)
def test_bad_arguments_are_refused(call, words):
    with pytest.raises((ValueError, TypeError), match=words):
        call()
