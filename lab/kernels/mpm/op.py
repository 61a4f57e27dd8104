"""The custom operation of the material point step and its hand-written adjoint."""

from __future__ import annotations

import torch

from lab.kernels.mpm import loops

WALLS = ("slip", "stick")
Out = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]
Back = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]


def _arrays(*tensors):
    return [each.detach().contiguous().numpy() for each in tensors]


@torch.library.custom_op("lab::mpm_step", mutates_args=(), device_types="cpu")
def step(
    x: torch.Tensor, v: torch.Tensor, C: torch.Tensor, F: torch.Tensor, tau: torch.Tensor, force: torch.Tensor,
    mass: torch.Tensor, volume: torch.Tensor, gravity: torch.Tensor,
    cells: list[int], spacing: float, dt: float, wall: int, layers: int,
) -> Out:  # fmt: skip
    arguments = [*_arrays(x, v, C, F, tau, force, mass, volume, gravity), cells, spacing, dt, wall, layers]
    x_new, v_new, C_new, F_new = map(torch.from_numpy, loops.forward(*arguments))
    return x_new, v_new, C_new, F_new


@torch.library.custom_op("lab::mpm_step_backward", mutates_args=(), device_types="cpu")
def step_backward(
    x: torch.Tensor, v: torch.Tensor, C: torch.Tensor, F: torch.Tensor, tau: torch.Tensor, force: torch.Tensor,
    mass: torch.Tensor, volume: torch.Tensor, gravity: torch.Tensor,
    cells: list[int], spacing: float, dt: float, wall: int, layers: int,
    v_new: torch.Tensor, C_new: torch.Tensor, gx: torch.Tensor, gv: torch.Tensor, gC: torch.Tensor, gF: torch.Tensor,
) -> Back:  # fmt: skip
    arguments = [*_arrays(x, v, C, F, tau, force, mass, volume, gravity), cells, spacing, dt, wall, layers]
    later = _arrays(v_new, C_new, gx, gv, gC, gF)
    dx, dv, dC, dF, dtau, dforce = map(torch.from_numpy, loops.backward(*arguments, *later))
    return dx, dv, dC, dF, dtau, dforce


@step.register_fake
def _(x, v, C, F, tau, force, mass, volume, gravity, cells, spacing, dt, wall, layers):
    return tuple(torch.empty_like(each, memory_format=torch.contiguous_format) for each in (x, v, C, F))


@step_backward.register_fake
def _(
    x, v, C, F, tau, force, mass, volume, gravity, cells, spacing, dt, wall, layers, v_new, C_new, gx, gv, gC, gF,
):  # fmt: skip
    return tuple(torch.empty_like(each, memory_format=torch.contiguous_format) for each in (x, v, C, F, tau, force))


def _setup(ctx, inputs, output):
    *tensors, ctx.cells, ctx.spacing, ctx.dt, ctx.wall, ctx.layers = inputs
    ctx.save_for_backward(*tensors, output[1], output[2])


def _backward(ctx, gx, gv, gC, gF):
    *tensors, v_new, C_new = ctx.saved_tensors
    found = step_backward(*tensors, ctx.cells, ctx.spacing, ctx.dt, ctx.wall, ctx.layers, v_new, C_new, gx, gv, gC, gF)
    return (*found, *[None] * 8)


step.register_autograd(_backward, setup_context=_setup)
