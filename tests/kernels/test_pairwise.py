"""pairwise and infonce against dense formulas, scikit-learn and SciPy; gradients; memory of the large case."""

import pytest
import torch
from scipy.spatial.distance import cdist
from sklearn.gaussian_process import kernels as peers

import lab.kernels as kernels

generator = torch.Generator().manual_seed(11)


def points(n=60, m=45, d=4, dtype=torch.float64):
    return (
        torch.randn(n, d, generator=generator, dtype=torch.float64).to(dtype),
        torch.randn(m, d, generator=generator, dtype=torch.float64).to(dtype),
    )


@pytest.mark.parametrize(
    ("kernel", "peer"),
    [
        ("gaussian", peers.RBF(1.7)),
        ("laplacian", peers.Matern(1.7, nu=0.5)),
        ("matern32", peers.Matern(1.7, nu=1.5)),
        ("matern52", peers.Matern(1.7, nu=2.5)),
    ],
)
def test_sums_are_those_of_scikit_learn(kernel, peer):
    x, y = points()
    v = torch.randn(45, 2, generator=generator, dtype=torch.float64)
    exact = torch.from_numpy(peer(x.numpy(), y.numpy())) @ v
    assert torch.allclose(kernels.pairwise(x, y, v, kernel=kernel, lengthscale=1.7), exact, rtol=1e-10)
    with kernels.backend("cpu"):
        found = kernels.pairwise(x.float(), y.float(), v.float(), kernel=kernel, lengthscale=1.7)
    assert torch.allclose(found.double(), exact, rtol=1e-4, atol=1e-5)


def test_energy_imq_and_dot_are_their_formulas():
    x, y = points()
    r = torch.from_numpy(cdist(x.numpy(), y.numpy())) / 0.8
    assert torch.allclose(kernels.pairwise(x, y, kernel="energy", lengthscale=0.8), -r.sum(1))
    assert torch.allclose(kernels.pairwise(x, y, kernel="imq", lengthscale=0.8), (1 + r**2).rsqrt().sum(1))
    assert torch.allclose(kernels.pairwise(x, y, kernel="dot", lengthscale=0.8), (x @ y.T).sum(1) / 0.64)


@pytest.mark.parametrize("word", ["cpu", "reference"])
def test_argmin_is_the_nearest_neighbour_and_the_first_of_equal_ones(word):
    x, y = points(200, 900, dtype=torch.float32)
    distances = torch.from_numpy(cdist(x.double().numpy(), y.double().numpy()))
    y = torch.cat([y, y])
    with kernels.backend(word):
        for kernel in ("gaussian", "laplacian", "energy"):
            found = kernels.pairwise(x, y, kernel=kernel, reduce="argmin")
            assert bool((found < 900).all())
            # float32 leaves the order open of neighbours whose distances agree to a few units of rounding
            assert bool((distances.gather(1, found[:, None])[:, 0] <= distances.amin(1) * (1 + 1e-5)).all())
            assert float((found == distances.argmin(1)).float().mean()) >= 0.99


@pytest.mark.parametrize("word", ["cpu", "reference"])
def test_logsumexp_survives_distances_whose_kernel_underflows(word):
    x, y = points(30, 40, dtype=torch.float32)
    with kernels.backend(word):
        found = kernels.pairwise(x, y + 100.0, kernel="gaussian", reduce="logsumexp")
    exact = torch.logsumexp(-0.5 * torch.cdist(x.double(), y.double() + 100.0) ** 2, 1)
    assert torch.allclose(found.double(), exact, rtol=1e-5)


@pytest.mark.parametrize("kernel", kernels.KERNELS)
@pytest.mark.parametrize("reduce", ["sum", "logsumexp"])
def test_gradients_agree_with_finite_differences(kernel, reduce):
    x, y = points(4, 5, 3)
    v = torch.rand(5, generator=generator, dtype=torch.float64)
    scale = 0.5 + torch.rand(3, generator=generator, dtype=torch.float64)
    arguments = [t.requires_grad_() for t in (x, y, v, scale)]

    def function(x, y, v, scale):
        return kernels.pairwise(x, y, v, kernel=kernel, reduce=reduce, lengthscale=scale)

    assert torch.autograd.gradcheck(function, arguments)


