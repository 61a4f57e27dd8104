"""Inputs of every kind: integers are promoted, odd columns stay, and what belongs to the caller is left as it was."""

import functools

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from lab import explain
from lab.explain import Categories, ExplanationWarning, Shapley

X = np.array([[7, 25, 104], [3, 11, 60]])
COEFFICIENTS = np.array([1.0, 2.0, 3.0])


def linear(x):
    return (torch.as_tensor(x).double() @ torch.from_numpy(COEFFICIENTS)).numpy()


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"])
@pytest.mark.parametrize("baseline", [4.94, -1, 300, 2.0, np.float32(0.5), np.int64(3), torch.tensor(1.5)])
def test_integer_instances_have_the_weights_of_floating_ones(dtype, baseline):
    wanted = (X - float(baseline)) * COEFFICIENTS
    found = explain.kernelshap(linear, X.astype(dtype), baseline=baseline)
    assert np.allclose(found.weights.numpy(), wanted)
    assert float(found.diagnostics.completeness_gap.max()) < 1e-9
    row = np.array([4.94, -1.0, 300.0])
    found = explain.kernelshap(linear, torch.from_numpy(X.astype("int64")), baseline=row)
    assert np.allclose(found.weights.numpy(), (X - row) * COEFFICIENTS)


def test_whole_baselines_leave_tokens_integers():
    seen = []

    def f(x):
        seen.append(x.dtype)
        return x.double().sum(1)

    explain.kernelshap(f, torch.from_numpy(X), baseline=0.0)
    explain.kernelshap(f, torch.from_numpy(X).to(torch.uint8), baseline=255)
    assert set(seen) == {torch.int64, torch.uint8}


@pytest.mark.parametrize("dtype", ["int64", "uint8"])
def test_donors_of_integer_instances_are_not_truncated(dtype):
    data = np.array([[0.5, -1.25, 300.0], [2.5, 7.75, 8.0]])
    law = Categories(data, Shapley())
    found = explain.explain(linear, X.astype(dtype), neighbourhood=law, n_samples=200)
    assert np.allclose(found.weights.numpy(), (X - data.mean(0)) * COEFFICIENTS)


def test_integer_columns_of_frames_take_any_baseline():
    frame = pd.DataFrame(X.astype("uint8"), columns=list("abc"))
    for baseline in ({"a": 4.94, "b": -1, "c": 300}, pd.DataFrame({"a": [4.94], "b": [-1], "c": [300]})):
        found = explain.kernelshap(lambda x: x.to_numpy(float) @ COEFFICIENTS, frame, baseline=baseline)
        assert np.allclose(found.weights.numpy(), (X - np.array([4.94, -1, 300])) * COEFFICIENTS)
    assert explain.typical(pd.DataFrame({"a": [1, 2]}))["a"].item() == 1.5
    assert explain.typical(pd.DataFrame({"a": [1, 3]}))["a"].dtype == np.int64


class Batch(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(2)
        self.seen = 0

    def forward(self, x):
        return self.norm(x).flatten(1).sum(1)


def behind(net):
    holder = type("Holder", (), {"__call__": lambda self, x: self.net(x)})()
    holder.net = net
    return {
        "closure": lambda x: net(x),
        "partial": functools.partial(lambda model, x: model(x), net),
        "method": net.forward,
        "object": holder,
        "child": nn.Sequential(net).eval().append(nn.Identity()),
    }


@pytest.mark.parametrize("way", ["closure", "partial", "method", "object", "child"])
def test_batch_normalization_in_training_mode_is_refused_wherever_it_hides(way):
    net = Batch()
    f = behind(net)[way]
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    with pytest.raises(ValueError, match=r"training mode and holds BatchNorm2d"):
        explain.kernelshap(f, torch.rand(1, 2, 3, 3))
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    net.eval()
    explain.kernelshap(f, torch.rand(1, 2, 3, 3), n_samples=50)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_answer_that_depends_on_the_batch_is_seen_with_one_row():
    with pytest.raises(ValueError, match="depends on the other rows of the batch"):
        explain.kernelshap(lambda x: (x - x.mean(0)).sum(1), torch.ones(1, 3))


class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("count", torch.zeros(()))
        self.register_buffer("last", torch.zeros(()))

    def forward(self, x):
        self.count += 1
        self.last = x.sum().detach()
        self.train(False)
        return x.sum(1)


@pytest.mark.parametrize("preset", [explain.kernelshap, explain.gradients, explain.integrated_gradients])
def test_buffers_and_modes_of_the_model_are_put_back(preset):
    net = Counting().train()
    last = net.last
    preset(net, torch.rand(2, 3))
    assert float(net.count) == 0
    assert net.last is last
    assert net.training


@pytest.mark.parametrize("kind", ["tensor", "array"])
def test_function_that_works_in_place_leaves_the_arrays_of_the_caller(kind):
    x, base = torch.rand(3, 4, dtype=torch.float64), torch.rand(4, dtype=torch.float64)
    if kind == "array":
        x, base = x.numpy(), base.numpy()
    kept = [each.copy() if kind == "array" else each.clone() for each in (x, base)]

    def f(batch):
        batch *= 2
        return batch.sum(1)

    found = explain.kernelshap(f, x, baseline=base)
    assert np.array_equal(np.asarray(x), np.asarray(kept[0]))
    assert np.array_equal(np.asarray(base), np.asarray(kept[1]))
    assert np.allclose(found.weights.numpy(), 2 * (np.asarray(x) - np.asarray(base)))


@pytest.mark.parametrize("off", [torch.no_grad, torch.inference_mode])
def test_gradients_are_to_be_had_where_gradients_are_off(off):
    net, x = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)), torch.rand(2, 3)
    wanted = explain.gradients(net, x).weights
    with off():
        assert torch.equal(explain.gradients(net, x.clone()).weights, wanted)
        for preset in (explain.integrated_gradients, explain.gradient_x_input, explain.smoothgrad, explain.kernelshap):
            assert torch.isfinite(preset(net, x.clone()).weights).all()


