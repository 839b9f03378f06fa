"""Measure `step` of the REPL on the TinyLM-16M shape: from key to output, and the share outside of the forward pass.

    python benchmarks/bench_repl.py [--json] [--steps 40]

`inside` is one process: a word obeyed and its answer rendered, with the time in the forward pass taken apart.
`pipe` is a line written to standard input until its answer is read; `terminal` is the Enter key in a pseudo terminal
until the answer is on it, with prompt-toolkit and all. `gap` is what these take beyond the forward pass.
"""

from __future__ import annotations

import argparse
import fcntl
import io
import json
import os
import pty
import select
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from rich.console import Console

from refruntime.battery.models.slm1 import TINYLM_16M, model_of, random_weights
from refruntime.contract.profile import Profile
from refruntime.repl.shell import Shell, show
from refruntime.repl.tools import Tools
from refruntime.repl.words.table import all_words
from refruntime.repl.words.word import Branches

PROJECT = Path(__file__).resolve().parent.parent
BEGIN = ("set temperature=0.4 top_k=40 seed=7", 'prompt "Once upon a time"')
PATIENCE = 60.0
INPUT_IS_READ = b"\x1b[?2004h"  # bracketed paste is switched on when a line is being read


def model_file(folder: str) -> Path:
    weights = random_weights(1, TINYLM_16M)
    weights["output.weight"][257] = np.float32(0)  # no stop token
    path = Path(folder) / "tinylm.slm1"
    path.write_bytes(model_of(weights, TINYLM_16M, Profile()))
    return path


def measure_inside(path: Path, steps: int) -> dict[str, float]:
    """Time words in this process, the forward pass apart."""
    tools = Tools(models={"tinylm": path})
    shell = Shell(tools, all_words(), Branches(tools.opened("tinylm")))
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    transformer = shell.branches.node.present.subject.prefix_cache.transformer
    forward, spent = transformer.forward, [0.0]

    def timed(*arguments: Any, **options: Any) -> Any:
        begin = time.perf_counter()
        result = forward(*arguments, **options)
        spent[0] += time.perf_counter() - begin
        return result

    transformer.forward = timed  # type: ignore[method-assign]
    for line in (*BEGIN, "step"):
        assert shell.obey(line).code == 0
    totals, forwards = [], []
    for _ in range(steps):
        spent[0] = 0.0
        begin = time.perf_counter()
        show(shell.obey("step"), console, console)
        totals.append(time.perf_counter() - begin)
        forwards.append(spent[0])
    outside = [total - forward for total, forward in zip(totals, forwards, strict=True)]
    return {
        "inside_ms": 1e3 * statistics.median(totals),
        "forward_ms": 1e3 * statistics.median(forwards),
        "outside_ms": 1e3 * statistics.median(outside),
        "outside_worst_ms": 1e3 * max(outside),
    }


def measure_lines(write: Callable[[bytes], object], read: Callable[[], bytes], steps: int, enter: bytes) -> list[float]:
    """Time lines: from the last key until the answer's `text` has come."""

    def answer(until: bytes) -> None:
        seen, begin = b"", time.monotonic()
        while until not in seen:
            if time.monotonic() - begin > PATIENCE:
                raise SystemExit(f"no {until!r} in {seen!r}")
            seen += read()

    write(BEGIN[0].encode() + enter)
    answer(b"sampling")
    write(BEGIN[1].encode() + enter)
    answer(b" ids")
    times = []
    for _ in range(steps + 1):
        time.sleep(0.05)  # a person's pause: the input line is drawn
        write(b"step")
        time.sleep(0.05)
        begin = time.perf_counter()
        write(enter)
        answer(b"text")
        times.append(time.perf_counter() - begin)
    return times[1:]


def measure_pipe(path: Path, steps: int) -> list[float]:
    command = [sys.executable, "-m", "refruntime", "repl", str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=PROJECT) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        source, sink = process.stdin.fileno(), process.stdout.fileno()
        times = measure_lines(lambda data: os.write(source, data), lambda: os.read(sink, 65536), steps, b"\n")
        process.stdin.close()
        process.wait(PATIENCE)
    return times


def measure_terminal(path: Path, steps: int) -> list[float]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    command = [sys.executable, "-m", "refruntime", "repl", str(path)]
    with tempfile.TemporaryDirectory() as state:
        environment = {**os.environ, "XDG_STATE_HOME": state, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
        process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=PROJECT, env=environment, start_new_session=True
        )
        os.close(theirs)

        def read() -> bytes:
            return os.read(ours, 65536) if select.select([ours], [], [], 1.0)[0] else b""

        seen, begin = b"", time.monotonic()
        while INPUT_IS_READ not in seen:
            if time.monotonic() - begin > PATIENCE:
                raise SystemExit(f"no prompt in {seen!r}")
            seen += read()
        try:
            return measure_lines(lambda data: os.write(ours, data), read, steps, b"\r")
        finally:
            os.write(ours, b"\x04")
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
            os.close(ours)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = model_file(folder)
        figures = measure_inside(path, arguments.steps)
        for name, times in (
            ("pipe", measure_pipe(path, arguments.steps)),
            ("terminal", measure_terminal(path, arguments.steps)),
        ):
            figures[f"{name}_ms"] = 1e3 * statistics.median(times)
            figures[f"{name}_worst_ms"] = 1e3 * max(times)
            figures[f"{name}_gap_ms"] = figures[f"{name}_ms"] - figures["forward_ms"]
    if arguments.json:
        print(json.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:20} {value:8.1f}")


if __name__ == "__main__":
    main()
