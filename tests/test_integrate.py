"""The adaptive integrator against closed forms, scipy, its order, finite differences and its own promises."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import solve_ivp

from lab.integrate import _A, _C, _DENSE, _ERROR, IntegrationError, dopri5

DOUBLE = torch.float64


def rotation(t, y):
    return torch.stack([-y[1], y[0]])


def forced(t, y):
    return torch.stack([y[1], -y[0] - 0.2 * y[1] + torch.sin(2 * t)])


def test_the_table_meets_the_conditions_of_order_five_and_its_estimate_those_of_order_four():
    a = np.array([[*row, *[0.0] * (7 - len(row))] for row in _A])
    b, c = a[6], np.array(_C)
    assert np.allclose(a.sum(1), c)
    order_four = [1, c, c**2, a @ c, c**3, c * (a @ c), a @ c**2, a @ a @ c]
    wanted = [1, 1 / 2, 1 / 3, 1 / 6, 1 / 4, 1 / 8, 1 / 12, 1 / 24]
    for tree, value in zip(order_four, wanted):
        assert np.isclose((b * tree).sum(), value), tree
        assert np.isclose((np.array(_ERROR) * tree).sum(), 0, atol=1e-15), tree
    ac, ac2 = a @ c, a @ c**2
    order_five = [c**4, c**2 * ac, ac**2, c * ac2, c * (a @ ac), a @ c**3, a @ (c * ac), a @ ac2, a @ a @ ac]
    for tree, value in zip(order_five, [1 / 5, 1 / 10, 1 / 20, 1 / 15, 1 / 30, 1 / 20, 1 / 40, 1 / 60, 1 / 120]):
        assert np.isclose((b * tree).sum(), value), tree
    for theta in (0.3, 0.7, 1.0):  # the dense output has order four at every fraction of the step
        dense = np.array(_DENSE) @ theta ** np.arange(1, 5)
        for tree, value, power in zip(order_four, wanted, (1, 2, 3, 3, 4, 4, 4, 4)):
            assert np.isclose((dense * tree).sum(), value * theta**power), (tree, theta)
    assert np.allclose(np.array(_DENSE).sum(1), b)


@pytest.mark.parametrize(
    "f, exact",
    [
        (lambda t, y: -y, lambda t: math.exp(-t)),
        (lambda t, y: y * torch.cos(t), lambda t: math.exp(math.sin(t))),
        (lambda t, y: 1 + 0 * y + 3 * t**2, lambda t: 1 + t + t**3),
        (lambda t, y: y * (1 - y / 4), lambda t: 4 / (1 + 3 * math.exp(-t))),
    ],
)
@pytest.mark.parametrize("end", [3.0, -2.0])
def test_closed_forms_are_met_at_every_time_forward_and_backward(f, exact, end):
    times = torch.linspace(0, end, 23, dtype=DOUBLE)
    found = dopri5(f, torch.ones(2, 3, dtype=DOUBLE), times, 1e-9, 1e-11)
    wanted = torch.tensor([exact(float(t)) for t in times], dtype=DOUBLE)
    assert found.y.shape == (23, 2, 3)
    assert torch.allclose(found.y, wanted[:, None, None].expand(23, 2, 3), rtol=1e-7, atol=1e-9)
    assert math.isclose(float(found.steps.sum()), end, rel_tol=1e-12)
    assert (found.steps * end > 0).all()


def test_the_error_falls_with_the_fifth_power_of_the_step():
    errors = []
    for count in (8, 16, 32):
        y, size, now = torch.tensor([1.0, 0.0], dtype=DOUBLE), 4.0 / count, 0.0
        for _ in range(count):  # a tolerance that accepts everything leaves one step a call
            found = dopri5(rotation, y, [now, now + size], 0.0, 1e9, first_step=size)
            assert len(found.steps) == 1
            y, now = found.y[-1], now + size
        errors.append(float((y - torch.tensor([math.cos(4), math.sin(4)], dtype=DOUBLE)).norm()))
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert np.all(np.abs(orders - 5) < 0.3), orders


@pytest.mark.parametrize("tolerance", [1e-4, 1e-7, 1e-10])
def test_as_accurate_as_scipys_rk45_for_as_many_calls(tolerance):
    start, span = [1.0, 0.0], (0.0, 12.0)
    numpy_forced = lambda t, y: [y[1], -y[0] - 0.2 * y[1] + math.sin(2 * t)]  # noqa: E731
    exact = solve_ivp(numpy_forced, span, start, method="DOP853", rtol=1e-13, atol=1e-14).y[:, -1]
    theirs = solve_ivp(numpy_forced, span, start, method="RK45", rtol=tolerance, atol=tolerance)
    ours = dopri5(forced, torch.tensor(start, dtype=DOUBLE), span, tolerance, tolerance)
    assert ours.evaluations <= 1.15 * theirs.nfev
    assert np.abs(ours.y[-1].numpy() - exact).max() <= 3 * np.abs(theirs.y[:, -1] - exact).max() + 1e-13
    assert ours.evaluations == 2 + 6 * (len(ours.steps) + ours.rejected)


def test_dense_output_does_not_move_the_steps():
    y, ends = torch.tensor([1.0, 0.0], dtype=DOUBLE), [0.0, 5.0]
    few, many = dopri5(forced, y, ends), dopri5(forced, y, torch.linspace(0, 5, 400, dtype=DOUBLE))
    assert torch.equal(few.steps, many.steps) and torch.equal(few.y[-1], many.y[-1])
    assert few.evaluations == many.evaluations


@pytest.mark.parametrize("dtype, tolerance, bound", [(torch.float32, 1e-5, 1e-4), (DOUBLE, 1e-5, 1e-4)])
def test_the_answer_has_the_dtype_of_the_state(dtype, tolerance, bound):
    found = dopri5(rotation, torch.tensor([1.0, 0.0], dtype=dtype), [0.0, 3.0], tolerance, tolerance)
    assert {found.y.dtype, found.error.dtype, found.stiffness.dtype, found.steps.dtype} == {dtype}
    assert abs(float(found.y[-1, 0]) - math.cos(3)) < bound


def test_any_layout_of_the_state_and_numpy_give_the_same_answer():
    base = torch.randn(4, 6, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    f = lambda t, y: torch.sin(y) * t  # noqa: E731
    wanted = dopri5(f, base, [0.0, 1.0]).y
    assert torch.equal(dopri5(f, base.t().contiguous().t(), [0.0, 1.0]).y, wanted)
    assert torch.equal(dopri5(f, base.numpy(), np.array([0.0, 1.0])).y, wanted)


def test_many_easy_items_cannot_hide_a_hard_one_when_items_count():
    rates = torch.zeros(2000, 1, dtype=DOUBLE)
    rates[7] = -40.0
    start = torch.ones(2000, 1, dtype=DOUBLE)
    f = lambda t, y: rates * (y - torch.cos(20 * t))  # noqa: E731
    exact = dopri5(lambda t, y: -40.0 * (y - torch.cos(20 * t)), start[7:8], [0.0, 2.0], 1e-11, 1e-12).y[-1]
    mean = dopri5(f, start, [0.0, 2.0], 1e-4, 1e-6)
    items = dopri5(f, start, [0.0, 2.0], 1e-4, 1e-6, norm="items")
    assert (items.y[-1, 7] - exact).abs().max() < 0.2 * (mean.y[-1, 7] - exact).abs().max()


def test_gradients_equal_finite_differences_of_the_same_steps():
    def value(y, weight):
        found = dopri5(lambda t, y: torch.tanh(y @ weight) + t, y, [0.0, 0.4, 1.0], 0.0, 1e9, first_step=0.3)
        return found.y, found.error, found.stiffness

    generator = torch.Generator().manual_seed(0)
    y = torch.randn(3, 2, dtype=DOUBLE, generator=generator, requires_grad=True)
    weight = torch.randn(2, 2, dtype=DOUBLE, generator=generator, requires_grad=True)
    assert torch.autograd.gradcheck(value, (y, weight))
    assert torch.autograd.gradgradcheck(value, (y, weight), atol=1e-4)


def test_gradient_of_a_linear_system_is_the_matrix_exponential():
    matrix = torch.tensor([[-0.3, 1.0], [-2.0, 0.1]], dtype=DOUBLE)
    y = torch.tensor([1.0, -1.0], dtype=DOUBLE, requires_grad=True)
    end = dopri5(lambda t, y: matrix @ y, y, [0.0, 1.5], 1e-10, 1e-12).y[-1]
    rows = torch.stack([torch.autograd.grad(end[i], y, retain_graph=True)[0] for i in range(2)])
    assert torch.allclose(rows, torch.linalg.matrix_exp(1.5 * matrix), atol=1e-8)


def test_estimates_stay_in_the_graph_and_a_penalty_on_them_lowers_the_number_of_calls():
    weight = torch.tensor(6.0, dtype=DOUBLE, requires_grad=True)
    y = torch.linspace(-1, 1, 8, dtype=DOUBLE)[:, None]

    def solve(w):
        return dopri5(lambda t, y: torch.sin(w * (y + t)), y, [0.0, 2.0], 1e-5, 1e-5)

    before = solve(weight)
    (by_error,) = torch.autograd.grad((before.error * before.steps).mean(), weight, retain_graph=True)
    (by_stiffness,) = torch.autograd.grad(before.stiffness.mean(), weight)
    assert by_error.isfinite() and by_stiffness > 0
    assert solve(weight.detach() / 3).evaluations < before.evaluations


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000))
def test_stiffness_of_a_linear_system_is_at_most_the_norm_of_its_matrix(seed):
    matrix = 3 * torch.randn(4, 4, dtype=DOUBLE, generator=torch.Generator().manual_seed(seed))
    found = dopri5(lambda t, y: matrix @ y, torch.ones(4, dtype=DOUBLE), [0.0, 1.0], 1e-6, 1e-6)
    assert (found.stiffness <= torch.linalg.matrix_norm(matrix, 2) * (1 + 1e-6)).all()
    assert (found.error <= 1).all()


def test_stiffness_finds_the_fast_rate_and_is_zero_where_nothing_moves():
    rates = torch.tensor([-1.0, -30.0], dtype=DOUBLE)
    found = dopri5(lambda t, y: rates * y, torch.ones(2, dtype=DOUBLE), [0.0, 2.0], 1e-6, 1e-6)
    assert 20 < float(found.stiffness.max()) <= 30 * (1 + 1e-9)
    still = dopri5(lambda t, y: 0 * y, torch.ones(2, dtype=DOUBLE, requires_grad=True), [0.0, 2.0])
    assert (still.stiffness == 0).all() and (still.y == 1).all()
    (still.stiffness.sum() + still.error.sum()).backward()


def test_equal_calls_give_equal_bits_and_leave_the_state_alone():
    y = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    copy = y.clone()
    f = lambda t, y: torch.sin(3 * y) - t  # noqa: E731
    first, second = dopri5(f, y, [0.0, 1.0], 1e-4, 1e-5), dopri5(f, y, [0.0, 1.0], 1e-4, 1e-5)
    assert torch.equal(first.y, second.y) and torch.equal(first.error, second.error)
    assert torch.equal(y, copy) and torch.equal(first.y[0], copy)


def test_what_cannot_go_on_says_why():
    one = torch.ones(1, dtype=DOUBLE)
    with pytest.raises(IntegrationError, match="resolution of time.*not finite|resolution of time.*tolerated"):
        dopri5(lambda t, y: y**2, one, [0.0, 2.0])  # blows up at t = 1
    with pytest.raises(IntegrationError, match="max_steps=20"):
        dopri5(lambda t, y: -1000 * y, one, [0.0, 10.0], max_steps=20)
    with pytest.raises(IntegrationError, match="not finite"):
        dopri5(lambda t, y: torch.where(t > 0.5, math.nan, 1.0) + 0 * y, one, [0.0, 1.0])
    with pytest.raises(ValueError, match=r"f\(t\[0\], y\) must be finite"):
        dopri5(lambda t, y: y / 0, one, [0.0, 1.0])


@pytest.mark.parametrize(
    "change, error, words",
    [
        ({"t": [0.0]}, ValueError, "at least two times"),
        ({"t": [0.0, 1.0, 0.5]}, ValueError, "strictly"),
        ({"t": torch.tensor([0.0, 1.0], requires_grad=True)}, ValueError, "gradient"),
        ({"y": torch.ones(2, dtype=torch.int64)}, TypeError, "floating"),
        ({"y": torch.ones(2, dtype=torch.float16)}, TypeError, "float32 or float64"),
        ({"y": torch.tensor([math.nan])}, ValueError, "y must be finite"),
        ({"rtol": 0.0, "atol": 0.0}, ValueError, "both"),
        ({"rtol": 1e-9}, ValueError, "resolution"),
        ({"norm": "max"}, ValueError, "norm"),
        ({"norm": "items"}, ValueError, "items"),
        ({"first_step": 0.0}, ValueError, "first_step"),
        ({"max_steps": 0}, ValueError, "max_steps"),
        ({"f": lambda t, y: 1.0}, TypeError, "tensor"),
        ({"f": lambda t, y: y[:1]}, ValueError, "shape"),
        ({"f": lambda t, y: y.double()}, TypeError, "dtype"),
    ],
)
def test_bad_arguments_are_refused_in_words(change, error, words):
    arguments = {"f": lambda t, y: -y, "y": torch.ones(2), "t": [0.0, 1.0], "rtol": 1e-4} | change
    with pytest.raises(error, match=words):
        dopri5(**arguments)
