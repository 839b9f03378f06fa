"""Run the examples of a page, and write what they show into it: `python -m tests.meta.transcripts PAGE`.

A line `$ refruntime repl ...` in a console block begins a session; lines with `> ` in the console blocks behind it are
its words, and what is below each is what it showed. Lines with `>>> ` in Python blocks share one namespace.
"""

from __future__ import annotations

import doctest
import io
import os
import re
import shlex
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent.parent
BLOCK = re.compile(r"^```(console|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COLUMNS = "100"


def run(page: str) -> str:
    """Return a page whose examples show what they show now."""
    words = [line[2:] for kind, body in BLOCK.findall(page) if kind == "console" for line in commands(body, "> ")]
    starts = [line[2:] for kind, body in BLOCK.findall(page) if kind == "console" for line in commands(body, "$ ")]
    assert len(starts) == 1, "one session a page"
    shown = session(shlex.split(starts[0]), words)
    namespace: dict[str, object] = {}

    def renewed(match: re.Match[str]) -> str:
        kind, body = match.groups()
        if kind == "python":
            return f"```python\n{python(body, namespace)}```"
        if body.startswith("$ "):
            return match.group()
        return f"```console\n{''.join(shown.pop(0) for _ in commands(body, '> '))}```"

    return BLOCK.sub(renewed, page)


def commands(body: str, mark: str) -> list[str]:
    return [line for line in body.splitlines() if line.startswith(mark)]


def session(arguments: list[str], words: list[str]) -> list[str]:
    """Return what each word shows, itself included, from a script of the very command line."""
    assert arguments[:2] == ["refruntime", "repl"]
    environment = {key: value for key, value in os.environ.items() if key not in ("FORCE_COLOR", "LINES")}
    done = subprocess.run(
        [sys.executable, "-m", *arguments, "--keep-going"],
        input="\n".join(words) + "\n",
        capture_output=True,
        text=True,
        encoding="utf-8",
        cwd=PROJECT,
        env={**environment, "COLUMNS": COLUMNS, "PYTHONIOENCODING": "utf-8"},
        timeout=300,
    )
    assert done.returncode in (0, 1), done.stderr
    parts = re.split(r"^(?=> )", done.stdout, flags=re.MULTILINE)[1:]
    assert [part.splitlines()[0][2:] for part in parts] == words, done.stderr
    return ["\n".join(line.rstrip() for line in part.splitlines()).rstrip() + "\n" for part in parts]


def python(body: str, namespace: dict[str, object]) -> str:
    """Return a Python block with what its lines show, as an interactive Python would."""
    lines = []
    for example in doctest.DocTestParser().get_examples(body):
        source = example.source.splitlines()
        lines += [
            f"{'...' if place and each.startswith((' ', chr(9))) else '>>>'} {each}"
            for place, each in enumerate(source)
        ]
        caught = io.StringIO()
        with redirect_stdout(caught):
            exec(compile(example.source, "<page>", "single"), namespace)
        lines += [line.rstrip() for line in caught.getvalue().splitlines()]
    return "\n".join(lines) + "\n"


def main() -> None:
    for name in sys.argv[1:]:
        path = Path(name)
        path.write_text(run(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
