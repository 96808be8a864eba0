"""Building blocks that numba has not: 64 comparisons at once, population count, trailing zeros, neighbouring sums.

numba has no comparison that yields a bit mask, and a loop of shifts does not become one: with the first three, finding the
runs of bright pixels in an image costs one read of it. Under NUMBA_DISABLE_JIT plain numpy twins of the same names stand in.
"""

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES, TILE, HALF_TILE, POWERS = 64, 16, 8, 4
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


def _add_row(context, builder, signature, args):
    """Code that adds numbers to as many neighbouring float64 in one row of a table, in one go."""
    table, row, *numbers = args
    data = context.make_array(signature.args[0])(context, builder, table).data
    vector_type = ir.VectorType(ir.DoubleType(), len(numbers))
    place = builder.gep(data, [builder.mul(row, ir.Constant(_I64, len(numbers)))])
    pointer = builder.bitcast(place, vector_type.as_pointer())
    added = ir.Constant(vector_type, ir.Undefined)
    for lane, number in enumerate(numbers):
        added = builder.insert_element(added, number, ir.Constant(_I32, lane))
    before = builder.load(pointer)
    stored = builder.store(builder.fadd(before, added), pointer)
    before.align = stored.align = 8
    return context.get_dummy_value()


@intrinsic
def _add_pair(typingctx, table, row, first, second):
    return types.void(table, types.uint64, types.float64, types.float64), _add_row


@intrinsic
def _add_four(typingctx, table, row, first, second, third, fourth):
    return types.void(table, types.uint64, *[types.float64] * 4), _add_row


@intrinsic
def _prefetch(typingctx, array, index):
    """Ask for one element's cache line, into the second-level cache."""
    signature = types.void(array, types.intp)

    def codegen(context, builder, signature, args):
        data = context.make_array(array)(context, builder, args[0]).data
        pointer = builder.bitcast(builder.gep(data, [args[1]]), ir.IntType(8).as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [pointer.type, _I32, _I32, _I32])
        function = builder.module.declare_intrinsic("llvm.prefetch", [pointer.type], kind)
        builder.call(function, [pointer, *(ir.Constant(_I32, what) for what in (0, 2, 1))])
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _sum_products(typingctx, one, columns, q, start, stop, out, p):
    """out[p, q] = sum over i from start to stop of one[i] * columns[q, i], rows of a multiple of `TILE` float64.

    The sums stay in registers, which the compiler does not see by itself.
    """
    signature = types.void(one, columns, types.intp, types.intp, types.intp, out, types.intp)

    def codegen(context, builder, signature, args):
        one, columns, out = (context.make_array(signature.args[k])(context, builder, args[k]) for k in (0, 1, 5))
        bins, lanes = cgutils.unpack_tuple(builder, one.shape)
        vector_type, step = ir.VectorType(ir.DoubleType(), TILE), ir.Constant(bins.type, TILE)
        first, width = builder.mul(args[2], bins), cgutils.unpack_tuple(builder, out.shape)[1]
        row = builder.add(builder.mul(args[6], width), args[2])
        total = cgutils.alloca_once(builder, vector_type)

        def pointer(array, row, lane):
            place = builder.gep(array.data, [builder.add(builder.mul(row, lanes), lane)])
            return builder.bitcast(place, vector_type.as_pointer())

        with cgutils.for_range_slice(builder, ir.Constant(bins.type, 0), lanes, step) as (lane, _):
            builder.store(ir.Constant(vector_type, [0.0] * TILE), total)
            with cgutils.for_range_slice(builder, args[3], args[4], ir.Constant(bins.type, 1)) as (i, _):
                a = builder.load(pointer(one, i, lane), align=8)
                b = builder.load(pointer(columns, builder.add(first, i), lane), align=8)
                product = builder.fmul(a, b, flags=("contract",))
                builder.store(builder.fadd(builder.load(total), product, flags=("contract",)), total)
            builder.store(builder.load(total), pointer(out, row, lane), align=8)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _sum_powers(typingctx, values, x, start, stop, sums, k):
    """sums[k + n] = sum over i from start to stop of values[i] * x[i]^n, n below `POWERS`; values[i] *= x[i]^POWERS.

    Rows of a multiple of `TILE` float64; sums and powers stay in registers.
    """
    signature = types.void(values, x, types.intp, types.intp, sums, types.intp)

    def codegen(context, builder, signature, args):
        values, x, sums = (context.make_array(signature.args[k])(context, builder, args[k]) for k in (0, 1, 4))
        bins, lanes = cgutils.unpack_tuple(builder, values.shape)
        vector_type, step = ir.VectorType(ir.DoubleType(), HALF_TILE), ir.Constant(bins.type, HALF_TILE)
        totals = [cgutils.alloca_once(builder, vector_type) for _ in range(POWERS)]

        def pointer(array, row, lane):
            place = builder.gep(array.data, [builder.add(builder.mul(row, lanes), lane)])
            return builder.bitcast(place, vector_type.as_pointer())

        with cgutils.for_range_slice(builder, ir.Constant(bins.type, 0), lanes, step) as (lane, _):
            for total in totals:
                builder.store(ir.Constant(vector_type, [0.0] * HALF_TILE), total)
            with cgutils.for_range_slice(builder, args[2], args[3], ir.Constant(bins.type, 1)) as (i, _):
                place = pointer(values, i, lane)
                power, factor = builder.load(place, align=8), builder.load(pointer(x, i, lane), align=8)
                for total in totals:
                    builder.store(builder.fadd(builder.load(total), power), total)
                    power = builder.fmul(power, factor)
                builder.store(power, place, align=8)
            for n, total in enumerate(totals):
                row = builder.add(args[5], ir.Constant(bins.type, n))
                builder.store(builder.load(total), pointer(sums, row, lane), align=8)
        return context.get_dummy_value()

    return signature, codegen


def _add_numpy(table, row, *numbers):
    table[row] += numbers


def _sum_products_numpy(one, columns, q, start, stop, out, p):
    out[p, q] = (one[start:stop] * columns[q, start:stop]).sum(axis=0)


def _sum_powers_numpy(values, x, start, stop, sums, k):
    for n in range(k, k + POWERS):
        sums[n] = values[start:stop].sum(axis=0)
        values[start:stop] *= x[start:stop]


def _bits_between_numpy(array, start, low, high):
    values = array[start:start + LANES]
    return np.packbits((values >= low) & (values <= high), bitorder="little").view(np.uint64)[0]


if numba.config.DISABLE_JIT:
    bits_between = _bits_between_numpy
    popcount = np.bitwise_count
    add_pair = add_four = _add_numpy
    sum_products, sum_powers = _sum_products_numpy, _sum_powers_numpy

    def prefetch(array, index):
        pass

    def trailing_zeros(word):
        return np.uint64((int(word) & -int(word)).bit_length() - 1)
else:
    bits_between, popcount, trailing_zeros = _bits_between, _popcount, _trailing_zeros
    add_pair, add_four, prefetch = _add_pair, _add_four, _prefetch
    sum_products, sum_powers = _sum_products, _sum_powers
