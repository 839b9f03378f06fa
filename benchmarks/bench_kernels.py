"""Measure seq32 on the TinyLM-16M shape, with NumPy and with compiled loops, against a build under wasmtime.

    python benchmarks/bench_kernels.py [--json] [--tokens 256] [--rounds 3] [--threads 1]

The build generates; the oracle generates the same on its own, and checks, which means that it is told the tokens of the
build before and forwards them together (GEN-4). All results have to be the same bytes. Each figure is the minimum over
the rounds, which take turns. On a busy machine compare the processor seconds, with one thread: they hardly depend on
what else is running.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from refruntime.battery.models.slm1 import TINYLM_16M, model_of, random_weights
from refruntime.client import Client
from refruntime.contract.profile import Profile
from refruntime.engines.base import Limits
from refruntime.engines.wasm import WasmEngine
from refruntime.numerics import CompiledSeq32
from refruntime.runtime import Runtime

BUILD = Path(__file__).resolve().parent.parent / "tests" / "guest" / "guest.wasm"
PROMPT = b"A"
TARGETS = {  # figure -> (measured seconds, reference seconds, at most this ratio)
    "check with numba / build": ("check, numba", "build", 0.1),
    "check with numpy / build": ("check, numpy", "build", 0.5),
    "decode with numba / build": ("decode, numba", "build", 1.0),
}


class Seconds(NamedTuple):
    """How long something took: on the clock, and on all processors together."""

    elapsed: float
    processor: float


def ascii_model() -> bytes:
    """Return a random model whose greedy text is ASCII without an end: tokens from 128 on have a logit of 0."""
    weights = random_weights(1, TINYLM_16M)
    weights["output.weight"][128:] = 0
    return model_of(weights, TINYLM_16M, Profile())


def measure(tokens: int, rounds: int, threads: int) -> dict[str, Seconds]:
    """Run everything `rounds` times in turn and return the minima."""
    file = ascii_model()
    client = Client(WasmEngine(BUILD.read_bytes(), Limits(seconds=3600)))
    client.check(client.status("init_runtime"))
    client.check(client.load_model(file))
    results: dict[str, bytes] = {}

    def build() -> bytes:
        client.check(client.generate(PROMPT, tokens))
        return client.result()

    contenders: dict[str, Callable[[], bytes]] = {"build": build}
    for kernels in ("numba", "numpy"):
        runtime = Runtime(numerics=CompiledSeq32(threads, kernels))
        runtime.load_model(file)

        def decode(runtime: Runtime = runtime) -> bytes:
            runtime.generate(PROMPT, tokens)
            return runtime.result

        def check(runtime: Runtime = runtime) -> bytes:
            runtime.expect(list(results["build"]))
            runtime.generate(PROMPT, tokens)
            return runtime.result

        contenders |= {f"decode, {kernels}": decode, f"check, {kernels}": check}
    best: dict[str, Seconds] = {}
    for _ in range(rounds):
        for name, run in contenders.items():
            begin = time.perf_counter(), time.process_time()
            results[name] = run()
            taken = Seconds(time.perf_counter() - begin[0], time.process_time() - begin[1])
            best[name] = Seconds(*map(min, taken, best.get(name, taken)))
            if len(results[name]) != tokens or results[name] != results["build"]:
                raise SystemExit(f"{name} gave {results[name]!r}, the build {results['build']!r}")
    return best


def report(best: dict[str, Seconds], tokens: int, threads: int) -> dict[str, Any]:
    """Return all figures by name."""
    figures: dict[str, Any] = {"tokens": tokens, "threads": threads, "load average": round(os.getloadavg()[0], 1)}
    for name, seconds in best.items():
        figures[name] = {**seconds._asdict(), "tokens_per_processor_second": tokens / seconds.processor}
    for name, (measured, reference, target) in TARGETS.items():
        elapsed, processor = np.array(best[measured]) / np.array(best[reference])
        figures[name] = {"elapsed": float(elapsed), "processor": float(processor), "at_most": target}
    return figures


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = report(
        measure(arguments.tokens, arguments.rounds, arguments.threads), arguments.tokens, arguments.threads
    )
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        shown = value if not isinstance(value, dict) else "  ".join(f"{key} {part:,.3f}" for key, part in value.items())
        print(f"{name:28} {shown}")


if __name__ == "__main__":
    main()
