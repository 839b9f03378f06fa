"""Write docs/diff.svg: a terminal in which a wrong build is compared, recorded from what the command prints.

    python tools/make_recording.py            # writes it
    python tools/make_recording.py --check    # runs the command and compares the text, exit code 1 where it differs

The build is one of tests/guest with a seeded bug. Left out is the head of the report, which names this machine.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from xml.etree import ElementTree

from rich.console import Console
from rich.terminal_theme import DIMMED_MONOKAI
from rich.text import Text

from refruntime.commands.diff.live import coloured

PROJECT = Path(__file__).resolve().parent.parent
RECORDING = PROJECT / "docs" / "diff.svg"
BUILD = PROJECT / "tests" / "guest" / "mutants" / "guest-bug-attention_scale_hidden.wasm"
COMMAND = ["diff", "build.wasm", "--filter", "generate/stories.q8_0.slm1-probe"]
WIDTH = 116
LEFT_OUT = "..."


def recorded() -> list[str]:
    """Run the command and return the lines of its terminal."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(BUILD, Path(folder) / "build.wasm")
        environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": str(WIDTH), "PYTHONPATH": str(PROJECT)}
        command = [sys.executable, "-m", "refruntime", *COMMAND]
        result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if result.returncode != 1:
        raise SystemExit(f"the build was to differ, exit code 1; found {result.returncode}\n{result.stderr}")
    lines = result.stdout.splitlines()
    begin = next(place for place, line in enumerate(lines) if line.startswith("MISMATCH"))
    return [f"$ refruntime {' '.join(COMMAND)}", LEFT_OUT, *lines[begin:]]


def drawn(lines: list[str]) -> str:
    """Return the lines in color as a picture that loads nothing."""
    console = Console(record=True, width=WIDTH, file=io.StringIO(), legacy_windows=False, force_terminal=True)
    for place, line in enumerate(lines):
        told = Text(line, style="bold") if place == 0 else Text.from_ansi(coloured(line))
        console.print(told, soft_wrap=False, highlight=False)
    svg = console.export_svg(title="", theme=DIMMED_MONOKAI, unique_id="refruntime")
    svg = re.sub(r"@font-face \{.*?\}\s*", "", svg, flags=re.DOTALL)
    return svg.replace("Fira Code", "ui-monospace, DejaVu Sans Mono") + "\n"


def words(svg: str) -> list[str]:
    """Return every word of a picture in order."""
    texts = ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")
    return " ".join("".join(each.itertext()) for each in texts).replace("\u00a0", " ").split()


def main() -> int:
    """Write the picture, or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with what is there, write nothing")
    svg = drawn(recorded())
    if not parser.parse_args().check:
        RECORDING.write_text(svg, encoding="utf-8")
        return 0
    if words(svg) == words(RECORDING.read_text(encoding="utf-8")):
        return 0
    print(f"{RECORDING.relative_to(PROJECT)} shows another output; run python tools/make_recording.py", file=sys.stderr)
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
