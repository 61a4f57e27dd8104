"""The custom operation of the element step and its hand-written adjoint."""

from __future__ import annotations

import numpy as np
import torch

from lab.kernels import chunks
from lab.kernels.element_step.reference import diverged

T = torch.Tensor
Out = tuple[T, T, T, T, T]
Back = tuple[T, T, T, T, T, T, T, T, T]
STATE = 9  # tensors with a gradient; the next eleven are constants


def _arrays(*tensors):
    return [each.detach().contiguous().numpy() for each in tensors]


def _buffers(x, pose, many):
    return [np.empty((many, *each.shape[1:]), each.dtype) for each in (x, x, pose, pose)]


def _cost(arrays, substeps):
    return substeps * (200.0 * len(arrays[9]) + 60.0 * len(arrays[14]) * arrays[2].shape[1])


@torch.library.custom_op("lab::element_step", mutates_args=(), device_types="cpu")
def step(
    x: T, v: T, pose: T, motion: T, drive: T, load: T, force: T, lame: T, contact: T,
    elements: T, inverse: T, volume: T, mass: T, driven: T, surface: T, shapes: T, layouts: T, field: T, lightness: T, drag: T,
    dt: float, viscosity: float, substeps: int,
) -> Out:  # fmt: skip
    from lab.kernels.element_step import loops

    arrays = _arrays(x, v, pose, motion, drive, load, force, lame, contact, elements, inverse, volume, mass, driven,
                     surface, shapes, layouts, field, lightness, drag)  # fmt: skip
    scenes, d = len(arrays[0]), arrays[0].shape[2]
    out = [*(np.empty_like(each) for each in arrays[:4]), np.empty((scenes, pose.shape[1], d), arrays[0].dtype)]
    bad = np.full((scenes, 2), -1)

    def piece(start, stop):
        buffers = _buffers(arrays[0], arrays[2], 2)
        for s in range(start, stop):
            bad[s] = loops.forward(*(each[s] for each in arrays[:STATE]), *arrays[STATE:], dt, viscosity, substeps,
                                 *buffers, out[4][s])  # fmt: skip
            for each, buffer in zip(out, buffers):
                each[s] = buffer[substeps % 2]

    chunks.run(piece, scenes, cost=_cost(arrays, substeps))
    if bad.max() >= 0:
        scene = int(np.flatnonzero(bad[:, 0] >= 0)[0])
        raise ValueError(diverged(scene, *map(int, bad[scene])))
    a, b, c, e, f = map(torch.from_numpy, out)
    return a, b, c, e, f


@torch.library.custom_op("lab::element_step_backward", mutates_args=(), device_types="cpu")
def step_backward(
    x: T, v: T, pose: T, motion: T, drive: T, load: T, force: T, lame: T, contact: T,
    elements: T, inverse: T, volume: T, mass: T, driven: T, surface: T, shapes: T, layouts: T, field: T, lightness: T, drag: T,
    dt: float, viscosity: float, substeps: int, gx: T, gv: T, gpose: T, gmotion: T, gmean: T,
) -> Back:  # fmt: skip
    from lab.kernels.element_step import loops

    arrays = _arrays(x, v, pose, motion, drive, load, force, lame, contact, elements, inverse, volume, mass, driven,
                     surface, shapes, layouts, field, lightness, drag)  # fmt: skip
    scenes = len(arrays[0])
    # gradients accumulate in float64, over many substeps
    state = [each.astype(np.float64) for each in _arrays(gx, gv, gpose, gmotion, gmean)]
    rest = [np.zeros(each.shape) for each in arrays[4:STATE]]

    def piece(start, stop):
        buffers, mean = _buffers(arrays[0], arrays[2], substeps + 1), np.empty(gmean.shape[1:], arrays[0].dtype)
        for s in range(start, stop):
            one = [each[s] for each in arrays[:STATE]]
            loops.forward(*one, *arrays[STATE:], dt, viscosity, substeps, *buffers, mean)
            loops.backward(*buffers, *one[4:], *arrays[STATE:], dt, viscosity, substeps, *(each[s] for each in state),
                         *(each[s] for each in rest))  # fmt: skip

    chunks.run(piece, scenes, cost=3 * _cost(arrays, substeps))
    found = [torch.from_numpy(each).to(like.dtype) for each, like in zip([*state[:4], *rest], (x, v, pose, motion, drive, load,
             force, lame, contact))]  # fmt: skip
    a, b, c, e, f, g, h, i, j = found
    return a, b, c, e, f, g, h, i, j


@step.register_fake
def _(x, v, pose, motion, drive, load, force, lame, contact, *others):
    def like(each):
        return torch.empty_like(each, memory_format=torch.contiguous_format)

    return like(x), like(v), like(pose), like(motion), x.new_empty(x.shape[0], pose.shape[1], x.shape[2])


@step_backward.register_fake
def _(x, v, pose, motion, drive, load, force, lame, contact, *others):
    return tuple(
        torch.empty_like(each, memory_format=torch.contiguous_format)
        for each in (x, v, pose, motion, drive, load, force, lame, contact)
    )


def _setup(ctx, inputs, output):
    *tensors, ctx.dt, ctx.viscosity, ctx.substeps = inputs
    ctx.save_for_backward(*tensors)


def _backward(ctx, *upstream):
    found = step_backward(*ctx.saved_tensors, ctx.dt, ctx.viscosity, ctx.substeps, *upstream)
    return (*found, *[None] * 14)


step.register_autograd(_backward, setup_context=_setup)
