"""Signed measures against dimensions of homology over Z/2, at every grade of the exact grid."""

from itertools import product

import numpy as np
import pytest
import torch

from lab.topology.persistence.densities import codensity, density, distance_to_measure
from lab.topology.persistence.filtrations import FlagDelaunay, FunctionRips, Graph, Image
from lab.topology.persistence.signed_measures import SignedMeasure, euler, hilbert
from tests.topology.persistence import oracle

SLACK = 1e-9  # lengths are rounded differently here and there


def grid(grades):
    """Just above every point of the exact grid."""
    table = np.array(list(grades.values())).round(12)
    return np.array(list(product(*(np.unique(table[:, a]) for a in range(table.shape[1]))))) + SLACK


def agrees(measure, cells, grades, degree):
    points = grid(grades)
    wanted = [oracle.betti(oracle.below(grades, cells, point), degree) for point in points]
    assert np.array_equal(measure.at(points).numpy(), wanted)


def agrees_euler(measure, cells, grades):
    points = grid(grades)
    there = [oracle.below(grades, cells, point) for point in points]
    wanted = [sum((-1) ** d * len(layer) for d, layer in enumerate(cells)) for cells in there]
    assert np.array_equal(measure.at(points).numpy(), wanted)


def cloud(kind, seed):
    r = np.random.default_rng(seed)
    if kind == "random":
        x, f = r.normal(size=(9, 2)), r.normal(size=9)
    elif kind == "lattice":
        x, f = np.array(list(product(range(3), range(3))), float), r.integers(0, 3, 9).astype(float)
    elif kind == "coincident":
        x, f = r.normal(size=(3, 2))[r.integers(0, 3, 8)], r.normal(size=8)
    elif kind == "collinear":
        x, f = np.stack([np.arange(7.0), 2 * np.arange(7.0)], 1), r.integers(0, 2, 7).astype(float)
    else:
        x, f = r.normal(size=(1, 2)), r.normal(size=1)
    return x, f


KINDS = ["random", "lattice", "coincident", "collinear", "one"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(3))
def test_function_rips_components_are_betti_zero_everywhere(kind, seed):
    x, f = cloud(kind, seed)
    cells, grades = oracle.function_rips(x, f, 1)
    agrees(hilbert(FunctionRips(torch.tensor(x), torch.tensor(f)), 0), cells, grades, 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(2))
def test_function_rips_loops_are_betti_one_everywhere(kind, seed):
    x, f = cloud(kind, seed)
    cells, grades = oracle.function_rips(x, f, 2)
    agrees(hilbert(FunctionRips(torch.tensor(x), torch.tensor(f)), 1), cells, grades, 1)


def test_function_rips_loops_of_a_larger_cloud_agree_with_elimination_at_random_grades():
    r = np.random.default_rng(0)
    angle = r.uniform(0, 2 * np.pi, 26)
    x = np.stack([np.cos(angle), np.sin(angle)], 1) + 0.2 * r.normal(size=(26, 2))
    f = r.normal(size=26)
    cells, grades = oracle.function_rips(x, f, 2)
    points = np.stack([r.uniform(0, 2, 40), r.choice(f, 40)], 1)
    wanted = [oracle.betti(oracle.below(grades, cells, point), 1) for point in points]
    assert max(wanted) > 0
    assert np.array_equal(hilbert(FunctionRips(torch.tensor(x), torch.tensor(f)), 1).at(points).numpy(), wanted)


def test_function_rips_from_distances_equals_that_of_points():
    x, f = map(torch.tensor, cloud("random", 5))
    filtration = FunctionRips(x, f)
    by_matrix = FunctionRips.from_distances(torch.tensor(filtration.matrix()), f)
    first, second = hilbert(filtration), hilbert(by_matrix)
    assert torch.equal(first.index, second.index)
    assert torch.equal(first.weights, second.weights)
    assert torch.allclose(first.points, second.points)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ties", [False, True])
def test_bifiltered_graph_components_loops_and_euler(seed, ties):
    r = np.random.default_rng(seed)
    size = 8
    edges = [(i, j) for i in range(size) for j in range(i) if r.random() < 0.5]
    values = r.integers(0, 3, (size, 2)).astype(float) if ties else r.normal(size=(size, 2))
    cells = [{(v,): [] for v in range(size)}, {(j, i): [(j,), (i,)] for i, j in edges}]
    grades = oracle.lower_star(cells, values)
    graph = Graph(np.array(edges).reshape(-1, 2), torch.tensor(values))
    for degree in (0, 1):
        agrees(hilbert(graph, degree), cells, grades, degree)
    agrees_euler(euler(graph), cells, grades)


