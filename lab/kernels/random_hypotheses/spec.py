"""What random_hypotheses is, does and costs."""

import torch

from lab.kernels.random_hypotheses.network import RandomNetwork
from lab.kernels.random_hypotheses.public import SMALL, random_hypotheses
from lab.kernels.spec import KernelSpec


def network(shape):
    return RandomNetwork(shape["d"], (shape["width"],) * shape.get("depth", 2), shape.get("outputs", 1), bias_scale=0.1)


def inputs(shape, dtype=torch.float32, seed=0, device="cpu"):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(shape["points"], shape["d"], generator=generator)
    target = torch.randn(shape["points"], shape.get("outputs", 1), generator=generator)
    return {
        "network": network(shape),
        "x": x.to(device, dtype),
        "target": target.to(device, dtype),
        "count": shape["count"],
        "seed": seed,
        "measure": "squared",
    }


def run(arguments):
    return random_hypotheses(**arguments)


def work(x, *others):
    return 1 << 40


def _multiplications(shape):
    return float(shape["count"]) * shape["points"] * sum(a * b for a, b in network(shape).layers)


def _gate():
    from lab.kernels.random_hypotheses import triton

    return triton.gate()


SPEC = KernelSpec(
    name="random_hypotheses",
    sentence="Errors of very many random networks whose weights come from a counter and are never stored.",
    inputs=inputs,
    run=run,
    shapes={
        "tiny": {"count": 6, "points": 21, "d": 3, "width": 8, "outputs": 2},
        "small": {"count": 200, "points": 50, "d": 5, "width": 12, "depth": 3, "outputs": 3},
        "cpu": {"count": 4096, "points": 256, "d": 16, "width": 32},
        "gpu": {"count": 50_000_000, "points": 256, "d": 16, "width": 32},
    },
    differentiable=(),
    bytes=lambda shape, itemsize: 4.0 * shape["count"],
    flops=lambda shape: 2.0 * _multiplications(shape),
    special=lambda shape: 2.0 * shape["count"] * network(shape).size,
    roof="flops",
    peers=("torch.compile",),
    gate=_gate,
    variants={
        "squared": {"measure": "squared"},
        "values": {"measure": "values"},
    },
)
__all__ = ["SMALL", "SPEC"]
