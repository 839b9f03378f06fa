"""seq32 is defined to the bit: no BLAS, SIMD level, thread count, compiled loop or split of positions changes one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import hashlib, sys
import numpy as np
from refruntime import open_model
from refruntime.numerics import CompiledSeq32
from tests.second_opinion.random_zoo import NAMES, make

threads, kernels, split = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
ids = [1, *np.random.default_rng(3).integers(3, 60, 39).tolist()]
for name in NAMES:
    model = open_model(make(name, 6), numerics=CompiledSeq32(threads, kernels))
    transformer, cache = model.transformer, model.transformer.new_cache()
    parts = [transformer.forward(ids[at : at + split], cache, first_logit=0) for at in range(0, len(ids), split)]
    print(name, hashlib.sha256(np.concatenate(parts).tobytes()).hexdigest())
"""

CASES = {
    "another BLAS kernel, one position at a time": ({"OPENBLAS_CORETYPE": "Prescott"}, (1, "numpy", 1)),
    "no SIMD in NumPy, seven positions at a time": (
        {"NPY_DISABLE_CPU_FEATURES": "all that were found"},
        (2, "numpy", 7),
    ),
    "one BLAS thread, compiled loops, two threads": ({"OPENBLAS_NUM_THREADS": "1"}, (2, "numba", 40)),
    "two BLAS threads, compiled loops, one thread": ({"OPENBLAS_NUM_THREADS": "2"}, (1, "numba", 13)),
}


def bits(environment: dict[str, str], arguments: tuple[int, str, int]) -> list[str]:
    """Return one line for each model: its name and the hash of its logits, from a process of its own."""
    wanted = dict(environment)
    if "NPY_DISABLE_CPU_FEATURES" in wanted:
        wanted["NPY_DISABLE_CPU_FEATURES"] = " ".join(_dispatched())
    root = Path(__file__).resolve().parent.parent.parent
    finished = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)],
        env={**os.environ, **wanted, "PYTHONPATH": str(root), "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished.stdout.splitlines()


def _dispatched() -> list[str]:
    """Return what this NumPy found on this machine beyond its baseline, which it can be told to avoid."""
    code = "import numpy as np; print(*np.show_config(mode='dicts')['SIMD Extensions'].get('found', []))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    return output.split()


@pytest.fixture(scope="module")
def plain() -> list[str]:
    """Return the bits under the machine's own settings."""
    return bits({}, (1, "numpy", 40))


QUICK = ("no SIMD in NumPy, seven positions at a time", "two BLAS threads, compiled loops, one thread")
"""What the fast tests run: each differs from the plain settings in what one of the others differs in."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name in QUICK else [pytest.mark.slow]) for name in CASES]
)
def test_same_bits(name: str, plain: list[str]) -> None:
    """FW-4, GEN-4: the logits of every architecture have the same bits in a process with other settings."""
    if CASES[name][1][1] == "numba":
        pytest.importorskip("numba", reason="compiled loops need numba")
    assert bits(*CASES[name]) == plain