@pytest.mark.parametrize("parameters", [3, 4])
def test_graph_with_three_and_four_parameters(parameters):
    r = np.random.default_rng(parameters)
    size = 5
    edges = [(i, j) for i in range(size) for j in range(i) if r.random() < 0.8]
    values = r.integers(0, 3, (size, parameters)).astype(float)
    cells = [{(v,): [] for v in range(size)}, {(j, i): [(j,), (i,)] for i, j in edges}]
    grades = oracle.lower_star(cells, values)
    graph = Graph(edges, torch.tensor(values))
    for degree in (0, 1):
        agrees(hilbert(graph, degree), cells, grades, degree)
    agrees_euler(euler(graph), cells, grades)


@pytest.mark.parametrize("shape", [(4, 5), (1, 6), (5, 1), (1, 1)])
@pytest.mark.parametrize("levels", [3, 1000])
def test_bifiltered_image_components_loops_and_euler(shape, levels):
    r = np.random.default_rng(levels)
    values = r.integers(0, levels, (2, *shape)).astype(float)
    cells, grades = oracle.cubical(values)
    image = Image(torch.tensor(values), parameters=2)
    for degree in (0, 1):
        agrees(hilbert(image, degree), cells, grades, degree)
    agrees_euler(euler(image), cells, grades)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(2))
def test_flag_delaunay_components_and_loops(kind, seed):
    x, f = cloud(kind, seed)
    filtration = FlagDelaunay(torch.tensor(x), torch.tensor(f))
    cells = oracle.simplicial(filtration.simplices, 2)
    cells[0] = {(v,): [] for v in range(len(x))}
    _, all_grades = oracle.function_rips(x, f, min(2, len(x) - 1))
    grades = {name: all_grades[name] for layer in cells for name in layer}
    for degree in (0, 1):
        agrees(hilbert(filtration, degree), cells, grades, degree)
    agrees_euler(euler(filtration), cells, grades)


def test_atoms_of_a_graph_measure_are_the_coordinates_of_its_cells():
    r = np.random.default_rng(0)
    values = torch.tensor(r.normal(size=(6, 2)), requires_grad=True)
    graph = Graph([(0, 1), (1, 2), (2, 0), (3, 4), (4, 5)], values)
    measure = hilbert(graph, 0)
    for axis in range(2):
        assert torch.equal(measure.points[:, axis], graph.gather(axis, measure.index[:, axis]))
    measure.points.sum().backward()
    assert torch.count_nonzero(values.grad) > 0


def integral(x):
    f = -density(x, 0.4)
    measure = hilbert(FunctionRips(x, f), 0)
    return (measure.weights * (measure.points * torch.tensor([1.3, -0.7])).sin().sum(1)).sum()


def test_gradient_of_function_rips_components_equals_central_differences():
    x = torch.tensor(np.random.default_rng(3).normal(size=(12, 2)), requires_grad=True)
    assert torch.autograd.gradcheck(integral, (x,), eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("degree", [0, 1])
def test_gradient_of_image_measures_equals_central_differences(degree):
    image = torch.tensor(np.random.default_rng(3).normal(size=(2, 4, 4)), requires_grad=True)

    def total(image):
        measure = hilbert(Image(image, parameters=2), degree)
        return (measure.weights * measure.points.square().sum(1)).sum()

    assert torch.autograd.gradcheck(total, (image,), eps=1e-7, atol=1e-5)


def test_density_is_the_mean_of_gaussians_and_its_gradient_is_right():
    x = torch.tensor(np.random.default_rng(0).normal(size=(7, 3)), requires_grad=True)
    square = (x[:, None] - x[None]).square().sum(-1).detach()
    wanted = torch.exp(-square / (2 * 0.5**2)).mean(1) / (2 * np.pi * 0.25) ** 1.5
    assert torch.allclose(density(x, 0.5), wanted)
    assert torch.allclose(density(x, 0.5, at=x.detach()), wanted)
    assert torch.allclose(codensity(x, 0.5), -wanted.log())
    assert torch.autograd.gradcheck(lambda x: codensity(x, 0.5), (x,))
    assert torch.autograd.gradcheck(lambda x: distance_to_measure(x, 3), (x,))
    far = torch.tensor([[0.0], [1e6]])
    assert torch.isfinite(codensity(far, 0.1)).all()


def test_density_in_single_precision_by_the_pair_kernel_agrees_with_double_precision():
    x = torch.tensor(np.random.default_rng(1).normal(size=(600, 2)))
    found = []
    for dtype in (torch.float64, torch.float32):
        y = x.to(dtype).requires_grad_()
        value = codensity(y, 0.2)
        (gradient,) = torch.autograd.grad(value.square().sum(), y)
        assert value.dtype == gradient.dtype == dtype
        found.append((value.detach().double(), gradient.double()))
    assert torch.allclose(*(value for value, _ in found), rtol=1e-5)
    assert torch.allclose(*(gradient for _, gradient in found), rtol=1e-4, atol=1e-4)


def test_single_precision_comes_back_in_single_precision():
    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0), requires_grad=True)
    measure = hilbert(FunctionRips(x, -density(x)))
    assert measure.points.dtype == torch.float32
    measure.points.sum().backward()
    assert torch.isfinite(x.grad).all()


