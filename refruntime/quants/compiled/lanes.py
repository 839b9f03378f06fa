"""Lanes: 32 numbers that compiled loops handle at once, whatever the width of the machine's vectors.

A value of 32 lanes is one LLVM vector. The compiler splits it over as many registers as the processor needs, so that a
loop written in lanes is as wide as the machine allows, on each machine. Every operation is the one of IEEE 754 for each
lane by itself, in the order that is written; only `multiply_add` may be fused, and `total` may add in any order. No
bounds are checked: a load reads exactly its lanes, and the caller keeps them inside the array.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model
from numba.np.arrayobj import make_array

LANES: Final = 32
TILE: Final = 16  # rows and columns that `transpose` turns at a time
INDEX: Final = ir.IntType(32)
FLOAT: Final = ir.FloatType()
BYTE: Final = ir.IntType(8)


class LanesType(types.Type):  # type: ignore[misc]
    """The type of a number of lanes of bytes or of float32 numbers."""

    def __init__(self, element: str, count: int) -> None:
        self.vector = ir.VectorType(FLOAT if element == "float32" else BYTE, count)
        super().__init__(name=f"lanes({count} x {element})")


@register_model(LanesType)
class _LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    def __init__(self, manager: Any, lanes: LanesType) -> None:
        super().__init__(manager, lanes, lanes.vector)


FLOATS: Final = LanesType("float32", LANES)
BYTES: Final = LanesType("uint8", LANES)
HALF_OF_BYTES: Final = LanesType("uint8", LANES // 2)


def _operation(result: Any, *operands: Any, emit: Callable[..., Any]) -> Any:
    """Make what compiled code may call: `emit(builder, *values)` writes its instructions."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return emit(builder, *values)

    def one(_typing: Any, _first: Any) -> Any:
        return result(*operands), generate

    def two(_typing: Any, _first: Any, _second: Any) -> Any:
        return result(*operands), generate

    def three(_typing: Any, _first: Any, _second: Any, _third: Any) -> Any:
        return result(*operands), generate

    return intrinsic((one, two, three)[len(operands) - 1])


def _constant(kind: ir.VectorType, values: int | Sequence[int]) -> ir.Constant:
    return ir.Constant(kind, [values] * kind.count if isinstance(values, int) else list(values))


def _shuffled(builder: Any, first: Any, second: Any, order: Sequence[int]) -> Any:
    return builder.shuffle_vector(first, second, _constant(ir.VectorType(INDEX, len(order)), order))


def _splat(builder: Any, number: Any, count: int = LANES) -> Any:
    empty = ir.Constant(ir.VectorType(number.type, count), ir.Undefined)
    return _shuffled(builder, builder.insert_element(empty, number, INDEX(0)), empty, [0] * count)


# Memory --------------------------------------------------------------------------------------------------------------


def _address(context: Any, builder: Any, kind: types.Array, operands: Sequence[Any], pointed: ir.Type) -> Any:
    """Return the address of the element at a place of a flat array, the first two operands, as one of lanes."""
    data = make_array(kind)(context, builder, operands[0]).data
    return builder.bitcast(builder.gep(data, [operands[1]]), pointed.as_pointer())


