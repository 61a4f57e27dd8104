"""Training many models at once equals the plain loop, whatever the models, losses and optimizers."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lab.datasets import load, moons, textures
from lab.training import Fitted, PerModel, Stack, batch_order, cnn, fit, fit_loop, mlp, unet

DATA = moons(120, seed=1)
HELD = moons(60, seed=2)


def small(seed, **options):
    return mlp(2, 2, widths=(16, 8), seed=seed, **options)


def assert_same_training(first, second):
    """Weights, relative to the largest of their kind, and histories to 1,000 units of rounding; decisions exactly.

    Stacked and single products add in another order. A step loses a few units of rounding, and the largest rates here
    double a difference every epoch; in float64 nothing but rounding is below the bound.
    """
    bound = 1e3 * torch.finfo(first.stack.weights[0].dtype).eps
    for a, b in zip(first.stack.weights, second.stack.weights):
        torch.testing.assert_close(
            a.detach(), b.detach(), rtol=0, atol=bound * max(float(b.detach().abs().max()), 1e-2)
        )
    for name in ("loss", "validation"):
        a, b = getattr(first.history, name), getattr(second.history, name)
        torch.testing.assert_close(a, b, rtol=bound, atol=bound, equal_nan=True)
    assert torch.equal(first.epochs, second.epochs)
    assert torch.equal(first.stopped, second.stopped)
    assert torch.equal(first.diverged, second.diverged)


class Focal(nn.Module):
    """One loss value per item."""

    reduction = "none"

    def forward(self, logits, targets):
        return F.cross_entropy(logits, targets, reduction="none") ** 1.5


def looks_at_values(logits, targets):
    """A loss that mapping refuses: it branches on what it sees."""
    if int(targets.max()) > 1:
        raise ValueError("two classes are wanted")
    return F.cross_entropy(logits, targets)


VARIATIONS = {
    "loss that looks at values": {"loss": looks_at_values},
    "adam": {},
    "rates and decays per model": {"learning_rate": [1e-2, 1e-3, 3e-3, 0.1], "weight_decay": [0.0, 0.1, 0.01, 1.0]},
    "sgd": {"optimizer": "sgd", "learning_rate": [0.1, 0.2, 0.3, 0.05], "weight_decay": 0.01},
    "momentum, clipped": {
        "optimizer": "momentum",
        "learning_rate": [0.05, 0.1, 0.2, 0.3],
        "weight_decay": [0.0, 0.1, 0.01, 0.5],
        "clip": 0.3,
    },
    "adamw": {"optimizer": "adamw", "learning_rate": [1e-2, 1e-3, 3e-3, 0.1], "weight_decay": [0.0, 0.1, 0.01, 1.0]},
    "rmsprop": {"optimizer": "rmsprop", "learning_rate": [1e-2, 1e-3, 3e-3, 0.02]},
    "adagrad": {"optimizer": "adagrad", "learning_rate": 0.05},
    "own optimizer": {"optimizer": lambda parameters: torch.optim.NAdam(parameters, lr=3e-3)},
    "cosine": {"schedule": "cosine"},
    "warm-up": {"schedule": "warmup-cosine", "optimizer": "sgd", "learning_rate": 0.5},
    "own schedule": {"schedule": lambda done: 1 / (1 + 5 * done)},
    "full batch": {"batch_size": None},
    "uneven batches": {"batch_size": 50},
    "weights": {"sample_weights": torch.linspace(0, 2, 120)},
    "weights per model": {"sample_weights": PerModel(torch.rand(4, 120, generator=torch.Generator().manual_seed(0)))},
    "labels per model": {
        "targets": PerModel(torch.stack([DATA.label, 1 - DATA.label, DATA.label.roll(1), DATA.label]))
    },
    "loss of one model": {"loss": lambda z, y: F.cross_entropy(z, y, label_smoothing=0.1)},
    "loss of items": {"loss": Focal()},
    "a loss per model": {"loss": ["cross_entropy", Focal(), "cross_entropy", lambda z, y: F.multi_margin_loss(z, y)]},
    "objective": {"objective": lambda model, x, y: F.cross_entropy(model(x), y) + 0.1 * model(x).square().mean()},
    "early stopping": {
        "validation": (HELD.x, HELD.label),
        "patience": 1,
        "optimizer": "sgd",
        "learning_rate": [0.5, 3.0, 8.0, 1.0],
    },
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("name", VARIATIONS)
def test_stacked_training_equals_the_loop(name, dtype):
    network = lambda seed: small(seed, dtype=dtype)  # noqa: E731
    options = {"inputs": DATA.x, "targets": DATA.label, "seeds": [0, 5, 7, 11], "epochs": 4, **VARIATIONS[name]}
    together, alone = fit(network, **options), fit_loop(network, **options)
    assert_same_training(together, alone)
    moved = [
        float((weight - start).detach().abs().max())
        for weight, start in zip(together.stack.weights, Stack([network(s) for s in (0, 5, 7, 11)]).weights)
    ]
    assert min(moved) > 1e-4


@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid", "gelu", "silu", "elu", "softplus", "leaky_relu"])
def test_every_activation_has_the_right_gradient(activation):
    network = lambda seed: small(seed, activation=activation, dtype=torch.float64)  # noqa: E731
    assert_same_training(
        fit(network, DATA.x, DATA.label, seeds=3, epochs=3),
        fit_loop(network, DATA.x, DATA.label, seeds=3, epochs=3),
    )


def test_images_regression_and_segmentation_equal_the_loop():
    patches = textures(48, size=16)
    classify = lambda seed: cnn(1, 3, widths=(4, 8), normalization="group", seed=seed)  # noqa: E731
    assert_same_training(
        fit(classify, patches.x, patches.label, seeds=3, epochs=2),
        fit_loop(classify, patches.x, patches.label, seeds=3, epochs=2),
    )
    x, y, _ = load("diabetes").numeric()
    options = {"inputs": x, "targets": y / 100, "loss": "squared_error", "seeds": 3, "epochs": 2}
    regress = lambda seed: mlp(10, 1, widths=(8,), bias=False, seed=seed)  # noqa: E731
    assert_same_training(fit(regress, **options), fit_loop(regress, **options))
    field = load("smooth_field")
    images = field.image[:64].unfold(0, 21, 21).unfold(1, 21, 21).reshape(-1, 1, 21, 21)
    labels = field.mask[:64].unfold(0, 21, 21).unfold(1, 21, 21).reshape(-1, 1, 21, 21)
    options = {
        "inputs": images,
        "targets": labels,
        "loss": "binary_cross_entropy",
        "seeds": 2,
        "epochs": 2,
        "batch_size": 8,
    }
    segment = lambda seed: unet(1, 1, widths=(4, 8), seed=seed)  # noqa: E731
    assert_same_training(fit(segment, **options), fit_loop(segment, **options))


def test_flattened_images_take_the_dense_path_and_equal_the_loop():
    digits = load("digits")
    network = lambda seed: nn.Sequential(nn.Flatten(), *mlp(64, 10, widths=(16,), seed=seed))  # noqa: E731
    options = {"inputs": digits.x[:200], "targets": digits.label[:200], "seeds": 3, "epochs": 2}
    assert_same_training(fit(network, **options), fit_loop(network, **options))


def test_networks_that_end_in_an_activation_equal_the_loop():
    network = lambda seed: nn.Sequential(*small(seed), nn.ReLU())  # noqa: E731
    options = {"inputs": DATA.x, "targets": DATA.label, "loss": lambda z, y: z.sum() * 1e-2, "seeds": 3, "epochs": 2}
    assert_same_training(fit(network, **options), fit_loop(network, **options))


def test_a_model_does_not_depend_on_its_companions():
    many = fit(small, DATA.x, DATA.label, seeds=[3, 4, 5], epochs=3, learning_rate=[1e-2, 1e4, 1e-2])
    one = fit(small, DATA.x, DATA.label, seeds=[3], epochs=3, learning_rate=1e-2)
    for weight, single in zip(many.stack.weights, one.stack.weights):
        torch.testing.assert_close(weight[0], single[0], rtol=0, atol=1e-5)


def test_training_learns_and_shuffled_labels_do_not():
    digits = load("digits")
    train, test = digits.split(0.3, seed=0)
    shuffled = train.label[torch.randperm(len(train), generator=torch.Generator().manual_seed(0))]
    fitted = fit(
        lambda seed: mlp(64, 10, widths=(32,), seed=seed),
        train.x.flatten(1),
        PerModel(torch.stack([train.label, shuffled])),
        seeds=[0, 1],
        epochs=20,
        learning_rate=3e-3,
    )
    right = (fitted.predict(test.x.flatten(1)).argmax(dim=2) == test.label).float().mean(dim=1)
    assert right[0] > 0.93
    assert right[1] < 0.2


def test_early_stopping_keeps_the_best_weights():
    fitted = fit(
        small,
        DATA.x,
        DATA.label,
        seeds=4,
        epochs=30,
        optimizer="sgd",
        learning_rate=[0.01, 1.0, 8.0, 20.0],
        validation=(HELD.x, HELD.label),
        patience=2,
    )
    losses = torch.stack([F.cross_entropy(logits, HELD.label) for logits in fitted.predict(HELD.x)])
    best = fitted.history.validation.nan_to_num(float("inf")).min(dim=1)
    torch.testing.assert_close(losses, best.values, rtol=1e-5, atol=1e-6)
    assert torch.equal(best.indices + 1, fitted.epochs)
    assert bool(fitted.stopped.any())


def test_divergence_is_said_and_stays_with_its_model():
    fitted = fit(
        lambda seed: mlp(2, 1, widths=(8,), seed=seed),
        100 * DATA.x,
        DATA.label.float(),
        loss="squared_error",
        seeds=2,
        epochs=4,
        optimizer="sgd",
        learning_rate=[1e-7, 10.0],
    )
    assert fitted.diverged.tolist() == [False, True]
    assert bool(torch.isfinite(fitted.predict(DATA.x)[0]).all())


def test_cancel_and_progress():
    calls, seen = [], []
    fitted = fit(
        small,
        DATA.x,
        DATA.label,
        seeds=2,
        epochs=5,
        progress=lambda *state: seen.append(state[:2]),
        cancel=lambda: calls.append(0) or len(calls) > 9,
    )
    assert fitted.cancelled
    assert seen == [(1, 5), (2, 5)]
    assert fitted.epochs.tolist() == [2, 2]
    assert len(calls) == 10


def test_save_and_load(tmp_path):
    fitted = fit(small, DATA.x, DATA.label, seeds=3, epochs=2)
    fitted.save(tmp_path / "run.safetensors")
    again = Fitted.load(tmp_path / "run.safetensors", small)
    assert torch.equal(again.predict(HELD.x), fitted.predict(HELD.x))
    assert torch.equal(again.history.loss, fitted.history.loss)
    assert again.seeds == fitted.seeds
    assert [path.name for path in tmp_path.iterdir()] == ["run.safetensors"]
    with pytest.raises(ValueError, match="network does not fit the file"):
        Fitted.load(tmp_path / "run.safetensors", lambda seed: mlp(2, 2, widths=(4, 4), seed=seed))
    frame = fitted.to_frame()
    assert list(frame.columns) == ["model", "seed", "epoch", "loss"]
    assert len(frame) == 6


def test_models_passed_in_stay_as_they_are_and_global_randomness_too():
    models = [small(0), small(1)]
    before = [parameter.clone() for model in models for parameter in model.parameters()]
    state = torch.random.get_rng_state()
    fitted = fit(models, DATA.x, DATA.label, epochs=2)
    assert all(torch.equal(a, b) for a, b in zip(before, (p for m in models for p in m.parameters())))
    assert torch.equal(state, torch.random.get_rng_state())
    assert torch.equal(fitted.stack.weights[0], fit(small, DATA.x, DATA.label, seeds=2, epochs=2).stack.weights[0])


def test_stack_gives_its_models_back():
    models = [cnn(1, 3, widths=(4,), seed=seed) for seed in range(3)]
    stack = Stack(models)
    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    for index, model in enumerate(models):
        torch.testing.assert_close(stack(x)[index], model(x), rtol=0, atol=1e-6)
        assert torch.equal(stack[index](x), model(x))
    assert torch.equal(stack[-1](x), models[2](x))
    own = stack(PerModel(torch.stack([x, 2 * x, 3 * x])))
    torch.testing.assert_close(own[2], models[2](3 * x), rtol=0, atol=1e-6)


def test_batch_order_is_a_permutation_that_changes_with_seed_and_epoch():
    orders = [tuple(batch_order(50, seed, epoch).tolist()) for seed in range(3) for epoch in range(3)]
    assert all(sorted(order) == list(range(50)) for order in orders)
    assert len(set(orders)) == 9


BAD = {
    "inputs": (dict(inputs=torch.full((4, 2), float("nan"))), "inputs must be finite"),
    "infinite": (dict(inputs=torch.full((4, 2), float("inf"))), "inputs must be finite"),
    "complex": (dict(inputs=torch.zeros(120, 2, dtype=torch.complex64)), "inputs must be real"),
    "empty": (dict(inputs=torch.zeros(0, 2)), "inputs is empty"),
    "items": (dict(targets=DATA.label[:50]), "equally many items, got 120 and 50"),
    "float classes": (dict(targets=DATA.label.float()), "int64 classes"),
    "seeds": (dict(seeds=0), "seeds must be at least 1"),
    "epochs": (dict(epochs=0), "epochs"),
    "rate": (dict(learning_rate=-1.0), "learning_rate"),
    "rates": (dict(learning_rate=[0.1]), "one for each of the 2 models"),
    "optimizer": (dict(optimizer="adm"), "did you mean 'adam'"),
    "schedule": (dict(schedule="cosin"), "did you mean 'cosine'"),
    "loss": (dict(loss="crossentropy"), "did you mean 'cross_entropy'"),
    "losses": (dict(loss=["cross_entropy"]), "one for each of the 2"),
    "patience": (dict(patience=2), "patience needs validation"),
    "weights": (dict(sample_weights=-torch.ones(120)), "non-negative"),
    "weights of a scalar loss": (
        dict(sample_weights=torch.ones(120), loss=lambda z, y: z.sum()),
        "loss of single items",
    ),
    "models": (dict(inputs=PerModel(torch.zeros(3, 120, 2))), "one entry for each of the 2 models"),
    "vector loss": (dict(loss=lambda z, y: z.sum(dim=1)), "one number for a model's batch"),
    "objective": (dict(objective=3), "objective must be callable"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_refused_by_name(name):
    change, words = BAD[name]
    with pytest.raises((ValueError, TypeError), match=words):
        fit(small, **{"inputs": DATA.x, "targets": DATA.label, "seeds": 2, "epochs": 1, **change})


def test_networks_that_cannot_be_stacked_are_refused():
    with pytest.raises(TypeError, match=r"pass \[module\]"):
        fit(small(0), DATA.x, DATA.label)
    with pytest.raises(TypeError, match="BatchNorm1d"):
        fit(lambda seed: nn.Sequential(nn.Linear(2, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)), DATA.x, DATA.label)
    with pytest.raises(ValueError, match="model 1 differs from model 0"):
        fit([small(0), mlp(2, 2, seed=0)], DATA.x, DATA.label)
    with pytest.raises(ValueError, match="at least one"):
        Stack([])
