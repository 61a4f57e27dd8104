"""Forward derivatives against double backward and closed forms; points of boxes; refusals."""

import pytest
import torch

from lab.physics import residuals as r


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("d", [1, 2, 5])
@pytest.mark.parametrize("depth", [0, 1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_forward_laplacian_equals_double_backward(d, depth, weighted):
    net = r.Networks(d, width=7, depth=depth, seeds=(0, 1), dtype=torch.float64)
    for k, bias in enumerate(net.biases):
        bias.data = noise(*bias.shape, seed=k)
    x, w = noise(2, 6, d), noise(d, seed=9).tolist() if weighted else None
    ours, theirs = r.forward_laplacian(net, x, w), r.double_backward(lambda x: net(x)[..., 0], x, w)
    for a, b in zip(ours, theirs):
        assert a.shape == b.shape and torch.allclose(a, b, atol=1e-12)


def test_gradients_by_the_weights_agree_too():
    net = r.Networks(3, width=6, depth=2, seeds=(4,), dtype=torch.float64)
    x = noise(1, 5, 3)
    losses = [
        (p.laplacian + p.value**2 + p.gradient.sum(-1)).square().mean()
        for p in (r.forward_laplacian(net, x), r.double_backward(lambda x: net(x)[..., 0], x))
    ]
    ours, theirs = (torch.autograd.grad(loss, list(net.weights)) for loss in losses)
    assert all(torch.allclose(a, b, atol=1e-11) for a, b in zip(ours, theirs))


def test_double_backward_of_polynomials_and_of_linear_functions():
    x = noise(4, 2)
    found = r.double_backward(lambda x: x[..., 0] ** 3 + 2 * x[..., 1] ** 2, x, (1, 0.5))
    assert torch.allclose(found.laplacian, 6 * x[:, 0] + 2)
    assert torch.equal(r.double_backward(lambda x: 3 * x[..., 0], x).laplacian, torch.zeros(4, dtype=torch.float64))


def test_a_seed_gives_the_same_network_alone_and_in_company():
    both, alone = r.Networks(2, seeds=(3, 8)), r.Networks(2, seeds=(8,))
    assert torch.equal(both.weights[1][1], alone.weights[1][0])
    assert float(r.Networks(2, flat=True)(torch.rand(1, 4, 2)).abs().max()) == 0


def test_points_lie_in_the_box_and_on_its_faces_in_proportion_to_their_areas():
    box, generators = r.Box((0, -1), (4, 0)), [torch.Generator().manual_seed(0)]
    x, b = box.uniform(4000, generators), box.boundary(4000, generators)
    assert x.shape == b.shape == (1, 4000, 2)
    assert torch.allclose(x.mean(1), torch.tensor([2.0, -0.5]), atol=0.05)
    side = (b[..., 0] == 0) | (b[..., 0] == 4)
    flat = (b[..., 1] == 0) | (b[..., 1] == -1)
    assert bool((side | flat).all())
    assert float(side.double().mean()) == pytest.approx(0.2, abs=0.03)
    assert torch.allclose(box.at(box.unit(x)), x)
    assert box.centres(2).tolist() == [[1, -0.75], [1, -0.25], [3, -0.75], [3, -0.25]]
    line = r.Box((0,), (2,)).boundary(100, generators)
    assert sorted(set(line.flatten().tolist())) == [0, 2]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: r.Box((0,), (0,)), "lower bounds below upper bounds"),
        (lambda: r.Box((0, 1), (1,)), "as many lower as upper"),
        (lambda: r.Box.of([[0, 1, 2]]), "shape"),
        (lambda: r.forward_laplacian(r.Networks(2), torch.zeros(1, 4, 3)), "x must have shape"),
        (lambda: r.forward_laplacian(r.Networks(2), torch.zeros(1, 4, 2), (1,)), "weights must have shape"),
    ],
)
def test_bad_input_is_refused(call, words):
    with pytest.raises(ValueError, match=words):
        call()
