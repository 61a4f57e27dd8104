"""Known traps of persistence in code, each with the input that springs it."""

import numpy as np
import pytest
import torch

from lab.topology.persistence.diagrams import bars
from lab.topology.persistence.filtrations import FunctionRips, Rips
from lab.topology.persistence.objectives import total_persistence
from lab.topology.persistence.signed_measures import hilbert


def circle(count, seed=0):
    r = np.random.default_rng(seed)
    angle = r.uniform(0, 2 * np.pi, count)
    return torch.tensor(np.stack([np.cos(angle), np.sin(angle)], 1) + 0.1 * r.normal(size=(count, 2)))


def test_generators_after_the_collapse_carry_the_values_of_their_bars():
    """Collapsing edges moves values to other edges; ranks bring back the edge whose length each value is."""
    import gudhi

    x = circle(120)
    found = bars(Rips(x), 1)
    first, second = found.index // 120, found.index % 120
    assert torch.allclose((x[first] - x[second]).norm(dim=-1), found.points, atol=1e-12)
    tree = gudhi.RipsComplex(points=x.numpy()).create_simplex_tree(max_dimension=2)
    tree.compute_persistence(homology_coeff_field=2)
    wanted = tree.persistence_intervals_in_dimension(1)
    assert float(found.lengths.sum()) == pytest.approx(float((wanted[:, 1] - wanted[:, 0]).sum()), rel=1e-9)


def test_distance_matrix_of_cdist_is_refused_with_the_remedy():
    x = torch.randn(60, 3, generator=torch.Generator().manual_seed(0)) + 100
    distances = torch.cdist(x, x)
    if torch.equal(distances, distances.T) and not distances.diagonal().any():
        distances[0, 1] += 1e-3
    with pytest.raises(ValueError, match="symmetric|zero diagonal"):
        Rips.from_distances(distances)


def test_coincident_points_have_no_nan_gradient():
    x = circle(30)
    x[5] = x[6]
    x[7] = x[6]
    x.requires_grad_()
    for degree in (0, 1):
        (gradient,) = torch.autograd.grad(total_persistence(bars(Rips(x), degree)), x)
        assert torch.isfinite(gradient).all()
    measure = hilbert(FunctionRips(x, x[:, 0]), 1)
    (gradient,) = torch.autograd.grad((measure.weights * measure.points.sum(1)).sum(), x)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize("count", [1, 2, 3])
def test_tiny_clouds_have_defined_results(count):
    x = torch.randn(count, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert len(bars(Rips(x), 0)) == count - 1
    assert len(bars(Rips(x), 1)) == 0
    assert hilbert(FunctionRips(x, x[:, 0]), 0).mass == 1
    assert hilbert(FunctionRips(x, x[:, 0]), 1).mass == 0
    assert float(total_persistence(bars(Rips(x), 1))) == 0.0


def test_equal_points_are_one_component_from_the_start():
    found = bars(Rips(torch.zeros(6, 3)), 0)
    assert len(found) == 0
    assert len(found.essential) == 1


def test_gradients_do_not_need_a_thread_pool():
    before = torch.get_num_threads()
    clouds = [circle(n, seed=n) for n in (5, 20, 11)]
    serial = bars([Rips(x) for x in clouds], 1, threads=1)
    pooled = bars([Rips(x) for x in clouds], 1, threads=3)
    assert all(torch.equal(a.points, b.points) for a, b in zip(serial, pooled))
    assert torch.get_num_threads() == before


def test_kernels_release_the_lock_and_are_cached():
    from lab.kernels.flag import cpu as flag
    from lab.kernels.persistence import cpu as persistence

    for module in (flag, persistence):
        for name in dir(module):
            function = getattr(module, name)
            if hasattr(function, "targetoptions"):
                assert function.targetoptions.get("nogil"), name


def test_seeds_of_the_global_generators_are_left_alone():
    state = torch.random.get_rng_state()
    numpy_state = np.random.get_state()[1].copy()  # noqa: NPY002
    hilbert(FunctionRips(circle(20), circle(20)[:, 0]), 1)
    assert torch.equal(state, torch.random.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])  # noqa: NPY002
