"""Direct search: gates, pairs, rewards, paths and latency."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.search import proxylessnas as px
from lab.search.bilevel import Split
from lab.search.latency import LatencyTable
from lab.search.studies import proxylessnas as study
from lab.search.supernet import Supernet


@pytest.fixture(scope="module")
def split():
    return Split.of(*study.spiral(120), train=40, validation=40)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 7))
def test_gate_gradient_is_that_of_the_softmax(seed, candidates):
    generator = torch.Generator().manual_seed(seed)
    alpha = torch.randn(candidates, generator=generator, dtype=torch.float64, requires_grad=True)
    slopes = torch.randn(candidates, generator=generator, dtype=torch.float64)
    (expected,) = torch.autograd.grad((torch.softmax(alpha, 0) * slopes).sum(), alpha)
    torch.testing.assert_close(px.gate_gradient(torch.softmax(alpha.detach(), 0), slopes), expected, atol=1e-12, rtol=0)


def test_reward_gradient_is_the_enumerated_one_in_the_mean(generator):
    p = torch.softmax(torch.randn(1, 1, 3, generator=generator, dtype=torch.float64), -1)
    reward = torch.tensor([1.0, -0.5, 2.0], dtype=torch.float64)
    alpha = p.log().requires_grad_()
    (exact,) = torch.autograd.grad(-(torch.softmax(alpha, -1)[0, 0] * reward).sum(), alpha)
    drawn = torch.multinomial(p[0, 0], 40_000, True, generator=generator).reshape(-1, 1, 1)
    found = px.reinforce_gradient(p, drawn, reward[drawn[..., 0]], torch.zeros(1))
    torch.testing.assert_close(found, exact, atol=0.02, rtol=0)


def test_gate_slopes_are_products_of_outputs_and_the_edges_gradient(split):
    space = px.chain(2, 3, blocks=1, width=6)
    supernet = Supernet(space)
    parameters = {name: value.double() for name, value in supernet.initialize([3]).items()}
    x, y = split.train[0].double(), split.train[1]
    choice = torch.tensor([[2]])
    slopes = px.gate_slopes(supernet, parameters, choice, x, y)
    gates = torch.tensor([[[0.0, 0.0, 1.0, 0.0]]], dtype=torch.float64)
    step = 1e-6
    for k in range(4):
        moved = gates.clone()
        moved[0, 0, k] += step
        rise = torch.nn.functional.cross_entropy(supernet(parameters, moved, x)[0], y)
        fall = torch.nn.functional.cross_entropy(supernet(parameters, 2 * gates - moved, x)[0], y)
        assert float(slopes[0, 0, k]) == pytest.approx(float(rise - fall) / (2 * step), abs=1e-6)


@pytest.mark.parametrize("mode", px.MODES)
def test_every_mode_moves_alpha_and_a_seed_is_the_same_alone(split, mode):
    space = px.chain(2, 3, blocks=2, width=6)
    options = {"steps": 12, "warm_up": 2, "every": 2, "batch_size": 20, "mode": mode}
    together = px.search(space, split, seeds=[1, 4], **options)
    alone = px.search(space, split, seeds=[4], **options)
    assert not torch.equal(together.path[0], together.path[-1])
    torch.testing.assert_close(together.alpha[1], alone.alpha[0], rtol=1e-3, atol=1e-5)


def test_operations_off_the_path_do_not_move(split):
    space = px.chain(2, 3, blocks=1, width=6, candidates={"skip": px.BLOCKS["skip"], "mlp4": px.BLOCKS["mlp4"]})
    supernet = Supernet(space)
    parameters = {name: value.requires_grad_() for name, value in supernet.initialize([0]).items()}
    px.step_path(supernet, parameters, torch.tensor([[0]]), *split.train).sum().backward()
    slopes = {name: value.grad for name, value in parameters.items() if name.startswith("0.")}
    assert slopes and all(grad is None for grad in slopes.values())


def test_price_of_latency_makes_networks_faster(split):
    found = px.search(
        px.chain(2, 3, blocks=2, width=6), split, seeds=[0, 0], table=study.SERIAL, tradeoff=torch.tensor([0.0, 50.0]), steps=60,
        batch_size=20, alpha_rate=0.1,
    )  # fmt: skip
    assert found.latency[1] < found.latency[0] and (found.choice[1] == 0).all()


def test_memory_is_that_of_one_path():
    assert study.saved_bytes(12) == study.saved_bytes(3)
    assert study.saved_bytes(12, mixture=True) > 3 * study.saved_bytes(3, mixture=True)


def test_bad_input_is_refused(split):
    with pytest.raises(ValueError, match="did you mean 'two'"):
        px.search(px.chain(2, 3), split, seeds=[0], mode="tow")
    with pytest.raises(ValueError, match="tradeoff must be at least 0"):
        px.search(px.chain(2, 3), split, seeds=[0], tradeoff=-1.0)
    with pytest.raises(ValueError, match="no cost of mlp4"):
        px.search(px.chain(2, 3), split, seeds=[0], table=LatencyTable({"skip": 0.0}))
    with pytest.raises(ValueError, match="p and slopes must have the same shape"):
        px.gate_gradient(torch.ones(2), torch.ones(3))
