"""Run golden/consume.mjs with Node, for tests."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parent.parent.parent
GOLDEN = PROJECT / "golden"
OLDEST_NODE = 18


@cache
def missing_node() -> str:
    """Return why Node cannot be used here, the empty string when it can."""
    command = shutil.which("node")
    if command is None:
        return "node is not installed"
    shown = subprocess.run([command, "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)", shown)
    if found is None or int(found[1]) < OLDEST_NODE:
        return f"node {shown.strip() or '?'} is older than {OLDEST_NODE}"
    return ""


@dataclass(frozen=True)
class Consumed:
    """What a run of the consumer left: exit code, both streams."""

    code: int
    out: str
    err: str

    @property
    def report(self) -> dict[str, Any]:
        """Return the report of `--json`."""
        assert self.out, self.err
        document: dict[str, Any] = json.loads(self.out)
        return document

    @property
    def verdicts(self) -> dict[str, str]:
        """Return id -> verdict of the report."""
        return {case["id"]: case["verdict"] for case in self.report["cases"]}


def run_node(*arguments: str | Path, timeout: float = 120) -> Consumed:
    """Run consume.mjs; skips the test where there is no Node."""
    if missing_node():
        pytest.skip(missing_node())
    command = ["node", str(GOLDEN / "consume.mjs"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    return Consumed(done.returncode, done.stdout, done.stderr)
