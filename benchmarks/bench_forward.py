"""Measure seq32 on the TinyLM-16M shape: decode, many positions in one pass, share outside matrix loops, peak memory.

    python benchmarks/bench_forward.py [--json] [--positions 128] [--kernels numpy|numba]

Every line is a ratio within one run. Memory is measured in a fresh process that opens the model from a file.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from refruntime.battery.models.slm1 import TINYLM_16M, model_of, random_weights
from refruntime.contract.profile import Profile
from refruntime.model.forward import Transformer
from refruntime.model.load import validate_model
from refruntime.numerics import CompiledSeq32

MEMORY_SCRIPT = """
import mmap, sys
from refruntime.runtime import Runtime
def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("RssAnon"))
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
from refruntime.numerics import CompiledSeq32
runtime = Runtime(numerics=CompiledSeq32(kernels="numpy"))  # compiled kernels bring libraries of their own
before = anonymous(), peak()
with open(sys.argv[1], "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
    runtime.load_model(data)
runtime.prefill(list(range(32)))
print(before[0], anonymous(), before[1], peak())
"""


class TimedSeq32(CompiledSeq32):
    """CompiledSeq32 that adds up the time spent in matrix products."""

    seconds = 0.0

    def project(self, matrix: Any, x: Any) -> Any:
        """Multiply and take the time."""
        begin = time.perf_counter()
        result = super().project(matrix, x)
        self.seconds += time.perf_counter() - begin
        return result


def measure(positions: int, kernels: str) -> dict[str, Any]:
    """Return all figures."""
    file = model_of(random_weights(1, TINYLM_16M), TINYLM_16M, Profile())
    numerics = TimedSeq32(kernels=kernels)
    model = Transformer(validate_model(file, Profile()), Profile(), numerics)
    tokens = [int(token) for token in np.random.default_rng(0).integers(0, 256, positions)]

    def seconds(split: int) -> float:
        cache = model.new_cache()
        begin = time.perf_counter()
        for start in range(0, positions, split):
            model.forward(tokens[start : start + split], cache)
        return time.perf_counter() - begin

    seconds(1)
    numerics.seconds = 0.0
    single = seconds(1)
    outside = 1 - numerics.seconds / single
    single = min(single, seconds(1))
    together = min(seconds(positions) for _ in range(3))
    weights = sum(values.nbytes for values in random_weights(1, TINYLM_16M).values())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.slm1"
        path.write_bytes(file)
        output = subprocess.run(
            [sys.executable, "-c", MEMORY_SCRIPT, str(path)], capture_output=True, text=True, check=True
        ).stdout
    anonymous_before, anonymous_after, peak_before, peak_after = map(int, output.split())
    return {
        "positions": positions,
        "kernels": numerics.kernels,
        "decode_tokens_per_second": positions / single,
        "share_outside_matrix_loops": outside,
        "together_tokens_per_second": positions / together,
        "together_over_single": single / together,
        "weights_bytes": weights,
        "resident_after_over_weights": (anonymous_after - anonymous_before) / weights,
        "peak_with_file_pages_over_weights": (peak_after - peak_before) / weights,
    }


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--positions", type=int, default=128)
    parser.add_argument("--kernels", choices=("auto", "numpy", "numba"), default="numpy")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    figures = measure(arguments.positions, arguments.kernels)
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:36} {value:,.3f}" if isinstance(value, float) else f"{name:36} {value}")


if __name__ == "__main__":
    main()
