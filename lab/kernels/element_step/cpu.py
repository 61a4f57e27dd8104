"""The compiled form of the element step: its loops stand in :mod:`lab.kernels.element_step.loops`."""

from __future__ import annotations

import torch

from lab.kernels import dispatch
from lab.kernels.element_step.public import Bodies, ElementMesh, element_step


def warm():
    """Compile the kernels of this folder for float32 and float64, triangles and tetrahedra."""
    for dtype in (torch.float32, torch.float64):
        for d in (2, 3):
            corners = torch.cat([torch.zeros(1, d), torch.eye(d)]).double()
            mesh = ElementMesh.of(corners, torch.arange(d + 1)[None], driven=[0])
            x = corners.to(dtype)[None].requires_grad_()
            pose = torch.zeros(1, 1, 3, dtype=dtype)
            with dispatch.backend("cpu"):
                after = element_step(x, torch.zeros_like(x), x.new_zeros(1, 1, d), mesh=mesh, lame=(1.0, 1.0), dt=1e-3,
                                     contact=(1.0, 1.0, 1.0, 1.0), bodies=Bodies.of([(0.1,)], d=d), pose=pose)  # fmt: skip
            after.x.sum().backward()
