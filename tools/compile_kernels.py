"""Compile every numba kernel once, so that the workers of a test run load machine code instead of each compiling it.

    python tools/compile_kernels.py

Does nothing where numba is not installed. What was compiled before is only loaded.
"""

from __future__ import annotations

from importlib.util import find_spec


def main() -> None:
    if find_spec("numba") is None:
        return
    from refruntime.containers import checksum_compiled  # noqa: F401  # compiles when it is imported
    from refruntime.numerics import CompiledSeq32
    from refruntime.numerics.compiled.row_products import RowProducts
    from refruntime.numerics.compiled.stored import columns_of, dots_of
    from refruntime.numerics.compiled.threads import Threads
    from refruntime.numerics.ggml32 import compiled
    from refruntime.quants.compiled import KERNELS, decoder
    from refruntime.quants.ggml import GGML_TYPES

    CompiledSeq32(kernels="numba")
    RowProducts(Threads("fast", 1))
    compiled.compile_kernels()
    for kind in GGML_TYPES.values():
        if kind.name in KERNELS:
            decoder(kind.name), columns_of(kind), dots_of(kind)


if __name__ == "__main__":
    main()
