"""On a CUDA device: every operation against float64, in every dtype, and the same bits in repeated runs."""

import pytest
import torch

import lab.kernels as kernels
from lab.kernels import spec

pytestmark = pytest.mark.cuda


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", sorted(kernels.specs()))
def test_gpu_form_equals_the_float64_reference(name, dtype):
    description = spec.get(name)
    inputs = description.inputs(description.shapes["small"], dtype=dtype, device="cuda")
    exact = spec.with_gradients(description, inputs, word="reference", dtype=torch.float64)
    found = spec.with_gradients(description, inputs, word="triton")
    for key in exact:
        assert spec.relative_error(found[key], exact[key]) <= description.bound(dtype), key


@pytest.mark.parametrize("name", sorted(kernels.specs()))
def test_repeated_runs_give_the_same_bits(name):
    description = spec.get(name)
    inputs = description.inputs(description.shapes["small"], device="cuda")
    first = spec.with_gradients(description, inputs, word="triton")
    for _ in range(20):
        again = spec.with_gradients(description, inputs, word="triton")
        assert all(torch.equal(first[key], again[key]) for key in first)
