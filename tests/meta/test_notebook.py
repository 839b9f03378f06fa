"""docs/a-token.ipynb runs in a fresh kernel and shows what it holds; values show themselves once, in a notebook too."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.text import Text

from refruntime.show.text import as_string

PROJECT = Path(__file__).resolve().parents[2]
NOTEBOOK: dict[str, Any] = json.loads((PROJECT / "docs" / "a-token.ipynb").read_text(encoding="utf-8"))
CELLS: list[dict[str, Any]] = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def test_every_cell_shows_one_thing() -> None:
    """SA-6: no cell failed, and each value is shown once: as HTML or a picture, and as text beside it."""
    for number, cell in enumerate(CELLS):
        (output,) = cell["outputs"]
        assert output["output_type"] in ("execute_result", "stream"), cell["source"]
        assert cell["execution_count"] == number + 1
        if "data" in output:
            assert "".join(output["data"]["text/plain"]).strip(), cell["source"]
            assert len(output["data"]) == 2, cell["source"]


def test_it_tells_the_truth() -> None:
    """SA-6, PR-3: the shown point is the shown coin times the shown mass, and lies where the winner says."""
    texts = ["".join(output.get("data", {}).get("text/plain", "")) for cell in CELLS for output in cell["outputs"]]
    (why,) = [text for text in texts if text.startswith("chosen")]
    unit, mass = (float(re.findall(pattern, why)[0]) for pattern in (r"unit ([\d.]+)", r"mass ([\d.]+)"))
    point, low, high = map(float, re.findall(r"= ([\d.]+), in \[([\d.]+), ([\d.]+)\)", why)[0])
    assert point == pytest.approx(unit * mass, rel=1e-6)
    assert low <= point < high


def test_text_stays_text_in_a_notebook(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """SA-6: text is returned, not displayed, although rich displays what is printed in a notebook."""
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    assert as_string([Text("one"), Text("two")]) == "one\ntwo"
    assert capsys.readouterr().out == ""


@pytest.mark.package
def test_it_shows_what_it_holds() -> None:
    """SA-6: every output is what the cell gives today."""
    for name in ("nbclient", "ipykernel", "matplotlib", "wasmtime"):
        pytest.importorskip(name, reason="pip install -e '.[package,test]'")
    words = [sys.executable, "tools/run_notebook.py", "--check"]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
