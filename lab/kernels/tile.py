"""A matrix-product tile in vector registers, for compiled loops: the one place that writes LLVM code itself.

The compiler of numba keeps no block of sums in registers across a loop, which costs a factor of three or more in small
matrix products. :func:`tile8`, :func:`tile4` and :func:`tile1` do: R rows by 32 columns of sums live in registers while the
loop over the inner index runs; :func:`line` is one row by 128 columns.
"""

from __future__ import annotations

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16
COLUMNS, LINE = 32, 128


def _make(rows: int, columns: int = COLUMNS):
    """Intrinsic ``(weight, bias, given, stride, inner, result, result_stride, relu)`` on addresses of float32.

    result[r, c] = act(bias[r] + sum_i weight[r * inner + i] given[i * stride + c]), r < rows, c < columns; strides in numbers.
    """

    vectors = columns // LANES

    @intrinsic
    def tile(typingctx, weight, bias, given, stride, inner, result, result_stride, relu):
        word = types.intp
        signature = types.void(word, word, word, word, word, word, word, types.boolean)

        def codegen(context, builder, sig, arguments):
            weight, bias, given, stride, inner, result, result_stride, relu = arguments
            single, i64 = ir.FloatType(), ir.IntType(64)
            vector = ir.VectorType(single, LANES)
            kind = ir.FunctionType(vector, [vector, vector, vector])
            fma = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fma.v{LANES}f32")
            weight, bias, given, result = (
                builder.inttoptr(address, single.as_pointer()) for address in (weight, bias, given, result)
            )

            def spread(scalar):
                lane = builder.insert_element(ir.Constant(vector, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0))
                mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
                return builder.shuffle_vector(lane, ir.Constant(vector, ir.Undefined), mask)

            def at(pointer, place):
                return builder.gep(pointer, [place])

            sums = []
            for r in range(rows):
                start = spread(builder.load(at(bias, ir.Constant(i64, r))))
                for _ in range(vectors):
                    slot = cgutils.alloca_once(builder, vector)
                    builder.store(start, slot)
                    sums.append(slot)
            with cgutils.for_range(builder, inner) as loop:
                row = at(given, builder.mul(loop.index, stride))
                column = at(weight, loop.index)
                inputs = []
                for v in range(vectors):
                    pointer = builder.bitcast(at(row, ir.Constant(i64, v * LANES)), vector.as_pointer())
                    inputs.append(builder.load(pointer, align=4))
                for r in range(rows):
                    factor = spread(builder.load(at(column, builder.mul(inner, ir.Constant(i64, r)))))
                    for v in range(vectors):
                        slot = sums[r * vectors + v]
                        builder.store(builder.call(fma, [factor, inputs[v], builder.load(slot)]), slot)
            zero = ir.Constant(vector, [0.0] * LANES)
            for r in range(rows):
                line = at(result, builder.mul(result_stride, ir.Constant(i64, r)))
                for v in range(vectors):
                    value = builder.load(sums[r * vectors + v])
                    positive = builder.fcmp_ordered(">", value, zero)
                    cut = builder.select(positive, value, zero)
                    pointer = builder.bitcast(at(line, ir.Constant(i64, v * LANES)), vector.as_pointer())
                    builder.store(builder.select(relu, cut, value), pointer, align=4)
            return context.get_dummy_value()

        return signature, codegen

    return tile


tile8, tile4, tile1, line = _make(8), _make(4), _make(1), _make(1, LINE)
