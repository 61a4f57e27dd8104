"""Minimizing losses of barcodes: five transforms, step rules, critical sets, stop criteria, own descriptors."""

import numpy as np
import pytest
import torch

from lab.topology.persistence.critical_sets import critical_cells
from lab.topology.persistence.diagrams import bars
from lab.topology.persistence.filtrations import FunctionRips, Graph, Image, Rips
from lab.topology.persistence.objectives import Objective, total_persistence
from lab.topology.persistence.optimize import Minimizer, StepRule, minimize
from lab.topology.persistence.optimizers import (
    BigStep,
    Continuation,
    Diffeomorphic,
    StratifiedSampling,
    Vanilla,
    criticality,
    shortest_in_hull,
)
from lab.topology.persistence.semilinear import Cells, cells, check_semilinear, signed_measure
from lab.topology.persistence.signed_measures import euler


def ring(n=24, seed=0, noise=0.1):
    r = np.random.default_rng(seed)
    angle = 2 * np.pi * np.arange(n) / n
    return torch.tensor(np.stack([np.cos(angle), np.sin(angle)], 1) + noise * r.normal(size=(n, 2)))


def enlarge(diagram):
    return -diagram.lengths[:1].sum()


TRANSFORMS = [Vanilla(), StratifiedSampling(0.01, 4), BigStep(0.1), Continuation(), Diffeomorphic(0.4)]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=lambda t: type(t).__name__)
def test_every_transform_enlarges_the_loop(transform):
    objective = Objective(Rips, enlarge, degree=1)
    x = ring()
    found = minimize(objective, x, steps=15, optimizer="sgd", learning_rate=0.05, transform=transform, seed=1)
    assert float(objective(found.x)) < float(objective(x)) - 0.02
    assert len(found.history) == 15


@pytest.mark.parametrize("transform", [Vanilla(), BigStep(0.2)], ids=lambda t: type(t).__name__)
def test_image_is_simplified(transform):
    image = torch.tensor(np.random.default_rng(0).normal(size=(10, 10)))
    objective = Objective(Image, total_persistence, degree=0)
    found = minimize(objective, image, steps=25, optimizer="sgd", learning_rate=0.2, transform=transform)
    assert float(objective(found.x)) < 0.5 * float(objective(image))


