"""Numbers of half the width of a float32, read 32 at a time as if they were a block: `plain` describes f16 and bf16."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

from refruntime.quants.compiled.lanes import BYTES, FLOATS, INDEX, LANES, constant, operation, widened_bits
from refruntime.quants.compiled.loops import inlined

SHORTS: Final = ir.VectorType(ir.IntType(16), LANES)
HALVES: Final = ir.VectorType(ir.HalfType(), LANES)
WORDS: Final = ir.VectorType(INDEX, LANES)
CONVERTS: Final = llvm.get_host_cpu_features().get("f16c", False)
"""Whether the processor has an instruction that widens half-precision numbers; what it makes of NaN is NaN."""


def _load(emit: Callable[[Any, Any], Any]) -> Any:
    """Return an operation: 32 numbers at a place of flat bytes; `emit(builder, bits)` makes numbers of their bits."""

    @intrinsic  # type: ignore[untyped-decorator]
    def load(_typing: Any, array: Any, _at: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            data = make_array(signature.args[0])(context, builder, values[0]).data
            address = builder.bitcast(builder.gep(data, [values[1]]), SHORTS.as_pointer())
            return emit(builder, builder.load(address, align=1))

        return FLOATS(array, types.intp), generate

    return load


def _emit_halves(builder: Any, bits: Any) -> Any:
    if CONVERTS:
        return builder.fpext(builder.bitcast(bits, HALVES), FLOATS.vector)
    return widened_bits(builder, builder.zext(bits, WORDS), WORDS, FLOATS.vector)


def _emit_bfloats(builder: Any, bits: Any) -> Any:
    return builder.bitcast(builder.shl(builder.zext(bits, WORDS), constant(WORDS, 16)), FLOATS.vector)


def _joined(emit: Callable[[Any, Any], Any]) -> Any:
    """Return an operation: the numbers of 32 low and 32 high bytes."""

    def generate(builder: Any, low: Any, high: Any) -> Any:
        above = builder.shl(builder.zext(high, SHORTS), constant(SHORTS, 8))
        return emit(builder, builder.or_(builder.zext(low, SHORTS), above))

    return operation(FLOATS, BYTES, BYTES, emit=generate)


_halves, _bfloats = _load(_emit_halves), _load(_emit_bfloats)
halves_of, bfloats_of = _joined(_emit_halves), _joined(_emit_bfloats)


@inlined
def no_scales(raw, at, table):  # type: ignore[no-untyped-def]
    """Return nothing of use: these numbers have no scale."""
    return 0


@inlined
def _f16(raw, at, index, own):  # type: ignore[no-untyped-def]
    return _halves(raw, at + 2 * LANES * index)


@inlined
def _bf16(raw, at, index, own):  # type: ignore[no-untyped-def]
    return _bfloats(raw, at + 2 * LANES * index)


WIDENED: Final = {"f16": _f16, "bf16": _bf16}
"""What gives the values 32 * index and following of a block."""
