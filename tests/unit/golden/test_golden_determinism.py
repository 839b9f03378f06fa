"""The goldens are the same bytes with other kernels, threads and processor features."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from tests.support.golden_files import write_corpus

GOLDEN = Path(__file__).resolve().parent.parent.parent.parent / "golden"
SAMPLE = ("generate/stories-*", "sampling", "quants")
"""Cases whose answers depend on arithmetic."""

X86 = platform.machine().lower() in ("x86_64", "amd64")


def _dispatched() -> str:
    """Return the processor features that NumPy chooses code by on this machine."""
    simd = np.show_config(mode="dicts")["SIMD Extensions"]  # type: ignore[index, call-overload]
    return ",".join(simd.get("found", []))


SETTINGS: dict[str, dict[str, str]] = {
    "as it is": {},
    "another BLAS kernel": {"OPENBLAS_CORETYPE": "Prescott" if X86 else "ARMV8"},
    "no SIMD in NumPy": {"NPY_DISABLE_CPU_FEATURES": _dispatched()},
    "one thread": {"OPENBLAS_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
    "two threads": {"OPENBLAS_NUM_THREADS": "2", "NUMBA_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"},
}


@pytest.fixture(scope="module")
def goldens(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[str, ...]]:
    """Return the committed goldens with the families to check, or a small corpus where there are none."""
    if (GOLDEN / "INDEX.json").is_file():
        return GOLDEN, SAMPLE
    root = write_corpus(tmp_path_factory.mktemp("small") / "golden")
    run(root, (), {}, "auto", "--json")
    return root, ()


def run(
    root: Path, patterns: tuple[str, ...], settings: dict[str, str], kernels: str, *options: str
) -> subprocess.CompletedProcess[str]:
    program = (
        "import sys, numpy; from refruntime.cli import main; "
        "x = numpy.ones((8, 8), numpy.float32); x @ x; sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["fill", "--golden", str(root), "--kernels", kernels, *options, *patterns]
    environment = {**os.environ, **settings}
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments],
        capture_output=True, text=True, env=environment, check=False, timeout=300,
    )  # fmt: skip


@pytest.mark.slow  # tests/second_opinion/test_same_bits_everywhere.py asks the same of every architecture, and faster
@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("kernels", ["numpy", "numba"])
def test_the_answers_are_the_same_everywhere(goldens: tuple[Path, tuple[str, ...]], name: str, kernels: str) -> None:
    """GEN-4, FW-4, FW-8, SA-3: no BLAS kernel, SIMD level, number of threads or kind of kernels changes one answer."""
    if kernels == "numba" and find_spec("numba") is None:
        pytest.skip("numba is not installed")
    if name == "no SIMD in NumPy" and not SETTINGS[name]["NPY_DISABLE_CPU_FEATURES"]:
        pytest.skip("NumPy has no features to switch off on this machine")
    root, patterns = goldens
    shown = run(root, patterns, SETTINGS[name], kernels, "--check", "--json")
    assert shown.stdout, shown.stderr
    report = json.loads(shown.stdout)
    assert [item for item in report["cases"] if item["outcome"] != "unchanged"] == []
    assert report["unchanged"] >= 4
