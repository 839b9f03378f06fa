"""Lanes: 32 numbers that compiled loops handle at once, whatever the width of the machine's vectors.

A value of 32 lanes is one LLVM vector. The compiler splits it over as many registers as the processor needs, so that a
loop written in lanes is as wide as the machine allows, on each machine. Every operation is the one of IEEE 754 for each
lane by itself, in the order that is written; only `multiply_add` may be fused, and `total` may add in any order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

LANES: Final = 32
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


def operation(result: Any, *operands: Any, emit: Callable[..., Any]) -> Any:
    """Make what compiled code may call: `emit(builder, *values)` writes its instructions."""

    def generate(_context: Any, builder: Any, _signature: Any, values: Any) -> Any:
        return emit(builder, *values)

    def one(_typing: Any, _first: Any) -> Any:
        return result(*operands), generate

    def two(_typing: Any, _first: Any, _second: Any) -> Any:
        return result(*operands), generate

    def three(_typing: Any, _first: Any, _second: Any, _third: Any) -> Any:
        return result(*operands), generate

    def four(_typing: Any, _first: Any, _second: Any, _third: Any, _fourth: Any) -> Any:
        return result(*operands), generate

    return intrinsic((one, two, three, four)[len(operands) - 1])


def constant(kind: ir.VectorType, values: int | Sequence[int]) -> ir.Constant:
    """Return a vector of constants."""
    return ir.Constant(kind, [values] * kind.count if isinstance(values, int) else list(values))


def shuffled(builder: Any, first: Any, second: Any, order: Sequence[int]) -> Any:
    """Return lanes of two vectors, by their numbers."""
    return builder.shuffle_vector(first, second, constant(ir.VectorType(INDEX, len(order)), order))


def _splat(builder: Any, number: Any, count: int = LANES) -> Any:
    empty = ir.Constant(ir.VectorType(number.type, count), ir.Undefined)
    return shuffled(builder, builder.insert_element(empty, number, INDEX(0)), empty, [0] * count)


# Bytes ---------------------------------------------------------------------------------------------------------------


def _emit_half(builder: Any, bits: Any) -> Any:
    """Widen as `plain.decode_f16` does: move the fields, scale by a power of two; all ones in the exponent stay so."""
    return widened_bits(builder, builder.trunc(bits, INDEX), INDEX, FLOAT)


def widened_bits(builder: Any, bits: Any, whole: Any, real: Any) -> Any:
    """Widen bits of half-precision numbers in words of 32: of one number or, by types of vectors, of many."""

    def word(value: int) -> Any:
        return constant(whole, value) if isinstance(whole, ir.VectorType) else whole(value)

    factor = ir.Constant(real, [2.0**112] * real.count) if isinstance(real, ir.VectorType) else real(2.0**112)
    sign = builder.shl(builder.and_(bits, word(0x8000)), word(16))
    moved = builder.shl(builder.and_(bits, word(0x7FFF)), word(13))
    scaled = builder.fmul(builder.bitcast(moved, real), factor)
    beyond = builder.bitcast(builder.or_(moved, word(0x7F800000)), real)  # infinity, NaN
    exponent = builder.and_(bits, word(0x7C00))
    magnitude = builder.select(builder.icmp_unsigned("==", exponent, word(0x7C00)), beyond, scaled)
    return builder.bitcast(builder.or_(builder.bitcast(magnitude, whole), sign), real)


def _emit_nibbles(builder: Any, packed: Any) -> Any:
    low = builder.and_(packed, constant(packed.type, 15))
    high = builder.lshr(packed, constant(packed.type, 4))
    return shuffled(builder, low, high, range(LANES))


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


def _emit_less_unless(builder: Any, quants: Any, bits: Any, mask: Any, number: Any) -> Any:
    found = builder.and_(bits, _splat(builder, builder.trunc(mask, BYTE)))
    zero = constant(quants.type, 0)
    lowered = builder.select(
        builder.icmp_unsigned("==", found, zero), _splat(builder, builder.trunc(number, BYTE)), zero
    )
    return builder.sub(quants, lowered)


nibbles = operation(BYTES, HALF_OF_BYTES, emit=_emit_nibbles)
"""The low nibbles of 16 bytes, then the high ones."""
bits_of = operation(BYTES, types.int64, emit=_emit_bits)
"""The 32 bits of a number, lowest first."""
field = operation(BYTES, BYTES, types.intp, types.intp, emit=_emit_field)
"""Each byte shifted right by a number of bits, and masked."""
above = operation(BYTES, BYTES, BYTES, types.intp, emit=_emit_above)
"""The first lanes, with the second ones set above a number of bits."""
less = operation(BYTES, BYTES, types.intp, emit=_emit_less)
"""Each byte less a number, which may turn negative: what `signed` reads."""
less_unless = operation(BYTES, BYTES, BYTES, types.intp, types.intp, emit=_emit_less_unless)
"""Each byte less a number where a second byte has no bit of a mask."""


def look_up(table: Sequence[int]) -> Any:
    """Return an operation: the entry of a table of 16 signed bytes that each lane numbers."""
    vector = ir.VectorType(BYTE, len(table))

    def emit(builder: Any, numbers: Any) -> Any:
        entries, found = constant(vector, table), []
        for first in (0, len(table)):  # as wide as the shuffle of bytes that processors have
            part = ir.Constant(vector, ir.Undefined)
            for lane in range(len(table)):
                number = builder.extract_element(numbers, INDEX(first + lane))
                entry = builder.extract_element(entries, builder.zext(number, INDEX))
                part = builder.insert_element(part, entry, INDEX(lane))
            found.append(part)
        return shuffled(builder, found[0], found[1], range(LANES))

    return operation(BYTES, BYTES, emit=emit)


# Numbers -------------------------------------------------------------------------------------------------------------


def _emit_pair(builder: Any, first: Any, second: Any) -> Any:
    half = LANES // 2
    return shuffled(builder, _splat(builder, first, half), _splat(builder, second, half), range(LANES))


def _emit_multiply_add(builder: Any, total: Any, first: Any, second: Any) -> Any:
    kind = ir.FunctionType(FLOATS.vector, [FLOATS.vector] * 3)
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.fmuladd.v{LANES}f32")
    return builder.call(function, (first, second, total))


def _emit_total(builder: Any, lanes: Any) -> Any:
    kind = ir.FunctionType(FLOAT, [FLOAT, FLOATS.vector])
    function = cgutils.get_or_insert_function(builder.module, kind, f"llvm.vector.reduce.fadd.v{LANES}f32")
    return builder.call(function, (FLOAT(0.0), lanes), fastmath=("reassoc",))


widened = operation(types.float32, types.int64, emit=_emit_half)
"""The float32 number of the bits of a half-precision one."""
splat = operation(FLOATS, types.float32, emit=_splat)
"""One number in all lanes."""
pair = operation(FLOATS, types.float32, types.float32, emit=_emit_pair)
"""One number in the first 16 lanes, another in the rest."""
unsigned = operation(FLOATS, BYTES, emit=lambda builder, lanes: builder.uitofp(lanes, FLOATS.vector))
"""Bytes as numbers 0 .. 255."""
signed = operation(FLOATS, BYTES, emit=lambda builder, lanes: builder.sitofp(lanes, FLOATS.vector))
"""Bytes as numbers -128 .. 127."""
add = operation(FLOATS, FLOATS, FLOATS, emit=lambda builder, first, second: builder.fadd(first, second))
subtract = operation(FLOATS, FLOATS, FLOATS, emit=lambda builder, first, second: builder.fsub(first, second))
multiply = operation(FLOATS, FLOATS, FLOATS, emit=lambda builder, first, second: builder.fmul(first, second))
multiply_add = operation(FLOATS, FLOATS, FLOATS, FLOATS, emit=_emit_multiply_add)
"""A total plus a product, fused into one rounding where the processor can: for `fast` alone."""
total = operation(types.float32, FLOATS, emit=_emit_total)
"""The sum of all lanes in any order: for `fast` alone."""
