"""random_hypotheses and perturb_gram: replay, laws, segments, local fits against numpy."""

import math

import numpy as np
import pytest
import torch

import lab.kernels as kernels
from lab.kernels import philox

generator = torch.Generator().manual_seed(3)
X = torch.randn(120, 5, generator=generator)
NETWORK = kernels.RandomNetwork(5, (11, 7), outputs=3, bias_scale=0.3)


@pytest.mark.parametrize("word", ["cpu", "reference"])
@pytest.mark.parametrize(
    "network",
    [
        NETWORK,
        kernels.RandomNetwork(5, (9,), outputs=2, activation="tanh", law="uniform", weight_scale=1.0, bias_scale=1.0),
        kernels.RandomNetwork(5, (4, 4, 4), activation="identity"),
        kernels.RandomNetwork(5, ()),
    ],
)
def test_any_network_is_replayed_from_seed_and_index(word, network):
    start = 2**33 + 5
    with kernels.backend(word):
        batch = kernels.random_hypotheses(network, X, count=70, seed=2**63 + 9, start=start, measure="values")
    h = X.double()
    parameters = network.parameters(2**63 + 9, start + 41, dtype=torch.float64)
    for k, (weight, bias) in enumerate(parameters):
        h = h @ weight.T + bias
        if k < len(parameters) - 1:
            h = {"relu": torch.relu, "tanh": torch.tanh, "identity": lambda z: z}[network.activation](h)
    assert torch.allclose(batch[41].double(), h, rtol=1e-4, atol=1e-5)


def test_parameters_follow_their_law():
    network = kernels.RandomNetwork(4, (8,), weight_scale=2.0, bias_scale=0.5)
    weight, bias = network.parameters(0, torch.arange(4000))[0]
    assert weight.shape == (4000, 8, 4)
    assert float(weight.std()) == pytest.approx(2.0 / math.sqrt(4), rel=0.01)
    assert float(bias.std()) == pytest.approx(0.5, rel=0.02)
    network = kernels.RandomNetwork(4, (8,), law="uniform", weight_scale=1.0, bias_scale=1.0)
    weight, _ = network.parameters(0, torch.arange(4000))[0]
    assert float(weight.abs().max()) <= 0.5
    assert float(weight.std()) == pytest.approx(1 / math.sqrt(12), rel=0.01)


@pytest.mark.parametrize("word", ["cpu", "reference"])
def test_errors_are_the_share_of_wrong_classes_in_each_segment(word):
    y = torch.randint(3, (120,), generator=generator)
    with kernels.backend(word):
        values = kernels.random_hypotheses(NETWORK, X, count=50, measure="values")
        found = kernels.random_hypotheses(NETWORK, X, y, count=50, segments=(90, 30))
        whole = kernels.random_hypotheses(NETWORK, X, y, count=50)
    wrong = (values.argmax(-1) != y).float()
    assert torch.allclose(found, torch.stack([wrong[:, :90].mean(1), wrong[:, 90:].mean(1)], 1))
    assert torch.allclose(whole, wrong.mean(1))
    assert 0.3 < float(whole.mean()) < 0.95


@pytest.mark.parametrize("word", ["cpu", "reference"])
def test_one_output_is_judged_by_its_sign(word):
    network, y = kernels.RandomNetwork(5, (6,)), X[:, 0]
    with kernels.backend(word):
        values = kernels.random_hypotheses(network, X, count=40, measure="values")[..., 0]
        found = kernels.random_hypotheses(network, X, y, count=40)
        labels = kernels.random_hypotheses(network, X, (y > 0).long(), count=40)
    assert torch.allclose(found, ((values > 0) != (y > 0)).float().mean(1))
    assert torch.equal(found, labels)


def test_pieces_continue_one_sequence_and_report_progress(monkeypatch):
    from lab.kernels.random_hypotheses import public

    y, seen = X[:, 1], []
    network = kernels.RandomNetwork(5, (6,))
    whole = kernels.random_hypotheses(network, X, y, count=100, measure="squared")
    monkeypatch.setattr(public, "AT_ONCE", 32)
    pieces = kernels.random_hypotheses(network, X, y, count=100, measure="squared", progress=seen.append)
    torch.testing.assert_close(pieces, whole, rtol=1e-5, atol=0)  # float32 sums over points, whatever the piece
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
    tail = kernels.random_hypotheses(network, X, y, count=40, start=60, measure="squared")
    torch.testing.assert_close(tail, whole[60:], rtol=1e-5, atol=0)


def test_gradients_in_the_points_agree_with_finite_differences():
    x = X[:3].double().requires_grad_()
    network = kernels.RandomNetwork(5, (4,), activation="tanh")
    assert torch.autograd.gradcheck(
        lambda x: kernels.random_hypotheses(network, x, x[:, 0], count=2, measure="squared"), [x]
    )


