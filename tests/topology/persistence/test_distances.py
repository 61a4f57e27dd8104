"""Distances and vectors against direct formulas, transport against brute force, and their gradients."""

from itertools import permutations

import numpy as np
import pytest
import torch

from lab.topology.persistence import distances, vectorize
from lab.topology.persistence.diagrams import Diagram, bars
from lab.topology.persistence.filtrations import FunctionRips, Image, Rips
from lab.topology.persistence.objectives import integral, lengths_between, total_persistence
from lab.topology.persistence.signed_measures import SignedMeasure, hilbert


def measure(seed, size=12, mass=1, parameters=2):
    r = np.random.default_rng(seed)
    weights = r.integers(-2, 3, size)
    weights[-1] += mass - weights.sum()
    points = torch.tensor(r.normal(size=(size, parameters)), requires_grad=True)
    return SignedMeasure(points, torch.tensor(weights), torch.zeros(size, parameters, dtype=torch.int64))


def diagram(points, essential=()):
    points = torch.as_tensor(points, dtype=torch.float64).reshape(-1, 2)
    essential = torch.as_tensor(essential, dtype=torch.float64)
    return Diagram(points, torch.zeros(len(points), 2, dtype=torch.int64), essential, torch.zeros(len(essential)), 0)


def area(first, second, direction):
    """Area under |F| by sampling the distribution functions at all jumps."""
    place = np.concatenate([m.points.detach().numpy() @ direction for m in (first, second)])
    weight = np.concatenate([first.weights.numpy(), -second.weights.numpy()])
    jumps = np.sort(place)
    middle = (jumps[1:] + jumps[:-1]) / 2
    return sum(abs(weight[place <= t].sum()) * step for t, step in zip(middle, np.diff(jumps)))


def test_sliced_distance_is_the_mean_area_between_distribution_functions():
    first, second = measure(0), measure(1, size=9)
    directions = distances._directions(2, 7, 3).numpy()
    wanted = np.mean([area(first, second, direction) for direction in directions])
    found = distances.sliced_wasserstein(first, second, lines=7, seed=3).detach()
    assert float(found) == pytest.approx(wanted, rel=1e-12)


def test_sliced_distances_of_lists_and_the_matrix_agree_with_single_calls():
    items = [measure(k, size=3 + k) for k in range(5)]
    matrix = distances.sliced_wasserstein_matrix(items, lines=9)
    row = distances.sliced_wasserstein(items[:1] * 4, items[1:], lines=9)
    assert torch.allclose(matrix[0, 1:], row, rtol=1e-12)
    assert torch.equal(matrix, matrix.T)
    assert float(distances.sliced_wasserstein(items[2], items[4], lines=9).detach()) == pytest.approx(
        float(matrix.detach()[2, 4])
    )
    assert distances.sliced_wasserstein([], []).shape == (0,)


def test_sliced_distance_is_zero_for_equal_measures_and_symmetric():
    first, second = measure(0), measure(1)
    assert float(distances.sliced_wasserstein(first, first).detach()) < 1e-12
    forth, back = distances.sliced_wasserstein(first, second), distances.sliced_wasserstein(second, first)
    assert float(forth) == pytest.approx(float(back), rel=1e-12)


def test_kernel_of_sliced_distances_is_positive_semidefinite():
    matrix = distances.sliced_wasserstein_matrix([measure(k) for k in range(12)], lines=20).detach()
    assert float(torch.linalg.eigvalsh((-matrix / matrix.mean()).exp()).min()) > -1e-9


@pytest.mark.parametrize("corner", [None, (3.0, 3.0)])
def test_gradient_of_the_sliced_distance_equals_central_differences(corner):
    first, second = measure(0, size=6), measure(1, size=5, mass=1 if corner is None else 2)

    def distance(a, b):
        one = SignedMeasure(a, first.weights, first.index)
        two = SignedMeasure(b, second.weights, second.index)
        return distances.sliced_wasserstein(one, two, lines=5, corner=corner)

    assert torch.autograd.gradcheck(distance, (first.points, second.points))


