"""What perturb_gram is, does and costs."""

import torch

from lab.kernels.perturb_gram.law import SMALL, Perturbations
from lab.kernels.perturb_gram.public import perturb_gram
from lab.kernels.spec import KernelSpec


def inputs(shape, dtype=torch.float32, seed=0, device="cpu"):
    generator = torch.Generator().manual_seed(seed)
    n, m = shape["n"], shape["m"]
    return {
        "perturbations": Perturbations("gaussian", shape["d"], scale=0.5),
        "outputs": torch.randn(n, m, generator=generator).to(device, dtype),
        "weights": torch.rand(n, m, generator=generator).to(device, dtype),
        "seed": seed,
    }


def run(arguments):
    gram = perturb_gram(**arguments)
    return torch.cat([gram.matrix.flatten(1), gram.moment], dim=1).to(arguments["outputs"].dtype)


def work(outputs, *others):
    return outputs.numel()


def _gate():
    from lab.kernels.perturb_gram import triton

    return triton.gate()


SPEC = KernelSpec(
    name="perturb_gram",
    sentence="Perturbations from a counter and the weighted normal equations of local fits on them.",
    inputs=inputs,
    run=run,
    shapes={
        "tiny": {"n": 3, "m": 40, "d": 4},
        "small": {"n": 20, "m": 500, "d": 8},
        "cpu": {"n": 100, "m": 10_000, "d": 30},
        "gpu": {"n": 1000, "m": 100_000, "d": 30},
    },
    differentiable=("outputs", "weights"),
    bytes=lambda shape, itemsize: 2.0 * itemsize * shape["n"] * shape["m"],
    flops=lambda shape: shape["n"] * shape["m"] * (shape["d"] + 1.0) * (shape["d"] + 2.0),
    special=lambda shape: 2.0 * shape["m"] * shape["d"],
    roof="flops",
    gate=_gate,
    tolerance="long reduction",
)
__all__ = ["SMALL", "SPEC"]
