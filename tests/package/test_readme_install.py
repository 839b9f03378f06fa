"""The install lines of README run as written: a wheel is made and installed, and works elsewhere."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.package


def test_install_from_a_wheel(tmp_path: Path) -> None:
    """ABI-5: the two lines leave a package with goldens and models; what it needs is taken from this environment."""
    readme = (PROJECT / "README.md").read_text()
    section = readme.partition("## Install\n")[2].partition("\n## ")[0]
    (lines,) = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    copy = tmp_path / "checkout"
    shutil.copytree(PROJECT, copy, ignore=shutil.ignore_patterns(".venv", "node_modules", "dist", "build", ".*_cache"))
    (copy / ".venv" / "bin").mkdir(parents=True)
    python = copy / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (copy / ".venv" / ".installed-test").touch()
    site = tmp_path / "site"
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PIP_NO_DEPS": "1",
        "PIP_NO_INDEX": "1",
        "PIP_TARGET": str(site),
    }
    environment.pop("PYTHONPATH", None)
    script = ["bash", "-eu", "-c", lines]
    done = subprocess.run(script, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    words = [sys.executable, "-m", "refruntime", "run", "stories.q8_0.slm1", "Once", "-n", "4"]
    elsewhere = {**os.environ, "PYTHONPATH": str(site)}
    done = subprocess.run(words, cwd=tmp_path, env=elsewhere, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    where = [sys.executable, "-c", "import refruntime; print(refruntime.__file__)"]
    shown = subprocess.run(where, cwd=tmp_path, env=elsewhere, capture_output=True, text=True, check=True).stdout
    assert shown.startswith(str(site))