def test_optimal_transport_equals_the_best_permutation():
    r = np.random.default_rng(5)
    points = torch.tensor(r.normal(size=(5, 2))), torch.tensor(r.normal(size=(5, 2)))
    ones, index = torch.ones(5, dtype=torch.int64), torch.zeros(5, 2, dtype=torch.int64)
    first, second = (SignedMeasure(p, ones, index) for p in points)
    cost = (points[0][:, None] - points[1][None]).abs().sum(-1).numpy()
    best = min(sum(cost[i, j] for i, j in enumerate(order)) for order in permutations(range(5)))
    assert float(distances.optimal_transport(first, second)) == pytest.approx(best, rel=1e-9)


def test_optimal_transport_gradient_equals_central_differences():
    first, second = measure(2, size=5), measure(3, size=4)

    def distance(a):
        return distances.optimal_transport(SignedMeasure(a, first.weights, first.index), second, norm=2)

    assert torch.autograd.gradcheck(distance, (first.points,))


def test_sliced_distance_is_at_most_the_euclidean_transport():
    first, second = measure(4), measure(5)
    sliced = distances.sliced_wasserstein(first, second, lines=30)
    assert 0 < float(sliced) <= float(distances.optimal_transport(first, second, norm=2)) + 1e-12


def test_unequal_masses_are_refused_unless_a_corner_takes_the_rest():
    first, second = measure(0), measure(1, mass=3)
    with pytest.raises(ValueError, match="same mass"):
        distances.sliced_wasserstein(first, second)
    with pytest.raises(ValueError, match="same mass"):
        distances.optimal_transport(first, second)
    assert float(distances.sliced_wasserstein(first, second, corner=[5.0, 5.0])) > 0


@pytest.mark.parametrize("order", [1.0, 2.0])
def test_wasserstein_equals_the_best_matching_with_the_diagonal(order):
    a, b = [[0.0, 1.0], [0.2, 0.9]], [[0.1, 1.2], [0.5, 0.6], [0.0, 0.3]]
    best = np.inf
    for chosen in permutations([0, 1, 2, None, None], 2):
        cost = [
            max(abs(np.array(a[k]) - b[j])) if j is not None else (a[k][1] - a[k][0]) / 2 for k, j in enumerate(chosen)
        ]
        cost += [(b[j][1] - b[j][0]) / 2 for j in range(3) if j not in chosen]
        best = min(best, sum(c**order for c in cost) ** (1 / order))
    found = distances.wasserstein(diagram(a, [0.0]), diagram(b, [0.0]), order=order)
    assert float(found) == pytest.approx(best, rel=1e-9)


def test_bottleneck_value_and_gradient():
    points = torch.tensor([[0.0, 1.0], [0.3, 0.5]], dtype=torch.float64, requires_grad=True)
    first = Diagram(points, torch.zeros(2, 2, dtype=torch.int64), torch.zeros(0), torch.zeros(0), 0)
    found = distances.bottleneck(first, diagram([[0.1, 1.4]]))
    assert float(found) == pytest.approx(0.4)
    found.backward()
    assert torch.equal(points.grad, torch.tensor([[0.0, -1.0], [0.0, 0.0]], dtype=torch.float64))


def test_bars_of_different_essential_number_are_refused():
    with pytest.raises(ValueError, match="endless bars"):
        distances.wasserstein(diagram([], [0.0]), diagram([], []))
    with pytest.raises(TypeError, match="barcode"):
        distances.bottleneck(torch.zeros(2, 2), diagram([]))
    assert float(distances.wasserstein(diagram([], [0.0]), diagram([], [0.5]))) == pytest.approx(0.5)


