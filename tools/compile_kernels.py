"""Compile every numba kernel once, so that the workers of a test run load machine code instead of each compiling it.

    python tools/compile_kernels.py

Two processes share the work. Does nothing where numba is not installed. What was compiled before is only loaded.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec

import numpy as np

STORED = ("q4_0", "q4_1", "q5_0", "q8_0", "q4_k", "q6_k", "iq1_s", "iq3_s", "f16", "bf16")
"""Types whose products over stored bytes the fast tests compile: every way of reading bytes, and two types that
are multiplied through their decoders. The decoders of all types read with the same code, and are all tested."""


def compile_type(name: str) -> None:
    """Compile what the fast tests use of one type: its decoder, and the products over its stored bytes."""
    from refruntime.numerics.compiled.stored import columns_of, dots_of
    from refruntime.quants.compiled import decoder
    from refruntime.quants.ggml import GGML_TYPES, WIDENED_TOGETHER, in_blocks

    kind = in_blocks(next(kind for kind in GGML_TYPES.values() if kind.name == name), WIDENED_TOGETHER)
    decode = decoder(name)
    if decode is None or kind is None:
        return
    blocks = np.zeros((1, kind.type_size), np.uint8)
    decode(blocks, np.empty((1, kind.block_size), np.float32))
    if name in STORED:
        for loop_of in (columns_of, dots_of):
            loop_of(name)(np.empty(1, np.float32), blocks[None], np.zeros(kind.block_size, np.float32), 0, 1)


def compile_numerics() -> None:
    """Compile the loops of the numeric profiles and of the checksum."""
    from refruntime.containers.checksum_compiled import checksum
    from refruntime.contract.checksum_order import Mix
    from refruntime.numerics import AttentionVariant, CompiledSeq32
    from refruntime.numerics.compiled import formula_loops
    from refruntime.numerics.ggml32 import compiled, step

    numerics = CompiledSeq32(1, "numba")
    one, many = np.ones((1, 2), np.float32), np.ones((2, 1, 2), np.float32)
    numerics.project(one.T, one)
    numerics.exp(one), numerics.tanh(one), numerics.silu(one)
    numerics.rms_norm(one, one[0], 1e-5)
    numerics.rope(many, one[:, :1].repeat(2, 0), one[:, :1].repeat(2, 0))
    numerics.attention(many, many.transpose(2, 1, 0), many, 0, AttentionVariant())
    formula_loops.dots(np.empty(1, np.float32), one, one[0], 0, 1)
    checksum(np.zeros(1, np.uint8), (Mix("xor", "byte"),), 0)
    compiled.compile_kernels()
    step.compile_step()


def main() -> None:
    if find_spec("numba") is None:
        return
    from refruntime.quants.ggml import GGML_TYPES

    print("compiling the loops that the tests call; the first time it takes a minute", flush=True)
    with ProcessPoolExecutor(2) as pool:
        parts = [pool.submit(compile_numerics)]
        parts += [pool.submit(compile_type, kind.name) for kind in GGML_TYPES.values()]
        for part in parts:
            part.result()


if __name__ == "__main__":
    main()
