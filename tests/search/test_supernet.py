"""The supernet: mixtures, paths, networks, second order, the benchmark table; each against another way to the same number."""

import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lab.search import benchmark, bilevel
from lab.search.bilevel import Recipe, Search, Split, cross_entropies, unrolled_gradient
from lab.search.latency import LatencyTable
from lab.search.space import DENSE, Genotype, Space
from lab.search.supernet import Supernet, counts, discretize, mix, one_hot, retrain

DENSE_SPACE = Space("eight", 6, 3, nodes=3, cells=2, width=8)
QUIET = Space(
    tuple(name for name in DENSE if name != "noise"), 6, 3, nodes=3, cells=2, width=8
)  # noise is chaotic in rounding
IMAGES = Space("image", 1, 3, cells=2, width=4, image=True)


@pytest.fixture
def split(generator):
    x = torch.rand(60, 6, generator=generator)
    return Split.of(x, (x[:, 0] > 0.5).long(), train=24, validation=24)


@pytest.mark.parametrize("space", [QUIET, IMAGES], ids=["dense", "images"])
def test_one_hot_mixture_equals_the_path_and_the_plain_network(space, generator):
    supernet = Supernet(space)
    parameters, choice = supernet.initialize(range(5)), space.random(5, generator)
    x = torch.rand(7, *((1, 5, 5) if space.image else (6,)), generator=generator)
    mixture = supernet(parameters, one_hot(choice, space), x)
    torch.testing.assert_close(mixture, supernet.path(parameters, choice, x))
    plan = supernet.plan(choice)
    taken = supernet.take(parameters, plan)
    for m in range(5):
        network = supernet.network(space.genotype(choice[m]))
        one = supernet.take({k: v[m : m + 1] for k, v in parameters.items()}, supernet.plan(choice[m : m + 1]))
        state = {}
        for name, value in one.items():
            parts = name.split(".")
            if parts[0].isdigit():
                cell, edge, _, *rest = parts
                name = ".".join(["cells", cell, edge, *rest])
            state[name] = value[0]
        network.load_state_dict(state)
        torch.testing.assert_close(network(x), mixture[m])
    assert taken["head.weight"].shape[0] == 5


def test_mixture_of_one_seed_does_not_depend_on_the_others(generator):
    supernet, x = Supernet(QUIET), torch.rand(4, 6, generator=generator)
    weights = torch.rand(3, QUIET.places, 7, generator=generator)
    together = supernet(supernet.initialize([3, 5, 9]), weights, x)
    torch.testing.assert_close(together[1], supernet(supernet.initialize([5]), weights[1:2], x)[0])


def test_mixed_edge_is_the_weighted_sum_of_candidates(generator):
    space = Space(("skip", "linear", "mlp"), 4, 2, nodes=1, cells=1, width=4)
    supernet = Supernet(space)
    parameters = supernet.initialize([0], torch.float64)
    w = torch.rand(1, 1, 3, generator=generator, dtype=torch.float64)
    x = torch.rand(5, 4, generator=generator, dtype=torch.float64)
    h = torch.nn.functional.layer_norm(x @ parameters["stem.0.weight"][0].T + parameters["stem.0.bias"][0], (4,))
    total = w[0, 0, 0] * h
    for k, name in enumerate(("linear", "mlp"), 1):
        module = DENSE[name](4).double()
        module.load_state_dict({key: parameters[f"0.0.{k}.{key}"][0, 0, 0] for key in module.state_dict()})
        total = total + w[0, 0, k] * module(h)
    head = torch.nn.functional.layer_norm(total, (4,)) @ parameters["head.weight"][0].T + parameters["head.bias"][0]
    torch.testing.assert_close(supernet(parameters, w, x)[0], head)


def test_second_order_gradient_is_that_of_the_unrolled_validation_loss(split):
    supernet = Supernet(Space(("skip", "tanh", "linear"), 6, 2, cells=1, width=5))
    search = Search(supernet, split, Recipe(batch_size=12, spread=0.5), (0, 4))
    search.parameters = {k: v.detach().double().requires_grad_() for k, v in search.parameters.items()}
    search.alpha = search.alpha.detach().double().requires_grad_()
    train, held = ((x.double(), y) for x, y in (search.batch("train"), search.batch("validation")))
    gradient, xi, step = unrolled_gradient(search, train, held, 0.3), 0.3, 1e-5

    def unrolled(alpha):
        weights = mix(alpha)
        names, values = zip(*search.parameters.items())
        slopes = torch.autograd.grad(search.losses(train, weights=weights).sum(), values)
        return search.losses(held, {n: v - xi * s for n, v, s in zip(names, values, slopes)}, weights).detach()

    for seed, place, operation in [(0, 0, 0), (0, 1, 2), (1, 2, 1)]:
        moved = torch.zeros_like(search.alpha)
        moved[seed, place, operation] = step
        slope = (unrolled(search.alpha.detach() + moved) - unrolled(search.alpha.detach() - moved))[seed] / (2 * step)
        torch.testing.assert_close(gradient[seed, place, operation], slope, rtol=1e-5, atol=1e-9)
    (first,) = torch.autograd.grad(search.losses(held).sum(), search.alpha)
    torch.testing.assert_close(unrolled_gradient(search, train, held, 0.0), first)


