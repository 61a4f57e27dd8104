"""Rank invariant and landscape against ranks of maps over Z/2 on explicit complexes."""

from itertools import product

import numpy as np
import pytest
import torch

from lab.topology.persistence.filtrations import FunctionRips, Graph, Image, Rips, density
from lab.topology.persistence.ranks import multiparameter_landscape, rank
from tests.topology.persistence import oracle
from tests.topology.persistence.test_bars import sliced
from tests.topology.persistence.test_hilbert import SLACK


@pytest.mark.parametrize("kind", ["rips", "graph", "image", "delaunay"])
@pytest.mark.parametrize("degree", [0, 1])
def test_ranks_are_ranks_of_maps_over_the_field_of_two(kind, degree):
    filtration, cells, grades = sliced(kind, degree + 3)
    found = rank(filtration, degree, grid=5)
    first, second = (line.detach().numpy() for line in found.lines)
    corners = list(product(range(len(first)), range(len(second))))
    seen = 0
    for (s, t), (u, v) in product(corners, corners):
        if s > u or t > v:
            assert found.table[s, t, u, v] == 0
            continue
        small = oracle.below(grades, cells, np.array([first[s], second[t]]) + SLACK)
        large = oracle.below(grades, cells, np.array([first[u], second[v]]) + SLACK)
        wanted = oracle.map_rank(small, large, degree)
        seen += wanted > 0
        assert found.table[s, t, u, v] == wanted
    assert seen


def test_exact_grid_takes_every_grade():
    values = torch.tensor([[0.0, 2.0], [1.0, 1.0], [2.0, 0.0]])
    found = rank(Graph([(0, 1), (1, 2)], values), 0, grid=None)
    assert [len(line) for line in found.lines] == [3, 3]
    # three components at first, one at the top, and from (2, 0) the last vertex survives
    assert found.table[2, 2, 2, 2] == 1
    assert found.table[2, 0, 2, 2] == 1
    assert found.table[1, 1, 1, 2] == 1


def test_signed_barcode_sums_back_to_the_ranks():
    x = torch.tensor(np.random.default_rng(0).normal(size=(25, 2)))
    found = rank(FunctionRips(x, -density(x)), 0, grid=7)
    measure = found.signed_barcode()
    lines = [line.numpy() for line in found.lines]
    points, weights = measure.points.numpy(), measure.weights.numpy()
    last = np.array([line[-1] for line in lines])
    for s, t, u, v in product(range(0, 7, 2), repeat=4):
        if s > u or t > v:
            continue
        lower, upper = np.array([lines[0][s], lines[1][t]]), np.array([lines[0][u], lines[1][v]])
        inside = (points[:, :2] <= lower).all(1)
        if (upper < last).all():
            alive = ((points[:, 2:] > upper) | (points[:, 2:] == last)).all(1)
            assert weights[inside & alive].sum() == found.table[s, t, u, v]


def test_rank_at_off_grid_is_the_value_below():
    x = torch.tensor(np.random.default_rng(1).normal(size=(20, 2)))
    found = rank(FunctionRips(x, -density(x)), 0, grid=6)
    first, second = found.lines
    lower = torch.stack([first[2], second[3]])[None] + 1e-9
    upper = torch.stack([first[4], second[4]])[None] + 1e-9
    assert found.at(lower, upper) == found.table[2, 3, 4, 4]
    assert found.at(upper, lower) == 0


@pytest.mark.parametrize("kind", ["rips", "graph", "image"])
def test_landscape_is_the_largest_radius_with_enough_rank(kind):
    filtration, cells, grades = sliced(kind, 7)
    degree = 0
    grid = [np.linspace(0.1, 1.5, 4), np.linspace(-0.5, 1.2, 4)]
    found = multiparameter_landscape(filtration, degree, grid, count=2).numpy()
    radii = np.linspace(0, 4, 201)
    seen = 0
    for a, b in product(range(4), range(4)):
        place = np.array([grid[0][a], grid[1][b]])
        ranks = [
            oracle.map_rank(oracle.below(grades, cells, place - e), oracle.below(grades, cells, place + e), degree)
            for e in radii
        ]
        for k in range(2):
            enough = radii[np.array(ranks) > k]
            wanted = enough.max() if len(enough) else 0.0
            seen += wanted > 0
            assert found[k, a, b] == pytest.approx(wanted, abs=4 / 200 + 1e-9)
    assert seen


def test_landscape_gradient_equals_central_differences():
    r = np.random.default_rng(2)
    x = torch.tensor(r.normal(size=(9, 2)), requires_grad=True)

    def total(x):
        filtration = FunctionRips(x, x[:, 0] * x[:, 1])
        return multiparameter_landscape(filtration, 0, [[0.3, 0.8], [0.1, 0.7]], count=2).square().sum()

    assert torch.autograd.gradcheck(total, (x,), eps=1e-7, atol=1e-5)


def test_rank_lines_carry_gradients():
    x = torch.tensor(np.random.default_rng(1).normal(size=(12, 2)), requires_grad=True)
    measure = rank(FunctionRips(x, -density(x)), 1, grid=8).signed_barcode()
    if not len(measure):
        measure = rank(FunctionRips(x, -density(x)), 0, grid=8).signed_barcode()
    (measure.weights * measure.points.sum(1)).sum().backward()
    assert torch.count_nonzero(x.grad) > 0


@pytest.mark.parametrize(
    "make, words",
    [
        (lambda: rank(Rips(torch.zeros(3, 2)), 0), "two parameters"),
        (lambda: rank(FunctionRips(torch.randn(201, 2), torch.zeros(201)), 0), "at most 200 points"),
        (lambda: rank(Image(torch.zeros(2, 3, 3), parameters=2), 2), "degree must be one of"),
        (lambda: rank(Image(torch.rand(2, 9, 9), parameters=2), 0, grid=None), "grid=None would take"),
        (lambda: multiparameter_landscape(Rips(torch.zeros(3, 2)), 0, [[0.0], [0.0]]), "two parameters"),
        (
            lambda: multiparameter_landscape(
                FunctionRips(torch.zeros(3, 2), torch.zeros(3)), 0, [[0.0], [0.0]], direction=(1.0, 0.0)
            ),
            "positive",
        ),
    ],
)
def test_bad_input_is_refused_in_words(make, words):
    with pytest.raises(ValueError, match=words):
        make()
