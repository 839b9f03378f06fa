"""Measure decoding of every ggml type against gguf-py, in one run that takes turns.

    python benchmarks/bench_quants.py [--json] [--elements 8388608] [--rounds 5] [--threads N] [--types q4_k ...]

Four ways to decode the same random blocks, whose scales are finite: gguf-py, which uses one thread; the NumPy
definition with one thread and with N (by default all processors); the compiled loops with N. Speed is counted in
millions of bytes of float32 result per second, the best of the rounds, with the result allocated anew each time.
Before that, all results are compared bit for bit.

The second ratio counts processor seconds of all threads instead: it hardly depends on what else is running, and says
nothing about threads.

gguf-py has no decoder for q1_0, q2_0, f64 and the integers, and returns a view of f32 without reading it; those have
no ratio. The geometric mean is over the other types.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from refruntime.quants.ggml import GGML_TYPES, GgmlType, dequantize

COLUMNS = 4096
WITHOUT_RATIO = ("f32", "q1_0", "q2_0", "f64", "i8", "i16", "i32", "i64")
CLOCKS = {"elapsed": time.perf_counter, "processor": time.process_time}
WAYS = ("gguf-py", "numpy x 1", "numpy x N", "numba x N")


def ways_to_decode(kind: GgmlType, rows: int, threads: int) -> dict[str, Callable[[], np.ndarray]]:
    """Return what decodes one random matrix [rows, COLUMNS]."""
    row_bytes = COLUMNS // kind.block_size * kind.type_size
    raw = np.random.default_rng(kind.number).integers(0, 96, (rows, row_bytes), np.uint8)  # below 96: finite scales
    shape = (rows, COLUMNS)
    ways: dict[str, Callable[[], np.ndarray]] = {}
    if kind.name not in WITHOUT_RATIO:
        ways["gguf-py"] = lambda: gguf.quants.dequantize(raw, gguf.GGMLQuantizationType(kind.number))
    ways["numpy x 1"] = lambda: dequantize(kind, raw.reshape(-1), shape, threads=1, kernels="numpy")
    ways["numpy x N"] = lambda: dequantize(kind, raw.reshape(-1), shape, threads=threads, kernels="numpy")
    if kind.block_size > 1:
        ways["numba x N"] = lambda: dequantize(kind, raw.reshape(-1), shape, threads=threads, kernels="numba")
    return ways


Speeds = dict[str, dict[str, float]]  # by clock and way


def measure(kind: GgmlType, rows: int, rounds: int, threads: int) -> Speeds:
    """Return millions of bytes per second; the first run of each way is not timed, but compared."""
    ways = ways_to_decode(kind, rows, threads)
    reference = ways["numpy x 1"]().tobytes()
    for way, decode in ways.items():
        if decode().astype(np.float32).tobytes() != reference:
            raise SystemExit(f"{kind.name}: {way} gives other bits")
    best = {clock: dict.fromkeys(ways, math.inf) for clock in CLOCKS}
    for _ in range(rounds):
        for way, decode in ways.items():
            start = {clock: read() for clock, read in CLOCKS.items()}
            decode()
            for clock, read in CLOCKS.items():
                best[clock][way] = min(best[clock][way], read() - start[clock])
    return {clock: {way: len(reference) / best[clock][way] / 1e6 for way in ways} for clock in CLOCKS}


def ratios(speeds: Speeds, way: str) -> dict[str, float]:
    """Return how many times faster than gguf-py a way is, by clock; a type without compiled loop counts as NumPy."""
    return {
        clock: by_way.get(way, by_way["numpy x N"]) / by_way["gguf-py"]
        for clock, by_way in speeds.items()
        if "gguf-py" in by_way
    }


def summary(figures: dict[str, Speeds]) -> list[dict[str, float | str]]:
    """Return geometric mean and minimum of the ratios of each way."""
    result: list[dict[str, float | str]] = []
    for way in WAYS[1:]:
        for clock in CLOCKS:
            by_type = {name: ratios(speeds, way).get(clock, 0.0) for name, speeds in figures.items()}
            compared = {name: ratio for name, ratio in by_type.items() if ratio}
            if compared:
                mean = math.exp(math.fsum(map(math.log, compared.values())) / len(compared))
                slowest = min(compared, key=lambda name: compared[name])
                result.append(
                    {"way": way, "clock": clock, "mean": mean, "minimum": compared[slowest], "slowest": slowest}
                )
    return result


def main() -> None:
    """Print the figures."""
    names = [kind.name for kind in GGML_TYPES.values() if kind.decode]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elements", type=int, default=1 << 23)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--types", nargs="+", choices=names, default=names, metavar="TYPE")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    rows = max(1, arguments.elements // COLUMNS)
    figures = {
        kind.name: measure(kind, rows, arguments.rounds, arguments.threads)
        for kind in GGML_TYPES.values()
        if kind.name in arguments.types
    }
    result = summary(figures)
    load = round(os.getloadavg()[0], 1)
    if arguments.json:
        print(json.dumps({"threads": arguments.threads, "load average": load, "speeds": figures, "ratios": result}))
        return
    print(f"{arguments.threads} threads, {rows * COLUMNS:,} elements, load average {load}")
    print("MB/s of float32 by the clock, times gguf-py, times gguf-py in processor seconds")
    print(f"{'':8}{WAYS[0]:>10}" + "".join(f"{way:>26}" for way in WAYS[1:]))
    for name, speeds in figures.items():
        elapsed = speeds["elapsed"]
        line = f"{name:8}" + (f"{elapsed['gguf-py']:10,.0f}" if "gguf-py" in elapsed else f"{'-':>10}")
        for way in WAYS[1:]:
            line += f"{elapsed[way]:12,.0f}" if way in elapsed else f"{'-':>12}"
            line += "".join(f"{ratio:6.1f}x" for ratio in ratios(speeds, way).values() if way in elapsed).ljust(14)
        print(line.rstrip())
    for each in result:
        print(
            f"{each['way']}, {each['clock']:9} geometric mean {each['mean']:5.1f}x, "
            f"minimum {each['minimum']:.1f}x ({each['slowest']})"
        )


if __name__ == "__main__":
    main()