def test_search_of_a_seed_is_the_same_alone_and_stacked(split):
    supernet, recipe = (
        Supernet(Space(("skip", "tanh", "linear"), 6, 2, cells=1, width=5)),
        Recipe(steps=8, batch_size=12),
    )
    for step in ("first", "second", "joint"):
        together = bilevel.run(supernet, split, recipe, seeds=[2, 7], step=step)
        alone = bilevel.run(supernet, split, recipe, seeds=[7], step=step)
        torch.testing.assert_close(together.alpha[1], alone.alpha[0], rtol=1e-3, atol=1e-6)
        assert torch.equal(alone.alpha, bilevel.run(supernet, split, recipe, seeds=[7], step=step).alpha)


def test_frozen_and_warm_up_leave_alpha_at_its_start(split):
    supernet = Supernet(Space("s2", 6, 2, cells=1, width=5))
    for recipe in (Recipe(steps=5, batch_size=12, frozen=True), Recipe(steps=5, batch_size=12, warm_up=5)):
        found = bilevel.run(supernet, split, recipe, seeds=[0])
        assert torch.equal(found.path[0], found.path[-1])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-5, 5), min_size=2, max_size=6))
def test_mixing_rules(alpha):
    alpha = torch.tensor(alpha, dtype=torch.float64)
    p, w, gate = mix(alpha), mix(alpha, "max-w"), mix(alpha[None], "gates", seed=1)[0]
    assert abs(float(p.sum()) - 1) < 1e-12
    assert float(w.max()) == pytest.approx(1) and w.argmax() == p.argmax()
    torch.testing.assert_close(w - w.min(), p - p.min())
    assert sorted(gate.tolist()) == [0.0] * (len(alpha) - 1) + [1.0]


def test_genotype_survives_json():
    genotype = DENSE_SPACE.genotype(DENSE_SPACE.random(1, 3)[0])
    assert Genotype.from_json(genotype.to_json()) == genotype
    assert torch.equal(DENSE_SPACE.choice(genotype), DENSE_SPACE.random(1, 3)[0])
    with pytest.raises(ValueError, match="no genotype"):
        Genotype.from_json("{}")


def test_counts_are_those_of_the_network():
    choice = DENSE_SPACE.random(6, 1)
    parameters, products = counts(DENSE_SPACE, choice)
    for m in range(6):
        network = Supernet(DENSE_SPACE).network(DENSE_SPACE.genotype(choice[m]))
        assert int(parameters[m]) == sum(value.numel() for value in network.parameters())
        assert int(products[m]) == sum(
            layer.weight.numel() for layer in network.modules() if isinstance(layer, nn.Linear)
        )


def test_retrained_network_learns_and_equal_genotypes_are_trained_once(generator):
    x = torch.randn(200, 6, generator=generator)
    y = (x[:, 0] * x[:, 1] > 0).long()
    space = Space("s2", 6, 2, cells=1, width=16)
    found = retrain(space, [("mlp",) * 3, ("mlp",) * 3, ("skip",) * 3], x, y, seeds=2, epochs=40)
    assert list(found) == ["mlp-mlp-mlp", "skip-skip-skip"]
    accuracy = {name: float((fitted.predict(x).argmax(2) == y).double().mean()) for name, fitted in found.items()}
    assert accuracy["mlp-mlp-mlp"] > 0.9 > 0.7 > accuracy["skip-skip-skip"]


def test_stacked_paths_train_as_a_plain_loop_over_networks(split):
    space = Space(("skip", "linear", "tanh"), 6, 2, cells=1, width=5)
    supernet, choice = Supernet(space), space.random(4, 2)
    together, plan = bilevel.train_paths(supernet, choice, *split.train, seeds=[0, 1, 0, 1], steps=6, batch_size=8)
    for m, seed in enumerate([0, 1, 0, 1]):
        alone, own = bilevel.train_paths(supernet, choice[m : m + 1], *split.train, seeds=[seed], steps=6, batch_size=8)
        x = split.test[0]
        torch.testing.assert_close(
            supernet.planned(alone, own, x)[0], supernet.planned(together, plan, x)[m], rtol=1e-3, atol=1e-5
        )


def test_own_modules_are_candidates(split):
    own = {"skip": lambda w: nn.Identity(), "wide": lambda w: nn.Sequential(nn.Linear(w, 30), nn.GELU(), nn.Linear(30, w)),
           "scaled": lambda w: nn.LayerNorm(w), "off": None}  # fmt: skip
    found = bilevel.run(Supernet(Space(own, 6, 2, width=5)), split, Recipe(steps=4, batch_size=8), seeds=[0, 1])
    assert found.alpha.shape == (2, 3, 4) and all(set(g.operations) <= set(own) for g in found.genotypes())


