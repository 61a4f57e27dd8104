"""Penalties on the solver's estimates against finite differences and closed forms, noise on one path, own modules and tables."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lab.integrate import IntegrationError, Solution, dopri5
from lab.physics import reg_neural_de as r
from tests.bench import peers

DOUBLE = torch.float64
PATIENTS = Path(__file__).parents[2] / "data" / "samples" / "patients.csv"


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def replayed(f, y, steps, tolerance=1e-3):
    """E and S of steps of given sizes, one call of the solver each: sizes do not move when f does."""
    now, errors, stiff, sizes = 0.0, [], [], []
    for h in steps:
        found = dopri5(f, y, [now, now + h], 0.0, 1e9, first_step=h)
        errors.append(found.error * 1e9 / tolerance)
        stiff.append(found.stiffness)
        sizes.append(found.steps)
        y, now = found.y[-1], now + h
    return Solution(y, torch.cat(sizes), 0, torch.cat(errors), torch.cat(stiff), 0)


@pytest.mark.parametrize("kind", [r.ErrorRegularizer, r.StiffnessRegularizer])
@pytest.mark.parametrize("reduction", list(r.REDUCTIONS))
def test_gradients_of_penalties_equal_central_differences_at_fixed_steps(kind, reduction):
    y, weight = noise(3, 2), noise(2, 2, seed=1).requires_grad_()
    penalty = kind(reduction)
    assert torch.autograd.gradcheck(
        lambda w: penalty(replayed(lambda t, z: torch.tanh(z @ w) + t, y, [0.2, 0.5, 0.3])), (weight,)
    )


def test_the_gradient_in_a_whole_solution_is_that_of_its_steps_held_fixed():
    y, weight = noise(3, 2), (2 * noise(2, 2, seed=1)).requires_grad_()
    tolerance = 1e-4
    f = lambda t, z: torch.tanh(z @ weight) + t  # noqa: E731
    whole = dopri5(f, y, [0.0, 1.0], 0.0, tolerance)
    again = replayed(f, y, whole.steps.tolist(), tolerance)
    assert torch.allclose(whole.error, again.error, rtol=1e-9)
    for penalty in r.REGULARIZERS.values():
        one, two = (torch.autograd.grad(penalty(found), weight, retain_graph=True)[0] for found in (whole, again))
        assert torch.allclose(one, two, rtol=1e-8)


def test_reductions_and_tolerance_say_what_a_strength_means():
    found = dopri5(lambda t, z: torch.sin(5 * z + t), noise(4, 2), [0.0, 1.0], 0.0, 1e-5)
    n = int(r.counted(found).sum())
    mean, total, top = (float(r.ErrorRegularizer(name)(found)) for name in ("mean", "sum", "maximum"))
    assert total == pytest.approx(n * mean) and mean <= top <= total
    steps = [0.1, 0.2, 0.3]
    loose, tight = (replayed(lambda t, z: torch.sin(z), noise(4, 2), steps, tol) for tol in (1e-3, 1e-4))
    assert float(r.ErrorRegularizer()(tight) / r.ErrorRegularizer()(loose)) == pytest.approx(10)


def test_stiffness_of_a_diagonal_lies_between_its_rates_and_the_stability_bound_is_that_of_the_method():
    rates = torch.tensor([-1.0, -30.0], dtype=DOUBLE)
    found = dopri5(lambda t, z: rates * z, torch.ones(2, dtype=DOUBLE), [0.0, 1.0], 1e-5, 1e-5)
    mean = float(r.StiffnessRegularizer()(found)) * r.STABILITY
    assert 15 < mean <= 30 and float(r.StiffnessRegularizer("maximum")(found)) * r.STABILITY <= 30 * (1 + 1e-9)

    def after(z):  # the factor of one step on dz/dt = -z y
        return abs(
            float(dopri5(lambda t, y: -z * y, torch.ones(1, dtype=DOUBLE), [0, 1], 0, 1e9, first_step=1.0).y[-1])
        )

    assert after(r.STABILITY - 1e-3) < 1 < after(r.STABILITY + 1e-3)


def test_tiny_steps_and_still_states_do_not_decide():
    stiffness = torch.tensor([1e9, 2.0, 4.0])
    found = Solution(torch.zeros(1), torch.tensor([1e-6, 0.5, 0.5]), 0, torch.ones(3), stiffness, 0)
    assert float(r.StiffnessRegularizer()(found)) == pytest.approx(3 / r.STABILITY)
    assert float(r.StiffnessRegularizer("maximum")(found)) == pytest.approx(4 / r.STABILITY)
    y = torch.ones(3, 2, requires_grad=True)
    for name in r.REGULARIZERS:
        still = r.NeuralODE(lambda t, z: 0 * z, regularize=name)(y)
        (gradient,) = torch.autograd.grad(still.penalty + still.y.sum(), y)
        assert float(still.penalty.detach()) == 0 and torch.equal(gradient, torch.ones_like(y))


def test_one_argument_changes_no_state_of_any_module():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.w = nn.Parameter(0.5 * noise(3, 3).float())

        def forward(self, t, y):
            return torch.sin(y @ self.w) * (1 + t)

    f, y = Own(), noise(5, 3).float()
    plain = r.NeuralODE(f)(y)
    assert float(plain.penalty) == 0
    for which in ("error", "stiffness", lambda s: r.ErrorRegularizer()(s) + 0.1 * r.StiffnessRegularizer()(s)):
        other = r.NeuralODE(f, regularize=which)(y)
        assert torch.equal(other.y, plain.y) and other.evaluations == plain.evaluations
        other.penalty.backward()
        assert float(f.w.grad.abs().sum()) > 0
        f.w.grad = None
    times = r.NeuralODE(f, t=(0.0, 0.3, 1.0), every=True)(y)
    assert times.y.shape == (3, 5, 3) and torch.equal(times.y[0], y)


def test_total_derivatives_are_those_of_the_solution():
    rate = 0.7
    z, t = noise(4, 2), torch.tensor(0.3, dtype=DOUBLE)
    for order in (1, 2, 3, 4):
        found = r.total_derivative(lambda t, z: -rate * z, order)(t, z)
        assert torch.allclose(found, (-rate) ** order * z)
    # z = sin(t) along z' = cos(t): the third derivative is -cos(t)
    assert torch.allclose(r.total_derivative(lambda t, z: torch.cos(t) + 0 * z, 3)(t, z), (-torch.cos(t)).expand(4, 2))
    flow = r.TaylorODE(lambda t, z: -rate * z, order=2, tolerance=1e-9)(torch.ones(1, 2, dtype=DOUBLE))
    assert float(flow.penalty) == pytest.approx(rate**4 * (1 - math.exp(-2 * rate)) / (2 * rate), rel=1e-6)
    assert torch.allclose(flow.y, torch.full((1, 2), math.exp(-rate), dtype=DOUBLE))


@pytest.mark.peers
def test_states_and_gradients_agree_with_torchdiffeq():
    row = peers.call("tests.bench.integrate_cases:network_field", items=64, width=16, tolerance=1e-5)
    assert row


def fixed(f, g, y, path, count):
    """heun with ``count`` equal steps, written out."""
    size, h, x = path.parts // count, path.span / count, y
    for k in range(count):
        t, dw = torch.tensor(k * h, dtype=DOUBLE), path.increment(k * size, (k + 1) * size)
        ahead = x + h * f(t, x) + g(t, x) * dw
        x = x + h / 2 * (f(t, x) + f(t + h, ahead)) + g(t, x) * dw
    return x


def test_noise_steps_are_those_written_out_and_rejected_steps_leave_the_path():
    y = noise(6, 2)
    path = r.BrownianPath(y, depth=6, seed=3)
    f, g = (lambda t, x: torch.sin(3 * x) + t), (lambda t, x: 0.3 * torch.cos(x))
    found = r.heun(f, g, y, path, 0.0, 1e9)
    assert torch.allclose(torch.tensor(sum(found.steps.tolist())), torch.tensor(1.0))
    tight = r.heun(f, g, y, path, 0.0, 2e-3)
    assert tight.rejected > 0 and len(tight.steps) > len(found.steps)
    assert tight.evaluations == 2 * len(tight.steps) + tight.rejected
    x, place = y, 0
    for h in tight.steps.tolist():
        count, t = round(h * path.parts), torch.tensor(place / path.parts, dtype=DOUBLE)
        dw = path.increment(place, place + count)
        ahead = x + h * f(t, x) + g(t, x) * dw
        x, place = x + h / 2 * (f(t, x) + f(t + h, ahead)) + g(t, x) * dw, place + count
    assert torch.allclose(x, tight.y[-1])
    assert (tight.error <= 1).all()


def test_strong_order_is_one_for_additive_noise_and_a_half_for_geometric_brownian_motion():
    y = torch.ones(4000, dtype=DOUBLE)
    path = r.BrownianPath(y, depth=9, seed=0)
    step = path.span / path.parts
    t = torch.arange(path.parts, dtype=DOUBLE) * step
    slopes = []
    additive = (1.5 * torch.exp(-(1 - t - step / 2)))[:, None] * (path.w[1:] - path.w[:-1])  # of dX = -X dt + 1.5 dW
    exact = math.exp(-1) + additive.sum(0)
    for f, g, wanted in (
        (lambda t, x: -x, lambda t, x: torch.full_like(x, 1.5), exact),
        (lambda t, x: 0.5 * x, lambda t, x: 0.8 * x, torch.exp(0.5 - 0.32 + 0.8 * path.w[-1])),
    ):
        errors = [float((fixed(f, g, y, path, n) - wanted).square().mean().sqrt()) for n in (8, 16, 32)]
        slopes.append(np.log2(errors[0] / errors[-1]) / 2)
    assert slopes[0] == pytest.approx(1.0, abs=0.15) and slopes[1] == pytest.approx(0.5, abs=0.15)


def test_gradients_through_noise_equal_central_differences():
    y, weight = noise(3, 2), noise(2, 2, seed=1).requires_grad_()
    path = r.BrownianPath(y, depth=4)

    def value(w):
        found = r.heun(lambda t, x: torch.tanh(x @ w), lambda t, x: 0.2 * x, y, path, 0.0, 1e3)
        return found.y[-1], 1e3 * r.ErrorRegularizer("sum")(found), r.StiffnessRegularizer()(found)

    assert torch.autograd.gradcheck(value, (weight,))


def test_without_noise_it_is_heuns_method_and_equal_seeds_give_equal_paths():
    y = torch.ones(2, dtype=DOUBLE)
    path = r.BrownianPath(y, depth=8)
    found = r.heun(lambda t, x: -x, lambda t, x: 0 * x, y, path, 1e-5, 1e-5)
    assert abs(float(found.y[-1, 0]) - math.exp(-1)) < 1e-4
    assert torch.equal(path.w, r.BrownianPath(y, depth=8).w)
    assert not torch.equal(path.w, r.BrownianPath(y, depth=8, seed=1).w)


@pytest.mark.parametrize("which", ["error", "stiffness"])
def test_a_short_training_with_a_penalty_needs_fewer_evaluations_and_detached_it_is_plain(which):
    x = noise(128, 6).float()
    y = (x[:, 0] * x[:, 1] > 0).long()

    def trained(regularize, penalize=True):
        flow = r.NeuralODE(r.TimeMLP(6, 24, seed=0), regularize=regularize)
        head = r.mlp(6, 2, widths=(), seed=1)
        strength = (100.0, 10.0) if regularize == "error" else (3.0, 3.0)
        r.train(
            flow,
            head,
            x,
            y,
            steps=40,
            batch=64,
            rate=2e-2,
            strength=strength if regularize else (0, 0),
            penalize=penalize,
        )
        return flow(x)

    plain, ours, detached = trained(None), trained(which), trained(which, penalize=False)
    assert ours.evaluations < plain.evaluations
    assert torch.equal(detached.y, plain.y)


def test_tables_are_fitted_saved_and_predicted_in_a_new_process(tmp_path):
    model = r.fit_neural_ode(PATIENTS, target="outcome", steps=12, batch=64)
    import pandas as pd

    from lab import datasets

    x, y, columns = datasets.as_table(PATIENTS, "outcome").numeric()
    assert model.columns == columns and set(model.predict(x)) <= set(pd.read_csv(PATIENTS)["outcome"])
    assert torch.allclose(model.probabilities(x).sum(1), torch.ones(len(x)))
    model.save(tmp_path / "model.pt")
    torch.save(x, tmp_path / "x.pt")
    code = (
        f"import os, torch; from lab.physics import FittedODE; os.chdir(r'{tmp_path}')\n"
        "m = FittedODE.load('model.pt'); torch.save(m.probabilities(torch.load('x.pt')), 'p.pt')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
    assert torch.equal(torch.load(tmp_path / "p.pt"), model.probabilities(x))


def test_own_modules_are_trained_in_place_and_loaded_again(tmp_path):
    class Own(nn.Module):
        def __init__(self, width):
            super().__init__()
            self.layer = nn.Linear(width, width)

        def forward(self, t, z):
            return torch.tanh(self.layer(z))

    from lab import datasets

    x, _, columns = datasets.as_table(PATIENTS, "outcome").numeric()
    f = Own(len(columns))
    before = f.layer.weight.detach().clone()
    model = r.fit_neural_ode(PATIENTS, target="outcome", f=f, regularize="stiffness", steps=3)
    assert not torch.equal(f.layer.weight, before)
    model.save(tmp_path / "own.pt")
    with pytest.raises(ValueError, match="f must be given"):
        r.FittedODE.load(tmp_path / "own.pt")
    again = r.FittedODE.load(tmp_path / "own.pt", Own(len(columns)))
    assert torch.equal(again.probabilities(x), model.probabilities(x))


def test_bad_arguments_are_refused_in_words(tmp_path):
    y = torch.ones(2, 2)
    for call, error, words in (
        (lambda: r.NeuralODE(lambda t, z: z, regularize="eror"), ValueError, "did you mean.*error"),
        (lambda: r.NeuralODE(3), TypeError, "f must be callable"),
        (lambda: r.NeuralODE(lambda t, z: z, tolerance=0), ValueError, "tolerance"),
        (lambda: r.ErrorRegularizer("median"), ValueError, "reduction"),
        (lambda: r.BrownianPath(y, depth=0), ValueError, "depth"),
        (
            lambda: r.heun(lambda t, x: x, lambda t, x: x, y, r.BrownianPath(torch.ones(3))),
            ValueError,
            "path must have",
        ),
        (lambda: r.heun(lambda t, x: x, lambda t, x: x, y, r.BrownianPath(y), 0, 0), ValueError, "both"),
        (lambda: r.total_derivative(lambda t, z: z, 0), ValueError, "order"),
        (lambda: r.fit_neural_ode(PATIENTS, target="marker"), ValueError, "at least two classes"),
        (lambda: r.fit_neural_ode(PATIENTS, target="outcom"), ValueError, "target"),
    ):
        with pytest.raises(error, match=words):
            call()
    with pytest.raises(IntegrationError, match="smallest step is refused"):
        r.heun(lambda t, x: -1e6 * x, lambda t, x: x, y, r.BrownianPath(y, depth=3), 1e-3, 1e-3)
    with pytest.raises(IntegrationError, match="not finite"):
        r.heun(lambda t, x: x / 0, lambda t, x: x, y, r.BrownianPath(y, depth=3))
    model = r.fit_neural_ode(PATIENTS, target="outcome", steps=1)
    with pytest.raises(ValueError, match="columns"):
        model.predict(torch.ones(3, 99))
    bad = tmp_path / "bad.pt"
    bad.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(Exception, match="(?i)weights|pickle|unsupported"):
        r.FittedODE.load(bad)
