"""The eight presets against enumeration, least squares by hand and Gaussian identities."""

import itertools
import math

import pytest
import torch

from lab import explain as E


def network(inputs, hidden=16, outputs=1, seed=0, activation=torch.nn.Tanh, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(inputs, hidden), activation(), torch.nn.Linear(hidden, outputs))
    for parameter in net.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator, dtype=dtype) / parameter.shape[-1] ** 0.5
    return net.eval()


def instances(count, columns, seed=1, dtype=torch.float64):
    return torch.randn(count, columns, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def masked_value(f, x, baseline, kept):
    z = torch.zeros_like(x)
    z[list(kept)] = 1
    with torch.no_grad():
        return float(f((baseline + z * (x - baseline))[None])[0])


def shapley_by_enumeration(f, x, baseline):
    count = len(x)
    values = torch.zeros(count, dtype=torch.float64)
    for j in range(count):
        others = [k for k in range(count) if k != j]
        for size in range(count):
            share = math.factorial(size) * math.factorial(count - size - 1) / math.factorial(count)
            for kept in itertools.combinations(others, size):
                rise = masked_value(f, x, baseline, [*kept, j]) - masked_value(f, x, baseline, kept)
                values[j] += share * rise
    return values


@pytest.mark.parametrize("columns", [1, 2, 3, 6, 8])
def test_kernelshap_equals_shapley_values_by_enumeration(columns):
    f, x = network(columns), instances(2, columns)
    baseline = instances(1, columns, seed=9)[0]
    found = E.kernelshap(f, x, baseline=baseline)
    for row, weights in zip(x, found.weights):
        torch.testing.assert_close(weights, shapley_by_enumeration(f, row, baseline), atol=1e-10, rtol=0)
    assert found.diagnostics.exact
    assert float(found.standard_error.abs().max()) == 0
    assert float(found.diagnostics.completeness_gap.max()) < 1e-12


def test_lime_equals_weighted_least_squares_by_hand():
    f, x = network(6), instances(3, 6)
    found = E.lime(f, x, width=1.5)
    masks = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6)), dtype=torch.float64)
    for n, row in enumerate(x):
        weight = torch.exp(-((row - masks * row) ** 2).sum(1) / 1.5**2)
        psi = torch.cat([torch.ones(64, 1).double(), masks], 1)
        y = f(masks * row).detach()
        by_hand = torch.linalg.lstsq(psi * weight.sqrt()[:, None], y * weight.sqrt()[:, None]).solution[:, 0]
        torch.testing.assert_close(found.weights[n], by_hand[1:], atol=1e-9, rtol=0)
        torch.testing.assert_close(found.intercept[n], by_hand[0], atol=1e-9, rtol=0)


def test_population_lime_is_a_weighted_banzhaf_value():
    """The exponential kernel factorises: phi_j = E[f | z_j = 1] - E[f | z_j = 0] under independent Bernoulli players."""
    f, x, width = network(7), instances(2, 7), 1.2
    found = E.lime(f, x, width=width)
    masks = torch.tensor(list(itertools.product([0.0, 1.0], repeat=7)), dtype=torch.float64)
    for n, row in enumerate(x):
        p = torch.sigmoid(row**2 / width**2)
        y = f(masks * row).detach()[:, 0]
        for j in range(7):
            others = torch.where(masks > 0, p, 1 - p)
            others[:, j] = 1
            law = others.prod(1)
            expected = (law * y * (2 * masks[:, j] - 1)).sum()
            torch.testing.assert_close(found.weights[n, j], expected, atol=1e-9, rtol=0)


def test_captum_width_is_converted():
    f, x = network(6), instances(2, 6)
    ours = E.explain(f, x, neighbourhood=E.Masks(E.Exponential.from_captum(1.0)))
    row, masks = x[0], torch.tensor(list(itertools.product([0.0, 1.0], repeat=6)), dtype=torch.float64)
    root = torch.exp(-((row - masks * row) ** 2).sum(1) / 2).sqrt()  # captum: exp(-d^2 / (2 width^2))
    psi = torch.cat([torch.ones(64, 1).double(), masks], 1)
    by_hand = torch.linalg.lstsq(psi * root[:, None], f(masks * row).detach() * root[:, None]).solution[1:, 0]
    torch.testing.assert_close(ours.weights[0], by_hand, atol=1e-9, rtol=0)


def test_occlusion_equals_single_removals():
    f, x = network(5), instances(3, 5)
    found = E.occlusion(f, x)
    for j in range(5):
        without = x.clone()
        without[:, j] = 0
        torch.testing.assert_close(found.weights[:, j], (f(x) - f(without)).detach()[:, 0])
    assert found.diagnostics.calls == 3 * 5
    torch.testing.assert_close(found.predict(torch.ones(1, 5))[:, 0], f(x).detach()[:, 0])


