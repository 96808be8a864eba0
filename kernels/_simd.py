"""Building blocks that numba has not: 64 comparisons at once, population count, trailing zeros, two sums added to in one go.

numba has no comparison that yields a bit mask, and a loop of shifts does not become one: with the first three, finding the
runs of bright pixels in an image costs one read of it. Under NUMBA_DISABLE_JIT plain numpy twins of the same names stand in.
"""

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 64
_I32, _I64 = ir.IntType(32), ir.IntType(64)


def _splat(builder, vector_type, scalar):
    undefined = ir.Constant(vector_type, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(_I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(_I32, LANES), [0] * LANES))


@intrinsic
def _bits_between(typingctx, array, start, low, high):
    dtype = array.dtype
    signature = types.uint64(array, types.intp, dtype, dtype)

    def codegen(context, builder, signature, args):
        data = context.make_array(array)(context, builder, args[0]).data
        vector_type = ir.VectorType(context.get_data_type(dtype), LANES)
        pointer = builder.bitcast(builder.gep(data, [args[1]]), vector_type.as_pointer())
        values = builder.load(pointer)
        values.align = dtype.bitwidth // 8
        if isinstance(dtype, types.Float):
            compare = builder.fcmp_ordered
        else:
            compare = builder.icmp_signed if dtype.signed else builder.icmp_unsigned
        from_low = compare(">=", values, _splat(builder, vector_type, args[2]))
        to_high = compare("<=", values, _splat(builder, vector_type, args[3]))
        return builder.bitcast(builder.and_(from_low, to_high), _I64)

    return signature, codegen


@intrinsic
def _popcount(typingctx, word):
    return types.uint64(types.uint64), lambda context, builder, signature, args: builder.ctpop(args[0])


@intrinsic
def _trailing_zeros(typingctx, word):
    def codegen(context, builder, signature, args):
        return builder.cttz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(types.uint64), codegen


@intrinsic
def _add_pair(typingctx, table, row, first, second):
    signature = types.void(table, types.uint64, types.float64, types.float64)

    def codegen(context, builder, signature, args):
        data = context.make_array(table)(context, builder, args[0]).data
        vector_type = ir.VectorType(ir.DoubleType(), 2)
        place = builder.gep(data, [builder.mul(args[1], ir.Constant(_I64, 2))])
        pointer = builder.bitcast(place, vector_type.as_pointer())
        added = ir.Constant(vector_type, ir.Undefined)
        for lane in range(2):
            added = builder.insert_element(added, args[2 + lane], ir.Constant(_I32, lane))
        before = builder.load(pointer)
        stored = builder.store(builder.fadd(before, added), pointer)
        before.align = stored.align = 8
        return context.get_dummy_value()

    return signature, codegen


def _add_pair_numpy(table, row, first, second):
    table[row, 0] += first
    table[row, 1] += second


def _bits_between_numpy(array, start, low, high):
    values = array[start:start + LANES]
    return np.packbits((values >= low) & (values <= high), bitorder="little").view(np.uint64)[0]


if numba.config.DISABLE_JIT:
    bits_between = _bits_between_numpy
    popcount = np.bitwise_count
    add_pair = _add_pair_numpy

    def trailing_zeros(word):
        return np.uint64((int(word) & -int(word)).bit_length() - 1)
else:
    bits_between, popcount, trailing_zeros, add_pair = _bits_between, _popcount, _trailing_zeros, _add_pair