def _load(lanes: LanesType) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def load(_typing: Any, array: Any, _at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            address = _address(context, builder, signature.args[0], values, lanes.vector)
            return builder.load(address, align=array.dtype.bitwidth // 8)

        return lanes(array, types.intp), generate

    return load


load = _load(FLOATS)
load_bytes = _load(BYTES)
load_half_of_bytes = _load(HALF_OF_BYTES)


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


@intrinsic  # type: ignore[untyped-decorator]
def number_at(_typing: Any, array: Any, _at: Any) -> Any:
    """Return the float32 number at a place of a flat array."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        return builder.load(_address(context, builder, signature.args[0], values, FLOAT), align=4)

    return types.float32(array, types.intp), generate


@intrinsic  # type: ignore[untyped-decorator]
def put_number(_typing: Any, array: Any, _at: Any, _number: Any) -> Any:
    """Write one number to a place of a flat float32 array."""

    def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
        builder.store(values[2], _address(context, builder, signature.args[0], values, FLOAT), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, types.float32), generate


def _store(lanes: LanesType) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def store(_typing: Any, array: Any, _at: Any, _values: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            address = _address(context, builder, signature.args[0], values, lanes.vector)
            builder.store(values[2], address, align=array.dtype.bitwidth // 8)
            return context.get_dummy_value()

        return types.void(array, types.intp, lanes), generate

    return store


store = _store(FLOATS)
store_bytes = _store(BYTES)


def _transposed(builder: Any, rows: list[Any]) -> list[Any]:
    """Return the columns of as many rows as a row has lanes.

    Interleaving row i with row i + n / 2 turns the bits of (row, lane), as one number, by one place; so many times that
    rows and lanes have changed places.
    """
    count = len(rows)
    half = count // 2
    order = [place for lane in range(count) for place in (lane, count + lane)]
    for _ in range(count.bit_length() - 1):
        pairs = [(rows[at], rows[at + half]) for at in range(half)]
        rows = [_shuffled(builder, *pair, part) for pair in pairs for part in (order[:count], order[count:])]
    return rows


def _transpose(element: ir.Type, count: int, align: int) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def transpose(_typing: Any, out: Any, _out_at: Any, array: Any, _at: Any, _stride: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            target, target_at, source, source_at, stride = values
            vector, rows = ir.VectorType(element, count), []
            for _ in range(count):
                address = _address(context, builder, signature.args[2], (source, source_at), vector)
                rows.append(builder.load(address, align=align))
                source_at = builder.add(source_at, stride)
            for row in _transposed(builder, rows):
                address = _address(context, builder, signature.args[0], (target, target_at), vector)
                builder.store(row, address, align=align)
                target_at = builder.add(target_at, target_at.type(LANES))
            return context.get_dummy_value()

        return types.void(out, types.intp, array, types.intp, types.intp), generate

    return transpose


transpose = _transpose(FLOAT, TILE, 4)
"""Write to `out`, 32 numbers a row, the columns of 16 rows of 16 numbers that lie `stride` apart in `array`."""
transpose_bytes = _transpose(BYTE, LANES, 1)
"""The same for 32 rows of 32 bytes."""


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


def _emit_half(builder: Any, bits: Any) -> Any:
    """Widen as `plain.decode_f16` does: move the fields, scale by a power of two; all ones in the exponent stay so."""
    bits = builder.trunc(bits, INDEX)
    sign = builder.shl(builder.and_(bits, INDEX(0x8000)), INDEX(16))
    moved = builder.shl(builder.and_(bits, INDEX(0x7FFF)), INDEX(13))
    scaled = builder.fmul(builder.bitcast(moved, FLOAT), FLOAT(2.0**112))
    beyond = builder.bitcast(builder.or_(moved, INDEX(0x7F800000)), FLOAT)  # infinity, NaN
    exponent = builder.and_(bits, INDEX(0x7C00))
    magnitude = builder.select(builder.icmp_unsigned("==", exponent, INDEX(0x7C00)), beyond, scaled)
    return builder.bitcast(builder.or_(builder.bitcast(magnitude, INDEX), sign), FLOAT)


# Bytes ---------------------------------------------------------------------------------------------------------------


def _emit_nibbles(builder: Any, packed: Any) -> Any:
    low = builder.and_(packed, _constant(packed.type, 15))
    high = builder.lshr(packed, _constant(packed.type, 4))
    return _shuffled(builder, low, high, range(LANES))


def _emit_bits(builder: Any, word: Any) -> Any:
    bits = builder.bitcast(builder.trunc(word, INDEX), ir.VectorType(ir.IntType(1), LANES))  # lane i is bit i
    return builder.zext(bits, BYTES.vector)


def _emit_field(builder: Any, packed: Any, shift: Any, mask: Any) -> Any:
    shifted = builder.lshr(packed, _splat(builder, builder.trunc(shift, BYTE)))
    return builder.and_(shifted, _splat(builder, builder.trunc(mask, BYTE)))


def _emit_above(builder: Any, low: Any, high: Any, shift: Any) -> Any:
    return builder.or_(low, builder.shl(high, _splat(builder, builder.trunc(shift, BYTE))))


def _emit_less(builder: Any, quants: Any, number: Any) -> Any:
    return builder.sub(quants, _splat(builder, builder.trunc(number, BYTE)))


nibbles = _operation(BYTES, HALF_OF_BYTES, emit=_emit_nibbles)
"""The low nibbles of 16 bytes, then the high ones."""
bits_of = _operation(BYTES, types.int64, emit=_emit_bits)
"""The 32 bits of a number, lowest first."""
field = _operation(BYTES, BYTES, types.intp, types.intp, emit=_emit_field)
"""Each byte shifted right by a number of bits, and masked."""
above = _operation(BYTES, BYTES, BYTES, types.intp, emit=_emit_above)
"""The first lanes, with the second ones set above a number of bits."""
less = _operation(BYTES, BYTES, types.intp, emit=_emit_less)
"""Each byte less a number, which may turn negative: what `signed` reads."""


def look_up(table: Sequence[int]) -> Any:
    """Return an operation: the entry of a table of 16 signed bytes that each lane numbers."""
    vector = ir.VectorType(BYTE, len(table))

    def emit(builder: Any, numbers: Any) -> Any:
        entries, found = _constant(vector, table), []
        for first in (0, len(table)):  # as wide as the shuffle of bytes that processors have
            part = ir.Constant(vector, ir.Undefined)
            for lane in range(len(table)):
                number = builder.extract_element(numbers, INDEX(first + lane))
                entry = builder.extract_element(entries, builder.zext(number, INDEX))
                part = builder.insert_element(part, entry, INDEX(lane))
            found.append(part)
        return _shuffled(builder, found[0], found[1], range(LANES))

    return _operation(BYTES, BYTES, emit=emit)


# Numbers -------------------------------------------------------------------------------------------------------------


def _emit_pair(builder: Any, first: Any, second: Any) -> Any:
    half = LANES // 2
    return _shuffled(builder, _splat(builder, first, half), _splat(builder, second, half), range(LANES))


def _emit_multiply_add(builder: Any, total: Any, first: Any, second: Any) -> Any:
    kind = ir.FunctionType(FLOATS.vector, [FLOATS.vector] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
    return builder.call(function, (first, second, total))


def _emit_total(builder: Any, lanes: Any) -> Any:
    kind = ir.FunctionType(FLOAT, [FLOAT, FLOATS.vector])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.fadd.v{LANES}f32")
    return builder.call(function, (FLOAT(0.0), lanes), fastmath=("reassoc",))


widened = _operation(types.float32, types.int64, emit=_emit_half)
"""The float32 number of the bits of a half-precision one."""
splat = _operation(FLOATS, types.float32, emit=_splat)
"""One number in all lanes."""
pair = _operation(FLOATS, types.float32, types.float32, emit=_emit_pair)
"""One number in the first 16 lanes, another in the rest."""
unsigned = _operation(FLOATS, BYTES, emit=lambda builder, lanes: builder.uitofp(lanes, FLOATS.vector))
"""Bytes as numbers 0 .. 255."""
signed = _operation(FLOATS, BYTES, emit=lambda builder, lanes: builder.sitofp(lanes, FLOATS.vector))
"""Bytes as numbers -128 .. 127."""
add = _operation(FLOATS, FLOATS, FLOATS, emit=lambda builder, first, second: builder.fadd(first, second))
subtract = _operation(FLOATS, FLOATS, FLOATS, emit=lambda builder, first, second: builder.fsub(first, second))
multiply = _operation(FLOATS, FLOATS, FLOATS, emit=lambda builder, first, second: builder.fmul(first, second))
multiply_add = _operation(FLOATS, FLOATS, FLOATS, FLOATS, emit=_emit_multiply_add)
"""A total plus a product, fused into one rounding where the processor can: for `fast` alone."""
total = _operation(types.float32, FLOATS, emit=_emit_total)
"""The sum of all lanes in any order: for `fast` alone."""