@pytest.mark.parametrize("word", ["cpu", "reference"])
@pytest.mark.parametrize("kernel", kernels.KERNELS)
def test_coinciding_points_have_finite_gradients(word, kernel):
    x = torch.randn(40, 3, generator=generator).requires_grad_()
    with kernels.backend(word):
        for reduce in ("sum", "logsumexp"):
            (gradient,) = torch.autograd.grad(kernels.pairwise(x, x.detach(), kernel=kernel, reduce=reduce).sum(), x)
            assert torch.isfinite(gradient).all()


def test_reference_in_pieces_equals_the_dense_reference(monkeypatch):
    from lab.kernels.pairwise import public

    x, y = points(50, 30)
    x.requires_grad_()
    whole = kernels.pairwise(x, y, reduce="logsumexp")
    (exact,) = torch.autograd.grad(whole.sum(), x)
    monkeypatch.setattr(public, "DENSE", 30 * 4 * 7)
    pieces = kernels.pairwise(x, y, reduce="logsumexp")
    (found,) = torch.autograd.grad(pieces.sum(), x)
    assert torch.allclose(pieces, whole)
    assert torch.allclose(found, exact)


def test_results_do_not_depend_on_the_number_of_threads():
    x, y = points(1500, 1400, 5, torch.float32)
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            with kernels.backend("cpu"):
                found.append(kernels.pairwise(x, y))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)


def test_infonce_is_the_cross_entropy_of_the_dense_matrix():
    a, b = points(40, 55, 8)
    a, b = a.requires_grad_(), b.requires_grad_()
    t = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    found = kernels.infonce(a, b, temperature=t)
    exact = torch.nn.functional.cross_entropy(a @ b.T / t, torch.arange(40), reduction="none")
    assert torch.allclose(found, exact)
    for x, y in zip(
        torch.autograd.grad(found.square().sum(), (a, b, t)), torch.autograd.grad(exact.square().sum(), (a, b, t))
    ):
        assert torch.allclose(x, y)


def test_infonce_is_pairwise_of_the_dot_kernel_less_the_positives():
    a, b = points(300, 300, 16, torch.float32)
    with kernels.backend("cpu"):
        whole = kernels.pairwise(a, b, kernel="dot", reduce="logsumexp", lengthscale=0.5**0.5)
    exact = whole - (a * b).sum(1) / 0.5
    assert torch.allclose(kernels.infonce(a, b, temperature=0.5), exact, rtol=1e-4, atol=1e-4)


def test_infonce_in_blocks_equals_the_dense_one(monkeypatch):
    from lab.kernels.infonce import reference

    a, b = points(40, 55, 8)
    a.requires_grad_()
    dense = kernels.infonce(a, b)
    (exact,) = torch.autograd.grad(dense.sum(), a)
    monkeypatch.setattr(reference, "BLOCK", 55 * 6)
    blocks = kernels.infonce(a, b)
    (found,) = torch.autograd.grad(blocks.sum(), a)
    assert torch.allclose(blocks, dense)
    assert torch.allclose(found, exact)


def test_infonce_keeps_its_digits_where_the_positive_wins_by_far():
    a = torch.eye(3) * 6.0
    found = kernels.infonce(a, a, temperature=1.0)
    assert torch.allclose(
        found.double(), torch.log1p(2 * torch.exp(torch.tensor(-36.0, dtype=torch.float64))).expand(3), rtol=1e-5
    )
    assert torch.nn.functional.cross_entropy(a @ a.T, torch.arange(3)).item() == 0.0


def test_infonce_gradients_agree_with_finite_differences():
    a, b = points(3, 4, 2)
    t = torch.tensor(0.7, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda a, b, t: kernels.infonce(a, b, temperature=t), [x.requires_grad_() for x in (a, b, t)]
    )
