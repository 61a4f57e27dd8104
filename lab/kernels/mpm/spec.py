"""What mpm is, does and costs."""

import torch

from lab.kernels.mpm.public import SMALL, mpm_step
from lab.kernels.spec import KernelSpec


def inputs(shape, dtype=torch.float32, seed=0, device="cpu"):
    generator = torch.Generator().manual_seed(seed)
    scenes, n, d, cells = shape["scenes"], shape["particles"], shape["d"], shape["cells"]

    def normal(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    x = 0.2 + 0.6 * torch.rand(scenes, n, d, generator=generator, dtype=torch.float64)
    found = {
        "x": x, "v": normal(scenes, n, d), "C": normal(scenes, n, d, d),
        "F": torch.eye(d, dtype=torch.float64) + 0.1 * normal(scenes, n, d, d), "tau": 1e3 * normal(scenes, n, d, d),
        "force": normal(scenes, n, d),
    }  # fmt: skip
    found = {name: value.to(device, dtype) for name, value in found.items()}
    return {**found, "cells": cells, "spacing": 1 / cells, "dt": 1e-4}


def run(arguments):
    d = arguments["x"].shape[-1]
    volume = (0.5 * arguments["spacing"]) ** d
    after = mpm_step(**arguments, mass=1000 * volume, volume=volume, gravity=(0.0,) * (d - 1) + (-9.8,), wall="slip")
    return torch.cat([each.flatten(2) for each in after], 2)


def work(x, *others):
    return x.numel()


def _particles(shape):
    return shape["scenes"] * shape["particles"]


def _bytes(shape, itemsize):
    d = shape["d"]
    nodes = shape["scenes"] * shape["cells"] ** d * (d + 1)
    return itemsize * (_particles(shape) * (5 * d + 5 * d * d) + 3 * nodes)


SPEC = KernelSpec(
    name="mpm",
    sentence="A step of the material point method in two or three dimensions for many scenes, with its adjoint.",
    inputs=inputs,
    run=run,
    shapes={
        "tiny": {"scenes": 2, "particles": 7, "d": 2, "cells": 8},
        "small": {"scenes": 3, "particles": 200, "d": 3, "cells": 12},
        "image": {"scenes": 2, "particles": 300, "d": 2, "cells": 24},
        "cpu": {"scenes": 1, "particles": 10_000, "d": 2, "cells": 128},
        "gpu": {"scenes": 8, "particles": 100_000, "d": 3, "cells": 64},
    },
    differentiable=("x", "v", "C", "F", "tau", "force"),
    bytes=_bytes,
    flops=lambda shape: _particles(shape) * (3 ** shape["d"] * (9 * shape["d"] + 2) + 8 * shape["d"] ** 3),
    special=lambda shape: 0.0,
    roof="flops",
    peers=("taichi", "warp-lang"),
    forms=("reference", "cpu"),
)
__all__ = ["SMALL", "SPEC"]