@pytest.mark.parametrize(
    "law",
    [
        kernels.Perturbations("gaussian", 5, scale=0.7),
        kernels.Perturbations("uniform", 5, low=-1.0, high=2.0),
        kernels.Perturbations("mask", 5, probability=0.3),
        kernels.Perturbations("gaussian", 3, paired=True),
        kernels.Perturbations("mask", 9, paired=True),
        kernels.Perturbations("uniform", 2, low=-1.0, high=2.0, paired=True),
    ],
)
def test_perturbations_are_equal_in_both_forms_and_follow_their_law(law):
    drawn = {}
    for word in ("cpu", "reference"):
        with kernels.backend(word):
            drawn[word] = law.draw(6000, seed=5, start=2**40)
    assert torch.allclose(drawn["cpu"], drawn["reference"], atol=3e-6)
    xi = drawn["cpu"]
    mean = {"gaussian": 0.0, "uniform": (law.low + law.high) / 2, "mask": law.probability}[law.law]
    deviation = {
        "gaussian": law.scale,
        "uniform": (law.high - law.low) / math.sqrt(12),
        "mask": math.sqrt(law.probability * (1 - law.probability)),
    }[law.law]
    assert float(xi.mean()) == pytest.approx(mean, abs=0.03)
    assert float(xi.std()) == pytest.approx(deviation, rel=0.02)
    if law.paired:
        assert torch.allclose(xi[0::2] + xi[1::2], torch.full((3000, law.dimension), 2 * mean), atol=1e-6)


@pytest.mark.parametrize("intercept", [True, False])
@pytest.mark.parametrize("kind", ["none", "shared", "own"])
def test_local_fit_is_numpy_least_squares(intercept, kind, monkeypatch):
    from lab.kernels.perturb_gram import reference

    monkeypatch.setattr(reference, "HELD", 1000)
    law = kernels.Perturbations("gaussian", 4)
    xi = law.draw(300, seed=1, dtype=torch.float64)
    f = torch.randn(6, 300, generator=generator, dtype=torch.float64)
    shape = {"none": None, "shared": (300,), "own": (6, 300)}[kind]
    w = None if shape is None else torch.rand(shape, generator=generator, dtype=torch.float64)
    z = np.column_stack([np.ones(300), xi.numpy()]) if intercept else xi.numpy()
    for given, seed in ((xi, 0), (law, 1)):
        gram = kernels.perturb_gram(given, f, w, seed=seed, intercept=intercept)
        found = gram.solve()
        for i in range(6):
            root = np.ones(300) if w is None else np.sqrt(w.numpy() if kind == "shared" else w[i].numpy())
            exact, residual, *_ = np.linalg.lstsq(z * root[:, None], f[i].numpy() * root, rcond=None)
            assert np.allclose(found[i].numpy(), exact, atol=1e-10)
            assert float(gram.residual(found)[i]) == pytest.approx(residual[0] / (root**2).sum(), rel=1e-8)


def test_effective_number_counts_equal_weights_fully():
    xi, f = torch.randn(50, 2, generator=generator), torch.randn(50, generator=generator)
    assert float(kernels.perturb_gram(xi, f).effective) == pytest.approx(50)
    weights = torch.zeros(50)
    weights[:10] = 3.0
    assert float(kernels.perturb_gram(xi, f, weights).effective) == pytest.approx(10)


def test_linear_model_is_recovered_from_masks_under_any_weights():
    law = kernels.Perturbations("mask", 12, paired=True)
    xi = law.draw(400, seed=2)
    slope = torch.randn(8, 12, generator=generator)
    f = slope @ xi.T + 0.5
    found = kernels.perturb_gram(law, f, torch.rand(8, 400, generator=generator), seed=2).solve()
    assert torch.allclose(found[:, 1:].float(), slope, atol=2e-5)
    assert torch.allclose(found[:, 0].float(), torch.full((8,), 0.5), atol=2e-5)


def test_local_fit_is_differentiable():
    xi = torch.randn(9, 2, generator=generator, dtype=torch.float64)
    f = torch.randn(3, 9, generator=generator, dtype=torch.float64)
    w = 0.5 + torch.rand(3, 9, generator=generator, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda xi, f, w: kernels.perturb_gram(xi, f, w).solve(), [t.requires_grad_() for t in (xi, f, w)]
    )


def test_singular_fits_are_refused_with_their_number():
    xi = torch.ones(20, 2)
    with pytest.raises(ValueError, match="no unique solution for 1 of 1"):
        kernels.perturb_gram(xi, torch.randn(20)).solve()
    kernels.perturb_gram(xi, torch.randn(20)).solve(ridge=1.0)


def test_philox_streams_of_the_operations_differ():
    from lab.kernels.perturb_gram import law
    from lab.kernels.random_hypotheses import network

    assert law.STREAM != network.STREAM
    assert not torch.equal(
        philox.normals(0, torch.tensor([0]), 4, stream=law.STREAM),
        philox.normals(0, torch.tensor([0]), 4, stream=network.STREAM),
    )
