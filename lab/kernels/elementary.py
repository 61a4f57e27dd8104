"""Elementary functions for compiled loops: float32, branch-free, so that the compiler turns the loops into vector code.

Relative error about 1e-7 each. The polynomials are minimax fits on the reduced ranges (Cody and Waite reduction).
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

# Reassociation, contraction and the absence of NaN may be used: inputs are checked to be finite before a kernel runs.
FAST = {"contract", "reassoc", "nsz", "arcp", "nnan"}
f32 = np.float32
LN2_HIGH, LN2_LOW = f32(0.693359375), f32(-2.12194440e-4)
TWO_PI = f32(6.283185307179586)


@intrinsic
def as_int(typingctx, x):
    """The bits of a float32 as int32."""
    return types.int32(types.float32), lambda context, builder, sig, args: builder.bitcast(args[0], ir.IntType(32))


@intrinsic
def as_float(typingctx, x):
    """The float32 of the bits of an int32."""
    return types.float32(types.int32), lambda context, builder, sig, args: builder.bitcast(args[0], ir.FloatType())


@intrinsic
def wide(typingctx):
    """Ask for the widest vectors of the processor in the function that calls this; the compiler's default is half of it
    on processors with 512-bit vectors."""

    def codegen(context, builder, sig, arguments):
        # The set of attributes that llvmlite knows by name lacks this one; it is printed as it stands.
        set.add(builder.function.attributes, '"prefer-vector-width"="512"')
        return context.get_dummy_value()

    return types.void(), codegen


@njit(inline="always")
def exp2(x):
    """2^x for x <= 0; 2^-126 below."""
    y = max(x, f32(-126.0))
    k = np.rint(y)
    r = y - k
    p = f32(1.5403530393381608e-4)
    p = p * r + f32(1.3333558146428443e-3)
    p = p * r + f32(9.618129107628477e-3)
    p = p * r + f32(5.550410866482158e-2)
    p = p * r + f32(2.402265069591007e-1)
    p = p * r + f32(6.931471805599453e-1)
    p = p * r + f32(1.0)
    return p * as_float(np.int32((np.int32(k) + np.int32(127)) << np.int32(23)))


@njit(inline="always")
def exp(x):
    """e^x; below -87 it is 0 and above 88 it stays at e^88."""
    y = min(max(x, f32(-87.0)), f32(88.0))
    k = np.floor(y * f32(1.4426950408889634) + f32(0.5))
    r = (y - k * LN2_HIGH) - k * LN2_LOW
    p = f32(1.9875691500e-4)
    p = p * r + f32(1.3981999507e-3)
    p = p * r + f32(8.3334519073e-3)
    p = p * r + f32(4.1665795894e-2)
    p = p * r + f32(1.6666665459e-1)
    p = p * r + f32(5.0000001201e-1)
    power = as_float(np.int32((np.int32(k) + np.int32(127)) << np.int32(23)))
    return ((p * r * r + r) + f32(1.0)) * power if x > f32(-87.0) else f32(0.0)


@njit(inline="always")
def log(x):
    """Natural logarithm of a positive normal number."""
    bits = as_int(x)
    e = np.int32((bits >> np.int32(23)) - np.int32(126))
    m = as_float(np.int32((bits & np.int32(0x007FFFFF)) | np.int32(0x3F000000)))
    small = m < f32(0.7071067811865476)
    k = f32(e) - (f32(1.0) if small else f32(0.0))
    r = (m + m if small else m) - f32(1.0)
    p = f32(7.0376836292e-2)
    p = p * r + f32(-1.1514610310e-1)
    p = p * r + f32(1.1676998740e-1)
    p = p * r + f32(-1.2420140846e-1)
    p = p * r + f32(1.4249322787e-1)
    p = p * r + f32(-1.6668057665e-1)
    p = p * r + f32(2.0000714765e-1)
    p = p * r + f32(-2.4999993993e-1)
    p = p * r + f32(3.3333331174e-1)
    s = r * r
    return ((p * r * s + k * LN2_LOW) - f32(0.5) * s + r) + k * LN2_HIGH


@njit(inline="always")
def tanh(x):
    """Hyperbolic tangent: its odd series near 0, by the exponential elsewhere."""
    a = abs(x)
    e = exp(f32(-2.0) * a)
    far = (f32(1.0) - e) / (f32(1.0) + e)
    s = x * x
    p = f32(-5.70498872745e-3)
    p = p * s + f32(2.06390887954e-2)
    p = p * s + f32(-5.37397155531e-2)
    p = p * s + f32(1.33314422036e-1)
    p = p * s + f32(-3.33332819422e-1)
    near = p * s * x + x
    return near if a < f32(0.625) else (far if x > f32(0.0) else -far)


@njit(inline="always")
def cos_sin_turn(t):
    """(cos 2 pi t, sin 2 pi t) for t in [0, 1]."""
    q = np.floor(t * f32(4.0) + f32(0.5))
    a = (t - q * f32(0.25)) * TWO_PI
    s = a * a
    p = f32(-1.9515295891e-4)
    p = p * s + f32(8.3321608736e-3)
    p = p * s + f32(-1.6666654611e-1)
    sine = p * s * a + a
    p = f32(2.443315711809948e-5)
    p = p * s + f32(-1.388731625493765e-3)
    p = p * s + f32(4.166664568298827e-2)
    cosine = p * s * s - f32(0.5) * s + f32(1.0)
    odd = q == f32(1.0) or q == f32(3.0)
    c, d = (sine, cosine) if odd else (cosine, sine)
    flip_c = q == f32(1.0) or q == f32(2.0)
    flip_s = q == f32(2.0) or q == f32(3.0)
    return (-c if flip_c else c), (-d if flip_s else d)


@njit(nogil=True, fastmath=FAST)
def largest(x, lanes):
    """The largest of x; ``lanes`` is scratch of 64 numbers (a running maximum alone is not turned into vector code)."""
    size = len(x)
    if size < 64:
        top = x[0]
        for j in range(size):
            top = max(top, x[j])
        return top
    for k in range(64):
        lanes[k] = x[k]
    for low in range(64, size - 63, 64):
        block = x[low : low + 64]
        for k in range(64):
            lanes[k] = lanes[k] if lanes[k] > block[k] else block[k]
    block = x[size - 64 :]
    top = lanes[0]
    for k in range(64):
        lanes[k] = lanes[k] if lanes[k] > block[k] else block[k]
        top = max(top, lanes[k])
    return top
