"""random_hypotheses in compiled loops: one network at a time, its parameters and a tile of points stay in the cache."""

from __future__ import annotations

import numpy as np
from numba import njit

from lab.kernels.elementary import FAST, f32, tanh, wide
from lab.kernels.philox.cpu import fill_normals, fill_uniforms, fill_words, u64
from lab.kernels.tile import COLUMNS, LINE, line, tile1, tile4, tile8

RELU, TANH = 0, 1
VALUES, SQUARED, ERROR = 0, 1, 2


@njit(cache=True, nogil=True, fastmath=FAST)
def scale(numbers, sizes, scales, uniform):
    """Turn the numbers of one network into its parameters, in place: layer by layer W row by row, then b."""
    wide()
    place = 0
    for k in range(len(sizes) - 1):
        for kind in range(2):
            count = sizes[k] * sizes[k + 1] if kind == 0 else sizes[k + 1]
            part = numbers[place : place + count]
            if uniform:
                for i in range(count):
                    part[i] = (f32(2.0) * part[i] - f32(1.0)) * scales[k, kind]
            else:
                for i in range(count):
                    part[i] *= scales[k, kind]
            place += count


@njit(cache=True, nogil=True, fastmath=FAST)
def layer(weight, bias, fan_in, fan_out, given, given_stride, result, result_stride, points, relu):
    """result[o, p] = bias[o] + sum_i weight[o, i] given[i, p], cut at zero with ``relu``; all but bounds are addresses."""
    p = 0
    while p < points:
        # A single row has few sums: more columns of it hide the time that a product takes.
        wide_line = fan_out == 1 and points - p >= LINE
        o = 0
        while o < fan_out:
            place_w, place_b = weight + 4 * o * fan_in, bias + 4 * o
            place_g, place_r = given + 4 * p, result + 4 * (o * result_stride + p)
            if wide_line:
                line(place_w, place_b, place_g, given_stride, fan_in, place_r, result_stride, relu)
                o += 1
            elif fan_out - o >= 8:
                tile8(place_w, place_b, place_g, given_stride, fan_in, place_r, result_stride, relu)
                o += 8
            elif fan_out - o >= 4:
                tile4(place_w, place_b, place_g, given_stride, fan_in, place_r, result_stride, relu)
                o += 4
            else:
                tile1(place_w, place_b, place_g, given_stride, fan_in, place_r, result_stride, relu)
                o += 1
        p += LINE if wide_line else COLUMNS


@njit(cache=True, nogil=True, fastmath=FAST)
def evaluate(
    seed,
    stream,
    first,
    start,
    stop,
    sizes,
    scales,
    uniform,
    activation,
    xt,
    target,
    labels,
    measure,
    edges,
    tile,
    out,
    values,
):
    """Rows start .. stop - 1 of ``out`` (count, segments), or of ``values`` (count, points, outputs).

    ``xt`` (features, points and 32 more); ``target`` (points, outputs) for squared errors; ``labels`` (points,) for
    errors; ``edges`` (segments + 1,) the bounds of the segments.
    """
    layers = len(sizes) - 1
    total, widest = 0, 0
    for k in range(layers):
        total += (sizes[k] + 1) * sizes[k + 1]
        widest = max(widest, sizes[k + 1])
    blocks = (total + 3) // 4
    widest = max(widest, sizes[0])
    words = np.empty((4, blocks), np.uint32)
    numbers = np.empty(4 * blocks, f32)
    # Rows begin at multiples of 64 bytes: no vector straddles two lines of the cache.
    room = np.empty(2 * widest * tile + 16, f32)
    begin = (16 - room.ctypes.data // 4 % 16) % 16
    one = room[begin : begin + widest * tile].reshape(widest, tile)
    two = room[begin + widest * tile : begin + 2 * widest * tile].reshape(widest, tile)
    stride = xt.shape[1]
    outputs = sizes[layers]
    for h in range(start, stop):
        fill_words(seed, first + u64(h), stream, blocks, words)
        if uniform:
            fill_uniforms(words, blocks, numbers)
        else:
            fill_normals(words, blocks, numbers)
        scale(numbers, sizes, scales, uniform)
        for segment in range(len(edges) - 1):
            sum_ = 0.0
            for low in range(edges[segment], edges[segment + 1], tile):
                points = min(tile, edges[segment + 1] - low)
                weight = numbers.ctypes.data
                for k in range(layers):
                    result = one if k % 2 == 0 else two
                    relu = activation == RELU and k < layers - 1
                    given = xt.ctypes.data + 4 * low if k == 0 else (two if k % 2 == 0 else one).ctypes.data
                    bias = weight + 4 * sizes[k] * sizes[k + 1]
                    layer(
                        weight,
                        bias,
                        sizes[k],
                        sizes[k + 1],
                        given,
                        stride if k == 0 else tile,
                        result.ctypes.data,
                        tile,
                        points,
                        relu,
                    )
                    weight = bias + 4 * sizes[k + 1]
                    if activation == TANH and k < layers - 1:
                        for o in range(sizes[k + 1]):
                            for p in range(points):
                                result[o, p] = tanh(result[o, p])
                result = one if layers % 2 == 1 else two
                if measure == VALUES:
                    for o in range(outputs):
                        for p in range(points):
                            values[h, low + p, o] = result[o, p]
                elif measure == SQUARED:
                    for o in range(outputs):
                        part, got, wanted = f32(0.0), result[o, :points], target[o, low : low + points]
                        for p in range(points):
                            difference = got[p] - wanted[p]
                            part += difference * difference
                        sum_ += part
                elif outputs == 1:
                    wrong = 0
                    for p in range(points):
                        wrong += (result[0, p] > f32(0.0)) != (labels[low + p] > 0)
                    sum_ += wrong
                else:
                    for p in range(points):
                        best, at = result[0, p], 0
                        for o in range(1, outputs):
                            if result[o, p] > best:
                                best, at = result[o, p], o
                        sum_ += at != labels[low + p]
            if measure != VALUES:
                size = edges[segment + 1] - edges[segment]
                out[h, segment] = sum_ / (size * outputs if measure == SQUARED else size)


def warm():
    """Compile the kernels of this module."""
    sizes, scales = np.array([1, 1]), np.ones((1, 2), f32)
    evaluate(
        u64(0),
        1,
        u64(0),
        0,
        1,
        sizes,
        scales,
        False,
        RELU,
        np.zeros((1, 33), f32),
        np.zeros((1, 1), f32),
        np.zeros(1, np.int64),
        SQUARED,
        np.array([0, 1]),
        32,
        np.zeros((1, 1), f32),
        np.zeros((1, 1, 1), f32),
    )
