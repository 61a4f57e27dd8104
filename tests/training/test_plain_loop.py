"""``fit`` against a loop as any torch user writes it: frozen layers, buffers, tied and unused parameters."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lab.datasets import moons
from lab.training import Fitted, Stack, batch_order, fit, fit_loop

DATA = moons(60, seed=1)


def plain_loop(model, seed, *, optimizer, epochs=3, batch_size=16):
    """A user's own loop: nothing of the lab but the order of the batches."""
    model = copy.deepcopy(model)
    optimizer = optimizer(model.parameters())
    for epoch in range(epochs):
        order = batch_order(len(DATA.x), seed, epoch)
        for rows in order.split(batch_size):
            optimizer.zero_grad()
            F.cross_entropy(model(DATA.x[rows]), DATA.label[rows]).backward()
            optimizer.step()
    return model


def seeded(seed, make):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return make()


def frozen_dense(seed):
    model = seeded(seed, lambda: nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2)))
    model[2].requires_grad_(False)
    return model


def frozen_bias(seed):
    model = seeded(seed, lambda: nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 2)))
    model[0].bias.requires_grad_(False)
    return model


class RandomFeatures(nn.Module):
    def __init__(self, persistent=True):
        super().__init__()
        self.register_buffer("directions", torch.randn(2, 12), persistent=persistent)
        self.register_buffer("order", torch.randperm(12))
        self.register_buffer("shared", torch.arange(12.0))
        self.head = nn.Linear(12, 2)

    def forward(self, x):
        return self.head((x @ self.directions)[:, self.order].cos() + 0.01 * self.shared)


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.middle, self.again, self.head = (
            nn.Linear(2, 6),
            nn.Linear(6, 6),
            nn.Linear(6, 6),
            nn.Linear(6, 2),
        )
        self.again.weight = self.middle.weight

    def forward(self, x):
        return self.head(torch.tanh(self.again(torch.tanh(self.middle(torch.tanh(self.first(x)))))))


def tied_dense():
    middle = nn.Linear(6, 6)
    return nn.Sequential(nn.Linear(2, 6), nn.ReLU(), middle, nn.ReLU(), middle, nn.ReLU(), nn.Linear(6, 2))


class Unused(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.spare = nn.Linear(2, 2), nn.Linear(2, 2)

    def forward(self, x):
        return self.used(x)


NETWORKS = {
    "frozen layer": frozen_dense,
    "frozen bias": frozen_bias,
    "buffers": lambda seed: seeded(seed, RandomFeatures),
    "buffers that are not saved": lambda seed: seeded(seed, lambda: RandomFeatures(False)),
    "tied weights": lambda seed: seeded(seed, Tied),
    "one layer twice": lambda seed: seeded(seed, tied_dense),
    "unused layer": lambda seed: seeded(seed, Unused),
}
OPTIMIZERS = {
    "sgd": lambda parameters: torch.optim.SGD(parameters, lr=0.1, weight_decay=0.05),
    "adam": lambda parameters: torch.optim.Adam(parameters, lr=0.01, weight_decay=0.01),
    "adamw": lambda parameters: torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1),
}
SETTINGS = {
    "sgd": {"learning_rate": 0.1, "weight_decay": 0.05},
    "adam": {"learning_rate": 0.01, "weight_decay": 0.01},
    "adamw": {"learning_rate": 0.01, "weight_decay": 0.1},
}


@pytest.mark.parametrize("train", [fit, fit_loop])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_model_is_the_one_of_a_plain_loop(name, optimizer, train):
    models = [NETWORKS[name](seed) for seed in range(3)]
    fitted = train(
        NETWORKS[name], DATA.x, DATA.label, seeds=3, epochs=3, batch_size=16, optimizer=optimizer, **SETTINGS[optimizer]
    )
    outputs = fitted.predict(DATA.x)
    for seed, model in enumerate(models):
        wanted = plain_loop(model, seed, optimizer=OPTIMIZERS[optimizer])
        found = fitted.model(seed)
        for key, value in dict(found.named_parameters()).items():
            torch.testing.assert_close(value, wanted.get_parameter(key), rtol=0, atol=2e-5, msg=key)
            assert value.requires_grad == wanted.get_parameter(key).requires_grad
        for key, value in found.named_buffers():
            assert torch.equal(value, wanted.get_buffer(key)), key
        torch.testing.assert_close(outputs[seed], wanted(DATA.x).detach(), rtol=0, atol=1e-4)
        torch.testing.assert_close(found(DATA.x).detach(), outputs[seed], rtol=0, atol=1e-5)


def test_tied_layers_of_a_trained_model_are_still_one():
    model = fit(NETWORKS["tied weights"], DATA.x, DATA.label, seeds=2, epochs=1).model(1)
    assert model.again.weight is model.middle.weight


def test_buffers_are_saved_and_loaded(tmp_path):
    fitted = fit(NETWORKS["buffers"], DATA.x, DATA.label, seeds=3, epochs=1)
    fitted.save(tmp_path / "run.safetensors")
    again = Fitted.load(tmp_path / "run.safetensors", lambda seed: NETWORKS["buffers"](seed + 7))
    assert torch.equal(again.predict(DATA.x), fitted.predict(DATA.x))


class Attribute(nn.Module):
    def __init__(self, value):
        super().__init__()
        self.value, self.head = value, nn.Linear(2, 2)

    def forward(self, x):
        return self.head(x)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (1.0, 2.0),
        (torch.zeros(3), torch.ones(3)),
        (np.zeros(2), np.ones(2)),
        ([1, 2], [1, 3]),
        ({"a": 1}, {"a": 2}),
        ("x", "y"),
    ],
)
def test_attributes_in_which_models_differ_are_refused_by_name(one, two):
    Stack([Attribute(one), Attribute(copy.deepcopy(one))])
    with pytest.raises(ValueError, match="value of model 1 differs from that of model 0; register it as a buffer"):
        Stack([Attribute(one), Attribute(two)])


def test_models_in_different_modes_or_frozen_differently_are_refused():
    with pytest.raises(ValueError, match="training of model 1 differs"):
        Stack([frozen_bias(0), frozen_bias(1).eval()])
    with pytest.raises(ValueError, match="model 1 differs from model 0"):
        Stack([frozen_bias(0), frozen_bias(1).requires_grad_(True)])
    with pytest.raises(ValueError, match="model 1 differs from model 0"):
        Stack([seeded(0, tied_dense), seeded(0, tied_dense).append(nn.Linear(2, 2))])
    with pytest.raises(ValueError, match="no parameters to train"):
        Stack([frozen_bias(0).requires_grad_(False)])
    mixed = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double())
    with pytest.raises(ValueError, match="one dtype, got torch.float32, torch.float64"):
        Stack([mixed])
