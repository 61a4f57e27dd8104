"""Selection by perturbation: the closed form, strengths, and which edges are decided how."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.search import bilevel, darts_pt
from lab.search.bilevel import Recipe, Split
from lab.search.space import Space
from lab.search.studies import darts_pt as study
from lab.search.studies.common import Result
from lab.search.supernet import Supernet


@pytest.fixture(scope="module")
def found():
    x = torch.rand(60, 6, generator=torch.Generator().manual_seed(0))
    split = Split.of(x, (x[:, 0] > 0.5).long(), train=24, validation=24)
    supernet = Supernet(Space(("skip", "tanh", "linear"), 6, 2, cells=1, width=5))
    return bilevel.run(supernet, split, Recipe(steps=6, batch_size=12), seeds=[0, 3]), split


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000))
def test_no_mixture_has_less_variance_than_the_closed_form(seed):
    x, o, m = torch.randn(3, 100, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    skip, candidate = darts_pt.optimal_mix(x, o, m)
    best = (skip * x + candidate * o - m).var()
    assert float(skip + candidate) == pytest.approx(1)
    for w in torch.linspace(-2, 3, 101, dtype=torch.float64):
        assert ((1 - w) * x + w * o - m).var() >= best - 1e-12


def test_removed_operation_changes_nothing_where_its_weight_is_zero(found):
    searched, split = found
    weights = searched.weights.clone()
    weights[:, 1, 2] = 0
    missed = darts_pt.strengths(searched.supernet, searched.parameters, weights, *split.validation)
    assert missed.shape == (2, 3, 3) and (missed[:, 1, 2] == 0).all() and (missed.abs().sum() > 0)
    one = darts_pt.strengths(
        searched.supernet, searched.parameters, weights, *split.validation, places=torch.tensor([2, 0])
    )
    torch.testing.assert_close(one, torch.stack([missed[0, 2], missed[1, 0]]))


def test_selection_without_tuning_takes_the_strengths_given_what_was_decided(found):
    searched, split = found
    before = {name: value.clone() for name, value in searched.parameters.items()}
    chosen = darts_pt.select(searched, split, interval=0)
    first = chosen.order[:, 0]
    missed = darts_pt.strengths(
        searched.supernet, searched.parameters, searched.weights, *split.validation, places=first
    )
    rows = torch.arange(2)
    assert torch.equal(chosen.choice[rows, first], missed.argmax(1))
    assert torch.equal(chosen.choice, chosen.scores.argmax(2))
    assert all(torch.equal(before[name], value) for name, value in searched.parameters.items())
    magnitude = darts_pt.select(searched, split, score=darts_pt.by_magnitude, interval=0)
    assert torch.equal(magnitude.choice, searched.choice)


def test_tuning_moves_a_copy_of_the_weights(found):
    searched, split = found
    chosen = darts_pt.select(searched, split, interval=2, recipe=Recipe(batch_size=12))
    assert any(not torch.equal(chosen.parameters[name], value) for name, value in searched.parameters.items())


def test_smoothing_of_no_width_is_first_order(found):
    _, split = found
    supernet, recipe = Supernet(Space("s2", 6, 2, cells=1, width=5)), Recipe(steps=4, batch_size=12)
    plain = bilevel.run(supernet, split, recipe, seeds=[1])
    smooth = bilevel.run(supernet, split, recipe, seeds=[1], step=darts_pt.smoothed(0.0))
    assert torch.equal(plain.alpha, smooth.alpha)


def test_bad_input_is_refused(found):
    searched, split = found
    with pytest.raises(ValueError, match="differ by more than a constant"):
        darts_pt.optimal_mix(torch.zeros(3), torch.ones(3), torch.zeros(3))
    with pytest.raises(ValueError, match="x and m must have the same shape"):
        darts_pt.optimal_mix(torch.zeros(3), torch.ones(3), torch.zeros(4))
    with pytest.raises(ValueError, match="criterion must be one of"):
        darts_pt.strengths(
            searched.supernet, searched.parameters, searched.weights, *split.validation, criterion="error"
        )
    with pytest.raises(ValueError, match="interval must be at least 0"):
        darts_pt.select(searched, split, interval=-1)


def test_result_is_saved_and_loaded(tmp_path):
    result = study.run(study.Setting.of("smoke"), seeds=[0, 1])
    result.save(tmp_path / "result.json")
    again = Result.load(tmp_path / "result.json")
    assert again.genotypes("perturbation") == result.genotypes("perturbation")
    assert torch.equal(again.accuracy["magnitude"], result.accuracy["magnitude"])
    assert list(result.to_frame()["arm"]) == list(result.accuracy)