def test_coincident_points_give_finite_gradients():
    x = torch.zeros(5, 2, dtype=torch.float64, requires_grad=True)
    measure = hilbert(FunctionRips(x, codensity_like(x)))
    (measure.points * measure.weights[:, None]).sum().backward()
    assert torch.isfinite(x.grad).all()


def codensity_like(x):
    return x.sum(1)


def test_reduced_measure_has_the_same_function_and_no_double_places():
    values = torch.tensor(np.random.default_rng(1).integers(0, 3, (2, 6, 6)).astype(float))
    measure = hilbert(Image(values, parameters=2), 0)
    small = measure.reduced()
    places = [tuple(p) for p in small.points.tolist()]
    assert len(set(places)) == len(places) < len(measure)
    grades = np.array(list(product(range(3), range(3))), float)
    assert torch.equal(small.at(grades), measure.at(grades))


def test_snapped_measure_is_exact_at_its_grid_lines_and_distorts_gradients():
    x = torch.tensor(np.random.default_rng(2).normal(size=(60, 2)), requires_grad=True)
    filtration = FunctionRips(x, -density(x))
    exact, coarse = hilbert(filtration), hilbert(filtration, grid=8)
    lines = [torch.unique(coarse.points[:, a].detach()) for a in range(2)]
    assert max(map(len, lines)) <= 8
    grades = torch.cartesian_prod(*lines)
    assert torch.equal(exact.at(grades), coarse.at(grades))
    gradient = [
        torch.autograd.grad((m.weights * m.points.sum(1)).sum(), x, retain_graph=True)[0] for m in (exact, coarse)
    ]
    assert (gradient[0] - gradient[1]).norm() > 0.5 * gradient[0].norm()


def test_batch_of_ragged_clouds_equals_one_by_one():
    r = np.random.default_rng(0)
    clouds = [torch.tensor(r.normal(size=(n, 2))) for n in (1, 7, 30, 12)]
    many = hilbert([FunctionRips(x, x[:, 0]) for x in clouds], 0, threads=2)
    for x, measure in zip(clouds, many):
        single = hilbert(FunctionRips(x, x[:, 0]), 0)
        assert torch.equal(single.points, measure.points)
        assert torch.equal(single.weights, measure.weights)
    assert hilbert([], 0) == []


@pytest.mark.parametrize("parameters", [1, 2, 3])
@pytest.mark.parametrize("degree", [0, 1])
def test_batch_of_graphs_equals_one_by_one(parameters, degree):
    r = np.random.default_rng(parameters)
    graphs = []
    for size in (1, 5, 8, 3):
        edges = [(i, j) for i in range(size) for j in range(i) if r.random() < 0.6]
        graphs.append(Graph(np.array(edges).reshape(-1, 2), torch.tensor(r.normal(size=(size, parameters)))))
    for graph, measure in zip(graphs, hilbert(graphs, degree)):
        single = hilbert(graph, degree)
        grades = graph.values.repeat_interleave(graph.size, 0)
        assert torch.equal(single.at(grades), measure.at(grades))
        for axis in range(parameters):
            assert torch.equal(graph.gather(axis, measure.index[:, axis]), measure.points[:, axis])


