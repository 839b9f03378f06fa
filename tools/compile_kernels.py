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
    from refruntime.numerics.ggml32 import compiled
    from refruntime.quants.compiled import KERNELS, decoder

    CompiledSeq32(kernels="numba")
    RowProducts()
    compiled.compile_kernels()
    for name in KERNELS:
        decoder(name)


if __name__ == "__main__":
    main()
