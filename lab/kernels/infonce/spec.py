"""What infonce is, does and costs."""

import torch

from lab.kernels.infonce import SMALL, infonce
from lab.kernels.spec import KernelSpec


def inputs(shape, dtype=torch.float32, seed=0, device="cpu"):
    generator = torch.Generator().manual_seed(seed)
    n, m, d = shape["n"], shape["m"], shape["d"]
    a, b = torch.randn(n, d, generator=generator), torch.randn(m, d, generator=generator)
    return {
        "a": torch.nn.functional.normalize(a, dim=1).to(device, dtype),
        "b": torch.nn.functional.normalize(b, dim=1).to(device, dtype),
        "temperature": torch.tensor(0.2, device=device),
    }


def run(arguments):
    return infonce(**arguments)


def work(a, b, *others):
    return len(a) * len(b)


def _gate():
    from lab.kernels.infonce import triton

    return triton.gate()


SPEC = KernelSpec(
    name="infonce",
    sentence="The in-batch contrastive loss and its gradients without the matrix of similarities.",
    inputs=inputs,
    run=run,
    shapes={
        "tiny": {"n": 19, "m": 23, "d": 16},
        "small": {"n": 200, "m": 230, "d": 32},
        "cpu": {"n": 4096, "m": 4096, "d": 128},
        "gpu": {"n": 32_768, "m": 32_768, "d": 256},
    },
    differentiable=("a", "b", "temperature"),
    bytes=lambda shape, itemsize: itemsize * (shape["n"] + shape["m"]) * shape["d"],
    flops=lambda shape: 2.0 * shape["n"] * shape["m"] * shape["d"],
    special=lambda shape: 1.0 * shape["n"] * shape["m"],
    roof="flops",
    peers=("torch.compile",),
    gate=_gate,
    forms=("reference", "triton"),
)
__all__ = ["SMALL", "SPEC"]
