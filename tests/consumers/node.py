"""Run golden/consume.mjs with Node, for tests."""

from __future__ import annotations

import atexit
import json
import re
import shutil
import subprocess
import threading
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


class _Server:
    """A process that runs one command line after the other; it ends with the tests."""

    def __init__(self) -> None:
        command = ["node", str(Path(__file__).with_name("command_server.mjs")), str(GOLDEN / "consume.mjs")]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        atexit.register(self.end)

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def run(self, arguments: list[str], timeout: float) -> Consumed:
        """Run one command line; RuntimeError when it does not end in time."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        deadline = threading.Timer(timeout, self._process.kill)
        deadline.start()
        try:
            stdin.write(json.dumps(arguments) + "\n")
            stdin.flush()
            said = stdout.readline()
        finally:
            deadline.cancel()
        if not said:
            server.cache_clear()
            raise RuntimeError(f"consume.mjs {' '.join(arguments)} ended its process, or took {timeout} s")
        return Consumed(**json.loads(said))


@cache
def server() -> _Server:
    """Return the process of this worker."""
    return _Server()


def run_again(*arguments: str | Path, timeout: float = 120) -> Consumed:
    """Run the command line of consume.mjs in a process that has run others; skips the test where there is no Node."""
    if missing_node():
        pytest.skip(missing_node())
    return server().run([str(argument) for argument in arguments], timeout)


def run_node(*arguments: str | Path, timeout: float = 120) -> Consumed:
    """Run consume.mjs in a process of its own; skips the test where there is no Node."""
    if missing_node():
        pytest.skip(missing_node())
    command = ["node", str(GOLDEN / "consume.mjs"), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    return Consumed(done.returncode, done.stdout, done.stderr)
