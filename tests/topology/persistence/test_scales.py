"""Distances of barcodes against brute force on thousands of small diagrams, and every scale of the coordinates."""

import math
from itertools import permutations

import numpy as np
import pytest
import torch

from lab.topology.persistence import distances
from lab.topology.persistence.densities import distance_to_measure
from lab.topology.persistence.diagrams import Diagram, bars
from lab.topology.persistence.filtrations import FlagDelaunay, FunctionRips, Rips
from lab.topology.persistence.signed_measures import SignedMeasure, hilbert


def diagram(points):
    points = torch.as_tensor(points, dtype=torch.float64).reshape(-1, 2)
    return Diagram(points, torch.zeros(len(points), 2, dtype=torch.int64), torch.zeros(0), torch.zeros(0), 0)


def matchings(a, b):
    """Costs of every partial matching of two small diagrams, one list of lengths each."""
    for image in set(permutations([*range(len(b)), *[None] * len(a)], len(a))):
        costs = [(d - c) / 2 if j is None else max(abs(c - b[j][0]), abs(d - b[j][1])) for (c, d), j in zip(a, image)]
        yield costs + [(b[j][1] - b[j][0]) / 2 for j in range(len(b)) if j not in image] + [0.0]


def total(costs, order):
    largest = max(costs)
    return largest * sum((c / largest) ** order for c in costs) ** (1 / order) if largest else 0.0


def draw(r, size, scale):
    """Bars with ties: small integers, or numbers of one scale about another."""
    if scale is None:
        births = r.integers(0, 9, size)
        return np.stack([births, births + r.integers(1, 4, size)], 1).astype(float)
    births = scale * r.random(size)
    return np.stack([births, births + scale * r.exponential(0.3, size) + scale * 1e-9], 1)


def test_bottleneck_is_the_best_matching_of_two_thousand_small_diagrams():
    r = np.random.default_rng(0)
    for trial in range(2000):
        scale = None if trial % 2 else 10.0 ** r.integers(-200, 200)
        a, b = draw(r, r.integers(0, 4), scale), draw(r, r.integers(0, 4), scale)
        wanted = min(max(costs) for costs in matchings(a, b))
        found = float(distances.bottleneck(diagram(a), diagram(b)))
        assert found == pytest.approx(wanted, rel=1e-12, abs=0), (a, b)


def test_bottleneck_of_the_published_counterexample_is_three_halves():
    found = distances.bottleneck(diagram([[7, 9], [7, 9], [8, 9]]), diagram([[0, 3], [3, 4], [3, 4]]))
    assert float(found) == 1.5


@pytest.mark.parametrize("order", [1.0, 2.0, 3.5, 10.0])
def test_wasserstein_is_the_best_matching_of_small_diagrams_at_every_scale(order):
    r = np.random.default_rng(int(order))
    for trial in range(500):
        scale = None if trial % 3 == 0 else 10.0 ** r.integers(-200, 200)
        a, b = draw(r, r.integers(0, 4), scale), draw(r, r.integers(0, 4), scale)
        if trial % 3 == 2 and len(a):  # two diagrams much nearer to each other than their bars are long
            b = a[r.permutation(len(a))] + scale * 1e-7 * r.normal(size=a.shape)
            b = b[b[:, 1] > b[:, 0]]
        wanted = min(total(costs, order) for costs in matchings(a, b))
        found = float(distances.wasserstein(diagram(a), diagram(b), order=order))
        assert found == pytest.approx(wanted, rel=1e-9, abs=0), (a, b)


@pytest.mark.parametrize(("order", "shift"), [(1.0, 1e10), (2.0, 1e10), (2.0, 1e12), (10.0, 1e3), (10.0, 1e9)])
def test_wasserstein_of_a_shifted_diagram_is_that_of_the_diagram(order, shift):
    r = np.random.default_rng(0)
    a, b = (np.round(draw(r, 40, 1.0) * 64) / 64 for _ in range(2))  # exact after the shift
    a, b = (each[each[:, 1] > each[:, 0]] for each in (a, b))
    wanted = float(distances.wasserstein(diagram(a), diagram(b), order=order))
    assert float(distances.wasserstein(diagram(a + shift), diagram(b + shift), order=order)) == pytest.approx(
        wanted, rel=1e-12
    )


