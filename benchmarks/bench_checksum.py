"""Measure the SLM1 checksum in MB/s, plain and compiled, against a straightforward loop in the same run.

    python benchmarks/bench_checksum.py [megabytes]

All are run three times, in turn, and the best run counts, in processor time so that a busy machine matters less.
The last line extrapolates to the published q8_0 example.
"""

from __future__ import annotations

import math
import random
import sys
import time
from collections.abc import Callable

import numpy as np

from refruntime.containers.checksum import Summing, resolved_operations
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


def summed(way: Summing, data: bytes) -> int:
    return way.checksum(np.frombuffer(data, np.uint8), resolved_operations(Profile()), Profile().checksum_start)


KNOWN = Summing(math.inf)
WAYS = {
    "straightforward loop": plain_loop,
    "plain": lambda data: summed(Summing(math.inf), data),
    "plain, known before": lambda data: summed(KNOWN, data),
    "compiled": lambda data: summed(Summing(-1), data),
}


def seconds(function: Callable[[bytes], int], data: bytes) -> tuple[float, int]:
    start = time.process_time()
    result = function(data)
    return time.process_time() - start, result


def main() -> None:
    megabytes = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0
    data = random.Random(1).randbytes(int(megabytes * 1e6))
    summed(KNOWN, data)
    runs = {name: [seconds(way, data) for _ in range(ROUNDS)] for name, way in WAYS.items()}
    if len({result for rounds in runs.values() for _, result in rounds}) != 1:
        raise SystemExit("the loops disagree")
    best = {name: min(time for time, _ in rounds) for name, rounds in runs.items()}
    print(f"input                {len(data) / 1e6:.1f} MB, best of {ROUNDS}, processor time")
    for name, time_taken in best.items():
        faster = best["straightforward loop"] / time_taken
        print(f"{name:20} {len(data) / 1e6 / time_taken:8.2f} MB/s, {faster:.1f} times as fast")
    print(f"17.16 MB file        {PUBLISHED_Q8_0_BYTES / len(data) * best['plain']:.2f} s plain")


if __name__ == "__main__":
    main()
