"""Every fast form against the float64 reference, outputs and gradients, from the one description of the operation."""

import pytest
import torch

import lab.kernels as kernels
from lab.kernels import spec

CASES = [
    (name, shape, variant)
    for name, description in kernels.specs().items()
    if "cpu" in description.forms
    for shape in description.shapes
    if shape in ("tiny", "small", "image")
    for variant in (description.variants or {"": {}})
]


def compare(name, shape, variant, dtype, seed):
    description = spec.get(name)
    inputs = {
        **description.inputs(description.shapes[shape], dtype=dtype, seed=seed),
        **description.variants.get(variant, {}),
    }
    exact = spec.with_gradients(description, inputs, word="reference", dtype=torch.float64)
    plain = spec.with_gradients(description, inputs, word="reference")
    fast = spec.with_gradients(description, inputs, word="cpu")
    assert fast.keys() == exact.keys()
    for key in exact:
        error, usual = (spec.relative_error(found[key], exact[key]) for found in (fast, plain))
        bound = description.bound(dtype)
        assert error <= bound, (key, error, bound)
        assert error <= 2 * usual + 0.2 * bound, (key, error, usual)
        if exact[key].is_floating_point():
            size = exact[key].double().norm() / exact[key].numel() ** 0.5
            assert (
                float((fast[key].double() - exact[key]).abs().max())
                <= 20 * bound * max(1.0, exact[key].numel() ** 0.5) * size
            )


@pytest.mark.parametrize(("name", "shape", "variant"), CASES)
def test_cpu_form_equals_float64_reference_in_outputs_and_gradients(name, shape, variant):
    compare(name, shape, variant, torch.float32, seed=5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", ["rowloss", "pairwise"])
def test_half_precision_is_computed_in_single(name, dtype):
    description = spec.get(name)
    inputs = description.inputs(description.shapes["small"], dtype=dtype, seed=2)
    exact = spec.with_gradients(description, inputs, word="reference", dtype=torch.float64)
    fast = spec.with_gradients(description, inputs, word="cpu")
    for key in exact:
        assert fast[key].dtype == (
            dtype if key in ("output", "grad logits", "grad x", "grad y", "grad values") else fast[key].dtype
        )
        assert spec.relative_error(fast[key], exact[key]) <= description.bound(dtype), key


def test_relative_error_lets_no_nan_pass():
    assert spec.relative_error(torch.tensor([float("nan"), 1.0]), torch.ones(2)) == float("inf")
    assert spec.relative_error(torch.tensor([1, 2]), torch.tensor([1, 3])) == 0.5


def test_every_operation_names_its_cost_and_roof():
    for name, description in kernels.specs().items():
        for shape in description.shapes.values():
            assert description.bytes(shape, 4) > 0, name
            assert description.flops(shape) > 0, name
            assert description.special(shape) >= 0, name
        assert description.roof in ("bytes", "flops", "special")
        assert {"tiny", "small", "cpu", "gpu"} <= set(description.shapes)
