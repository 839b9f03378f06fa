"""Measure how long a WebAssembly module of a megabyte takes to instrument, in plain Python.

    python benchmarks/bench_instrument.py [module.wasm] [megabytes]

The functions of a module (by default the guest) are repeated until the code has that size, so the mix of instructions
is that of a compiler. Best of five, in processor time. `watch` chooses eight comparisons, as `refruntime seal` does;
`every i32.add` and `every local.get` show what more chosen instructions cost. wasmtime compiles the result once, for
comparison.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.timing import best
from refruntime.engines.base import Limits
from refruntime.engines.wasm import WasmModule
from refruntime.instrument.encoding import unsigned
from refruntime.instrument.module import Module
from refruntime.instrument.reader import CODE_SECTION, FUNCTION_SECTION, HEADER, ModuleReader, sections
from refruntime.instrument.watch import watch_comparisons

GUEST = Path(__file__).resolve().parent.parent / "tests" / "guest" / "guest.wasm"
ROUNDS = 5


def enlarged(module: bytes, size: int) -> bytes:
    """Return the module with its functions repeated; the copies are never called."""
    code = next(reader for identifier, reader in sections(module) if identifier == CODE_SECTION)
    copies = max(1, -(-size // (code.end - code.position)))
    pieces = [HEADER]
    for identifier, reader in sections(module):
        content = module[reader.position : reader.end]
        if identifier in (FUNCTION_SECTION, CODE_SECTION):
            items = ModuleReader(module, reader.position, reader.end)
            count = items.number()
            content = unsigned(count * copies) + module[items.position : items.end] * copies
        pieces.append(bytes([identifier]) + unsigned(len(content)) + content)
    return b"".join(pieces)


def replaced(module: bytes, opcode: int) -> bytes:
    read = Module(module)
    read.rewrite({opcode}, lambda site: site.bytes)
    return read.encode()


def main() -> None:
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else GUEST
    megabytes = float(sys.argv[2]) if len(sys.argv) > 2 else 1.0
    module = enlarged(path.read_bytes(), int(megabytes * 1e6))
    watched = watch_comparisons(module)
    print(
        f"module               {len(module) / 1e6:.2f} MB, {len(watched.sites)} watched instructions, best of {ROUNDS}"
    )
    for name, action in (
        ("watch", lambda: watch_comparisons(module)),
        ("every i32.add", lambda: replaced(module, 0x6A)),
        ("every local.get", lambda: replaced(module, 0x20)),
    ):
        print(f"{name:<20} {best(action, ROUNDS, time.process_time):.3f} s")
    start = time.perf_counter()
    WasmModule(watched.module, Limits(seconds=600))
    print(f"wasmtime compiles it {time.perf_counter() - start:.3f} s (wall clock, all cores)")


if __name__ == "__main__":
    main()
