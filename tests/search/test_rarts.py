"""Relaxed search: the solvable model, the updates, and the width search."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.search import bilevel, rarts
from lab.search.bilevel import Recipe, Split
from lab.search.space import Space
from lab.search.studies import rarts as study
from lab.search.supernet import Supernet


@pytest.fixture(scope="module")
def parts():
    x = torch.rand(60, 6, generator=torch.Generator().manual_seed(0))
    split = Split.of(x, (x[:, 0] > 0.5).long(), train=24, validation=24)
    return Supernet(Space(("skip", "tanh", "linear"), 6, 2, cells=1, width=5)), split, Recipe(steps=8, batch_size=12)


@pytest.mark.parametrize(
    ("weight", "coupling", "alpha", "w"),
    [(1, 1, 4, 2), (1, 10, 1.429, 0.714), (10, 10, 1.081, 1.027), (50, 50, 1.015, 1.005)],
)
def test_ends_of_the_relaxed_model_are_those_known(weight, coupling, alpha, w):
    limit = rarts.solvable_limit("relaxed", weight=weight, coupling=coupling)
    assert limit == (pytest.approx(alpha, abs=6e-4), pytest.approx(w, abs=6e-4))
    path = rarts.solvable_path(
        "relaxed", steps=8000, rate=0.5 / (2 * weight + coupling), weight=weight, coupling=coupling
    )
    assert path[-1, :2].tolist() == [pytest.approx(limit[0], abs=1e-3), pytest.approx(limit[1], abs=1e-3)]


@settings(max_examples=20, deadline=None)
@given(st.floats(0.6, 50), st.floats(1.2, 50))
def test_closed_form_is_a_stationary_point(weight, coupling):
    alpha, w = rarts.solvable_limit("relaxed", weight=weight, coupling=coupling)
    y = 2 - alpha
    point = torch.tensor([alpha, w, y], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(rarts.relaxed_objective(*point, weight=weight, coupling=coupling), point)
    assert float(slope.abs().max()) < 1e-9 * (1 + weight + coupling) * (1 + abs(alpha))


def test_darts_depends_on_its_inner_rate():
    for xi, end in ((0.0, 2.0), (0.1, 1.667), (0.3, 1.25), (0.5, 1.0), (0.7, 0.833)):
        path = rarts.solvable_path("second", xi=xi, steps=3000)
        assert float(path[-1, 0]) == pytest.approx(end, abs=1e-3) == rarts.solvable_limit("second", xi=xi)[0]


def test_strong_coupling_holds_the_networks_together(parts):
    supernet, split, recipe = parts
    distances = []
    for coupling in (0.0, 1.0, 100.0):
        step = rarts.Relaxed(coupling=coupling)
        bilevel.run(supernet, split, recipe, seeds=[0, 4], step=step)
        distances.append(step.distance)
    assert (distances[0] >= distances[2]).all() and (distances[2] > 0).all()


def test_search_of_a_seed_is_the_same_alone_and_stacked(parts):
    supernet, split, recipe = parts
    together = bilevel.run(supernet, split, recipe, seeds=[2, 7], step=rarts.Relaxed())
    alone = bilevel.run(supernet, split, recipe, seeds=[7], step=rarts.Relaxed())
    torch.testing.assert_close(together.alpha[1], alone.alpha[0], rtol=1e-3, atol=1e-6)
    assert together.passes == 4 * recipe.steps


def test_width_search_keeps_as_many_units_as_asked():
    x = torch.rand(80, 6, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0.5).long()
    halves = (x[:40], y[:40]), (x[40:], y[40:])
    for relaxed in (True, False):
        network, gates = rarts.search_width(
            *halves, seeds=[0, 1], keep=5, width=8, relaxed=relaxed, steps=5, batch_size=20
        )
        assert gates.shape == (2, 16) and ((gates != 0).sum(1) == 5).all()
        assert network(x).shape == (2, 80, 2)


def test_timing_is_positive_and_arms_differ():
    assert study.step_seconds("first", operations="s2", rounds=1) > 0


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="did you mean 'relaxed'"):
        rarts.solvable_path("relax")
    with pytest.raises(ValueError, match="no stationary point"):
        rarts.solvable_limit("relaxed", weight=0.5, coupling=1.0)
    with pytest.raises(ValueError, match="coupling must be at least 0"):
        rarts.Relaxed(coupling=-1.0)
    with pytest.raises(ValueError, match="keep must be at most 16"):
        rarts.search_width((torch.zeros(4, 2), torch.tensor([0, 1, 0, 1])), None, seeds=[0], keep=17, width=8)
