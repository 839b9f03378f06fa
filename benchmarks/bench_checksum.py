"""Measure the SLM1 checksum in MB/s against a straightforward loop in the same run.

    python benchmarks/bench_checksum.py [megabytes]

Both are run three times, in turn, and the best run counts, in processor time so that a busy machine matters less.
The last line extrapolates to the published q8_0 example.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Callable

from refruntime.containers.checksum import slm1_checksum
from refruntime.contract import Profile

ROUNDS = 3
PUBLISHED_Q8_0_BYTES = 17_160_000


def plain_loop(data: bytes) -> int:
    """Compute SL-5 as it reads."""
    state = 0xCBF29CE484222325
    for index, byte in enumerate(data):
        if 100 <= index < 108:
            byte = 0
        state ^= byte ^ index
        state = (state << 5 | state >> 59) & 0xFFFFFFFFFFFFFFFF
        state = state * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return state


def project(data: bytes) -> int:
    return slm1_checksum(data, Profile())


def seconds(function: Callable[[bytes], int], data: bytes) -> tuple[float, int]:
    start = time.process_time()
    result = function(data)
    return time.process_time() - start, result


def main() -> None:
    megabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0
    data = random.Random(1).randbytes(int(megabytes * 1e6))
    runs = [(seconds(plain_loop, data), seconds(project, data)) for _ in range(ROUNDS)]
    if any(plain[1] != fast[1] for plain, fast in runs):
        raise SystemExit("the two loops disagree")
    plain_time = min(plain[0] for plain, _ in runs)
    fast_time = min(fast[0] for _, fast in runs)
    print(f"input                {len(data) / 1e6:.1f} MB, best of {ROUNDS}")
    print(f"straightforward loop {len(data) / 1e6 / plain_time:.2f} MB/s")
    print(f"slm1_checksum        {len(data) / 1e6 / fast_time:.2f} MB/s, {plain_time / fast_time:.2f} times as fast")
    print(f"17.16 MB file        {PUBLISHED_Q8_0_BYTES / len(data) * fast_time:.2f} s")


if __name__ == "__main__":
    main()
