"""Compile a loop with numba, and wrap it so that it takes one address: that of its arguments as words of 64 bits.

A number is its word. An array is the address of its object, whose fields NumPy's C interface fixes: the wrapper reads
where its numbers are, how many there are and how far apart. numba's functions take arrays field by field, behind two
places for their result and for an exception, and return a status, 0 where all went well.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import Any, Final

import llvmlite.binding as llvm
from numba import from_dtype, types

from refruntime.machine_code.layout import (
    BYTE_ORDER,
    CONTIGUOUS,
    DIMENSIONS,
    FLAGS,
    HEAD,
    NUMBER,
    SHAPE,
    STRIDES,
    TYPE,
    WORD,
)
from refruntime.machine_code.signature import REFUSED, ArrayKind, Kind

OF_C: Final = ("memcpy", "memmove", "memset", "sqrt", "sqrtf")
"""What machine code may call of the C library, which every process has and which gives the same bits in all of them."""
FREED: Final = "NRT_MemInfo_call_dtor"
"""What numba's code calls when it was the last user of an array that it had made; arrays come from Python here."""
NEXT_LINE: Final = "\n    "


def entry_name(name: str) -> str:
    """Return the name of the wrapper of a loop."""
    return f"refruntime_{name}"


def compiled(module: str, function: str, variant: str, kinds: Sequence[Kind], name: str, machine: Any) -> bytes:
    """Return the machine code of a loop, which is called by its entry name."""
    dispatcher = getattr(import_module(module), function)
    if variant:
        dispatcher = dispatcher(variant)
    text, symbol = intermediate(dispatcher, kinds)
    code = llvm.parse_assembly(text)
    names = [argument.type for argument in code.get_function(symbol).arguments]
    missing = [each.name for each in code.functions if each.is_declaration and not _known(each.name)]
    if missing:
        raise RuntimeError(f"{module}.{function} cannot be kept: it calls {', '.join(missing)} of numba's runtime")
    code.link_in(llvm.parse_assembly(_wrapper(entry_name(name), symbol, list(map(str, names)), kinds)))
    code.verify()
    made: bytes = machine.emit_object(code)
    return made


def intermediate(dispatcher: Any, kinds: Sequence[Kind]) -> tuple[str, str]:
    """Compile a function of numba: -> its optimised intermediate code, and its name in there."""
    signature = tuple(map(_type_of, kinds))
    dispatcher.compile(signature)
    return dispatcher.inspect_llvm(signature), dispatcher.overloads[signature].fndesc.llvm_func_name


def _known(name: str) -> bool:
    return name.startswith("llvm.") or name in OF_C or name == FREED


def _type_of(kind: Kind) -> types.Type:
    if isinstance(kind, ArrayKind):
        return types.Array(from_dtype(kind.dtype), kind.dimensions, "C")
    if isinstance(kind, tuple):
        return types.BaseTuple.from_types(tuple(map(_type_of, kind)))
    return {"q": types.int64, "f": types.float32, "d": types.float64}[kind]


def _scalars(kinds: Sequence[Kind]) -> Iterator[Kind]:
    """Yield the kinds of all words."""
    for kind in kinds:
        if isinstance(kind, tuple) and not isinstance(kind, ArrayKind):
            yield from _scalars(kind)
        else:
            yield kind


def _wrapper(entry: str, symbol: str, parameters: Sequence[str], kinds: Sequence[Kind]) -> str:
    """Return the intermediate code of a function of one address, which calls a function of these parameters."""
    lines: list[str] = []
    values, wrong = ["%result", "%exception"], "false"

    def line(text: str) -> str:
        lines.append(f"%v{len(lines)} = {text}")
        return f"%v{len(lines) - 1}"

    def load(type_name: str, base: str, offset: int) -> str:
        return line(f"load {type_name}, ptr {line(f'getelementptr i8, ptr {base}, i64 {offset}')}, align 1")

    for index, kind in enumerate(_scalars(kinds)):
        if not isinstance(kind, ArrayKind):
            values.append(load({"q": "i64", "f": "float", "d": "double"}[str(kind)], "%words", index * WORD))
            continue
        array = load("ptr", "%words", index * WORD)
        dtype, flags = load("ptr", array, TYPE), load("i32", array, FLAGS)
        for failed in (
            f"icmp ne i32 {load('i32', array, DIMENSIONS)}, {kind.dimensions}",
            f"icmp ne i32 {load('i32', dtype, NUMBER)}, {kind.dtype.num}",
            f"icmp ne i8 {load('i8', dtype, BYTE_ORDER)}, {ord(kind.dtype.byteorder)}",
            f"icmp eq i32 {line(f'and i32 {flags}, {CONTIGUOUS}')}, 0",
        ):
            wrong = line(f"or i1 {wrong}, {line(failed)}")
        shape, strides = load("ptr", array, SHAPE), load("ptr", array, STRIDES)
        sizes = [load("i64", shape, WORD * axis) for axis in range(kind.dimensions)]
        count = sizes[0]
        for size in sizes[1:]:
            count = line(f"mul i64 {count}, {size}")
        values += ["null", "null", count, str(kind.dtype.itemsize), load("ptr", array, HEAD), *sizes]
        values += [load("i64", strides, WORD * axis) for axis in range(kind.dimensions)]
    operands = ", ".join(f"{kind} {value}" for kind, value in zip(parameters, values, strict=True))
    return f"""
define linkonce_odr void @{FREED}(ptr %array) {{
    ret void
}}
declare i32 @{_quoted(symbol)}({", ".join(parameters)})
define i32 @{entry}(ptr %words) {{
    %result = alloca ptr
    %exception = alloca ptr
    {NEXT_LINE.join(lines)}
    br i1 {wrong}, label %refuse, label %run
run:
    %status = call i32 @{_quoted(symbol)}({operands})
    ret i32 %status
refuse:
    ret i32 {REFUSED}
}}
"""


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\5C").replace('"', "\\22") + '"'
