"""Barcodes against dimensions of homology over Z/2 at every threshold, against gudhi, and their gradients."""

import numpy as np
import pytest
import torch

from lab.topology.persistence.diagrams import Diagram, bars
from lab.topology.persistence.filtrations import FlagDelaunay, FunctionRips, Graph, Image, Rips
from lab.topology.persistence.signed_measures import hilbert
from lab.topology.persistence.slices import Slice
from tests.topology.persistence import oracle
from tests.topology.persistence.test_hilbert import KINDS, SLACK, cloud


def alive(found: Diagram, threshold):
    """Number of bars alive at a threshold."""
    points = found.points.detach().numpy()
    finite = int(((points[:, 0] <= threshold) & (points[:, 1] > threshold)).sum())
    return finite + int((found.essential.detach().numpy() <= threshold).sum())


def agrees(found, cells, grades, degree):
    thresholds = np.unique(np.round([float(np.asarray(g).reshape(-1)[0]) for g in grades.values()], 12)) + SLACK
    flat = {name: np.asarray(g).reshape(-1)[:1] for name, g in grades.items()}
    for threshold in thresholds:
        assert alive(found, threshold) == oracle.betti(oracle.below(flat, cells, threshold), degree)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("degree", [0, 1, 2])
def test_rips_bars_count_betti_numbers(kind, degree):
    x, _ = cloud(kind, 1)
    cells, grades = oracle.function_rips(x, None, 3)
    agrees(bars(Rips(torch.tensor(x)), degree), cells, grades, degree)


def test_rips_bars_of_a_sphere_have_one_void():
    r = np.random.default_rng(0)
    x = r.normal(size=(40, 3))
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    found = bars(Rips(torch.tensor(x)), 2)
    assert float(found.lengths[0]) > 0.2


@pytest.mark.parametrize("degree", [0, 1, 2])
def test_rips_bars_equal_gudhi_on_a_noisy_circle(degree):
    import gudhi

    r = np.random.default_rng(degree)
    angle = r.uniform(0, 2 * np.pi, 40)
    x = np.stack([np.cos(angle), np.sin(angle), 0.3 * r.normal(size=40)], 1) + 0.2 * r.normal(size=(40, 3))
    tree = gudhi.RipsComplex(points=x).create_simplex_tree(max_dimension=3)
    tree.compute_persistence(homology_coeff_field=2)
    wanted = tree.persistence_intervals_in_dimension(degree)
    wanted = wanted[np.isfinite(wanted[:, 1])]
    found = bars(Rips(torch.tensor(x)), degree).points.numpy()
    assert len(found) == len(wanted) >= (degree < 2)
    assert np.allclose(found[np.lexsort(found.T)], wanted[np.lexsort(wanted.T)], atol=1e-12)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("degree", [0, 1])
def test_graph_bars_count_betti_numbers(seed, degree):
    r = np.random.default_rng(seed)
    edges = [(j, i) for i in range(8) for j in range(i) if r.random() < 0.35]
    values = r.integers(0, 4, (8, 1)).astype(float)
    cells = [{(v,): [] for v in range(8)}, {edge: [(edge[0],), (edge[1],)] for edge in edges}]
    found = bars(Graph(np.array(edges).reshape(-1, 2), torch.tensor(values)), degree)
    agrees(found, cells, oracle.lower_star(cells, values), degree)


@pytest.mark.parametrize("construction", ["V", "T"])
@pytest.mark.parametrize("shape", [(4, 5), (1, 5), (1, 1), (3, 2, 3)])
@pytest.mark.parametrize("levels", [3, 1000])
def test_image_bars_count_betti_numbers(construction, shape, levels):
    values = np.random.default_rng(levels).integers(-levels, levels, (1, *shape)).astype(float)
    cells, grades = oracle.cubical(values, construction)
    for degree in range(len(shape)):
        agrees(bars(Image(torch.tensor(values[0]), construction=construction), degree), cells, grades, degree)


