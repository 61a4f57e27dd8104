"""The custom operations as torch sees them: schemas, fakes, autograd, compilation, second derivatives, functorch."""

import pytest
import torch

import lab.kernels as kernels
from lab.kernels.pairwise import op as pair_op
from lab.kernels.perturb_gram import op as draw_op
from lab.kernels.random_hypotheses import op as hypothesis_op
from lab.kernels.rowloss import op as row_op

generator = torch.Generator().manual_seed(0)


def normal(*shape):
    return torch.randn(*shape, generator=generator)


def leaf(*shape):
    return normal(*shape).requires_grad_()


Y = torch.randint(5, (3, 4), generator=generator)
SAMPLES = {
    "rows": (row_op.log_others, (leaf(3, 5, 1), Y[:, :1], torch.ones(3, 1).requires_grad_(), 0.1)),
    "planes": (row_op.log_others, (leaf(3, 5, 4), Y, torch.tensor(0.7).requires_grad_(), 0.0)),
    "rows backward": (
        row_op.log_others_backward,
        (leaf(3, 5, 1), Y[:, :1], torch.ones(3, 1), 0.1, normal(3, 1), leaf(3, 1)),
    ),
    "sum": (pair_op.pair_sum, (leaf(4, 3), leaf(6, 3), leaf(6, 2), 2)),
    "logsumexp": (pair_op.pair_logsumexp, (leaf(4, 3), leaf(6, 3), leaf(6), 0)),
    "argmin": (pair_op.pair_argmin, (normal(4, 3), normal(6, 3), normal(6), 0)),
    "pair gradient": (
        pair_op.pair_gradient,
        (leaf(4, 3), leaf(6, 3), leaf(4, 2), leaf(6, 2), normal(4), normal(6), 2, False),
    ),
    "draw": (draw_op.draw, (0, 3, 2, 5, 1, 2, True, 1.0, 0.0)),
    "hypotheses": (
        hypothesis_op._evaluate,
        (normal(7, 3), normal(7, 2), [3, 4, 2], [1.0, 0.1, 1.0, 0.1], False, 0, 5, 1, 0, 1, [4, 3]),
    ),
}


@pytest.mark.parametrize("sample", SAMPLES)
def test_opcheck_passes(sample):
    op, arguments = SAMPLES[sample]
    torch.library.opcheck(op, arguments, test_utils=("test_schema", "test_autograd_registration", "test_faketensor"))


def run_rowloss(x):
    return kernels.rowloss(x, torch.arange(len(x)) % x.shape[1], kernels.comp_sum(1.5)).sum()


def run_pairwise(x):
    return kernels.pairwise(x, x[:70] + 1.0, x[:70, :2], kernel="matern52").square().sum()


@pytest.mark.parametrize("function", [run_rowloss, run_pairwise])
def test_fullgraph_compilation_gives_the_eager_value_and_gradient(function):
    x = normal(700, 80)
    eager, compiled = x.clone().requires_grad_(), x.clone().requires_grad_()
    function(eager).backward()
    # aot_eager traces forward and backward through the fakes without generating code, which takes seconds.
    value = torch.compile(function, fullgraph=True, backend="aot_eager")(compiled)
    value.backward()
    assert torch.allclose(value, function(x), rtol=1e-5)
    assert torch.allclose(compiled.grad, eager.grad, rtol=1e-4, atol=1e-5)


def test_fullgraph_compilation_of_random_hypotheses_and_infonce():
    network, x, y = kernels.RandomNetwork(4, (8,)), normal(64, 4), normal(64)

    def run(x):
        return kernels.random_hypotheses(network, x, y, count=300, seed=1), kernels.infonce(x, x.flip(0))

    for found, exact in zip(torch.compile(run, fullgraph=True, backend="aot_eager")(x), run(x)):
        assert torch.allclose(found, exact, rtol=1e-5)


def double(function, *shapes):
    arguments = [normal(*shape).double().requires_grad_() for shape in shapes]
    return torch.autograd.gradgradcheck(function, arguments, atol=1e-6)


def test_second_derivatives_of_the_reference_are_right():
    labels = torch.tensor([0, 2, 1])
    assert double(lambda z: kernels.rowloss(z, labels, kernels.comp_sum(0.6)), (3, 4))
    assert double(lambda x, y, v: kernels.pairwise(x, y, v, kernel="matern52"), (3, 2), (4, 2), (4,))


@pytest.mark.parametrize("which", ["rowloss", "sum", "logsumexp"])
def test_second_derivatives_of_the_cpu_form_are_those_of_the_reference(which):
    labels = torch.arange(6) % 4

    def function(x):
        if which == "rowloss":
            return kernels.rowloss(x, labels, kernels.comp_sum(1.3), temperature=x.square().mean(1) + 1).sum()
        reduce, v = ("sum", x[:, :2]) if which == "sum" else ("logsumexp", x[:, 0])
        return kernels.pairwise(x, x.flip(0) * 2, v, kernel="gaussian", reduce=reduce).square().sum()

    found = {}
    x = normal(6, 4)
    for word in ("cpu", "reference"):
        z = x.clone().requires_grad_()
        with kernels.backend(word):
            (first,) = torch.autograd.grad(function(z), z, create_graph=True)
            (found[word],) = torch.autograd.grad(first.square().sum(), z)
    assert torch.allclose(found["cpu"], found["reference"], rtol=1e-3, atol=1e-4)


def test_functorch_code_runs_the_reference():
    x = normal(300, 90)
    with kernels.backend("cpu"):
        for function in (run_rowloss, run_pairwise):
            z = x.clone().requires_grad_()
            function(z).backward()
            assert torch.allclose(torch.func.grad(function)(x), z.grad, rtol=1e-4, atol=1e-5)
    jacobian = torch.func.jacrev(lambda z: kernels.rowloss(z, torch.tensor([1, 0])))(x[:2, :3])
    assert jacobian.shape == (2, 2, 3)
    batched = torch.func.vmap(lambda z: kernels.pairwise(z, z))(x[:, :8].reshape(30, 10, 8))
    assert torch.allclose(batched[3], kernels.pairwise(x[30:40, :8], x[30:40, :8]), rtol=1e-5)


def test_forward_mode_runs_the_reference():
    x, t = normal(30, 9), normal(30, 9)
    value, tangent = torch.func.jvp(run_rowloss, (x,), (t,))
    z = x.clone().requires_grad_()
    run_rowloss(z).backward()
    assert torch.allclose(tangent, (z.grad * t).sum(), rtol=1e-3)