def test_convolution_is_the_sum_of_gaussians():
    m = measure(0)
    grid = [np.linspace(-1, 1, 4), np.linspace(-2, 2, 5)]
    found = vectorize.convolution(m, grid, (0.3, 0.5)).detach().numpy()
    x, w = m.points.detach().numpy(), m.weights.numpy()
    for i, a in enumerate(grid[0]):
        for j, b in enumerate(grid[1]):
            wanted = sum(wk * np.exp(-0.5 * (((a - u) / 0.3) ** 2 + ((b - v) / 0.5) ** 2)) for wk, (u, v) in zip(w, x))
            assert found[i, j] == pytest.approx(wanted)


@pytest.mark.parametrize("parameters", [1, 3])
def test_convolution_in_one_and_three_parameters(parameters):
    m = measure(1, parameters=parameters)
    grid = [[0.1 * a] for a in range(parameters)]
    x, w = m.points.detach().numpy(), m.weights.numpy()
    wanted = sum(wk * np.exp(-0.5 * ((np.array(grid)[:, 0] - p) ** 2).sum()) for wk, p in zip(w, x))
    assert float(vectorize.convolution(m, grid, 1.0)) == pytest.approx(wanted)


def test_landscape_and_silhouette_of_two_bars():
    two = diagram([[0.0, 2.0], [0.5, 1.5]])
    line = [0.25, 1.0, 1.75, 3.0]
    assert vectorize.landscape(two, line, count=3).tolist() == [[0.25, 1.0, 0.25, 0.0], [0.0, 0.5, 0.0, 0.0], [0.0] * 4]
    wanted = torch.tensor([2 / 3 * 0.25, 2 / 3 + 1 / 6, 2 / 3 * 0.25, 0.0], dtype=torch.float64)
    assert torch.allclose(vectorize.silhouette(two, line), wanted)
    assert vectorize.silhouette(diagram([]), line).tolist() == [0.0] * 4


def test_persistence_image_of_one_bar_peaks_at_its_place():
    image = vectorize.persistence_image(diagram([[0.5, 1.5]]), [np.linspace(0, 1, 11), np.linspace(0, 2, 11)], 0.1)
    assert np.unravel_index(int(image.argmax()), image.shape) == (5, 5)
    assert float(image.max()) == pytest.approx(1.0)


def test_total_persistence_and_integral():
    found = bars(Image(torch.tensor([[0.0, 5.0, 1.0, 4.0, 2.0]], dtype=torch.float64)), 0)
    assert sorted(found.lengths.tolist()) == [2.0, 4.0]
    assert float(total_persistence(found, order=2)) == 20.0
    assert float(total_persistence(found, weight=lambda p: (p[:, 0] > 1.5).double())) == 2.0
    m = measure(0)
    assert float(integral(m, lambda p: torch.ones(len(p)))) == m.mass
    wanted = -(m.weights * m.points.abs().sum(1)).sum() / len(m)
    assert float(lengths_between(m)) == pytest.approx(float(wanted))
    with pytest.raises(ValueError, match="one value an atom"):
        integral(m, lambda p: p)


def test_vectors_of_real_filtrations_have_gradients():
    x = torch.tensor(np.random.default_rng(0).normal(size=(20, 2)), requires_grad=True)
    line = torch.linspace(0, 2, 20)
    pieces = [
        vectorize.landscape(bars(Rips(x), 0), line).sum(),
        vectorize.silhouette(bars(Rips(x), 0), line).sum(),
        vectorize.convolution(hilbert(FunctionRips(x, x[:, 0])), [line, line], 0.3).sum(),
    ]
    for piece in pieces:
        (gradient,) = torch.autograd.grad(piece, x, retain_graph=True)
        assert torch.count_nonzero(gradient) > 0
    with pytest.raises(ValueError, match="bandwidth must be greater than 0"):
        vectorize.convolution(hilbert(FunctionRips(x, x[:, 0])), [line, line], 0.0)
    with pytest.raises(ValueError, match="one line of positions"):
        vectorize.convolution(hilbert(FunctionRips(x, x[:, 0])), [line], 0.1)