@pytest.mark.parametrize("kind", KINDS)
def test_flag_delaunay_bars_count_betti_numbers(kind):
    x, _ = cloud(kind, 2)
    filtration = FlagDelaunay(torch.tensor(x))
    cells = oracle.simplicial(filtration.simplices, 2)
    cells[0] = {(v,): [] for v in range(len(x))}
    _, all_grades = oracle.function_rips(x, None, min(2, len(x) - 1))
    grades = {name: all_grades[name] for layer in cells for name in layer}
    for degree in (0, 1):
        agrees(bars(filtration, degree), cells, grades, degree)


def test_flag_delaunay_of_points_in_space_has_voids():
    x = np.random.default_rng(3).normal(size=(9, 3))
    filtration = FlagDelaunay(torch.tensor(x))
    cells = oracle.simplicial(filtration.simplices, 3)
    _, all_grades = oracle.function_rips(x, None, 3)
    grades = {name: all_grades[name] for layer in cells for name in layer}
    for degree in (0, 1, 2):
        agrees(bars(filtration, degree), cells, grades, degree)


def sliced(kind, seed):
    r = np.random.default_rng(seed)
    if kind == "rips":
        angle = 2 * np.pi * np.arange(8) / 8
        x, f = np.stack([np.cos(angle), np.sin(angle)], 1) + 0.1 * r.normal(size=(8, 2)), 0.5 * r.normal(size=8)
        return (FunctionRips(torch.tensor(x), torch.tensor(f)), *oracle.function_rips(x, f, 2))
    if kind == "graph":
        edges = [(j, i) for i in range(7) for j in range(i) if r.random() < 0.5]
        values = r.normal(size=(7, 2))
        cells = [{(v,): [] for v in range(7)}, {edge: [(edge[0],), (edge[1],)] for edge in edges}]
        return Graph(edges, torch.tensor(values)), cells, oracle.lower_star(cells, values)
    if kind == "image":
        values = r.normal(size=(2, 4, 4))
        values[:, 1:3, 1:3] += 3
        return (Image(torch.tensor(values), parameters=2), *oracle.cubical(values))
    x, f = r.normal(size=(8, 2)), r.normal(size=8)
    filtration = FlagDelaunay(torch.tensor(x), torch.tensor(f))
    cells = oracle.simplicial(filtration.simplices, 2)
    _, grades = oracle.function_rips(x, f, 2)
    return filtration, cells, {name: grades[name] for layer in cells for name in layer}


@pytest.mark.parametrize("kind", ["rips", "graph", "image", "delaunay"])
@pytest.mark.parametrize("degree", [0, 1])
def test_slice_bars_count_betti_numbers_along_the_line(kind, degree):
    filtration, cells, grades = sliced(kind, degree)
    base, direction = np.array([0.1, -0.3]), np.array([0.7, 1.9])
    along = {name: ((np.asarray(grade) - base) / direction).max() for name, grade in grades.items()}
    agrees(bars(Slice(filtration, base, direction), degree), cells, along, degree)


@pytest.mark.parametrize("degree", [0, 1])
def test_gradient_of_rips_bars_equals_central_differences(degree):
    angle = torch.arange(9, dtype=torch.float64) * 0.7
    noise = torch.tensor(np.random.default_rng(1).normal(size=(9, 2))) * 0.1
    x = (torch.stack([angle.cos(), angle.sin()], 1) + noise).requires_grad_()
    assert len(bars(Rips(x), degree))
    assert torch.autograd.gradcheck(lambda x: bars(Rips(x), degree).points.square().sum(), (x,), atol=1e-5)