def test_vanilla_gradients_and_gradient_x_input_are_analytic():
    f, x = network(5), instances(3, 5).requires_grad_()
    (gradient,) = torch.autograd.grad(f(x).sum(), x)
    x = x.detach()
    baseline = instances(1, 5, seed=4)[0]
    torch.testing.assert_close(E.gradients(f, x).weights, gradient)
    torch.testing.assert_close(E.gradient_x_input(f, x, baseline=baseline).weights, (x - baseline) * gradient)
    torch.testing.assert_close(E.clime(f, x, sigma=0).weights, gradient)


def test_integrated_gradients_are_complete_and_equal_a_fine_sum():
    f, x, baseline = network(5), instances(3, 5), instances(1, 5, seed=4)[0]
    found = E.integrated_gradients(f, x, baseline=baseline)
    rise = (f(x) - f(baseline[None])).detach()[:, 0]
    torch.testing.assert_close(found.weights.sum(1), rise, atol=1e-10, rtol=0)
    steps = (torch.arange(4000) + 0.5) / 4000
    path = (baseline + steps[:, None, None] * (x - baseline)).double().requires_grad_()
    (gradient,) = torch.autograd.grad(f(path).sum(), path)
    torch.testing.assert_close(found.weights, (x - baseline) * gradient.mean(0), atol=1e-6, rtol=0)


def relu_smoothed_gradient(net, x, sigma):
    """E grad f(x + sigma xi) of one hidden ReLU layer: sum_k v_k w_k Phi((w_k . x + c_k) / (sigma |w_k|))."""
    first, last = net[0], net[2]
    margin = (x @ first.weight.T + first.bias) / (sigma * first.weight.norm(dim=1))
    return ((torch.special.ndtr(margin) * last.weight[0]) @ first.weight).detach()


@pytest.mark.parametrize("method", [E.smoothgrad, E.clime])
def test_gaussian_methods_find_the_smoothed_gradient_of_a_relu_layer(method):
    f, x = network(6, activation=torch.nn.ReLU), instances(20, 6)
    found = method(f, x, sigma=0.5, n_samples=4000)
    expected = relu_smoothed_gradient(f, x, 0.5)
    assert float((found.weights - expected).abs().max()) < 0.05
    low, high = found.interval
    covered = ((low <= expected) & (expected <= high)).double().mean()
    assert 0.88 <= float(covered) <= 1.0


@pytest.mark.parametrize("name", list(E.METHODS))
def test_every_preset_is_exact_on_a_linear_model_in_float32(name):
    generator = torch.Generator().manual_seed(3)
    w = torch.randn(9, generator=generator)
    x, baseline = torch.randn(4, 9, generator=generator), torch.randn(9, generator=generator)
    additive = name in ("C-LIME", "SmoothGrad", "Vanilla Gradients")
    arguments = {} if additive else {"baseline": baseline}
    found = E.METHODS[name](lambda batch: batch @ w + 0.5, x, **arguments)
    expected = (w.expand(4, 9) if additive else w * (x - baseline)).double()
    assert float((found.weights - expected).abs().max()) < 2e-4
    assert float(found.local_risk.max()) < 1e-6


def test_sampled_kernelshap_covers_the_exact_values_and_keeps_their_sum():
    f, x = network(11, hidden=24), instances(10, 11)
    exact = E.kernelshap(f, x, n_samples=2**11)
    assert exact.diagnostics.exact
    for proxy in (False, True):
        found = E.kernelshap(f, x, n_samples=400, proxy=proxy)
        assert float(found.diagnostics.completeness_gap.max()) < 1e-9
        error = (found.weights - exact.weights).norm() / exact.weights.norm()
        assert float(error) < 0.1
        low, high = found.interval
        covered = ((low <= exact.weights) & (exact.weights <= high)).double().mean()
        assert float(covered) > 0.85


def test_narrow_lime_kernel_agrees_with_enumeration_when_tempered():
    f, x = network(11), instances(4, 11)
    exact = E.lime(f, x, width=1.5, n_samples=2**11)
    plain = E.lime(f, x, width=1.5, n_samples=1000)
    tempered = E.lime(f, x, width=1.5, n_samples=1000, temper=0.25)
    distance = [float((one.weights - exact.weights).norm() / exact.weights.norm()) for one in (plain, tempered)]
    assert distance[0] < 0.3
    assert distance[1] < distance[0]
    assert bool((tempered.diagnostics.effective_sample_size > plain.diagnostics.effective_sample_size).all())
