"""The room's experiments notice what they are about."""

import pytest
import torch

from lab.explain import studies
from lab.explain.engine import Task
from lab.explain.studies import choosing, unification

pytestmark = pytest.mark.filterwarnings("ignore::lab.explain.ExplanationWarning")


@pytest.fixture(scope="module")
def network():
    return studies.table("diabetes", "tanh network", instances=6, columns=6, budget="smoke")


def test_one_function_gives_each_methods_own_formula_and_a_wrong_fit_does_not(network, monkeypatch):
    assert max(unification.on_same_draws(network).values()) < 1e-6
    right = Task.explain

    def scaled(self, *arguments, **options):
        found = right(self, *arguments, **options)
        object.__setattr__(found, "weights", 1.001 * found.weights)
        return found

    monkeypatch.setattr(Task, "explain", scaled)
    assert min(unification.on_same_draws(network).values()) > 1e-4


def test_every_method_loses_somewhere_and_one_method_under_every_name_nowhere(network):
    found = choosing.matrix(network, budget="smoke")
    lost = choosing.loss_of_the_most_even(found)
    assert found.uniform_winner is None and 0 < lost <= 1
    assert choosing.loss_of_the_most_even(choosing.matrix(network, budget="smoke", one_method=True)) == 0


def test_explanations_worse_than_a_constant_match_no_neighbourhood(network):
    found = choosing.matrix(network, budget="smoke")
    hits = choosing.matched_hits(found, choosing.MATCHED)
    assert sum(hits.values()) > sum(choosing.matched_hits(found, choosing.MISMATCHED).values())
    constant = torch.ones_like(found.value)
    flat = type(found)(found.methods, found.neighbourhoods, constant, constant, 0 * constant, constant, found.each, {})
    assert not any(choosing.matched_hits(flat, choosing.MATCHED).values())
    assert choosing.loss_of_the_most_even(flat) == 0


def test_advantages_are_signed_by_the_family_that_is_ahead():
    calm, wild = dict.fromkeys(choosing.MASK, 1.0), dict.fromkeys(choosing.GRADIENT, 3.0)
    found = {"removed": calm | wild, "jittered": calm | wild}
    assert choosing.advantages(found) == (0.5, -0.5)


def test_a_linearized_subject_is_a_plane(network):
    plane = studies.linearized(network)
    x = network.x
    assert torch.allclose(plane.f(2 * x), 2 * plane.f(x)) and plane.link == "identity"
    assert torch.allclose(plane.f(x), x @ plane.weights)