def test_gradient_of_a_slice_equals_central_differences_in_points_and_function():
    r = np.random.default_rng(4)
    x, f = (torch.tensor(r.normal(size=s), requires_grad=True) for s in ((10, 2), (10,)))

    def total(x, f):
        return bars(Slice(FunctionRips(x, f), [0.0, 0.0], [1.0, 1.0]), 0).points.square().sum()

    assert torch.autograd.gradcheck(total, (x, f), eps=1e-7, atol=1e-5)


def test_generators_of_tied_lengths_have_the_value_of_their_bar():
    """On a lattice every length ties; each reported cell still has exactly the value of its coordinate."""
    x = torch.cartesian_prod(torch.arange(4.0), torch.arange(4.0)).double()
    keep = ~((x == 1).all(1) | (x == 2).all(1))
    found = bars(Rips(x[keep]), 1)
    assert len(found)
    n = int(keep.sum())
    ends = torch.stack([found.index // n, found.index % n], -1)
    lengths = (x[keep][ends[..., 0]] - x[keep][ends[..., 1]]).norm(dim=-1)
    assert torch.allclose(lengths, found.points, atol=1e-14)
    assert set(found.points[:, 1].round(decimals=4).tolist()) <= {1.4142, 2.0, 2.2361, 2.8284, 3.0}


def test_one_parameter_hilbert_measure_is_births_minus_deaths():
    x = torch.tensor(np.random.default_rng(0).normal(size=(15, 2)))
    found, measure = bars(Rips(x), 0), hilbert(Rips(x), 0)
    assert measure.mass == len(found.essential) == 1
    deaths = measure.points[measure.weights < 0, 0]
    assert torch.allclose(deaths.sort().values, found.points[:, 1].sort().values)


def test_tied_lengths_still_give_one_spanning_tree():
    x = torch.tensor(np.random.default_rng(0).integers(0, 4, (60, 3)).astype(float))
    found = bars(Rips(x), 0)
    assert len(found.essential) == 1
    assert hilbert(Rips(x), 0).mass == 1


def test_the_one_verb_barcode_takes_filtrations():
    from lab.topology.images.barcodes import barcode

    x = torch.tensor(np.random.default_rng(0).normal(size=(12, 2)))
    both = barcode(Rips(x), dimension=1)
    assert torch.equal(both[1].points, bars(Rips(x), 1).points)
    assert len(barcode(Image(torch.zeros(2, 3, 3)))) == 3


def test_no_infinite_number_is_in_a_tensor():
    for degree in (0, 1):
        found = bars(Graph([(0, 1), (1, 2), (2, 0)], torch.arange(4.0)), degree)
        assert torch.isfinite(found.points).all()
        assert torch.isfinite(found.essential).all()
    assert len(found.essential) == 1


def test_bars_survive_saving(tmp_path):
    found = bars(Rips(torch.eye(4).double()), 0)
    found.save(tmp_path / "bars.safetensors")
    again = Diagram.load(tmp_path / "bars.safetensors")
    assert torch.equal(again.points, found.points)
    assert again.degree == 0
    assert np.isinf(again.to_frame()["death"]).sum() == 1


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: bars(FunctionRips(torch.zeros(3, 2), torch.zeros(3)), 0), "one parameter"),
        (lambda: bars(Image(torch.zeros(3, 3)), 2), "degree must be below 2"),
        (lambda: bars(Graph([(0, 1)], torch.zeros(2)), 3), "degree must be 0 or 1"),
        (lambda: bars(Rips(torch.zeros(3, 2)), -1), "degree"),
        (lambda: Slice(Rips(torch.zeros(3, 2)), [0.0], [1.0]), "at least two parameters"),
        (lambda: Slice(FunctionRips(torch.zeros(3, 2), torch.zeros(3)), [0.0, 0.0], [1.0, 0.0]), "positive"),
        (lambda: bars(Rips(torch.zeros(3, 2)), 0, threads=2), "threads is for a list"),
    ],
)
def test_bad_input_is_refused_in_words(make, words):
    with pytest.raises(ValueError, match=words):
        make()
