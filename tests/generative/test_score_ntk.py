"""Score estimation: gradients and kernels against autograd, kernel descent against a loop, the denoiser by quadrature, refusals."""

import math

import pytest
import torch

from lab.generative import GaussianMixture
from lab.generative.score_ntk import Networks, decay, kernel, kernel_path, regression_data, stopping_time, train
from lab.generative.studies import score_ntk as study


def parts(width=12, items=9, seeds=(0, 1)):
    return Networks.drawn(width, 2, seeds), regression_data(study.law(), items, seeds)


def test_descent_is_that_of_autograd():
    networks, draws = parts()
    (now,) = train(networks, draws, 0.3, [7])
    w = networks.weights.clone().requires_grad_()
    for _ in range(7):
        loss = (
            0.5 * (Networks(w, networks.start, networks.signs)(draws.z) - draws.labels).square().sum(-1).mean(1).sum()
        )
        (slope,) = torch.autograd.grad(loss, w)
        w = (w - 0.3 * slope).detach().requires_grad_()
    assert torch.allclose(now.weights, w, atol=1e-12)


def test_kernel_is_the_product_of_the_networks_gradients():
    networks, draws = parts(items=4, seeds=(3,))
    found = kernel(networks, draws.z, draws.z[:, :3])

    def outputs(w):
        return Networks(w[None], networks.start, networks.signs)(draws.z)[0].flatten()

    jacobian = torch.autograd.functional.jacobian(outputs, networks.start[0]).flatten(1)
    assert torch.allclose(found[0], jacobian @ jacobian[:6].T, atol=1e-12)


def test_kernel_path_is_a_loop_of_descent_and_its_limit_interpolates():
    networks, draws = parts(width=400, items=6)
    gram = kernel(networks, draws.z, draws.z)
    u = torch.zeros_like(draws.labels).flatten(1)
    for _ in range(25):
        u = u - 0.2 / 6 * (gram @ (u - draws.labels.flatten(1))[..., None])[..., 0]
    found = kernel_path(gram, gram, draws.labels, 0.2, [0, 25, math.inf])
    assert torch.allclose(found[0], torch.zeros_like(found[0]))
    assert torch.allclose(found[1].flatten(1), u, atol=1e-10)
    assert torch.allclose(found[2], draws.labels, atol=1e-5)


def test_a_very_wide_network_follows_the_kernel():
    networks, draws = parts(width=100_000, items=8, seeds=(0,))
    gram = kernel(networks, draws.z, draws.z)
    (now,) = train(networks, draws, 0.2, [40])
    wanted = kernel_path(gram, gram, draws.labels, 0.2, [40])[0]
    assert (now(draws.z) - wanted).abs().max() < 0.02


def test_truth_is_the_mean_of_the_clean_points():
    law = GaussianMixture(torch.tensor([[-0.8], [0.5]]), 0.2)
    draws = regression_data(law, 5, (0,))
    x0 = torch.linspace(-4, 4, 20_001, dtype=torch.float64)
    for i in range(5):
        alpha, h = decay(draws.time[0, i])
        weight = (law.log_density(x0[:, None]) - 0.5 * (draws.z[0, i, 0] - alpha * x0) ** 2 / h).softmax(0)
        assert abs(float((weight * x0).sum() - draws.truth[0, i, 0])) < 1e-6


def test_stopping_time_is_the_rule_by_hand_and_comes_later_with_less_noise():
    networks, draws = parts(width=200, items=20)
    gram = kernel(networks, draws.z, draws.z)
    values = torch.linalg.eigvalsh(gram[0]) / 20
    k = 1
    while True:
        level = 1 / (0.2 * k)
        if values.clamp_max(level).mean().sqrt() > level / (2 * math.e * 0.3):
            break
        k += 1
    found = stopping_time(gram, 2, torch.tensor([0.3, 0.3]).double(), 0.2, 5000)
    assert int(found[0]) == max(1, k - 1)
    assert (stopping_time(gram, 2, torch.tensor([0.1, 0.1]).double(), 0.2, 5000) > found).all()


def test_a_result_saves_loads_and_has_a_field(tmp_path):
    result = study.run(study.Setting.of("smoke"), seeds=(0, 1))
    result.save(tmp_path / "result.pt")
    again = study.Result.load(tmp_path / "result.pt")
    x, learned, exact = again.field(0, 0.5)
    alpha, h = decay(torch.tensor(0.5).double())
    assert torch.allclose(learned, -x / h)  # the network starts at zero
    assert exact.shape == learned.shape and torch.equal(again.test, result.test)
    assert list(result.to_frame()["step"]) == result.at.tolist()


@pytest.mark.parametrize(
    "call, error, words",
    [
        (lambda n, d: list(train(n, d, 0.0, [1])), ValueError, "rate"),
        (lambda n, d: list(train(n, d, 0.1, [5, 2])), ValueError, "ascend"),
        (lambda n, d: list(train(n, d, 1e200, [50])), ValueError, "too large"),
        (lambda n, d: Networks.drawn(0, 2, (0,)), ValueError, "width"),
        (lambda n, d: regression_data(study.law(), 0, (0,)), ValueError, "items"),
    ],
)
def test_bad_input_is_refused_in_words(call, error, words):
    with pytest.raises(error, match=words):
        call(*parts())
