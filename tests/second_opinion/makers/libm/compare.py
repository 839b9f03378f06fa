"""Compare refruntime's libm with the WASM module on many inputs: every bit pattern of the unary functions, if asked.

    python tests/second_opinion/makers/libm/compare.py expf sinf cosf tanhf --stride 1
    python tests/second_opinion/makers/libm/compare.py powf --pairs 100000000

Exits 1 when an element differs in a bit, 2 when nothing was compared.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from wasm_libm import UNARY_FUNCTIONS, WasmLibm, build, differing, find_compiler

from refruntime.numerics import libm as reference

BATCH = 1 << 22
Arguments = tuple[NDArray[np.float32], ...]


def patterns(stride: int) -> Iterator[Arguments]:
    """Yield the float32 values of the bit patterns 0, stride, 2 stride, ... below 2**32."""
    for start in range(0, 2**32, BATCH * stride):
        stop = min(start + BATCH * stride, 2**32)
        yield (np.arange(start, stop, stride, dtype=np.uint64).astype(np.uint32).view(np.float32),)


def pairs(count: int) -> Iterator[Arguments]:
    """Yield arguments of powf from six populations in turn, about `count` in all."""
    random = np.random.default_rng(1)
    size = min(BATCH, count)
    for batch in range(-(-count // size)):
        match batch % 6:
            case 0:  # any two bit patterns
                x, y = (random.integers(0, 2**32, size, dtype=np.uint32).view(np.float32) for _ in range(2))
            case 1:  # any positive base, results in range more often than not
                x = np.exp2(random.uniform(-149, 128, size)).astype(np.float32)
                y = random.uniform(-4, 4, size).astype(np.float32)
            case 2:  # results over the whole range, both ends crossed
                x = random.uniform(0, 4, size).astype(np.float32)
                with np.errstate(divide="ignore"):
                    y = (random.uniform(-152, 130, size) / np.log2(x.astype(np.float64))).astype(np.float32)
            case 3:  # results next to the limits of overflow and underflow
                x = np.exp2(random.uniform(-20, 20, size)).astype(np.float32)
                limit = random.choice([128.0, -126.0, -149.0, -150.0], size) + random.uniform(-1e-4, 1e-4, size)
                with np.errstate(divide="ignore"):
                    y = (limit / np.log2(x.astype(np.float64))).astype(np.float32)
            case 4:  # bases next to 1 with huge exponents
                x = (random.integers(-40, 41, size) + 0x3F800000).astype(np.uint32).view(np.float32)
                y = (np.exp2(random.uniform(18, 34, size)) * random.choice([-1, 1], size)).astype(np.float32)
            case _:  # negative bases with integer exponents
                x = -np.exp2(random.uniform(-10, 10, size)).astype(np.float32)
                y = random.integers(-40, 41, size).astype(np.float32)
        yield x, y


def compare(libm: WasmLibm, function: str, batches: Iterator[Arguments]) -> tuple[int, int]:
    """Return how many inputs were compared and how many results differ; print the first of each batch."""
    compared = mismatches = 0
    for arguments in batches:
        found = getattr(reference, function)(*arguments)
        expected = libm(function, *arguments)
        wrong = np.flatnonzero(differing(expected, found))
        compared += expected.size
        mismatches += wrong.size
        if wrong.size:
            at = wrong[0]
            values = ", ".join(float(argument[at]).hex() for argument in arguments)
            print(f"{function}({values}): wasm {float(expected[at]).hex()}, found {float(found[at]).hex()}")
    return compared, mismatches


def main() -> int:
    """Parse the command line, compare, report per function."""
    parser = argparse.ArgumentParser(description="compare refruntime's libm with Rust's on wasm32")
    parser.add_argument("functions", nargs="+", choices=[*UNARY_FUNCTIONS, "powf"])
    parser.add_argument("--stride", type=int, default=2503, help="step between bit patterns (1: exhaustive)")
    parser.add_argument("--pairs", type=int, default=5 * BATCH, help="number of powf arguments")
    options = parser.parse_args()
    if options.stride < 1 or options.pairs < 1:
        parser.error("--stride and --pairs must be at least 1")
    with tempfile.TemporaryDirectory() as folder:
        module = Path(folder) / "libm_probe.wasm"
        build(find_compiler(), module)
        libm = WasmLibm(module)
    total = failures = 0
    for function in options.functions:
        batches = pairs(options.pairs) if function == "powf" else patterns(options.stride)
        compared, mismatches = compare(libm, function, batches)
        print(f"{function}: {compared} inputs compared, {mismatches} differ", flush=True)
        total += compared
        failures += mismatches
    return 2 if total == 0 else int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