def test_large_diagrams_agree_with_an_independent_solver():
    from gudhi.wasserstein import wasserstein_distance

    r = np.random.default_rng(1)
    a, b = draw(r, 300, 1.0), draw(r, 260, 1.0)
    for order in (1.0, 2.0):
        wanted = wasserstein_distance(a, b, order=order, internal_p=np.inf)
        assert float(distances.wasserstein(diagram(a), diagram(b), order=order)) == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("order", [1.0, 2.0, 3.0])
def test_gradient_of_the_wasserstein_distance_equals_central_differences(order):
    r = np.random.default_rng(2)
    a, b = torch.tensor(draw(r, 5, 1.0)).requires_grad_(), torch.tensor(draw(r, 4, 1.0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda a, b: distances.wasserstein(diagram(a), diagram(b), order=order), (a, b))


def test_pairs_that_memory_does_not_hold_are_refused_before_work_starts():
    births = torch.arange(400_000, dtype=torch.float64)
    many = diagram(torch.stack([births, births + 1], 1))
    with pytest.raises(
        ValueError, match=r"wasserstein needs about 5.12e\+03 GB for the pairs of 400000 and 400000 bars"
    ):
        distances.wasserstein(many, many)
    atoms = SignedMeasure(many.points, (-1) ** torch.arange(400_000), many.index)
    with pytest.raises(ValueError, match="optimal_transport needs about"):
        distances.optimal_transport(atoms, atoms)


@pytest.mark.parametrize("norm", [1, 2, math.inf])
@pytest.mark.parametrize("scale", [2.0**-600, 2.0**-40, 2.0**40, 2.0**600])
def test_optimal_transport_scales_with_its_atoms(scale, norm):
    r = np.random.default_rng(3)
    parts = [torch.tensor(r.normal(size=(6, 2))) for _ in range(2)]
    weights, index = torch.tensor([1, 2, -1, 1, 1, -2]), torch.zeros(6, 2, dtype=torch.int64)

    def distance(factor):
        return float(
            distances.optimal_transport(*(SignedMeasure(factor * p, weights, index) for p in parts), norm=norm)
        )

    assert distance(scale) == pytest.approx(scale * distance(1.0), rel=1e-12)


@pytest.mark.parametrize("exponent", [-1000, -665, -300, 300, 665, 1000])
def test_clouds_at_extreme_scales_have_the_scaled_bars_and_the_same_gradient(exponent):
    scale = 2.0**exponent
    cloud = torch.rand(25, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for make in (Rips, FlagDelaunay):
        for degree in (0, 1):
            results = []
            for factor in (1.0, scale):
                x = (factor * cloud).requires_grad_()
                found = bars(make(x), degree)
                (gradient,) = torch.autograd.grad(found.lengths.sum(), x)
                results.append((found.points.detach() / factor, found.index, gradient))
            assert len(results[0][0]) > 1
            for one, two in zip(*results):
                assert torch.equal(one, two)
    measures = [hilbert(FunctionRips(factor * cloud, cloud[:, 0]), 1) for factor in (1.0, scale)]
    assert torch.equal(measures[0].index, measures[1].index)
    assert torch.equal(scale * distance_to_measure(cloud, 4), distance_to_measure(scale * cloud, 4))


def test_lengths_beyond_the_range_of_the_dtype_are_refused_in_words():
    with pytest.raises(ValueError, match="values of the filtration in torch.float32 must be finite"):
        bars(Rips(torch.tensor([[3e38], [-3e38]])), 0)
    with pytest.raises(ValueError, match="values of the filtration in torch.float32 must be finite"):
        hilbert(FunctionRips(torch.tensor([[3e38], [-3e38]]), torch.zeros(2)), 0)
