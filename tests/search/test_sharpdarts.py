"""sharpDARTS: schedule, block, and paths through a grid of widths."""

from itertools import product

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.search import bilevel, sharpdarts
from lab.search.bilevel import Recipe, Split
from lab.search.sharpdarts import HyperCuboid, SharpSepConv, cosine_power_annealing, half_time, power_schedule
from lab.search.space import Space
from lab.search.studies import sharpdarts as study
from lab.search.supernet import Supernet


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 80), st.floats(1, 20), st.integers(0, 5))
def test_schedule_falls_from_the_largest_rate_to_the_smallest(epochs, order, warm_up):
    rates = cosine_power_annealing(epochs + warm_up, highest=0.1, lowest=0.001, order=order, warm_up=warm_up)
    assert len(rates) == epochs + warm_up
    assert float(rates[warm_up]) == pytest.approx(0.1) and float(rates[-1]) == pytest.approx(0.001)
    assert (rates[warm_up:].diff() <= 0).all() and (rates[: warm_up + 1].diff() > 0).all()


def test_half_times_are_those_of_the_paper():
    rates = [cosine_power_annealing(300, highest=0.1, lowest=7.5e-4, order=p) for p in (1.0, 2.0, 10.0)]
    assert [half_time(one) for one in rates] == [150, 134, 102]


def test_order_near_one_is_cosine_annealing():
    near, cosine = (cosine_power_annealing(50, highest=0.1, lowest=0.0, order=p) for p in (1.0001, 1.0))
    assert float((near - cosine).abs().max()) < 2e-6
    for p in (1.0, 3.0):
        factor = power_schedule(p)
        assert factor(0.0) == pytest.approx(1) and factor(1.0) == pytest.approx(0, abs=1e-12)


def test_schedule_drives_a_search():
    x = torch.rand(60, 6, generator=torch.Generator().manual_seed(0))
    split, supernet = (
        Split.of(x, (x[:, 0] > 0.5).long(), train=24, validation=24),
        Supernet(Space("s2", 6, 2, cells=1, width=4)),
    )
    found = [
        bilevel.run(supernet, split, Recipe(steps=6, batch_size=12, schedule=schedule), seeds=[0]).alpha
        for schedule in ("cosine", power_schedule(1.0), power_schedule(9.0))
    ]
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


@pytest.mark.parametrize("variant", sharpdarts.VARIANTS)
def test_block_keeps_or_halves_the_image(variant):
    x = torch.zeros(2, 3, 8, 8)
    assert SharpSepConv(3, 5, 5, variant=variant)(x).shape == (2, 5, 8, 8)
    assert SharpSepConv(3, 5, 3, stride=2, dilation=2, variant=variant)(x).shape == (2, 5, 4, 4)


def test_blocks_are_candidates_of_a_supernet():
    space = Space(
        {"skip": lambda c: torch.nn.Identity(), "sharp": lambda c: SharpSepConv(c, c)},
        1,
        2,
        cells=1,
        width=4,
        image=True,
    )
    supernet = Supernet(space)
    assert supernet(supernet.initialize([0, 1]), torch.ones(2, 3, 2), torch.rand(2, 1, 5, 5)).shape == (2, 2, 2)


def test_grid_at_one_path_is_the_plain_network():
    grid = HyperCuboid(5, 3, (2, 4), 2)
    parameters, x = grid.initialize([0, 7]), torch.rand(2, 6, 5)
    for route in product(range(2), repeat=2):
        weights = [torch.zeros(2, len(pairs)) for pairs in grid.pairs]
        weights[0][:, grid.pairs[0].index((0, route[0]))] = 1
        weights[1][:, grid.pairs[1].index(route)] = 1
        assert torch.equal(grid.path([w.clamp_min(1e-9) for w in weights]), torch.tensor([route, route]))
        h = x
        for name in (f"0.0.{route[0]}", f"1.{route[0]}.{route[1]}"):
            h = h @ parameters[name].transpose(1, 2)
            h = torch.relu(torch.nn.functional.layer_norm(h, h.shape[-1:]))
        torch.testing.assert_close(
            grid.logits(parameters, weights, x), h @ parameters[f"head.{route[1]}"].transpose(1, 2)
        )


def test_search_of_widths_is_reproducible_and_a_study_compares_it():
    setting = study.Setting.of("smoke")
    first = study.run_grid(setting, seeds=[0, 1])
    assert set(first) == {"DARTS", "Max-W", "by lot", "by hand"} and all(len(values) == 2 for values in first.values())


def test_bad_input_is_refused():
    with pytest.raises(ValueError, match="order must be at least 1"):
        cosine_power_annealing(10, order=0.5)
    with pytest.raises(ValueError, match="epochs - warm_up must be at least 2"):
        cosine_power_annealing(10, warm_up=9)
    with pytest.raises(ValueError, match="kernel must be odd"):
        SharpSepConv(3, 3, 4)
    with pytest.raises(ValueError, match="did you mean 'choke'"):
        SharpSepConv(3, 3, variant="chok")
    with pytest.raises(ValueError, match="schedule must be one of"):
        Recipe(schedule="cosin")
