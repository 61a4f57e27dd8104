"""The room's claims hold at the smallest budget and flip when what they are about is switched off."""

import functools

import pytest

from lab import claims
from lab.explain.claims import beyond, choosing, unification

pytestmark = pytest.mark.filterwarnings("ignore::lab.explain.ExplanationWarning")
FAST = ["explain.closed-forms", "explain.only-neighbourhood-and-loss", "explain.recovery-linear",
        "explain.recovery-logistic", "explain.refusal", "explain.disagreement"]  # fmt: skip


@pytest.mark.parametrize("id", FAST)
def test_claim_holds(id):
    assert claims.measure(id, seeds=1 if "disagree" not in id else 4, budget="smoke").holds


def test_every_statement_has_a_function_or_a_reason():
    for row in claims.ledger("explain"):
        assert row.untestable or claims.measuring_function(row.id), row.id


FLIPS = {
    "explain.unification": functools.partial(unification.unification, switched=True),
    "explain.recovery-linear": functools.partial(unification.recovery_linear, family="relu network"),
    "explain.refusal": functools.partial(choosing.refusal, threshold=10.0),
    "explain.no-free-lunch": functools.partial(choosing.no_free_lunch, family="linear"),
    "explain.disagreement": functools.partial(choosing.disagreement, only=("Vanilla Gradients", "Vanilla Gradients")),
    "explain.perturbation-flip": functools.partial(choosing.perturbation_flip, swap=True),
    "explain.new-methods": functools.partial(beyond.new_methods, switched_off=True),
}


@pytest.fixture(scope="module")
def diabetes():
    from lab import datasets

    return datasets.load("diabetes")


@pytest.mark.parametrize("id", list(FLIPS))
def test_claim_does_not_hold_when_switched_off(id, diabetes):
    seeds = (0,) if id in ("explain.unification", "explain.no-free-lunch", "explain.recovery-linear") else (0, 1)
    data = diabetes if id not in ("explain.refusal", "explain.new-methods") else None
    assert not FLIPS[id](data, seeds, "smoke").holds


def test_matched_methods_lose_when_neighbourhoods_are_shuffled(diabetes):
    shuffled = dict(zip(choosing.MATCHED, [("Occlusion",), ("LIME",), ("KernelSHAP",), ("Vanilla Gradients",),
                                           ("Vanilla Gradients",), ("SmoothGrad 0.1",), ("C-LIME 1",)]))  # fmt: skip
    assert choosing.guiding_principle(diabetes, (0,), "smoke").holds
    assert not choosing.guiding_principle(diabetes, (0,), "smoke", matched=shuffled).holds
    assert choosing.no_uniform_winner(diabetes, (0,), "smoke").holds
    assert not choosing.no_uniform_winner(diabetes, (0,), "smoke", families=("linear",)).holds
