"""Read and write lanes, and numbers of a known size, at places of flat arrays.

No bounds are checked and no index counts from the end: an operation touches exactly its lanes, and the caller keeps
them inside the array.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.imputils import impl_ret_borrowed
from numba.extending import intrinsic
from numba.np.arrayobj import make_array, populate_array

from refruntime.quants.compiled.lanes import (
    BYTE,
    BYTES,
    FLOAT,
    FLOATS,
    HALF_OF_BYTES,
    INDEX,
    LANES,
    shuffled,
    widened,
    widened_bits,
)
from refruntime.quants.compiled.loops import inlined

TILE: Final = 16  # rows and columns that `transpose` turns at a time


def _address(context: Any, builder: Any, kind: types.Array, operands: Sequence[Any], pointed: ir.Type) -> Any:
    """Return the address of the element at a place of a flat array, the first two operands, as one of lanes."""
    data = make_array(kind)(context, builder, operands[0]).data
    return builder.bitcast(builder.gep(data, [operands[1]]), pointed.as_pointer())


def _load(result: Any, pointed: ir.Type) -> Any:
    """Return an operation: what lies at a place of a flat array."""

    @intrinsic  # type: ignore[untyped-decorator]
    def load(_typing: Any, array: Any, _at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            address = _address(context, builder, signature.args[0], values, pointed)
            return builder.load(address, align=array.dtype.bitwidth // 8)

        return result(array, types.intp), generate

    return load


def _folded(context: Any, builder: Any, kinds: Any, array: Any, shape: Any) -> Any:
    """Return a view of a contiguous array in another shape."""
    result, given = kinds
    source, view = make_array(given)(context, builder, array), make_array(result)(context, builder)
    item = context.get_constant(types.intp, given.dtype.bitwidth // 8)
    strides = [builder.mul(size, item) for size in shape[1:]] + [item]  # of one or two dimensions
    populate_array(view, source.data, shape, strides, item, source.meminfo, source.parent)
    return impl_ret_borrowed(context, builder, result, view._getvalue())


@intrinsic  # type: ignore[untyped-decorator]
def flat(_typing: Any, array: Any) -> Any:
    """Return the numbers of a contiguous array as a run; `reshape` would need numba's runtime."""
    result = types.Array(array.dtype, 1, "C")

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        count = make_array(array)(context, builder, values[0]).nitems
        return _folded(context, builder, (result, array), values[0], [count])

    return result(array), generate


@intrinsic  # type: ignore[untyped-decorator]
def folded(_typing: Any, array: Any, _width: Any) -> Any:
    """Return a run of numbers as rows of a width."""
    result = types.Array(array.dtype, 2, "C")

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        run, width = values
        rows = builder.sdiv(make_array(array)(context, builder, run).nitems, width)
        return _folded(context, builder, (result, array), run, [rows, width])

    return result(array, types.intp), generate


load = _load(FLOATS, FLOATS.vector)
load_bytes = _load(BYTES, BYTES.vector)
load_half_of_bytes = _load(HALF_OF_BYTES, HALF_OF_BYTES.vector)
number_at = _load(types.float32, FLOAT)


