"""Gradients as functions, unrolled training, sharpness-aware steps, head gradients: against autograd, loops and closed forms."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, grad, vmap

from lab.training import (
    flatten,
    gradients,
    head_gradient_norms,
    head_gradients,
    log_running_mean,
    loss_sharpness,
    mlp,
    parameters_of,
    perturb,
    recomputed,
    sam_gradient,
    unflatten,
    unroll,
)

DOUBLE = torch.float64


def network(seed=0):
    return mlp(5, 3, widths=(7,), activation="tanh", seed=seed, dtype=DOUBLE)


def batch(items=12, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(items, 5, generator=generator, dtype=DOUBLE), torch.randint(3, (items,), generator=generator)


def plain(model, x, y):
    found = torch.autograd.grad(F.cross_entropy(model(x), y), list(model.parameters()))
    return dict(zip(dict(model.named_parameters()), found))


def test_gradients_of_a_batch_of_items_and_of_groups_are_those_of_autograd():
    model, (x, y) = network(), batch()
    parameters = parameters_of(model)
    for name, value in plain(model, x, y).items():
        assert torch.allclose(gradients(model, parameters, x, y)[name], value)
    by_item = gradients(model, parameters, x, y, by="item")
    by_group = gradients(model, parameters, x.view(4, 3, 5), y.view(4, 3), by="group")
    for i in range(12):
        for name, value in plain(model, x[i : i + 1], y[i : i + 1]).items():
            assert torch.allclose(by_item[name][i], value)
    for i in range(4):
        for name, value in plain(model, x[3 * i : 3 * i + 3], y[3 * i : 3 * i + 3]).items():
            assert torch.allclose(by_group[name][i], value)
    assert all(p.grad is None for p in model.parameters())


def test_gradients_are_differentiable_in_the_data():
    model, (x, y) = network(), batch(2)
    parameters = parameters_of(model)
    assert torch.autograd.gradcheck(
        lambda x: tuple(gradients(model, parameters, x, y, by="item").values()), x.clone().requires_grad_()
    )


def test_flatten_and_unflatten_are_inverse_with_leading_axes():
    parameters = parameters_of(network())
    vector = flatten(parameters)
    assert vector.shape == (5 * 7 + 7 + 7 * 3 + 3,)
    assert all(torch.equal(v, parameters[n]) for n, v in unflatten(vector, parameters).items())
    stacked = {name: torch.stack([value, 2 * value]) for name, value in parameters.items()}
    rows = flatten(stacked, leading=1)
    assert torch.equal(rows[1], 2 * vector)
    assert all(torch.equal(v, stacked[n]) for n, v in unflatten(rows, parameters).items())
    with pytest.raises(ValueError, match="entries on its last axis"):
        unflatten(vector[:-1], parameters)


def test_unrolled_training_equals_torchs_momentum():
    model, (x, y) = network(), batch()
    found = unroll(
        lambda p, step: gradients(model, p, x, y), parameters_of(model), steps=6, learning_rate=0.3, momentum=0.9
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.3, momentum=0.9)
    for step in range(6):
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        for name, value in model.named_parameters():
            assert torch.allclose(found[step + 1][name], value)
    assert len(found) == 7


@pytest.mark.parametrize("recompute", [False, True])
def test_gradient_through_training_equals_finite_differences(recompute):
    model, (x, y) = mlp(5, 3, widths=(2,), activation="tanh", seed=0, dtype=DOUBLE), batch(2)
    start = {name: value.requires_grad_() for name, value in parameters_of(model).items()}

    def end(x, rate, *values):
        found = unroll(
            lambda p, step, x: gradients(model, p, x, y), dict(zip(start, values)), x, steps=4, learning_rate=rate,
            momentum=0.5, recompute=recompute,
        )  # fmt: skip
        return flatten(found[-1]), flatten(found[2])

    rate = torch.tensor(0.4, dtype=DOUBLE, requires_grad=True)
    assert torch.autograd.gradcheck(end, (x.clone().requires_grad_(), rate, *start.values()))


def test_recomputation_keeps_fewer_graphs_and_changes_nothing():
    model = mlp(50, 10, widths=(64,), seed=0)
    generator = torch.Generator().manual_seed(0)
    x, y = torch.randn(20, 50, generator=generator), torch.arange(20) % 10
    found, held = [], []
    for recompute in (False, True):
        data, count, kept = x.clone().requires_grad_(), [0], []

        def step(p, number, x, count=count, kept=kept):
            count[0] += 1
            g = gradients(model, p, x, y)
            kept.append(g["0.weight"].grad_fn is not None)
            return g

        out = unroll(step, parameters_of(model), data, steps=16, learning_rate=0.1, recompute=recompute)
        held.append(sum(kept))
        found.append(torch.autograd.grad(flatten(out[-1]).square().sum(), data)[0])
        assert count[0] == (32 if recompute else 16)
    assert torch.allclose(*found, rtol=1e-4, atol=1e-7)
    assert held == [16, 0]


def test_recomputed_functions_can_be_differentiated_twice():
    x = torch.randn(4, dtype=DOUBLE, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: recomputed(lambda x: (x.sin() * x, x), x), x)
    assert torch.autograd.gradgradcheck(lambda x: recomputed(lambda x: x.sin() * x, x), x)
    assert recomputed(lambda x: x * 2, x.detach()).requires_grad is False


def test_bad_arguments_of_unrolled_training_are_refused():
    parameters = {"w": torch.ones(2)}
    with pytest.raises(ValueError, match="momentum"):
        unroll(lambda p, s: p, parameters, steps=1, learning_rate=0.1, momentum=1.0)
    with pytest.raises(ValueError, match="steps"):
        unroll(lambda p, s: p, parameters, steps=-1, learning_rate=0.1)
    with pytest.raises(ValueError, match="by must be"):
        gradients(network(), parameters, *batch(), by="class")
    with pytest.raises(ValueError, match="equally many"):
        gradients(network(), parameters, batch()[0], batch(3)[1])


# sharpness


def quadratic(p):
    return 0.5 * (torch.tensor([1.0, 9.0], dtype=DOUBLE) * p["w"] ** 2).sum()


def test_the_perturbation_has_the_radius_and_the_direction_of_its_paper():
    p = {"w": torch.tensor([3.0, -4.0], dtype=DOUBLE)}
    g = {"w": torch.tensor([0.6, 0.8], dtype=DOUBLE)}
    assert torch.allclose(perturb(p, g, 0.5)["w"] - p["w"], 0.5 * g["w"])
    size = p["w"].abs() + 0.01
    wanted = 0.5 * size**2 * g["w"] / (size * g["w"]).norm()
    assert torch.allclose(perturb(p, g, 0.5, adaptive=True)["w"] - p["w"], wanted)
    assert torch.equal(perturb(p, {"w": torch.zeros(2, dtype=DOUBLE)}, 0.5)["w"], p["w"])


def test_adaptive_sharpness_does_not_change_when_weights_are_scaled_against_each_other():
    p = {"a": torch.tensor(2.0, dtype=DOUBLE), "b": torch.tensor(0.5, dtype=DOUBLE)}
    loss = lambda p: (p["a"] * p["b"] - 3) ** 2  # noqa: E731
    scaled = {"a": p["a"] * 10, "b": p["b"] / 10}
    values = {
        adaptive: [
            float(perturb(q, grad(loss)(q), 0.1, adaptive=adaptive, offset=0.0)["a"] / q["a"]) for q in (p, scaled)
        ]
        for adaptive in (True, False)
    }
    assert values[True][0] == pytest.approx(values[True][1])
    assert abs(values[False][0] - values[False][1]) > 1e-3


def test_sharpness_aware_gradients_on_a_quadratic_have_closed_forms():
    p, rho = {"w": torch.tensor([1.0, 1.0], dtype=DOUBLE)}, 0.1
    curvature = torch.tensor([1.0, 9.0], dtype=DOUBLE)
    g = curvature * p["w"]
    moved = p["w"] + rho * g / g.norm()
    there = curvature * moved
    found, value = sam_gradient(quadratic, p, rho)
    assert torch.allclose(found["w"], there) and float(value) == 5.0
    assert torch.allclose(sam_gradient(quadratic, p, 0.0)[0]["w"], g)
    orthogonal = g - (g @ there) / (there @ there) * there
    assert torch.allclose(sam_gradient(quadratic, p, rho, kind="gsam", alpha=0.3)[0]["w"], there - 0.3 * orthogonal)
    assert float(loss_sharpness(quadratic, p, rho)) == pytest.approx(float(quadratic({"w": moved}) / 5 - 1))
    assert float(loss_sharpness(quadratic, p, rho, relative=False)) == pytest.approx(float(quadratic({"w": moved}) - 5))


@pytest.mark.parametrize("kind", ["sam", "asam", "gsam"])
def test_sharpness_aware_gradients_map_over_models(kind):
    models, (x, y) = [network(seed) for seed in range(3)], batch()
    stacked = {n: torch.stack([parameters_of(m)[n] for m in models]) for n in parameters_of(models[0])}
    loss = lambda p: F.cross_entropy(functional_call(models[0], p, (x,)), y)  # noqa: E731
    found, values = vmap(lambda p: sam_gradient(loss, p, 0.1, kind=kind))(stacked)
    for i, model in enumerate(models):
        single, value = sam_gradient(loss, parameters_of(model), 0.1, kind=kind)
        assert torch.allclose(values[i], value)
        assert all(torch.allclose(found[n][i], single[n]) for n in single)


def test_bad_arguments_of_sharpness_are_refused():
    p = {"w": torch.ones(2, dtype=DOUBLE)}
    with pytest.raises(ValueError, match="rho"):
        perturb(p, p, -1.0)
    with pytest.raises(ValueError, match="names"):
        perturb(p, {"v": torch.ones(2)}, 1.0)
    with pytest.raises(ValueError, match="kind"):
        sam_gradient(quadratic, p, kind="flat")


# single items of a head


def hinge(z, y):
    return (1 - z.gather(1, y[:, None]).squeeze(1)).relu().square()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("loss", ["cross_entropy", hinge])
def test_head_gradients_are_those_of_vmap_and_grad(bias, loss):
    generator = torch.Generator().manual_seed(0)
    head = nn.Linear(6, 4, bias=bias, dtype=DOUBLE)
    h, y = torch.randn(9, 6, generator=generator, dtype=DOUBLE), torch.randint(4, (9,), generator=generator)
    measure = F.cross_entropy if loss == "cross_entropy" else lambda z, y: hinge(z, y).mean()
    single = grad(lambda p, h, y: measure(functional_call(head, p, (h[None],)), y[None]))
    wanted = vmap(single, in_dims=(None, 0, 0))(parameters_of(head), h, y)
    found = head_gradients(head, h, y, loss)
    assert found.keys() == wanted.keys()
    for name in wanted:
        assert torch.allclose(found[name], wanted[name])
    norms = sum(value.flatten(1).square().sum(1) for value in wanted.values()).sqrt()
    assert torch.allclose(head_gradient_norms(head, h, y, loss), norms)


def test_head_gradients_are_differentiable_in_the_features():
    head, y = nn.Linear(3, 2, dtype=DOUBLE), torch.tensor([0, 1])
    h = torch.randn(2, 3, dtype=DOUBLE, generator=torch.Generator().manual_seed(0), requires_grad=True)
    assert torch.autograd.gradcheck(lambda h: head_gradients(head, h, y)["weight"], h)
    squared = lambda z, y: (z - y[:, None]).pow(4).sum(1)  # noqa: E731
    assert torch.autograd.gradcheck(lambda h: head_gradient_norms(head, h, y, squared), h)


def test_bad_heads_are_refused():
    h, y = torch.ones(2, 3), torch.tensor([0, 1])
    with pytest.raises(TypeError, match="Linear"):
        head_gradients(nn.Conv2d(1, 1, 1), h, y)
    with pytest.raises(ValueError, match="one value an item"):
        head_gradients(nn.Linear(3, 2), h, y, F.cross_entropy)
    with pytest.raises(ValueError, match="one entry for each"):
        head_gradients(nn.Linear(3, 2), h, y[:1])


# trackers


def test_the_running_mean_is_that_of_the_numbers_and_holds_what_they_cannot():
    log_mean = torch.full((3,), float("nan"), dtype=DOUBLE)
    values = torch.rand(10, 3, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    mean = values[0]
    for value in values:
        log_mean = log_running_mean(log_mean, value.log(), 0.3)
        mean = value if value is values[0] else 0.7 * mean + 0.3 * value
    mean = values[0]
    for value in values[1:]:
        mean = 0.7 * mean + 0.3 * value
    assert torch.allclose(log_mean.exp(), mean)
    huge = log_running_mean(torch.tensor(2000.0, dtype=DOUBLE), torch.tensor(2010.0, dtype=DOUBLE), 0.5)
    assert float(huge) == pytest.approx(2010 + torch.tensor((1 + 2.718281828459045**-10) / 2).log().item())
    assert torch.equal(log_running_mean(log_mean, values[0], 1.0), values[0])


def test_a_fresh_tracker_passes_a_clean_gradient():
    new = torch.tensor([0.5, 1.0], dtype=DOUBLE, requires_grad=True)
    log_running_mean(torch.tensor([float("nan"), 0.0], dtype=DOUBLE), new, 0.5).sum().backward()
    assert new.grad[0] == 1 and 0 < new.grad[1] < 1
    with pytest.raises(ValueError, match="gamma"):
        log_running_mean(new, new, 0.0)
