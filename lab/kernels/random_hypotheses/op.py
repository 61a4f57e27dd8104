"""The custom operation behind random_hypotheses: opaque to the compiler of torch, one call a piece of hypotheses."""

from __future__ import annotations

import numpy as np
import torch

from lab.kernels import chunks
from lab.kernels.random_hypotheses.network import ACTIVATIONS, STREAM, RandomNetwork

MEASURES = {"values": 0, "squared": 1, "error": 2}


def random_hypotheses(
    network: RandomNetwork,
    x: torch.Tensor,
    target: torch.Tensor | None,
    count: int,
    seed: int,
    start: int,
    measure: str,
    segments: tuple[int, ...],
    path: str,
) -> torch.Tensor:
    """See :func:`lab.kernels.random_hypotheses`; arguments arrive checked."""
    sizes = [network.features, *network.widths, network.outputs]
    scales = [value for pair in network.scales() for value in pair]
    if target is None:
        target = x.new_zeros(())
    if path == "triton":
        from lab.kernels.random_hypotheses import triton

        return triton.random_hypotheses(
            network, x, None if measure == "values" else target, count, seed, start, measure, segments
        )
    signed = seed - 2**64 if seed >= 2**63 else seed
    return _evaluate(
        x,
        target,
        sizes,
        scales,
        network.law == "uniform",
        ACTIVATIONS.index(network.activation),
        count,
        signed,
        start,
        MEASURES[measure],
        list(segments),
    )


@torch.library.custom_op("lab::random_hypotheses", mutates_args=(), device_types="cpu")
def _evaluate(
    x: torch.Tensor,
    target: torch.Tensor,
    sizes: list[int],
    scales: list[float],
    uniform: bool,
    activation: int,
    count: int,
    seed: int,
    start: int,
    measure: int,
    segments: list[int],
) -> torch.Tensor:
    from lab.kernels.random_hypotheses import cpu

    f32 = np.float32
    points, outputs = len(x), sizes[-1]
    stride = -(-points // 16) * 16 + 32
    room = np.zeros(sizes[0] * stride + 16, f32)
    begin = (16 - room.ctypes.data // 4 % 16) % 16
    xt = room[begin : begin + sizes[0] * stride].reshape(sizes[0], stride)
    xt[:, :points] = x.detach().float().numpy().T
    wanted, labels = np.zeros((outputs, points), f32), np.zeros(points, np.int64)
    if measure == 1:
        wanted = np.ascontiguousarray(target.detach().float().numpy().T)
    elif measure == 2:
        labels = np.ascontiguousarray(target.numpy())
    values = np.empty((count, points, outputs) if measure == 0 else (1, 1, 1), f32)
    out = np.empty((1, 1) if measure == 0 else (count, len(segments)), f32)
    edges = np.concatenate([[0], np.cumsum(segments)]).astype(np.int64)
    widest = max(sizes)
    tile = int(np.clip(4096 // widest // 32 * 32, 32, 256))
    layers = np.array(sizes, np.int64)
    pairs = np.array(scales, f32).reshape(-1, 2)
    key, first = np.uint64(seed % 2**64), np.uint64(start)

    def piece(low, high):
        cpu.evaluate(
            key,
            STREAM,
            first,
            low,
            high,
            layers,
            pairs,
            uniform,
            activation,
            xt,
            wanted,
            labels,
            measure,
            edges,
            tile,
            out,
            values,
        )

    cost = points * sum(a * b for a, b in zip(sizes[:-1], sizes[1:])) / 16
    chunks.run(piece, count, cost=cost)
    return torch.from_numpy(values if measure == 0 else out).to(x.dtype)


@_evaluate.register_fake
def _(x, target, sizes, scales, uniform, activation, count, seed, start, measure, segments):
    shape = (count, x.shape[0], sizes[-1]) if measure == 0 else (count, len(segments))
    return x.new_empty(shape)