@intrinsic  # type: ignore[untyped-decorator]
def prefetch(_typing: Any, array: Any, _at: Any) -> Any:
    """Ask for the bytes at a place of a flat array, which may lie behind its end, before they are read."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        kind = ir.FunctionType(ir.VoidType(), [BYTE.as_pointer(), INDEX, INDEX, INDEX])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        address = _address(context, builder, signature.args[0], values, BYTE)
        builder.call(function, (address, INDEX(0), INDEX(3), INDEX(1)))  # to read, to keep, data
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


def _store(stored: Any, pointed: ir.Type) -> Any:
    """Return an operation: write a value to a place of a flat array."""

    @intrinsic  # type: ignore[untyped-decorator]
    def store(_typing: Any, array: Any, _at: Any, _values: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            address = _address(context, builder, signature.args[0], values, pointed)
            builder.store(values[2], address, align=array.dtype.bitwidth // 8)
            return context.get_dummy_value()

        return types.void(array, types.intp, stored), generate

    return store


store = _store(FLOATS, FLOATS.vector)
store_bytes = _store(BYTES, BYTES.vector)
put_number = _store(types.float32, FLOAT)


def _transposed(builder: Any, rows: list[Any], parts: int = 1) -> list[Any]:
    """Return the columns of rows; with `parts` each row holds so many side by side, and each part is turned by itself.

    Interleaving row i with row i + n / 2 turns the bits of (row, lane), as one number, by one place; so many times that
    rows and lanes have changed places.
    """
    count = len(rows)
    half, lanes = count // 2, count * parts
    orders = [
        [place for part in range(parts) for lane in range(half) for place in _both(part * count + from_ + lane, lanes)]
        for from_ in (0, half)
    ]
    for _ in range(count.bit_length() - 1):
        pairs = [(rows[at], rows[at + half]) for at in range(half)]
        rows = [shuffled(builder, *pair, order) for pair in pairs for order in orders]
    return rows


def _both(lane: int, lanes: int) -> tuple[int, int]:
    """Return the places of a lane of the first and of the second of two rows."""
    return lane, lanes + lane


@intrinsic  # type: ignore[untyped-decorator]
def transpose(_typing: Any, out: Any, _out_at: Any, array: Any, _at: Any, _stride: Any) -> Any:
    """Write to `out`, 32 numbers a row, the columns of 16 rows of 16 numbers that lie `stride` apart in `array`."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        target, target_at, source, source_at, stride = values
        vector, rows = ir.VectorType(FLOAT, TILE), []
        for _ in range(TILE):
            address = _address(context, builder, signature.args[2], (source, source_at), vector)
            rows.append(builder.load(address, align=4))
            source_at = builder.add(source_at, stride)
        for row in _transposed(builder, rows):
            address = _address(context, builder, signature.args[0], (target, target_at), vector)
            builder.store(row, address, align=4)
            target_at = builder.add(target_at, target_at.type(LANES))
        return context.get_dummy_value()

    return types.void(out, types.intp, array, types.intp, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def transpose_bytes(_typing: Any, out: Any, _out_at: Any, array: Any, _at: Any, _stride: Any) -> Any:
    """Write to `out` the 16 columns, 32 bytes each, of 32 rows of 16 bytes that lie `stride` apart in `array`.

    Row i and row i + 16 lie side by side in a register, whose halves are turned by themselves: no byte goes across.
    """

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        target, target_at, source, source_at, stride = values
        rows = []
        for _ in range(LANES):
            address = _address(context, builder, signature.args[2], (source, source_at), HALF_OF_BYTES.vector)
            rows.append(builder.load(address, align=1))
            source_at = builder.add(source_at, stride)
        together = [shuffled(builder, rows[at], rows[at + TILE], range(LANES)) for at in range(TILE)]
        for row in _transposed(builder, together, 2):
            address = _address(context, builder, signature.args[0], (target, target_at), BYTES.vector)
            builder.store(row, address, align=1)
            target_at = builder.add(target_at, target_at.type(LANES))
        return context.get_dummy_value()

    return types.void(out, types.intp, array, types.intp, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def halves_at(_typing: Any, array: Any, _at: Any, _stride: Any) -> Any:
    """Return 32 half-precision numbers that lie `stride` bytes apart, as lanes of float32."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        source, at, stride = values
        short, words = ir.IntType(16), ir.VectorType(INDEX, LANES)
        bits = ir.Constant(ir.VectorType(short, LANES), ir.Undefined)
        for lane in range(LANES):
            address = _address(context, builder, signature.args[0], (source, at), short)
            bits = builder.insert_element(bits, builder.load(address, align=1), INDEX(lane))
            at = builder.add(at, stride)
        return widened_bits(builder, builder.zext(bits, words), words, FLOATS.vector)

    return FLOATS(array, types.intp, types.intp), generate


def _number(bits: int) -> Any:
    """Return an operation: the unsigned number of so many bits at a place of flat bytes."""

    @intrinsic  # type: ignore[untyped-decorator]
    def number(_typing: Any, array: Any, _at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            address = _address(context, builder, signature.args[0], values, ir.IntType(bits))
            return builder.zext(builder.load(address, align=1), ir.IntType(64))

        return types.int64(array, types.intp), generate

    return number


byte_at = _number(8)
word_at = _number(16)
long_word_at = _number(32)


@inlined
def half_at(raw, at):  # type: ignore[no-untyped-def]
    """Return the half-precision number at a place, as float32."""
    return widened(word_at(raw, at))
