import pytest
import torch
from torch import nn

from lab import datasets
from lab.losses.studies import target_surrogates as study
from lab.losses.target_surrogates import SSO, loss_oracle, target_surrogate


def logistic(z, y):
    return (nn.functional.softplus(z[:, 0]) - y * z[:, 0]).sum()


@pytest.fixture
def problem(generator):
    x = torch.randn(40, 5, generator=generator, dtype=torch.float64)
    y = (x[:, 0] + 0.5 * torch.randn(40, generator=generator, dtype=torch.float64) > 0).double()
    return x, y


def linear(generator):
    model = nn.Linear(5, 1, dtype=torch.float64)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return model


def test_surrogate_bounds_the_logistic_loss_everywhere_and_touches(problem, generator):
    x, y = problem
    z_t = linear(generator)(x).detach()
    value, gradient = loss_oracle(logistic, y)(z_t)
    assert target_surrogate(z_t, z_t, gradient, 4.0).item() == 0.0
    for _ in range(200):
        z = linear(generator)(x).detach()
        assert value + target_surrogate(z, z_t, gradient, 4.0).item() >= logistic(z, y).item() - 1e-12


def test_too_long_a_step_breaks_the_bound(problem, generator):
    x, y = problem
    z_t = torch.zeros(40, 1, dtype=torch.float64)
    value, gradient = loss_oracle(logistic, y)(z_t)
    z = -2.0 * gradient
    assert value + target_surrogate(z, z_t, gradient, 40.0).item() < logistic(z, y).item()


def test_one_inner_step_is_gradient_descent(problem, generator):
    x, y = problem
    first, second = linear(generator), nn.Linear(5, 1, dtype=torch.float64)
    second.load_state_dict(first.state_dict())
    optimizer = SSO(first, eta=1.0, inner_steps=1, inner=0.01)
    plain = torch.optim.SGD(second.parameters(), lr=0.01)
    for _ in range(30):
        optimizer.step(x, loss_oracle(logistic, y))
        plain.zero_grad()
        logistic(second(x), y).backward()
        plain.step()
        for p, q in zip(first.parameters(), second.parameters()):
            torch.testing.assert_close(p, q, atol=1e-12, rtol=1e-12)


def test_exact_inner_solution_is_projected_descent_in_output_space(problem, generator):
    x, y = problem
    model = linear(generator)
    z_t = model(x).detach()
    _, gradient = loss_oracle(logistic, y)(z_t)
    SSO(model, eta=2.0, inner_steps=5000).step(x, loss_oracle(logistic, y))
    design = torch.cat([x, torch.ones(40, 1, dtype=torch.float64)], 1)
    projected = design @ torch.linalg.lstsq(design, z_t - 2.0 * gradient).solution
    torch.testing.assert_close(model(x).detach(), projected, atol=1e-5, rtol=0)


def test_full_batch_descends_monotonically_to_a_stationary_point(problem, generator):
    x, y = problem
    model = nn.Sequential(nn.Linear(5, 8, dtype=torch.float64), nn.Tanh(), nn.Linear(8, 1, dtype=torch.float64))
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.5 * torch.randn(p.shape, generator=generator, dtype=torch.float64))
    penalty = SSO(model, eta=4.0, inner_steps=10)
    losses = [penalty.step(x, loss_oracle(logistic, y)).loss for _ in range(60)]
    assert all(after <= before + 1e-9 for before, after in zip(losses, losses[1:]))
    assert losses[-1] < 0.5 * losses[0]


def test_schedules_shorten_the_step(problem, generator):
    model = linear(generator)
    assert SSO(model, 2.0, schedule="decreasing")._eta() == 2.0
    later = SSO(model, 2.0, schedule="exponential", horizon=10)
    later.outer_steps = 10
    assert later._eta() == pytest.approx(0.2)


def test_bad_input_is_refused(problem, generator):
    x, y = problem
    model = linear(generator)
    with pytest.raises(ValueError, match="eta must be greater than 0"):
        SSO(model, 0.0)
    with pytest.raises(ValueError, match="gradient of shape"):
        SSO(model, 1.0).step(x, lambda z: (0.0, torch.zeros(3)))
    with pytest.raises(ValueError, match="schedule must be one of"):
        SSO(model, 1.0, schedule="cosine")


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_line_search_stops_where_its_share_of_the_decrease_is_reached(share):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(40, 3, generator=generator, dtype=torch.float64)
    model = torch.nn.Linear(3, 1, bias=False, dtype=torch.float64)
    before = model.weight.detach().clone()
    y = (x[:, 0] > 0).double()
    oracle = loss_oracle(lambda z, target: (torch.nn.functional.softplus(z[:, 0]) - target * z[:, 0]).sum(), y)
    with torch.no_grad():
        z = model(x)
    gradient = oracle(z.clone())[1]
    slope = (gradient.T @ x)[0]
    SSO(model, 4.0, 1, armijo=share).step(x, oracle)
    length = float((before - model.weight.detach()).norm() / slope.norm())
    # along its gradient the quadratic surrogate has its minimum at |slope|^2 / (slope' H slope), H = X'X / eta
    least = float(slope @ slope / (x @ slope).square().sum() * 4.0)
    assert length <= 2 * (1 - share) * least * (1 + 1e-9)
    assert length > 0.6 * 2 * (1 - share) * least


def test_fitted_power_of_running_means_is_that_of_the_excess():
    steps, lengths = torch.arange(1, 100_001, dtype=torch.float64), [12_500, 25_000, 50_000, 100_000]
    excess = torch.stack([steps**-0.5, 3 * steps**-0.25, torch.ones_like(steps)])
    torch.testing.assert_close(
        study.fitted_power(excess, lengths), torch.tensor([-0.5, -0.25, 0.0]).double(), atol=5e-3, rtol=0
    )


def test_table_of_more_than_two_classes_is_refused():
    with pytest.raises(ValueError, match="two classes, got 10"):
        study.binary(datasets.load("digits"))
