"""`make fuzz-loaders` is guided by what it fuzzes: a reader that is imported later shows no coverage."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EDGES = {"gguf": 900, "slm1": 400, "tokenizers": 480, "modules": 150}
"""Edges that the seeds alone reach, nearly; with readers that are not instrumented the seeds of gguf reached 294."""


@pytest.mark.slow
@pytest.mark.parametrize("target", EDGES)
def test_seeds_reach_the_readers(target: str, tmp_path: Path) -> None:
    """GG-3, SL-1: the seeds of each target are run, show the edges of its readers, and are no findings."""
    pytest.importorskip("atheris")
    words = [sys.executable, "tests/drivers/loaders.py", target, "--minutes", "0.02", "--folder", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-2000:]
    found = re.search(r"INITED cov: (\d+)", said)
    assert found is not None, said[-2000:]
    assert int(found[1]) >= EDGES[target]
    assert "FINDING" not in said
