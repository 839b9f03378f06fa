"""Compile every numba kernel once, so that the workers of a test run load machine code instead of each compiling it.

    python tools/compile_kernels.py

Two processes share the work. Does nothing where numba is not installed. What was compiled before is only loaded.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec

DECODED_FIRST = ("iq1_s", "iq3_s")
"""Of the block types that are multiplied through their decoders, those that stand for all in the fast tests."""


def compile_type(name: str) -> None:
    """Compile what the fast tests use of one block type: its decoder, and the products over its stored bytes."""
    from refruntime.numerics.compiled.stored import READERS, columns_of, dots_of
    from refruntime.quants.compiled import KERNELS, decoder
    from refruntime.quants.ggml import GGML_TYPES

    for kind in GGML_TYPES.values():
        if kind.name == name and name in KERNELS:
            decoder(kind.name)
            if name in READERS or name in DECODED_FIRST:
                columns_of(kind), dots_of(kind)


def compile_numerics() -> None:
    """Compile the loops of the numeric profiles and of the checksum."""
    from refruntime.containers import checksum_compiled  # noqa: F401  # compiles when it is imported
    from refruntime.numerics import CompiledSeq32
    from refruntime.numerics.compiled.row_products import RowProducts
    from refruntime.numerics.compiled.threads import Threads
    from refruntime.numerics.ggml32 import compiled

    CompiledSeq32(kernels="numba")
    RowProducts(Threads("fast", 1))
    compiled.compile_kernels()


def main() -> None:
    if find_spec("numba") is None:
        return
    from refruntime.quants.ggml import GGML_TYPES

    with ProcessPoolExecutor(2) as pool:
        parts = [pool.submit(compile_numerics)]
        parts += [pool.submit(compile_type, kind.name) for kind in GGML_TYPES.values()]
        for part in parts:
            part.result()


if __name__ == "__main__":
    main()
