"""The tutorial of the witness: its commands are run as they stand there; they find the error and draw the picture.

`python -m tests.unit.numerics.test_kernel_tutorial` draws docs/kernel-bug.svg anew.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("wasmtime", reason="the tutorial runs a build; the extra `wasm` is not installed")

PROJECT = Path(__file__).resolve().parents[3]
PAGE = PROJECT / "docs" / "find-a-kernel-bug.md"
PICTURE = PROJECT / "docs" / "kernel-bug.svg"
BLOCKS = re.findall(r"```console\n\$ (.*?)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def run(line: str, folder: Path) -> str:
    """Run a command of the page with its output in a folder; return what it prints."""
    words = shlex.split(line.replace("/tmp/", f"{folder}/"))
    environment = os.environ | {"COLUMNS": "110", "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=900
    )
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return "".join(line.rstrip() + "\n" for line in done.stdout.splitlines())


def test_the_page_has_three_commands() -> None:
    """FW-6: the page keeps its promise, and what it finds is the one percent."""
    assert len(BLOCKS) == 3
    assert "WRONG blk.0.attn.scores at position 1: all 2 of head 0 and the others times 1.0100000" in BLOCKS[1][1]


@pytest.mark.page
@pytest.mark.parametrize("line", [line for line, _ in BLOCKS])
def test_a_command_prints_what_the_page_shows(line: str, tmp_path: Path) -> None:
    """FW-6: every line; `...` stands for any lines."""
    shown = dict(BLOCKS)[line]
    pattern = "".join(
        r"(?:.*\n)*" if part == "..." else re.escape(part.rstrip()) + r"\n" for part in shown.splitlines()
    )
    printed = run(line, tmp_path)
    assert re.fullmatch(pattern, printed), printed
    if "--plot" in line:
        drawn = (tmp_path / "kernel.svg").read_text(encoding="utf-8")
        assert drawn.startswith("<?xml")
        assert "</svg>" in drawn
        assert PICTURE.stat().st_size > len(drawn) // 4  # another version of matplotlib draws other bytes


def test_a_picture_says_of_what_it_is() -> None:
    """FW-6: build, model, prompt and arithmetic stand in the title; the frame of the first wrong tensor lies on top."""
    picture = pytest.importorskip("refruntime.show.witness_picture", reason="pictures need matplotlib")
    event = {"tensor": "blk.0.attn_q", "state": "wrong"}
    first = {"tensor": "blk.0.attn_q", "position": 3, "pattern": "sign", "text": "all with the other sign"}
    report = {"first": first, "events": [event], "position": 3, "cache": {"keys": None, "values": None}}
    about = {"build": "some.wasm", "model": "m.slm1", "prompt": "Up\nhill", "numerics": "seq32"}
    figure = picture.witness_picture(report | about)
    title = figure.get_suptitle().replace("\u00a0", " ")
    assert title.startswith("WRONG blk.0.attn_q at position 3: all with the other sign\n")
    assert 'build some.wasm; model m.slm1; prompt "Up' in title
    assert title.endswith("numerics seq32")
    axes = figure.axes[0]
    assert max(patch.zorder for patch in axes.patches) > max(mesh.zorder for mesh in axes.collections)


@pytest.mark.slow
def test_the_build_is_the_guest_with_one_bug(tmp_path: Path) -> None:
    """FW-6: `kernel.wasm` is what the guest's builder makes of the bug that multiplies the scale by 1.01."""
    from tests.guest.build import build

    built = build(tmp_path, bugs=["scale_one_percent"])
    assert built.sha256 == hashlib.sha256((PROJECT / "docs" / "kernel.wasm").read_bytes()).hexdigest()


def draw() -> None:
    """Draw the picture of the page and of README."""
    line = next(line for line, _ in BLOCKS if "--plot" in line)
    run(line.replace("/tmp/kernel.svg", str(PICTURE)), PICTURE.parent)


if __name__ == "__main__":
    draw()
