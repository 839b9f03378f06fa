"""Write the table of exports into README.md from the contract data.

python tools/make_readme_table.py [--check]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from refruntime.contract import EXPORTS

README = Path(__file__).resolve().parents[1] / "README.md"
BEGIN, END = "<!-- exports: generated from refruntime.contract.EXPORTS -->\n", "<!-- exports end -->"


def with_table(text: str) -> str:
    """Return README text with the current table between its marks."""
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    rows = [f"| `{export.signature}` | `{export.wasm_signature}` |" for export in EXPORTS]
    return head + BEGIN + "| export | wasm |\n|---|---|\n" + "\n".join(rows) + "\n" + END + tail


def main() -> None:
    """Write the table, or with --check exit 1 when it is not current."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    arguments = parser.parse_args()
    old = README.read_text()
    new = with_table(old)
    if arguments.check:
        sys.exit(new != old)
    README.write_text(new)


if __name__ == "__main__":
    main()
