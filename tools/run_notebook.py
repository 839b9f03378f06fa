"""Run docs/a-token.ipynb in a fresh kernel and keep its outputs.

    python tools/run_notebook.py            # runs it and writes it
    python tools/run_notebook.py --check    # runs it and compares, exit code 1 where an output differs

Pictures are compared by being there: their bytes are those of one version of matplotlib. Needs the extra `notebook`.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

PROJECT = Path(__file__).resolve().parent.parent
NOTEBOOK = PROJECT / "docs" / "a-token.ipynb"
PICTURES = ("image/png", "image/svg+xml")


def executed() -> Any:
    """Return the notebook with the outputs that its cells give now. CellExecutionError where one fails."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    os.environ["PYTHONPATH"] = os.pathsep.join([str(PROJECT), os.environ.get("PYTHONPATH", "")]).strip(os.pathsep)
    os.environ["NO_COLOR"] = "1"
    client = NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(NOTEBOOK.parent)}})
    client.execute()
    for cell in notebook.cells:
        cell.metadata = {}
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def outputs(notebook: Any) -> list[list[dict[str, str]]]:
    """Return what each cell shows: kind of data -> text, a picture as its kind alone."""
    shown = []
    for cell in notebook.cells:
        data = [
            {"text/plain": output.text} if output.output_type == "stream" else dict(output.data)
            for output in cell.get("outputs", [])
        ]
        shown.append([{kind: "" if kind in PICTURES else text for kind, text in each.items()} for each in data])
    return shown


def main() -> int:
    """Run, and write or compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with what is there, write nothing")
    check = parser.parse_args().check
    before = nbformat.read(NOTEBOOK, as_version=4)
    notebook = executed()
    if not check:
        nbformat.write(notebook, NOTEBOOK)
        return 0
    for number, (old, new) in enumerate(zip(outputs(before), outputs(notebook), strict=True)):
        if old != new:
            print(f"cell {number} shows something else; run python tools/run_notebook.py", file=sys.stderr)
            print(f"before: {old}\nnow: {new}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
