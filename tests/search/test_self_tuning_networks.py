"""Self-tuning networks: gated layers, regularizers, tuning, and the other searches."""

import pytest
import torch
from torch import nn

from lab.search import self_tuning_networks as stn
from lab.search.self_tuning_networks import HyperGRUCell, HyperLinear, Hyperparameter
from lab.search.studies import self_tuning_networks as study


@pytest.fixture(scope="module")
def parts():
    x = torch.rand(80, 6, generator=torch.Generator().manual_seed(0))
    y = (x[:, 0] > 0.5).long()
    return (x[:40], y[:40]), (x[40:], y[40:])


def test_gated_layer_is_the_plain_one_without_gate_input(generator):
    layer, x = HyperLinear(5, 4, 3, seed=1), torch.randn(6, 5, generator=generator)
    torch.testing.assert_close(layer(x, torch.zeros(6, 3)), nn.functional.linear(x, layer.weight, layer.bias))


def test_gradients_of_a_gated_layer(generator):
    layer = HyperLinear(3, 2, 2, seed=1).double()
    x, v = torch.randn(4, 3, generator=generator).double(), torch.randn(4, 2, generator=generator).double()
    assert torch.autograd.gradcheck(layer, (x.requires_grad_(), v.requires_grad_()))


def test_recurrent_cell_without_gate_input_is_torchs(generator):
    cell, plain = HyperGRUCell(3, 4, 2, seed=0), nn.GRUCell(3, 4)
    with torch.no_grad():
        for ours, theirs in ((cell.outer, "ih"), (cell.inner, "hh")):
            getattr(plain, f"weight_{theirs}").copy_(ours.weight)
            getattr(plain, f"bias_{theirs}").copy_(ours.bias)
    x, h = torch.randn(5, 3, generator=generator), torch.randn(5, 4, generator=generator)
    torch.testing.assert_close(cell(x, h, torch.zeros(5, 2)), plain(x, h))


def test_ranges_and_integers():
    one, shift = Hyperparameter("dropout", start=0.3), Hyperparameter("shift", 0.0, 5.0, 2.5)
    assert float(one.value(torch.tensor(one.unconstrained(0.3)))) == pytest.approx(0.3)
    assert shift.value(torch.tensor([-9.0, 0.0, 9.0])).tolist() == [0.0, 2.0, 4.0]


def test_regularizers_do_what_they_say():
    draws = [torch.Generator().manual_seed(0)]
    x, v = torch.arange(8.0).expand(1, 4000, 8), torch.zeros(1, 4000, 1)
    kept, masks = stn.regularized(x, v, [Hyperparameter("dropout", 0.0, 0.8)], (8, 5), draws)
    assert torch.equal(kept, x) and masks[0].unique().tolist() == [0.0, pytest.approx(1 / 0.6)]
    assert float(masks[0].mean()) == pytest.approx(1, abs=0.03) and (masks[1] == 1).all()
    rolled, _ = stn.regularized(x, v, [Hyperparameter("shift", 0.0, 5.0, 1.0)], (8, 5), draws)
    assert sorted(set(rolled[0, :, 0].tolist())) == [0, 1, 2, 6, 7]  # up to two places either way
    noisy, _ = stn.regularized(x, v, [Hyperparameter("noise", 0.0, 2.0, 0.5)], (8, 5), draws)
    assert float((noisy - x).std()) == pytest.approx(1, abs=0.02)


def test_tuning_moves_hyperparameters_and_a_seed_is_the_same_alone(parts):
    one = (Hyperparameter("dropout"), Hyperparameter("noise", 0.0, 1.0, 0.1))
    options = {"widths": (8,), "steps": 12, "warm_up": 2, "batch_size": 20}
    together = stn.self_tune(one, *parts, seeds=[0, 3], **options)
    alone = stn.self_tune(one, *parts, seeds=[3], **options)
    torch.testing.assert_close(together.path[:, 1], alone.path[:, 0], rtol=1e-4, atol=1e-5)
    assert (together.path[-1] != together.path[0]).all() and together.logits(parts[1][0]).shape == (2, 40, 2)


def test_schedule_is_replayed_and_a_plain_network_has_no_gates(parts):
    one, schedule = (Hyperparameter("dropout"),), torch.linspace(-2, 1, 6)[:, None]
    found = stn.self_tune(one, *parts, seeds=[0], widths=(8,), steps=12, tune=False, schedule=schedule, records=12)
    torch.testing.assert_close(found.path[:, 0, 0], schedule[:, 0].repeat_interleave(2))
    assert torch.equal(found.logits(parts[1][0]), found.logits(parts[1][0], torch.ones(1, 1)))


def test_bayesian_search_finds_the_bottom_of_a_bowl():
    def bowl(points):
        return (points - torch.tensor([0.3, -1.0])).square().sum(1)

    points, losses = stn.bayesian_search(bowl, [(-2.0, 2.0), (-2.0, 2.0)], seeds=[0, 1], rounds=14)
    assert points.shape == (14, 2, 2) and (losses.min(0).values < 0.1).all()
    assert (losses[4:].min(0).values < losses[:3].min(0).values).all()


def test_ridge_comes_near_the_grid():
    found = study.ridge(0)
    assert found["excess"] < 0.01 and found["slope error"] < 0.15


def test_bad_input_is_refused(parts):
    with pytest.raises(ValueError, match="did you mean 'dropout'"):
        Hyperparameter("drop_out")
    with pytest.raises(ValueError, match="start must lie inside"):
        Hyperparameter("dropout", start=0.0)
    with pytest.raises(ValueError, match="hyperparameters is empty"):
        stn.self_tune((), *parts, seeds=[0])
    with pytest.raises(ValueError, match="needs tune=False"):
        stn.self_tune((Hyperparameter("dropout"),), *parts, seeds=[0], schedule=torch.zeros(1, 1))
