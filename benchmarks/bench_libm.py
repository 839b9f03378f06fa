"""Time the libm functions on a million elements: python benchmarks/bench_libm.py"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.timing import best
from refruntime.numerics import libm

COUNT = 1_000_000
ROUNDS = 7


def main() -> None:
    """Print one line per function and kind of argument."""
    random = np.random.default_rng(0)
    softmax = random.uniform(-20, 0, COUNT).astype(np.float32)
    patterns = random.integers(0, 2**32, COUNT, dtype=np.uint32).view(np.float32)
    angles = random.uniform(0, 4096, COUNT).astype(np.float32)
    huge = np.exp2(random.uniform(30, 127, COUNT)).astype(np.float32)
    bases = random.uniform(0.1, 10, COUNT).astype(np.float32)
    rows: list[tuple[str, str, Callable[..., NDArray[np.float32]], tuple[NDArray[np.float32], ...]]] = [
        ("expf", "-20 .. 0", libm.expf, (softmax,)),
        ("expf", "any bit pattern", libm.expf, (patterns,)),
        ("tanhf", "-20 .. 0", libm.tanhf, (softmax,)),
        ("sinf", "0 .. 4096", libm.sinf, (angles,)),
        ("cosf", "0 .. 4096", libm.cosf, (angles,)),
        ("sinf", "above 2**30", libm.sinf, (huge,)),
        ("powf", "0.1 .. 10 to the -20 .. 0", libm.powf, (bases, softmax)),
    ]
    print(f"milliseconds for {COUNT} elements, best of {ROUNDS}")
    for name, kind, function, arguments in rows:
        print(f"{name:6} {kind:28} {1000 * best(partial(function, *arguments), ROUNDS):7.1f}")


if __name__ == "__main__":
    main()
