import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.losses.groco import GroCoLoss, group_ordering_loss, group_similarities, ordered
from lab.losses.sorting import NETWORKS, SIGMOIDS, layers, soft_sort


@pytest.mark.parametrize("network", NETWORKS)
@given(n=st.integers(1, 24), data=st.data())
@settings(max_examples=40, deadline=None)
def test_network_sorts_every_input_of_zeros_and_ones(network, n, data):
    """The zero-one principle, by hard comparisons."""
    x = torch.tensor(data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    for left, right in layers(n, network):
        low, high = torch.minimum(x[left], x[right]), torch.maximum(x[left], x[right])
        x = x.index_copy(0, left, low).index_copy(0, right, high)
    assert (x.diff() >= 0).all()


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("sigmoid", SIGMOIDS)
def test_matrix_is_doubly_stochastic_and_maps_values_to_their_soft_order(network, sigmoid, generator):
    x = torch.randn(4, 13, generator=generator, dtype=torch.float64)
    soft, p = soft_sort(x, 3.0, network=network, sigmoid=sigmoid)
    ones = torch.ones(4, 13, dtype=torch.float64)
    torch.testing.assert_close(p.sum(-1), ones)
    torch.testing.assert_close(p.sum(-2), ones)
    assert (p >= 0).all()
    torch.testing.assert_close((x[:, :, None] * p).sum(1), soft)


@pytest.mark.parametrize("network", NETWORKS)
def test_steep_sort_is_the_sort(network, generator):
    x = torch.randn(3, 11, generator=generator, dtype=torch.float64)
    soft, p = soft_sort(x, 1e9, network=network)
    torch.testing.assert_close(soft, x.sort(dim=-1).values, atol=1e-6, rtol=0)
    assert (p.argmax(-1) == x.argsort(-1).argsort(-1)).all()


def test_gradient_of_the_sort_agrees_with_finite_differences(generator):
    x = torch.randn(2, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    for network in NETWORKS:
        assert torch.autograd.gradcheck(lambda v, network=network: soft_sort(v, 2.0, network=network), x)


def test_perfect_order_costs_less_at_higher_steepness_and_a_swap_costs_more():
    s = torch.linspace(-0.8, 0.9, 13, dtype=torch.float64)[None]
    losses = [group_ordering_loss(s, 3, beta).item() for beta in (1.0, 5.0, 50.0)]
    assert losses[0] > losses[1] > losses[2]
    swapped = s.clone()
    swapped[0, [9, 10]] = s[0, [10, 9]]
    for beta in (1.0, 5.0):
        assert group_ordering_loss(swapped, 3, beta).item() > group_ordering_loss(s, 3, beta).item()
    assert ordered(s, 3) == 1.0
    assert ordered(swapped, 3) == pytest.approx(29 / 30)


def test_both_halves_of_the_cross_entropy_are_equal(generator):
    s = torch.randn(5, 8, generator=generator, dtype=torch.float64)
    _, p = soft_sort(s, 1.0)
    upper, lower = p[..., 6:].sum(-1), p[..., :6].sum(-1)
    target = torch.tensor([0.0] * 6 + [1.0] * 2, dtype=torch.float64).expand(5, 8)
    bce = torch.nn.functional.binary_cross_entropy
    torch.testing.assert_close(bce(upper, target), bce(lower, 1 - target))


def test_only_the_anchor_gets_gradients_from_its_partners(generator):
    views = torch.randn(2, 12, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    similarity, positives = group_similarities(views, 5)
    assert similarity.shape == (24, 6)
    assert positives == 1
    similarity[:12].sum().backward()
    assert views.grad[0].abs().sum() > 0
    assert (views.grad[1] == 0).all()


def test_loss_falls_when_positives_move_together(generator):
    anchor = torch.randn(40, 8, generator=generator)
    far = GroCoLoss()([anchor, torch.randn(40, 8, generator=generator)])
    near = GroCoLoss()([anchor, anchor + 0.01 * torch.randn(40, 8, generator=generator)])
    assert near < far


@pytest.mark.parametrize(
    "views, words",
    [
        (torch.ones(2, 5, 3), "more than n_negatives"),
        (torch.ones(1, 20, 3), "at least 2 views"),
        (torch.ones(20, 3), "3 axes"),
    ],
)
def test_bad_views_are_refused(views, words):
    with pytest.raises(ValueError, match=words):
        GroCoLoss()(views)