def test_several_degrees_at_once_equal_one_by_one():
    values = torch.tensor(np.random.default_rng(0).normal(size=(2, 5, 6)))
    for filtration in (Image(values, parameters=2), FunctionRips(values[0], values[1, :, 0])):
        for degree, measure in zip((0, 1), hilbert(filtration, (0, 1))):
            single = hilbert(filtration, degree)
            assert torch.equal(measure.index, single.index)
            assert torch.equal(measure.weights, single.weights)


def test_measure_survives_saving(tmp_path):
    measure = hilbert(FunctionRips(torch.eye(3), torch.arange(3.0)))
    measure.save(tmp_path / "measure.safetensors")
    again = SignedMeasure.load(tmp_path / "measure.safetensors")
    assert torch.equal(again.points, measure.points)
    assert torch.equal(again.weights, measure.weights)
    assert list(measure.to_frame().columns) == ["axis_0", "axis_1", "weight", "cell_0", "cell_1"]


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: FunctionRips(torch.zeros(0, 2), torch.zeros(0)), "x is empty"),
        (lambda: FunctionRips(torch.tensor([[0.0, float("nan")]]), torch.zeros(1)), "x must be finite.*NaN"),
        (lambda: FunctionRips(torch.zeros(3, 2), torch.zeros(2)), "one value a point"),
        (lambda: FunctionRips(torch.zeros(3, 2), torch.full((3,), float("inf"))), "f must be finite"),
        (lambda: FunctionRips.from_distances(torch.tensor([[0.0, 1], [2, 0]]), torch.zeros(2)), "symmetric"),
        (lambda: Graph([(0, 5)], torch.zeros(3)), "0..2"),
        (lambda: Graph([(1, 1)], torch.zeros(3)), "loop"),
        (lambda: Graph([(0, 1), (1, 0)], torch.zeros(3)), "twice"),
        (lambda: Image(torch.zeros(2, 3, 3), parameters=2, construction="T"), "several grades"),
        (lambda: Image(torch.zeros(3, 3, 3), parameters=2), "values must have shape"),
        (lambda: FlagDelaunay(torch.zeros(5, 4)), "at most 3 coordinates"),
        (lambda: hilbert(Graph([(0, 1)], torch.zeros(2, 2)), 2), "degree must be 0 or 1"),
        (lambda: hilbert(FunctionRips(torch.zeros(3, 2), torch.zeros(3)), -1), "degree must be at least 0"),
        (lambda: density(torch.zeros(3, 2), 0.0), "bandwidth must be greater than 0"),
    ],
)
def test_bad_input_is_refused_in_words(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_wrong_kinds_are_refused():
    with pytest.raises(TypeError, match="floating-point"):
        FunctionRips(torch.zeros(3, 2, dtype=torch.int64), torch.zeros(3))
    with pytest.raises(TypeError, match="filtration must be one of"):
        hilbert(torch.zeros(3, 2), 0)
    with pytest.raises(TypeError, match="edges must be integers"):
        Graph([(0.5, 1.0)], torch.zeros(3))


def test_many_graphs_are_the_single_graphs_and_bad_ones_are_refused():
    r = np.random.default_rng(0)
    edges, values = [], []
    for size in (1, 5, 9):
        edges.append(np.argwhere(np.triu(r.random((size, size)) < 0.4, 1)))
        values.append(torch.from_numpy(r.random((size, 2))))
    for graph, one, value in zip(Graph.many(edges, values), edges, values):
        assert graph.edges.tolist() == Graph(one, value).edges.tolist()
        assert graph.values is value
    measures = hilbert(Graph.many(edges, values), 0)
    for measure, one, value in zip(measures, edges, values):
        single = hilbert(Graph(one, value), 0)
        assert sorted(measure.index.tolist()) == sorted(single.index.tolist())
    flat = Graph.many([edges[1].tolist()], [values[1][:, 0]])
    assert flat[0].parameters == 1 and Graph.many([], []) == []
    with pytest.raises(ValueError, match=r"vertices 0\.\.4"):
        Graph.many([edges[0], np.array([[0, 7]])], values[:2])
    with pytest.raises(ValueError, match="loop"):
        Graph.many([edges[0], np.array([[2, 2]])], values[:2])
    with pytest.raises(ValueError, match="NaN"):
        Graph.many(edges, [values[0], values[1] * np.nan, values[2]])
    with pytest.raises(ValueError, match="equally many"):
        Graph.many(edges, values[:2])