def test_big_steps_reach_the_target_in_one_move_where_the_gradient_does_not():
    """A component of many edges of nearly equal length: raising its death needs all of them."""
    left, right = torch.rand(6, 2, generator=torch.Generator().manual_seed(0)).double(), None
    right = left.clone() + torch.tensor([3.0, 0.0], dtype=torch.float64)
    distances = torch.tensor(Rips(torch.cat([left, right])).matrix())

    def loss(diagram):
        return -diagram.lengths[0]

    objective = Objective(Rips.from_distances, loss, degree=0)

    def symmetric(d):
        return (d + d.T) / 2 - torch.diag(d.diagonal())

    start = float(objective(distances))
    value, direction = BigStep(0.5)(objective, distances, None)
    moved = float(objective(symmetric(distances - 0.5 * (direction + direction.T))))
    assert moved == pytest.approx(start - 0.5, abs=1e-9)
    _, plain = Vanilla()(objective, distances, None)
    assert float(objective(symmetric(distances - 0.5 * (plain + plain.T)))) > start - 0.4


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("change", [0.3, -0.3])
def test_critical_set_of_a_component_moves_its_death_to_the_target(seed, change):
    x = torch.tensor(np.random.default_rng(seed).normal(size=(14, 2)))
    matrix = torch.tensor(Rips(x).matrix())
    filtration = Rips.from_distances(matrix)
    diagram = bars(filtration, 0)
    ask = diagram.points.clone()
    ask[2, 1] += change
    found, targets = critical_cells(filtration, diagram, ask, 0)
    moved = matrix.clone()
    moved[found // 14, found % 14] = targets
    moved[found % 14, found // 14] = targets
    deaths = bars(Rips.from_distances(moved), 0).points[:, 1]
    assert float((deaths - ask[2, 1]).abs().min()) < 1e-12
    others = np.delete(diagram.points[:, 1].numpy(), 2)
    apart = np.array([np.abs(deaths.numpy() - d).min() for d in others])
    assert (apart < 1e-12).sum() >= 1


@pytest.mark.parametrize("change", [0.2, -0.2])
def test_critical_set_of_a_loop_moves_its_birth_to_the_target(change):
    matrix = torch.tensor(Rips(ring(12)).matrix())
    filtration = Rips.from_distances(matrix)
    diagram = bars(filtration, 1)
    ask = diagram.points.clone()
    ask[0, 0] += change
    found, targets = critical_cells(filtration, diagram, ask, 1)
    moved = matrix.clone()
    moved[found // 12, found % 12] = targets
    moved[found % 12, found // 12] = targets
    births = bars(Rips.from_distances(moved), 1).points[:, 0]
    assert float((births - ask[0, 0]).abs().min()) < 1e-12


def test_diffeomorphic_direction_agrees_with_the_gradient_on_its_anchors_and_moves_all_points():
    x = ring(30)
    objective = Objective(Rips, enlarge, degree=1)
    _, plain = Vanilla()(objective, x, None)
    _, smooth = Diffeomorphic(0.3)(objective, x, None)
    anchor = plain.abs().sum(1) > 0
    assert torch.allclose(plain[anchor], smooth[anchor], atol=1e-3)
    assert int((smooth.abs().sum(1) > 1e-6).sum()) > 3 * int(anchor.sum())


def test_diffeomorphic_subsample_sees_few_points_and_moves_all():
    x = ring(60)
    seen = []

    def loss(points):
        seen.append(len(points))
        return -bars(Rips(points), 1).lengths[:1].sum()

    _, direction = Diffeomorphic(0.4, subsample=20)(loss, x, torch.Generator().manual_seed(0))
    assert seen == [20]
    assert direction.shape == x.shape
    _, mean = Diffeomorphic(0.4, interpolate="mean")(loss, x, None)
    assert torch.isfinite(mean).all()


def test_shortest_in_hull_of_opposite_vectors_is_zero_and_of_one_is_itself():
    assert float(shortest_in_hull(torch.tensor([[1.0, 0.0], [-1.0, 0.0]]).double()).norm()) < 1e-9
    one = torch.tensor([[0.3, -2.0]]).double()
    assert torch.allclose(shortest_in_hull(one), one[0])
    two = torch.tensor([[2.0, 1.0], [0.0, 1.0], [5.0, 3.0]]).double()
    assert torch.allclose(shortest_in_hull(two), torch.tensor([0.0, 1.0]).double(), atol=1e-6)


def test_criticality_is_zero_at_a_kink_and_one_on_the_slope():
    def kink(x):
        return x.abs().sum()

    assert criticality(kink, torch.tensor([1e-4]).double(), radius=0.01) < 1e-6
    assert criticality(kink, torch.tensor([1.0]).double(), radius=0.01) == pytest.approx(1.0)


def test_step_rule_that_meets_the_conditions_settles_and_a_constant_one_does_not():
    def kink(x):
        return x.abs().sum()

    x = torch.tensor([1.0]).double()
    good, bad = StepRule(0.3, 0.75), StepRule(0.3, 0.0)
    assert good.converges
    assert not bad.converges
    assert not StepRule(1.0, 1.5).converges
    settled = minimize(kink, x, steps=400, optimizer="sgd", learning_rate=good)
    rattles = minimize(kink, x, steps=400, optimizer="sgd", learning_rate=bad)
    assert abs(float(settled.x)) < 0.01 < 0.05 < np.mean(rattles.losses[-20:])


def test_stop_criteria_progress_and_cancel():
    def bowl(x):
        return x.square().sum()

    x = torch.ones(3)
    assert minimize(bowl, x, steps=500, target=0.5, learning_rate=0.1).reason == "target reached"
    flat = minimize(lambda x: (x * 0).sum(), x, steps=9)
    assert flat.reason.startswith("critical point")
    assert len(flat.history) == 1
    uphill = minimize(bowl, x, steps=50, optimizer="sgd", learning_rate=1.5, patience=4)
    assert uphill.reason == "no lower loss for 4 steps"
    assert float(bowl(uphill.best)) <= min(uphill.losses) + 1e-6
    seen = []
    ended = minimize(bowl, x, steps=50, progress=lambda *a: seen.append(a), cancel=lambda: len(seen) == 3)
    assert ended.reason == "cancelled"
    assert [a[:2] for a in seen] == [(1, 50), (2, 50), (3, 50)]
    assert torch.equal(x, torch.ones(3))


def test_minimizer_steps_and_rewinds():
    run = Minimizer(lambda x: x.square().sum(), torch.ones(2), learning_rate=0.1)
    for _ in range(5):
        run.step()
    run.rewind(2)
    assert len(run.history) == 2
    assert torch.equal(run.x, run.path[2])
    run.step()
    assert len(run.path) == 4


def test_any_torch_optimizer_and_projection():
    found = minimize(
        lambda x: x.sum(),
        torch.ones(4),
        steps=20,
        optimizer=lambda p: torch.optim.RMSprop(p, lr=0.1),
        project=lambda x: x.clamp_min(0.25),
    )
    assert torch.allclose(found.x, torch.full((4,), 0.25))
    assert list(found.to_frame().columns) == ["loss", "direction", "rate", "seconds"]


def test_same_seed_same_bits():
    objective = Objective(Rips, enlarge, degree=1)
    runs = [minimize(objective, ring(), steps=4, transform=StratifiedSampling(0.01, 3), seed=5).x for _ in range(2)]
    assert torch.equal(*runs)


@pytest.mark.parametrize(
    "make, error, words",
    [
        (lambda: minimize(lambda x: x, torch.ones(2)), ValueError, "scalar"),
        (lambda: minimize(lambda x: x.sum() / 0, torch.ones(2)), ValueError, "finite"),
        (lambda: minimize(lambda x: x.sum(), torch.ones(2), optimizer="adm"), ValueError, "did you mean 'adam'"),
        (lambda: minimize(lambda x: x.sum(), torch.ones(2), steps=0), ValueError, "steps must be at least 1"),
        (lambda: minimize(lambda x: x.sum(), torch.tensor([float("nan")])), ValueError, "NaN"),
        (lambda: minimize(lambda x: x.sum(), torch.ones(2), transform=BigStep()), TypeError, "Objective"),
        (lambda: minimize(lambda x: x.sum(), torch.ones(2), transform=Continuation()), TypeError, "Objective"),
        (lambda: StratifiedSampling(0.0), ValueError, "radius"),
        (lambda: StepRule(-1.0), ValueError, "scale"),
    ],
)
def test_bad_input_is_refused_in_words(make, error, words):
    with pytest.raises(error, match=words):
        make()


def euler_descriptor(seen: Cells):
    return seen.place, np.where(seen.dimension % 2 == 0, 1, -1)


GRAPH = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)]


def test_own_descriptor_equals_the_built_in_euler_measure():
    values = torch.tensor(np.random.default_rng(0).normal(size=(4, 2)), requires_grad=True)
    mine = signed_measure(euler_descriptor, Graph(GRAPH, values)).reduced()
    built_in = euler(Graph(GRAPH, values)).reduced()
    grades = torch.cartesian_prod(*[torch.linspace(-3, 3, 9).double()] * 2)
    assert torch.equal(mine.at(grades), built_in.at(grades))
    mine.points.sum().backward()
    assert torch.count_nonzero(values.grad)


def test_checker_accepts_a_semilinear_descriptor():
    values = torch.tensor(np.random.default_rng(0).normal(size=(4, 2)))
    found = check_semilinear(euler_descriptor, lambda v: Graph(GRAPH, v), values)
    assert found.holds, str(found)
    x = torch.tensor(np.random.default_rng(1).normal(size=(7, 2)))
    assert check_semilinear(euler_descriptor, lambda x: FunctionRips(x, x[:, 0]), x, trials=2).holds


def test_checker_finds_a_descriptor_that_is_not():
    values = torch.tensor([[0.0, 0.0], [0.3, 1.0], [0.98, -2.0], [1.0, 2.0]]).double()

    def jumps(seen):
        """The latest vertex of the first axis: its place on the second jumps when two vertices trade places."""
        return seen.place[seen.place[:4, 0].argmax()][None], np.array([1])

    found = check_semilinear(jumps, lambda v: Graph(GRAPH, v), values)
    assert [name for name, good, _ in found.findings if not good] == ["continuity"]

    def random(seen, state=[0]):  # noqa: B006
        state[0] += 1
        return seen.place[:1], np.array([state[0]])

    assert not check_semilinear(random, lambda v: Graph(GRAPH, v), values).holds
    with pytest.raises(TypeError, match="integers"):
        check_semilinear(lambda seen: (seen.place * 0.5, seen.dimension), lambda v: Graph(GRAPH, v), values)
    with pytest.raises(ValueError, match="grid"):
        check_semilinear(lambda seen: (seen.place + 99, seen.dimension), lambda v: Graph(GRAPH, v), values)
    with pytest.raises(ValueError, match="places"):
        check_semilinear(lambda seen: (seen.place[:, :1], seen.dimension), lambda v: Graph(GRAPH, v), values)


def test_cells_list_the_complex_by_order_alone():
    seen = cells(Graph(GRAPH, torch.arange(4.0)[:, None].repeat(1, 3)))
    assert seen.dimension.tolist() == [0] * 4 + [1] * 5
    assert seen.lines == (4, 4, 4)
    assert seen.place[4:, 0].tolist() == [1, 2, 3, 3, 2]