def test_bad_input_is_refused_in_words(split):
    with pytest.raises(ValueError, match="did you mean 'plain'"):
        Space("plane", 4, 2)
    with pytest.raises(TypeError, match="BatchNorm1d, which keeps statistics"):
        Supernet(Space({"bad": nn.BatchNorm1d}, 4, 2))
    with pytest.raises(TypeError, match="must build a torch module"):
        Supernet(Space({"bad": lambda w: 3}, 4, 2))
    supernet = Supernet(DENSE_SPACE)
    with pytest.raises(ValueError, match="6 features"):
        supernet(supernet.initialize([0]), torch.zeros(1, 6, 8), torch.zeros(2, 5))
    with pytest.raises(ValueError, match=r"weights must have shape \(seeds, 6, 8\)"):
        supernet(supernet.initialize([0]), torch.zeros(1, 6, 7), torch.zeros(2, 6))
    with pytest.raises(ValueError, match="x has 60"):
        Split.of(torch.zeros(60, 2), torch.zeros(60), train=50, validation=20)
    with pytest.raises(ValueError, match="6 operations"):
        DENSE_SPACE.choice(("skip",))


def test_latency_tables(tmp_path):
    space = Space("eight", 6, 2, width=16)
    products = LatencyTable.multiply_adds(space)
    assert products.costs == {
        "none": 0,
        "skip": 0,
        "noise": 0,
        "smooth": 0,
        "linear": 256,
        "tanh": 256,
        "narrow": 128,
        "mlp": 512,
    }
    p = torch.softmax(torch.randn(space.places, 8, generator=torch.Generator().manual_seed(0)), 1).requires_grad_()
    products.expected(p, space).backward()
    torch.testing.assert_close(p.grad, 3 * products.vector(space).expand(3, 8))
    choice = space.random(4, 0)
    torch.testing.assert_close(products.of(choice, space), products.expected(one_hot(choice, space), space))
    measured = LatencyTable.measure(Space("eight", 6, 2, width=128), batch=64, repeats=5)
    assert measured.costs["mlp"] > measured.costs["skip"] >= measured.costs["none"] == 0
    path = tmp_path / "costs.csv"
    path.write_text("operation,cost\nskip,0.5\nmlp,2\n")
    assert LatencyTable.from_csv(path).costs == {"skip": 0.5, "mlp": 2.0}
    path.write_text("operation,cost\nskip,0.5\nskip,2\n")
    with pytest.raises(ValueError, match="stands twice"):
        LatencyTable.from_csv(path)
    for text, message in (
        ("name,cost\nskip,1\n", "columns operation and cost"),
        ("operation,cost\nskip,fast\n", "must be a number, got 'fast'"),
        ("operation,cost\nskip,nan\n", "must be finite"),
        ("operation,cost\nskip,-1\n", "must be at least 0"),
        ("", "no rows"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            LatencyTable.from_csv(path)
    with pytest.raises(ValueError, match="no cost of none"):
        LatencyTable({"skip": 1.0}).vector(space)


def test_benchmark_is_hard_enough_to_rank():
    table = benchmark.table()
    spread = table.spread()
    assert len(table.choices) >= 500 and table.test.shape[1] == 3
    assert spread["10-90 % range"] >= 0.05 and spread["ratio"] >= 3
    assert torch.equal(table.rows(table.choices), torch.arange(len(table.choices)))
    part = benchmark.space("s2")
    assert torch.equal(table.rows(part.all_choices()[-1:], part), table.rows(table.space.choice(("mlp",) * 3)[None]))
    perfect = torch.zeros(1, 3, 8)
    assert float(table.regret(table.choices).min()) == 0 and torch.isnan(table.kendall(perfect)).all()
    first = table.random_search(5, [0, 1])
    assert torch.equal(first, table.random_search(5, [0, 1])) and first.shape == (2, 3)


@pytest.mark.slow
def test_networks_of_the_table_are_reproduced_by_training():
    table, split = benchmark.table(), benchmark.digit_pairs()
    rows = torch.tensor([100, 300, 511])
    supernet = Supernet(table.space)
    choice = table.choices[rows]
    weights, plan = bilevel.train_paths(supernet, choice, *split.train, seeds=[0, 0, 0], steps=benchmark.STEPS)
    found = (supernet.planned(weights, plan, split.test[0]).argmax(2) == split.test[1]).double().mean(1)
    assert (found - table.test[rows, 0]).abs().max() < 0.05


def test_eight_stacked_seeds_cost_at_most_a_third_of_the_loop():
    supernet, split = Supernet(benchmark.space("plain")), benchmark.digit_pairs()

    def seconds(seeds):
        search = Search(supernet, split, Recipe(), seeds)
        bilevel.first_order(search, search.batch("train"), search.batch("validation"))
        times = []
        for _ in range(7):
            began = time.process_time()
            bilevel.first_order(search, search.batch("train"), search.batch("validation"))
            times.append(time.process_time() - began)
        return sorted(times)[3]

    assert 8 * seconds([0]) >= 3 * seconds(range(8))


def test_losses_of_a_batch_are_means():
    logits = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([0, 1, 2, 1, 0])
    expected = torch.stack([nn.functional.cross_entropy(one, y) for one in logits])
    torch.testing.assert_close(cross_entropies(logits, y), expected)
    assert discretize(logits[:, 0]).shape == (2,)
