"""Gradient matching and synthetic sets: closed forms against torch.func, distances by hand, files, own images, refusals."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call, jacrev, vmap

from lab.compression import (
    Networks,
    SyntheticSet,
    condense,
    condense_all,
    evaluate,
    kernel_velocity,
    layer_distance,
    matching_loss,
)
from lab.compression.studies import dcc as study
from lab.compression.studies.common import task
from lab.compression.synthetic import by_class, network_for, random_items
from lab.datasets import load
from lab.source import project_root
from lab.training import cnn, fit_loop, mlp

DOUBLE = torch.float64


def nets(activation="relu", flat=False, inputs=6):
    def network(seed):
        layers = mlp(inputs, 3, widths=(5, 4), activation=activation, seed=seed, dtype=DOUBLE)
        return nn.Sequential(nn.Flatten(), *layers) if flat else layers

    return Networks(network)


def groups(shape=(6,), seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, 4, *shape, generator=generator, dtype=DOUBLE), torch.randint(
        3, (2, 3, 4), generator=generator
    )


@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("flat", [False, True])
def test_closed_gradients_are_those_of_autograd_for_every_network_and_group(activation, flat):
    mine, (x, y) = nets(activation, flat), groups((2, 3) if flat else (6,))
    theta = mine.fresh([0, 1])
    found = mine.gradients(theta, x, y)
    assert mine.closed and list(found) == list(theta)
    for i in range(2):
        model = mine.network(i)
        for g in range(3):
            wanted = torch.autograd.grad(F.cross_entropy(model(x[i, g]), y[i, g]), list(model.parameters()))
            for name, value in zip(found, wanted):
                assert torch.allclose(found[name][i, g], value)


def test_closed_gradients_are_differentiable_and_equal_the_general_form():
    mine, (x, y) = nets("tanh"), groups()
    theta = mine.fresh([0, 1])
    assert torch.autograd.gradcheck(
        lambda x: tuple(mine.gradients(theta, x, y).values()), x[:, :1].clone().requires_grad_()
    )
    general = nets("tanh")
    general.closed = False
    for name, value in general.gradients(theta, x, y).items():
        assert torch.allclose(mine.gradients(theta, x, y)[name], value)
    assert torch.allclose(general.logits(theta, x[:, 0]), mine.logits(theta, x[:, 0]))


def test_convolutional_networks_take_the_general_form():
    mine = Networks(lambda seed: cnn(1, 3, widths=(4,), normalization="group", seed=seed))
    found = mine.gradients(mine.fresh([0, 1]), torch.randn(2, 3, 4, 1, 8, 8), torch.zeros(2, 3, 4).long())
    assert not mine.closed and all(value.shape[:2] == (2, 3) for value in found.values())
    with pytest.raises(TypeError, match="linear layers"):
        mine.kernel(mine.fresh([0]), torch.randn(1, 3, 1, 8, 8))


def test_the_kernel_is_the_product_of_jacobians():
    mine = nets("tanh")
    theta, x = mine.fresh([3, 4]), groups()[0][:, 0]
    found = mine.kernel(theta, x)
    for i in range(2):
        own = {name: value[i] for name, value in theta.items()}
        jacobian = jacrev(lambda p, x: vmap(lambda one: functional_call(mine.template, p, (one[None],))[0])(x))(
            own, x[i]
        )
        rows = torch.cat([value.flatten(2) for value in jacobian.values()], 2)  # items, outputs, parameters
        assert torch.allclose(found[i], torch.einsum("ikp,jkp->ij", rows, rows))
    still = torch.stack([found, 3 * found])
    assert torch.allclose(kernel_velocity(still), torch.zeros(1, 2, dtype=DOUBLE), atol=1e-12)


def test_the_distance_sums_one_less_the_cosine_over_rows():
    a, b = torch.randn(2, 1, 1, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=DOUBLE)
    wanted = sum(1 - F.cosine_similarity(x.flatten(), y.flatten(), dim=0, eps=0) for x, y in zip(a[0, 0], b[0, 0]))
    assert float(layer_distance({"w": a}, {"w": b})) == pytest.approx(float(wanted), abs=1e-5)
    assert float(layer_distance({"w": a}, {"w": 5 * a})) == pytest.approx(0, abs=1e-5)
    assert (
        float(layer_distance({"w": a, "b": a[..., 0, 0]}, {"w": 5 * a, "b": -a[..., 0, 0]})) < 1e-5
    )  # biases do not count
    dead = torch.zeros(1, 1, 3, 4, dtype=DOUBLE, requires_grad=True)
    layer_distance({"w": dead * a.flatten(3)}, {"w": b.flatten(3)}).sum().backward()
    assert dead.grad.isfinite().all()
    with pytest.raises(ValueError, match="same names"):
        layer_distance({"w": a}, {"v": a})


def test_what_classes_share_drops_out_of_the_contrastive_loss_alone():
    generator = torch.Generator().manual_seed(0)
    own, shared = (
        torch.randn(1, 4, 3, 5, generator=generator, dtype=DOUBLE),
        torch.randn(3, 5, generator=generator, dtype=DOUBLE),
    )
    signs = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=DOUBLE)[:, None, None]  # sums to zero over the classes
    for method, changes in (("dc", True), ("dcc", False)):
        before = matching_loss({"w": own}, {"w": own.flip(1) + 1}, method)
        after = matching_loss({"w": own + 9 * signs * shared}, {"w": own.flip(1) + 1}, method)
        assert (not torch.allclose(before, after)) == changes


def test_condensing_lowers_the_matching_loss_and_repeats_with_its_seed():
    points = task()
    rows = torch.arange(1000)
    x, y = points.x[rows], points.y[rows]
    options = {"method": "dcc", "outer": 6, "inner": 10, "batch": 20, "frames": 3}
    found = condense_all(x, y, 1, seeds=(0, 1), **options)
    assert found.x.shape == (2, 10, 196) and found.frames.shape == (4, 2, 10, 196)
    assert torch.equal(found.frames[0], x[random_items(y, 1, (0, 1))])
    assert torch.equal(found.frames[-1], found.x)
    assert (found.losses[-10:].mean(0) < found.losses[:10].mean(0)).all()
    assert torch.equal(condense_all(x, y, 1, seeds=(0, 1), **options).x, found.x)
    alone = condense_all(x, y, 1, seeds=(1,), **options)
    assert torch.allclose(alone.x[0], found.x[1], atol=1e-3)


def test_stacked_judging_equals_the_plain_loop():
    points = task()
    rows = random_items(points.y, 1, (0, 1, 2))
    test = (points.test[0][:200], points.test[1][:200])
    y = torch.arange(10)
    found = evaluate(points.x[rows], y, test, networks=2, steps=40)
    for i in range(3):
        fitted = fit_loop(
            network_for(points.x, 10), points.x[rows[i]], y, seeds=[0, 1], optimizer="momentum", learning_rate=0.01, epochs=40,
            batch_size=None,
        )  # fmt: skip
        wanted = (fitted.predict(test[0]).argmax(2) == test[1]).double().mean(1)
        assert torch.allclose(found[i], wanted, atol=0.011)


def test_own_images_are_condensed_saved_loaded_and_learned_from(tmp_path):
    generator = np.random.default_rng(0)
    labels = np.arange(90) % 3
    images = generator.normal(100 + 60 * labels[:, None, None], 20, (90, 6, 6))
    before = images.copy()
    made = condense(images, labels, per_class=2, outer=3, inner=3, classes=("a", "b", "c"))
    assert len(made) == 6 and made.images.shape == (6, 6, 6) and made.y.tolist() == [0, 0, 1, 1, 2, 2]
    assert abs(float(made.images[made.y == 2].mean()) - 220) < 40
    assert np.array_equal(images, before)
    made.save(tmp_path / "set.npz")
    again = SyntheticSet.load(tmp_path / "set.npz")
    assert torch.equal(again.x, made.x) and again.classes == made.classes and again.method == "dcc"
    fitted = again.train(seeds=2)
    right = fitted.predict(again.standardized(images)).argmax(2) == torch.from_numpy(labels)
    assert right.double().mean() > 0.9
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(ValueError, match="holds no synthetic set"):
        SyntheticSet.load(tmp_path / "other.npz")


def test_the_sample_of_a_synthetic_set_teaches_the_digits():
    made = SyntheticSet.load(project_root() / "data" / "samples" / "synthetic_set.npz")
    test = load("mnist", size=14, part="test")
    right = made.train(seeds=2).predict(made.standardized(test.x[:, 0])).argmax(2) == test.label
    assert made.images.shape == (10, 14, 14) and right.double().mean() > 0.6


@pytest.mark.parametrize(
    "change, error, words",
    [
        ({"labels": np.array([0.0, 1.0] * 5)}, TypeError, "integer classes"),
        ({"labels": np.array([0, 2] * 5)}, ValueError, "no items of class 1"),
        ({"labels": np.array([0, 1])}, ValueError, "labels must have shape"),
        ({"images": np.zeros(10)}, ValueError, "at least one more"),
        ({"images": np.full((10, 2, 2), np.nan)}, ValueError, "images must be finite"),
        ({"per_class": 6}, ValueError, "at most 5"),
        ({"method": "dsa"}, ValueError, "method"),
        ({"outer": 0}, ValueError, "outer"),
        ({"network": nn.Linear(4, 2)}, TypeError, "callable seed"),
    ],
)
def test_bad_own_images_are_refused_in_words(change, error, words):
    arguments = {
        "images": np.arange(40.0).reshape(10, 2, 2),
        "labels": np.arange(10) % 2,
        "per_class": 1,
        "outer": 1,
    } | change
    with pytest.raises(error, match=words):
        condense(**arguments)


def test_classes_and_drawn_items_are_balanced():
    y = torch.tensor([1, 0, 1, 2, 2, 0])
    assert [place.tolist() for place in by_class(y)] == [[1, 5], [0, 2], [3, 4]]
    rows = random_items(y, 2, (0, 1))
    assert rows.shape == (2, 6) and all(y[row].tolist() == [0, 0, 1, 1, 2, 2] for row in rows)


def test_a_result_saves_loads_and_makes_a_frame(tmp_path):
    result = study.run(study.Setting.of("smoke"), seeds=(0, 1))
    assert set(result.accuracy) == {"random", "dc", "dcc", "dcc, warm-up"}
    assert list(result.to_frame()["arm"]) == list(result.accuracy)
    result.save(tmp_path / "result.pt")
    again = study.Result.load(tmp_path / "result.pt")
    assert torch.equal(again.sets["dcc"], result.sets["dcc"]) and again.shape == (14, 14)
    assert torch.equal(again.gain("dcc", "dc"), result.accuracy["dcc"] - result.accuracy["dc"])


def test_look_alikes_are_the_classes_that_are_taken_for_each_other():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(300) % 5
    centre = 6 * torch.eye(5)
    centre[3] = centre[1] + 0.1 * torch.randn(5, generator=generator)
    points = task()
    own = type(points)(
        centre[y] + torch.randn(300, 5, generator=generator), y, points.test, 0.0, 1.0, (5,), tuple("abcde")
    )
    assert {1, 3} <= set(study.look_alikes(own, count=2))


def test_classes_in_turn_keep_every_class_of_an_odd_number():
    from lab import datasets

    x = torch.randn(100, 4, generator=torch.Generator().manual_seed(0))
    data = datasets.Points(x, torch.arange(100) % 5, "own", tuple("abcde"))
    result = study.run(study.Setting.of("smoke", group="in turn"), seeds=(0,), data=data)
    assert result.y.tolist() == [0, 1, 2, 3, 4] and result.stages["dcc"].shape == (2, 1)


def test_the_rate_of_the_images_may_be_one_a_seed(generator):
    x, y = torch.randn(30, 6, generator=generator), torch.arange(30) % 3
    options = {"outer": 2, "inner": 2, "batch": 4}
    both = condense_all(x, y, 1, seeds=(0, 1), image_rate=(0.1, 0.4), **options)
    for k, rate in enumerate((0.1, 0.4)):
        alone = condense_all(x, y, 1, seeds=(k,), image_rate=rate, **options)
        torch.testing.assert_close(both.x[k], alone.x[0], atol=1e-5, rtol=1e-4)
    moved = (both.x - both.frames[0]).flatten(1).norm(dim=1)
    assert float(moved[1]) > float(moved[0])


def test_a_diverged_set_scores_nothing_and_every_arm_has_its_recorded_rate():
    y = torch.arange(2)
    sets = torch.randn(2, 2, 5)
    sets[1, 0, 0] = float("nan")
    values = study.scored(sets, y, (torch.randn(8, 5), torch.arange(8) % 2), {"networks": 1, "steps": 5})
    assert values.isnan().tolist() == [False, True]
    assert set(study.rates()) == set(study.ARMS) and all(rate in study.RATES for rate in study.rates().values())
