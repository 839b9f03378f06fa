"""Machine code for a processor that has none of the later instructions: no AVX, no fused multiply-add, no F16C."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="numba is not installed: pip install 'refruntime[speed]'")

MODELS = Path(__file__).resolve().parents[3] / "golden" / "models"
NAMES = ("small.f16.gguf", "small.bf16.gguf", "small.q4_0.gguf", "plain-gguf-storage-q4_k.gguf")

COMPARE = """
import sys
import llvmlite.binding as llvm
import numpy as np

FIRST = ("64bit", "cmov", "cx8", "fxsr", "mmx", "sse", "sse2")  # what every x86-64 processor has


class Features(dict):
    def flatten(self, sort=True):
        return ",".join(("+" if present else "-") + name for name, present in sorted(self.items()))


features = Features({name: name in FIRST for name in llvm.get_host_cpu_features()})
llvm.get_host_cpu_features, llvm.get_host_cpu_name = lambda: features, lambda: "x86-64"

from refruntime import open_model
from refruntime.numerics import numerics_named
from refruntime.quants.compiled.widened import CONVERTS

assert not CONVERTS
for path in sys.argv[1:]:
    for name in ("seq32", "ggml32"):
        found = []
        for kernels in ("numba", "numpy"):
            resident = "stored" if (name, kernels) == ("seq32", "numba") else "float32"
            numerics = numerics_named(name, 1, kernels, resident)
            transformer = open_model(path, numerics=numerics).transformer
            found.append(transformer.forward([1, 3, 2, 5, 3], transformer.new_cache()).view(np.uint32))
        print(np.array_equal(*found), name, path)
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="its features are those of x86-64")
def test_the_first_x86_64_processor_gives_the_same_bits(tmp_path: Path) -> None:
    """FW-2, GG-14: loops compiled for it are NumPy's bit for bit, f16 widened without an instruction for it too."""
    command = [sys.executable, "-c", COMPARE, *(str(MODELS / name) for name in NAMES)]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 2 * len(NAMES)
    assert [line for line in lines if not line.startswith("True ")] == []
