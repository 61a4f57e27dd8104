"""Attacks: the ball is kept, linear models are attacked exactly, stronger attacks are stronger."""

import pytest
import torch
import torch.nn.functional as F

from lab.datasets import load
from lab.training import accuracy, apgd, fgsm, fit, mlp, pgd
from lab.training.attacks import _checkpoints, _dlr

ATTACKS = {
    "fgsm": fgsm,
    "pgd": lambda *a, **k: pgd(*a, steps=10, **k),
    "apgd": lambda *a, **k: apgd(*a, steps=20, **k),
    "apgd-dlr": lambda *a, **k: apgd(*a, steps=20, loss="dlr", **k),
}


@pytest.fixture(scope="module")
def trained():
    train, test = load("digits").split(0.3, seed=0)
    fitted = fit(
        lambda seed: mlp(64, 10, widths=(32,), seed=seed),
        train.x.flatten(1),
        train.label,
        seeds=1,
        epochs=15,
        learning_rate=3e-3,
    )
    return fitted.model(0), test.x.flatten(1)[:200], test.label[:200]


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("norm, epsilon", [("linf", 0.1), ("l2", 0.6)])
def test_attack_keeps_ball_and_bounds_and_harms(trained, name, norm, epsilon):
    model, x, y = trained
    state = torch.random.get_rng_state()
    found = ATTACKS[name](model, x, y, epsilon=epsilon, norm=norm)
    offset = found - x
    size = offset.abs().amax(dim=1) if norm == "linf" else offset.norm(dim=1)
    assert float(size.max()) <= epsilon * (1 + 1e-5)
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert accuracy(model(found).detach(), y, logits=True) < accuracy(model(x).detach(), y, logits=True) - 0.2
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.mark.parametrize("name", ["fgsm", "pgd", "apgd"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_linear_model_is_attacked_exactly(name, norm):
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, generator=generator, dtype=torch.float64)
    model = lambda x: torch.stack([x @ weight, torch.zeros(len(x), dtype=x.dtype)], dim=1)  # noqa: E731
    x = torch.randn(5, 6, generator=generator, dtype=torch.float64)
    y = torch.tensor([0, 1, 0, 1, 0])
    attack = {"fgsm": fgsm, "pgd": lambda *a, **k: pgd(*a, steps=30, step_size=0.3, **k), "apgd": apgd}[name]
    found = attack(model, x, y, epsilon=0.3, norm=norm, bounds=None)
    direction = weight.sign() if norm == "linf" else weight / weight.norm()
    sign = torch.where(y == 0, -1.0, 1.0).double()[:, None]
    torch.testing.assert_close(found, x + 0.3 * sign * direction, rtol=0, atol=1e-6)


def test_iterated_attacks_beat_one_step_and_more_restarts_never_lose(trained):
    model, x, y = trained
    right = lambda z: accuracy(model(z).detach(), y, logits=True)  # noqa: E731
    one = right(fgsm(model, x, y, epsilon=0.08))
    assert right(pgd(model, x, y, epsilon=0.08)) < one
    assert right(apgd(model, x, y, epsilon=0.08, steps=40)) < one
    single, many = (pgd(model, x, y, epsilon=0.08, steps=4, restarts=restarts, seed=1) for restarts in (1, 4))
    assert right(many) <= right(single)
    assert F.cross_entropy(model(many), y).item() >= F.cross_entropy(model(single), y).item() - 1e-3


def test_same_seed_same_attack(trained):
    model, x, y = trained
    assert torch.equal(pgd(model, x, y, epsilon=0.1, steps=3, seed=4), pgd(model, x, y, epsilon=0.1, steps=3, seed=4))
    assert not torch.equal(
        pgd(model, x, y, epsilon=0.1, steps=1, seed=4), pgd(model, x, y, epsilon=0.1, steps=1, seed=5)
    )


def test_checkpoints_and_dlr_are_the_papers():
    assert sorted(_checkpoints(100))[:6] == [22, 41, 57, 70, 80, 87]
    logits = torch.tensor([[3.0, 1.0, 0.0, -2.0], [0.0, 5.0, 2.0, 1.0]])
    torch.testing.assert_close(_dlr(logits, torch.tensor([0, 2])), torch.tensor([-2.0 / 3.0, 3.0 / 4.0]))
    torch.testing.assert_close(_dlr(7 * logits + 1, torch.tensor([0, 2])), _dlr(logits, torch.tensor([0, 2])))


@pytest.mark.parametrize(
    "change, words",
    [
        ({"epsilon": 0.0}, "epsilon"),
        ({"epsilon": float("nan")}, "epsilon"),
        ({"norm": "l1"}, "norm must be one of"),
        ({"inputs": torch.full((3, 2), 2.0)}, "lie in bounds"),
        ({"inputs": torch.full((3, 2), float("nan"))}, "finite"),
        ({"targets": torch.tensor([0, 1])}, "shape"),
        ({"targets": torch.tensor([0.0, 1, 0])}, "integer classes"),
        ({"inputs": torch.zeros(3, 2, dtype=torch.long)}, "floating-point"),
        ({"model": lambda x: x.sum(dim=1)}, "model must return logits"),
    ],
)
def test_bad_arguments_are_refused(change, words):
    options = {
        "model": lambda x: x,
        "inputs": torch.full((3, 2), 0.5),
        "targets": torch.tensor([0, 1, 0]),
        "epsilon": 0.1,
        **change,
    }
    for attack in (fgsm, pgd, apgd):
        with pytest.raises((ValueError, TypeError), match=words):
            attack(
                options["model"],
                options["inputs"],
                options["targets"],
                epsilon=options["epsilon"],
                **({"norm": options["norm"]} if "norm" in options else {}),
            )


def test_dlr_needs_three_classes():
    with pytest.raises(ValueError, match="at least 3 classes"):
        apgd(lambda x: x, torch.full((3, 2), 0.5), torch.tensor([0, 1, 0]), epsilon=0.1, loss="dlr")
