"""What element_step is, does and costs."""

import torch

from lab.kernels.element_step.public import SMALL, Bodies, ElementMesh, block, element_step
from lab.kernels.spec import KernelSpec

SUBSTEPS = 4


def inputs(shape, dtype=torch.float32, seed=0, device="cpu"):
    generator = torch.Generator().manual_seed(seed)
    d, scenes = shape["d"], shape["scenes"]
    cells = (shape["cells"], *[2] * (d - 1))
    points, elements = block(cells, d)
    low = (points[:, -1] == 0).nonzero().flatten().tolist()
    mesh = ElementMesh.of(points, elements, density=1.0, driven=low)

    def normal(*size):
        return torch.randn(*size, generator=generator, dtype=torch.float64)

    middle = torch.tensor([cells[0] / 2, *[2.4] * (d - 1)], dtype=torch.float64)
    pose = torch.nn.functional.pad(middle + 0.05 * normal(scenes, 1, d), (0, 3 - d), value=0.2)
    found = {
        "x": points + 0.1 * normal(scenes, *points.shape), "v": 0.3 * normal(scenes, *points.shape),
        "drive": 0.3 * normal(scenes, len(low), d), "pose": pose, "motion": 0.3 * normal(scenes, 1, 3),
        "load": normal(scenes, 1, 3), "force": normal(scenes, *points.shape), "lame": 1 + normal(scenes, 2).abs(),
        "contact": torch.tensor([20.0, 5.0, 2.0, 0.4], dtype=torch.float64) * (1 + 0.1 * normal(scenes, 4)),
    }  # fmt: skip
    half = (0.3 * cells[0], *[0.5] * (d - 1), 0.35)
    bodies = Bodies.of([half], d=d, mass=2.0, inertia=3.0, drag=0.1)
    return {**{name: value.to(device, dtype) for name, value in found.items()}, "mesh": mesh, "bodies": bodies}


def run(arguments):
    after = element_step(**arguments, dt=1e-2, substeps=SUBSTEPS, viscosity=0.1)
    return torch.cat([each.flatten(1) for each in after], 1)


def work(x, *others):
    return x.numel()


def _elements(shape):
    d = shape["d"]
    return shape["scenes"] * shape["cells"] * 2 ** (d - 1) * (2 if d == 2 else 6)


def _bytes(shape, itemsize):
    d = shape["d"]
    nodes = shape["scenes"] * (shape["cells"] + 1) * 3 ** (d - 1)
    return itemsize * 5 * d * nodes + _elements(shape) / shape["scenes"] * (8 * (d + 1) + itemsize * (d * d + 1))


SPEC = KernelSpec(
    name="element_step",
    sentence="Steps of a soft body of triangles or tetrahedra in contact with rigid bodies, for many scenes, with their adjoint.",
    inputs=inputs,
    run=run,
    shapes={
        "tiny": {"scenes": 2, "cells": 2, "d": 2},
        "small": {"scenes": 2, "cells": 3, "d": 3},
        "image": {"scenes": 3, "cells": 8, "d": 2},
        "cpu": {"scenes": 1, "cells": 24, "d": 2},
        "gpu": {"scenes": 64, "cells": 64, "d": 3},
    },
    differentiable=("x", "v", "drive", "pose", "motion", "load", "force", "lame", "contact"),
    bytes=_bytes,
    flops=lambda shape: SUBSTEPS * _elements(shape) * (60.0 if shape["d"] == 2 else 220.0),
    special=lambda shape: 0.0,
    roof="flops",
    forms=("reference", "cpu"),
)
__all__ = ["SMALL", "SPEC"]
