"""Measure decoding of every ggml type against gguf-py, in one run that takes turns.

    python benchmarks/bench_quants.py [--json] [--elements 8388608] [--rounds 5] [--threads N] [--types q4_k ...]

Four ways to decode the same random blocks, whose scales are finite: gguf-py, which uses one thread; the NumPy
definition with one thread and with N (by default all processors); the compiled loops with N. Speed is counted in
millions of bytes of float32 result per second, the best of the rounds, with the result allocated anew each time.
Before that, all results are compared bit for bit.

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


def measure(kind: GgmlType, rows: int, rounds: int, threads: int) -> dict[str, float]:
    """Return millions of bytes per second by way; the first run of each is not timed, but compared."""
    ways = ways_to_decode(kind, rows, threads)
    reference = ways["numpy x 1"]().tobytes()
    for way, decode in ways.items():
        if decode().astype(np.float32).tobytes() != reference:
            raise SystemExit(f"{kind.name}: {way} gives other bits")
    best = dict.fromkeys(ways, math.inf)
    for _ in range(rounds):
        for way, decode in ways.items():
            start = time.perf_counter()
            decode()
            best[way] = min(best[way], time.perf_counter() - start)
    return {way: len(reference) / seconds / 1e6 for way, seconds in best.items()}


def ratios(figures: dict[str, dict[str, float]], way: str) -> dict[str, float]:
    """Return how many times faster than gguf-py a way is, by type; a type without compiled loop counts as NumPy."""
    return {
        name: speeds.get(way, speeds["numpy x N"]) / speeds["gguf-py"]
        for name, speeds in figures.items()
        if "gguf-py" in speeds
    }


def summary(figures: dict[str, dict[str, float]]) -> dict[str, dict[str, float | str]]:
    """Return geometric mean and minimum of the ratios of each way."""
    result: dict[str, dict[str, float | str]] = {}
    for way in WAYS[1:]:
        of_type = ratios(figures, way)
        if of_type:
            slowest = min(of_type, key=lambda name: of_type[name])
            mean = math.exp(math.fsum(math.log(ratio) for ratio in of_type.values()) / len(of_type))
            result[way] = {"geometric mean": mean, "minimum": of_type[slowest], "of": slowest}
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
        ended = {"threads": arguments.threads, "load average": load, "speeds": figures, "ratios": result}
        print(json.dumps(ended))
        return
    print(f"{arguments.threads} threads, {rows * COLUMNS:,} elements, load average {load}; MB/s of float32, x gguf-py")
    print(f"{'':8}" + "".join(f"{way:>18}" for way in WAYS))
    for name, speeds in figures.items():
        cells = []
        for way in WAYS:
            ratio = f" {speeds[way] / speeds['gguf-py']:5.1f}x" if way in speeds and "gguf-py" in speeds else " " * 7
            cells.append(f"{speeds[way]:11,.0f}{ratio}" if way in speeds else f"{'-':>11}" + " " * 7)
        print(f"{name:8}" + "".join(cells))
    for way, numbers in result.items():
        print(f"{way}: geometric mean {numbers['geometric mean']:.1f}x, minimum {numbers['minimum']:.1f}x", end="")
        print(f" ({numbers['of']})")


if __name__ == "__main__":
    main()
