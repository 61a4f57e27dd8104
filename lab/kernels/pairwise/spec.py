"""What pairwise is, does and costs."""

import torch

from lab.kernels.pairwise.public import KERNELS, SMALL, pairwise
from lab.kernels.spec import KernelSpec


def inputs(shape, dtype=torch.float32, seed=0, device="cpu"):
    generator = torch.Generator().manual_seed(seed)
    n, m, d, columns = shape["n"], shape["m"], shape["d"], shape.get("columns", 1)
    return {
        "x": torch.randn(n, d, generator=generator).to(device, dtype),
        "y": torch.randn(m, d, generator=generator).to(device, dtype),
        "values": torch.rand(m, columns, generator=generator).to(device, dtype),
        "kernel": "gaussian",
        "reduce": "sum",
        "lengthscale": torch.full((d,), d**0.5).to(device, dtype),
    }


def run(arguments):
    if arguments["reduce"] != "sum":
        arguments = {**arguments, "values": arguments["values"][:, 0]}
    return pairwise(**arguments)


def work(x, y, *others):
    return len(x) * len(y)


def _pairs(shape):
    return float(shape["n"]) * shape["m"]


def _gate():
    from lab.kernels.pairwise import triton

    return triton.gate()


SPEC = KernelSpec(
    name="pairwise",
    sentence="Sums, logsumexps and nearest neighbours over all pairs of points, seven kernels, no matrix.",
    inputs=inputs,
    run=run,
    shapes={
        "tiny": {"n": 21, "m": 33, "d": 3, "columns": 2},
        "small": {"n": 300, "m": 257, "d": 5, "columns": 2},
        "cpu": {"n": 6000, "m": 6000, "d": 3},
        "gpu": {"n": 1_000_000, "m": 1_000_000, "d": 3},
    },
    differentiable=("x", "y", "values", "lengthscale"),
    bytes=lambda shape, itemsize: itemsize * (shape["n"] + shape["m"]) * (shape["d"] + shape.get("columns", 1)),
    flops=lambda shape: _pairs(shape) * (3 * shape["d"] + 2 * shape.get("columns", 1)),
    special=_pairs,
    roof="special",
    peers=("KeOps", "torch.compile"),
    gate=_gate,
    tolerance="long reduction",
    variants={
        f"{kernel} {reduce}": {"kernel": kernel, "reduce": reduce}
        for kernel in KERNELS
        for reduce in ("sum", "logsumexp", "argmin")
    },
)
__all__ = ["SMALL", "SPEC"]
