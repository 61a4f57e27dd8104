"""What rowloss is, does and costs."""

import torch

from lab.kernels.rowloss.family import comp_sum, label_distributionally_robust, margin
from lab.kernels.rowloss.public import SMALL, rowloss
from lab.kernels.spec import KernelSpec


def inputs(shape, dtype=torch.float32, seed=0, device="cpu"):
    generator = torch.Generator().manual_seed(seed)
    n, c, pixels = shape["n"], shape["c"], shape.get("pixels", 0)
    size, rows = ((n, c, pixels), (n, pixels)) if pixels else ((n, c), (n,))
    return {
        "logits": (3.0 * torch.randn(size, generator=generator)).to(device, dtype),
        "target": torch.randint(c, rows, generator=generator).to(device),
        "temperature": (0.5 + torch.rand(rows, generator=generator)).to(device),
        "weight": (0.5 + torch.rand(rows, generator=generator)).to(device),
        "loss": comp_sum(1.0),
    }


def run(arguments):
    return rowloss(**arguments)


def work(logits, *others):
    return logits.numel()


def _cells(shape):
    return shape["n"] * shape["c"] * max(1, shape.get("pixels", 0))


def _gate():
    from lab.kernels.rowloss import triton

    return triton.gate()


SPEC = KernelSpec(
    name="rowloss",
    sentence="Comp-sum, robust and margin losses of rows of scores, with gradients in scores, temperature, weight.",
    inputs=inputs,
    run=run,
    shapes={
        "tiny": {"n": 5, "c": 37},
        "small": {"n": 64, "c": 500},
        "image": {"n": 2, "c": 7, "pixels": 5000},
        "cpu": {"n": 512, "c": 50_000},
        "gpu": {"n": 16_384, "c": 131_072},
    },
    differentiable=("logits", "temperature", "weight"),
    bytes=lambda shape, itemsize: itemsize * _cells(shape),
    flops=lambda shape: 4.0 * _cells(shape),
    special=lambda shape: 1.0 * _cells(shape),
    roof="bytes",
    peers=("torch.compile", "Liger-Kernel"),
    gate=_gate,
    variants={
        "cross-entropy": {"loss": comp_sum(1.0)},
        "sum-exponential": {"loss": comp_sum(0.0)},
        "generalized": {"loss": comp_sum(1.7)},
        "absolute": {"loss": comp_sum(2.0)},
        "robust": {"loss": label_distributionally_robust(margin=0.1)},
        "margin": {"loss": margin()},
    },
)
__all__ = ["SMALL", "SPEC"]
