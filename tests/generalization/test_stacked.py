"""Stacked training by one's own gradient equals a loop over models."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call, grad, vmap

from lab import training
from lab.generalization.stacked import descend, filled, one_of, outputs, stack


@pytest.mark.parametrize("shared", [True, False])
def test_stacked_descent_is_adam_on_each_model(generator, shared):
    x, y = torch.randn(20, 3, generator=generator), torch.randint(2, (20,), generator=generator)
    models = [training.mlp(3, 2, widths=(5,), seed=seed) for seed in (3, 4)]

    def step(p, x, y):
        return grad(lambda q: F.cross_entropy(functional_call(models[0], q, (x,)), y))(p)

    data = (x, y) if shared else (x.expand(2, -1, -1), y.expand(2, -1))
    found = descend(
        stack(models),
        lambda p, x, y, n: vmap(step)(p, x, y),
        *data,
        seeds=(3, 4),
        epochs=3,
        batch_size=8,
        learning_rate=0.01,
    )
    for k, seed in enumerate((3, 4)):
        model = training.fit([models[k]], x, y, seeds=[seed], epochs=3, batch_size=8, learning_rate=0.01).model(0)
        for name, value in model.named_parameters():
            torch.testing.assert_close(found[name][k], value, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(outputs(models[0], found, x)[1], filled(models[0], one_of(found, 1))(x))
