"""random_hypotheses for GPUs: one program a network, whose parameters are drawn into registers and multiplied there.

Hidden widths must be equal (they share one tile size). Four numbers of the generator are used from each of its calls where
every row of weights begins at a multiple of four; otherwise each number costs a call of its own.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from lab.kernels.philox.triton import number, numbers4
from lab.kernels.random_hypotheses.network import STREAM

POINTS, WARPS = 64, 4


@triton.jit
def matrix(
    seed,
    index,
    start,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    rows,
    columns,
    scale,
    STREAM: tl.constexpr,
    UNIFORM: tl.constexpr,
    ALIGNED: tl.constexpr,
    FAST: tl.constexpr,
):
    """Weights (COLUMNS inputs, ROWS outputs), zero beyond rows and columns: numbers start + output * columns + input."""
    output = tl.arange(0, ROWS)
    if ALIGNED:
        block = tl.arange(0, COLUMNS // 4)
        at = (start + output[None, :] * columns) // 4 + block[:, None]
        item = tl.zeros([COLUMNS // 4, ROWS], tl.int64) + index
        n0, n1, n2, n3 = numbers4(seed, item, at, STREAM, UNIFORM, FAST)
        pairs = tl.join(tl.join(n0, n2), tl.join(n1, n3))
        drawn = tl.reshape(tl.permute(pairs, (0, 2, 3, 1)), (COLUMNS, ROWS))
    else:
        at = start + output[None, :] * columns + tl.arange(0, COLUMNS)[:, None]
        item = tl.zeros([COLUMNS, ROWS], tl.int64) + index
        drawn = number(seed, item, at, STREAM, UNIFORM, FAST)
    if UNIFORM:
        drawn = 2.0 * drawn - 1.0
    inside = (tl.arange(0, COLUMNS)[:, None] < columns) & (output[None, :] < rows)
    return tl.where(inside, drawn * scale, 0.0)


@triton.jit
def vector(
    seed, index, start, ROWS: tl.constexpr, rows, scale, STREAM: tl.constexpr, UNIFORM: tl.constexpr, FAST: tl.constexpr
):
    """Biases (ROWS,), zero beyond rows."""
    at = start + tl.arange(0, ROWS)
    drawn = number(seed, tl.zeros([ROWS], tl.int64) + index, at, STREAM, UNIFORM, FAST)
    if UNIFORM:
        drawn = 2.0 * drawn - 1.0
    return tl.where(tl.arange(0, ROWS) < rows, drawn * scale, 0.0)


@triton.jit
def activate(h, ACTIVATION: tl.constexpr):
    """max(h, 0), tanh h or h."""
    if ACTIVATION == 0:
        h = tl.maximum(h, 0.0)
    elif ACTIVATION == 1:
        e = tl.exp(-2.0 * tl.abs(h))
        far = (1.0 - e) / (1.0 + e)
        square = h * h
        near = h * (1.0 - square * (0.3333333333 - square * (0.1333333333 - square * 0.0539682540)))
        h = tl.where(tl.abs(h) < 0.25, near, tl.where(h < 0, -far, far))
    return h


@triton.jit
def evaluate(
    x,
    target,
    labels,
    segment,
    out,
    values,
    seed,
    first,
    scales,
    features,
    width,
    points,
    segments,
    DEPTH: tl.constexpr,
    FEATURES: tl.constexpr,
    WIDTH: tl.constexpr,
    OUTPUTS: tl.constexpr,
    PADDED: tl.constexpr,
    SEGMENTS: tl.constexpr,
    MEASURE: tl.constexpr,
    ACTIVATION: tl.constexpr,
    STREAM: tl.constexpr,
    UNIFORM: tl.constexpr,
    ALIGNED: tl.constexpr,
    FAST: tl.constexpr,
    PRECISION: tl.constexpr,
    POINTS: tl.constexpr,
):
    """Row ``program`` of out (count, segments), or of values (count, points, OUTPUTS).

    x (points, features); target (points, OUTPUTS); labels and segment (points,) int32; scales (layers, 2).
    """
    network = tl.program_id(0).to(tl.int64)
    index = first + network
    part = tl.arange(0, SEGMENTS)
    output = tl.arange(0, PADDED)
    feature = tl.arange(0, FEATURES)
    sums = tl.zeros([SEGMENTS], tl.float32)
    for low in range(0, points, POINTS):
        point = low + tl.arange(0, POINTS)
        inside = point < points
        h = tl.load(
            x + point[:, None] * features + feature[None, :],
            mask=inside[:, None] & (feature[None, :] < features),
            other=0.0,
        )
        start = 0
        fan_in = features
        for layer in tl.static_range(DEPTH):
            # The weights of a layer are drawn again for each block of points; with all points in few blocks the
            # compiler keeps them in registers.
            weight = matrix(
                seed,
                index,
                start,
                WIDTH,
                FEATURES if layer == 0 else WIDTH,
                width,
                fan_in,
                tl.load(scales + 2 * layer),
                STREAM,
                UNIFORM,
                ALIGNED,
                FAST,
            )
            bias = vector(
                seed,
                index,
                start + fan_in * width,
                WIDTH,
                width,
                tl.load(scales + 2 * layer + 1),
                STREAM,
                UNIFORM,
                FAST,
            )
            h = activate(tl.dot(h, weight, input_precision=PRECISION) + bias[None, :], ACTIVATION)
            start += (fan_in + 1) * width
            fan_in = width
        weight = matrix(
            seed,
            index,
            start,
            PADDED,
            FEATURES if DEPTH == 0 else WIDTH,
            OUTPUTS,
            fan_in,
            tl.load(scales + 2 * DEPTH),
            STREAM,
            UNIFORM,
            ALIGNED,
            FAST,
        )
        bias = vector(
            seed,
            index,
            start + fan_in * OUTPUTS,
            PADDED,
            OUTPUTS,
            tl.load(scales + 2 * DEPTH + 1),
            STREAM,
            UNIFORM,
            FAST,
        )
        result = tl.dot(h, weight, input_precision=PRECISION) + bias[None, :]
        shown = inside[:, None] & (output[None, :] < OUTPUTS)
        if MEASURE == 0:
            tl.store(values + (network * points + point[:, None]) * OUTPUTS + output[None, :], result, mask=shown)
        else:
            if MEASURE == 1:
                wanted = tl.load(target + point[:, None] * OUTPUTS + output[None, :], mask=shown, other=0.0)
                difference = tl.where(shown, result - wanted, 0.0)
                error = tl.sum(difference * difference, 1) / OUTPUTS
            else:
                label = tl.load(labels + point, mask=inside, other=0)
                if OUTPUTS == 1:
                    sign = tl.sum(tl.where(output[None, :] == 0, result, 0.0), 1) > 0
                    error = (sign != (label > 0)).to(tl.float32)
                else:
                    score = tl.where(output[None, :] < OUTPUTS, result, -1.0e38)
                    best = tl.max(score, 1)
                    at = tl.min(tl.where(score == best[:, None], output[None, :], PADDED), 1)
                    error = (at != label).to(tl.float32)
                error = tl.where(inside, error, 0.0)
            place = tl.load(segment + point, mask=inside, other=SEGMENTS)
            sums += tl.sum(tl.where(place[:, None] == part[None, :], error[:, None], 0.0), 0)
    if MEASURE != 0:
        tl.store(out + network * segments + part, sums, mask=part < segments)


def random_hypotheses(network, x, target, count, seed, start, measure, segments):
    """See :func:`lab.kernels.random_hypotheses`; arguments arrive checked."""
    from lab.kernels import dispatch
    from lab.kernels.random_hypotheses.network import ACTIVATIONS

    device, points = x.device, len(x)
    code = {"values": 0, "squared": 1, "error": 2}[measure]
    width = network.widths[0] if network.widths else 0
    rows = [fan_in for fan_in, _ in network.layers]
    aligned = all(size % 4 == 0 for size in rows)
    lengths = torch.tensor(segments, device=device)
    segment = torch.repeat_interleave(torch.arange(len(segments), device=device), lengths).to(torch.int32)
    none = torch.zeros(1, device=device)
    wanted = target.float().contiguous() if measure == "squared" else none
    labels = target.to(torch.int32).contiguous() if measure == "error" else none.to(torch.int32)
    values = torch.empty((count, points, network.outputs) if code == 0 else 1, device=device)
    out = torch.empty((count, len(segments)) if code else 1, device=device)
    scales = torch.tensor(network.scales(), dtype=torch.float32, device=device)
    padded = {"FEATURES": _pad(network.features), "WIDTH": _pad(width), "PADDED": _pad(network.outputs)}
    interpreting = dispatch.interpreting()
    evaluate[(count,)](
        x.float().contiguous(),
        wanted,
        labels,
        segment,
        out,
        values,
        seed,
        start,
        scales,
        network.features,
        width,
        points,
        len(segments),
        DEPTH=len(network.widths),
        OUTPUTS=network.outputs,
        **padded,
        SEGMENTS=triton.next_power_of_2(len(segments)),
        MEASURE=code,
        ACTIVATION=ACTIVATIONS.index(network.activation),
        STREAM=STREAM,
        UNIFORM=network.law == "uniform",
        ALIGNED=aligned,
        FAST=not interpreting,
        PRECISION="tf32x3",
        POINTS=min(128, max(16, triton.next_power_of_2(points))),
        num_warps=WARPS,
    )
    return (values if code == 0 else out / lengths).to(x.dtype)


def _pad(size):
    return max(16, triton.next_power_of_2(max(size, 1)))


def gate():
    """Configurations of the compile gate."""
    from lab.kernels.aot import Configuration

    signature = {
        "x": "*fp32",
        "target": "*fp32",
        "labels": "*i32",
        "segment": "*i32",
        "out": "*fp32",
        "values": "*fp32",
        "seed": "i64",
        "first": "i64",
        "scales": "*fp32",
        "features": "i32",
        "width": "i32",
        "points": "i32",
        "segments": "i32",
    }
    blocks = {
        "DEPTH": 2,
        "FEATURES": 16,
        "WIDTH": 32,
        "OUTPUTS": 1,
        "PADDED": 16,
        "SEGMENTS": 1,
        "ACTIVATION": 0,
        "STREAM": STREAM,
        "UNIFORM": False,
        "ALIGNED": True,
        "FAST": True,
        "PRECISION": "tf32",
        "POINTS": POINTS,
    }
    return [
        Configuration(
            "random_hypotheses 16-32-32-1 squared",
            evaluate,
            signature,
            {**blocks, "MEASURE": 1},
            warps=WARPS,
            registers=255,
            dot=True,
            special=True,
        ),
        Configuration(
            "random_hypotheses 16-32-32-1 error",
            evaluate,
            signature,
            {**blocks, "MEASURE": 2},
            warps=WARPS,
            registers=255,
            dot=True,
            special=True,
        ),
    ]
