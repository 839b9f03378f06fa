"""Small modules in the text format of WebAssembly: the surface of the contract with bodies that a test chooses."""

from __future__ import annotations

import wasmtime

SIGNATURES = {
    "alloc": "(param i32) (result i32)",
    "dealloc": "(param i32 i32)",
    "init_runtime": "(result i32)",
    "load_model": "(param i32 i32) (result i32)",
    "set_sampling_config": "(param f32 i32 f32 i64) (result i32)",
    "generate": "(param i32 i32 i32) (result i32)",
    "generate_next_token": "(result i32)",
    "last_result_ptr": "(result i32)",
    "last_result_len": "(result i32)",
    "get_diagnostics_ptr": "(result i32)",
    "get_diagnostics_len": "(result i32)",
    "reset_context": "(result i32)",
    "free_model": "(result i32)",
}
"""Wasm signatures of the 13 exports, written here by hand from ABI-2."""

MEMORY = '(memory (export "memory") 2)'
ALLOC = "(i32.const 1024)"
FOREVER = "(loop $again (br $again)) (unreachable)"
RECURSE = "(call $recurse (i32.const 1))"
RECURSION = "(func $recurse (param i32) (result i32) (i32.add (call $recurse (local.get 0)) (local.get 0)))"
GROW_UNTIL_REFUSED = """
    (block $refused (loop $again
        (br_if $refused (i32.eq (memory.grow (i32.const 1)) (i32.const -1)))
        (br $again)))
    (memory.size)
"""


def to_wasm(text: str) -> bytes:
    """Translate the text format."""
    return bytes(wasmtime.wat2wasm(text))


def build(
    *,
    memory: str = MEMORY,
    more: str = "",
    without: str = "",
    signatures: dict[str, str] | None = None,
    **bodies: str,
) -> bytes:
    """Return a module with the 13 exports.

    An export without a body returns 0 (`alloc` returns 1024). `more` adds fields, `without` leaves one export out,
    `signatures` replaces signatures.
    """
    chosen = SIGNATURES | (signatures or {})
    functions = []
    for name, signature in chosen.items():
        default = ALLOC if name == "alloc" else "(i32.const 0)" * signature.count("result")
        if name != without:
            functions.append(f'(func (export "{name}") {signature} {bodies.get(name, default)})')
    return to_wasm("(module " + " ".join([memory, more, *functions]) + ")")


def leb128(value: int) -> bytes:
    """Return an unsigned number in groups of seven bits, the lowest first."""
    groups = [value >> shift & 0x7F for shift in range(0, max(value.bit_length(), 1), 7)]
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def custom_section(name: str, content: bytes) -> bytes:
    """Return a custom section."""
    body = leb128(len(name.encode())) + name.encode() + content
    return b"\0" + leb128(len(body)) + body
