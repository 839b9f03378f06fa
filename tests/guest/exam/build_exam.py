"""Build the exam of `identify`: bugs outside every list, each a patch of the guest in one strange build.

    python tests/guest/exam/build_exam.py --out DIR [--only NAME]
    python tests/drivers/identify.py DIR

They were written by somebody who had read the contract and the guest, and nothing of what is examined. Nothing in the
package may read `exam.json`. Beside each module stands its truth. Needs git, which applies the patches.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.guest import build
from tests.guest.dialects import Dialect
from tests.guest.random_builds import Variant

EXAM = Path(__file__).resolve().parent


def load_exam() -> dict[str, dict[str, Any]]:
    """Return bug name -> rule, rules that are right too, description, and what the build is made of."""
    table: dict[str, dict[str, Any]] = json.loads((EXAM / "exam.json").read_text("utf-8"))
    return table


def build_one(name: str, out: Path) -> Path:
    """Build one bug with its truth beside it; raises BuildError, CalledProcessError where a patch does not apply."""
    each = load_exam()[name]
    variant = Variant(tuple(each["options"]), Dialect.of(each["dialect"]), None, each["opt_level"])
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "tests", "guest", "src")
        shutil.copytree(build.GUEST / "src", source)
        apply = ["git", "apply", str(EXAM / f"{name}.patch")]
        subprocess.run(apply, cwd=scratch, check=True, capture_output=True, text=True)
        built = build.build(
            out,
            options=variant.options,
            dialect=variant.dialect,
            opt_level=variant.opt_level,
            name=f"exam-{name}.wasm",
            source=source,
        )
    bug = {"name": name, **{key: each[key] for key in ("family", "rule", "also", "description")}}
    record = {"module": built.path.name, "sha256": built.sha256, **variant.truth(), "bug": bug}
    truth = built.path.with_name(built.path.name + ".json")
    truth.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return built.path


def main(arguments: Sequence[str] | None = None) -> int:
    """Build what the command line asks for; 0 fine, 3 missing tool or failed build."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="directory for the modules")
    parser.add_argument("--only", action="append", choices=sorted(load_exam()), metavar="NAME", help="only this bug")
    parsed = parser.parse_args(arguments)
    for name in parsed.only or load_exam():
        try:
            print(build_one(name, parsed.out), flush=True)
        except build.BuildError as error:
            print(f"build_exam.py: {error}", file=sys.stderr)
            return 3
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