def test_baseline_that_equals_an_instance_is_said():
    x = torch.rand(3, 4)
    with pytest.warns(ExplanationWarning, match="the baseline equals x in 3 of 3 instances"):
        assert not explain.kernelshap(lambda x: x.sum(1), x, baseline=x).weights.any()
    with pytest.warns(ExplanationWarning, match="the baseline equals x in 1 of 3 instances"):
        explain.kernelshap(lambda x: x.sum(1), x, baseline=x[1])


@pytest.mark.parametrize("target", [np.int64(1), np.uint8(1), torch.tensor(1), np.array(1)])
def test_scalars_of_numpy_and_torch_are_targets(target):
    x = torch.rand(2, 3)
    wanted = explain.kernelshap(lambda x: torch.stack([x[:, 0], x[:, 1]], 1), x, target=1).weights
    assert torch.equal(
        explain.kernelshap(lambda x: torch.stack([x[:, 0], x[:, 1]], 1), x, target=target).weights, wanted
    )


@pytest.mark.parametrize("library", ["torch", "numpy"])
def test_outputs_that_are_true_or_false_count_as_one_and_zero(library):
    def f(x):
        return x[:, 0] > 0.5 if library == "torch" else x[:, 0].numpy() > 0.5

    found = explain.kernelshap(f, torch.tensor([[1.0, 2.0], [0.0, 1.0]]))
    assert found.weights.flatten().tolist() == pytest.approx([1.0, 0.0, 0.0, 0.0], abs=1e-12)


def _columns():
    return {
        "sparse": pd.arrays.SparseArray([0.0, 2.0, 0.0, 1.0]),
        "sparse whole": pd.arrays.SparseArray([0, 2, 0, 1]),
        "nullable": pd.array([1, None, 3, 4], dtype="Int64"),
        "yes or no": pd.array([True, None, False, True], dtype="boolean"),
        "flag": [True, False, True, True],
        "nothing": [np.nan] * 4,
        "no words": pd.Series([None] * 4, dtype=object),
        "words": ["a", None, "b", "a"],
        "string": pd.array(["a", None, "b", "a"], dtype="string"),
        "id": np.array([2**60 + 1, 2**60 + 3, 2**53 + 1, 5]),
        "number": [1.0, 2.0, 3.0, 4.0],
    }


def test_odd_columns_reach_the_function_as_they_are():
    frame = pd.DataFrame(_columns())
    seen = []

    def f(x):
        seen.append(x)
        return x["number"].to_numpy(float) + (x["id"] == 2**60 + 3).to_numpy(float)

    found = explain.kernelshap(f, frame[:2], baseline=explain.typical(frame), n_samples=4000)
    column = list(frame.columns)
    assert found.weights[0, column.index("number")] == pytest.approx(1.0 - 2.5)
    assert found.weights[1, column.index("id")] == pytest.approx(float(f(frame[1:2])[0] - f(frame[:1])[0] - 1))
    for name in frame.columns:
        assert seen[0][name].dtype == frame[name].dtype, name
    pd.testing.assert_frame_equal(seen[0].reset_index(drop=True), frame[:2])
    law = Categories(frame, Shapley())
    assert torch.isfinite(explain.explain(f, frame[:2], neighbourhood=law, n_samples=500).weights).all()


def test_columns_of_one_name_are_refused_wherever_they_stand():
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [1.0, 3.0]})
    double = pd.DataFrame([[1.0, 2.0, 3.0]], columns=["a", "b", "a"])
    for arguments in ({"x": double, "baseline": double}, {"x": frame, "baseline": double}):
        with pytest.raises(ValueError, match="columns of the same name"):
            explain.kernelshap(lambda x: x["b"].to_numpy(), arguments.pop("x"), **arguments)


def test_max_bytes_bounds_the_fit_of_many_outputs():
    x = torch.rand(12, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix = torch.randn(12, 300, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    f = lambda x: torch.tanh(x @ matrix)  # noqa: E731
    whole = explain.kernelshap(f, x, n_samples=500)
    parts = explain.kernelshap(f, x, n_samples=500, max_bytes=40_000_000)
    for name in ("weights", "intercept"):
        assert torch.allclose(getattr(parts, name), getattr(whole, name), rtol=1e-9, atol=1e-12), name
    # differences of nearly equal fits: of their digits half are left where a BLAS sums parts in another order than the whole
    for name in ("standard_error", "local_risk"):
        assert torch.allclose(getattr(parts, name), getattr(whole, name), rtol=1e-4, atol=1e-7), name
    assert torch.allclose(parts.diagnostics.completeness_gap, whole.diagnostics.completeness_gap, atol=1e-12)
    with pytest.raises(ValueError, match="within max_bytes"):
        parts.resolve(explain.Masks(Shapley()))
    wide = torch.ones(12, 30_000, dtype=torch.float64)
    with pytest.raises(ValueError, match="1.44 GB an instance; choose a target, fewer draws, or a larger max_bytes"):
        explain.kernelshap(lambda x: x @ wide, x, n_samples=500)


def test_the_proxy_is_described():
    assert "odd-order" in explain.kernelshap.__doc__
