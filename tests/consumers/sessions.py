"""Run sessions made by hand on builds made by hand with the Node consumer, for tests."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.consumers.golden_by_hand import FRESH, write_goldens
from tests.consumers.node import Consumed, run_again

TRAP = "(unreachable)"
GGUF = b"GGUF" + bytes(20)
CONFIGURE = {"configure": {"temperature": "0.7", "top_k": 40, "top_p": "0.95", "seed": 7}}
LOAD = {"load": "file"}


def status(name: str, result: bytes = b"", **fields: Any) -> dict[str, Any]:
    """Return an answer with the diagnostics of a fresh runtime, some changed."""
    return {"status": name, "result": result.hex(), "diagnostics": {**FRESH, **fields}}


def consume(
    folder: Path,
    build: bytes,
    cases: Mapping[str, tuple[Any, Sequence[Any]]],
    *options: str | Path,
    **more: Any,
) -> Consumed:
    """Write goldens and a build, and run the one on the other."""
    golden = folder / "golden"
    if not golden.exists():
        write_goldens(golden, cases, **more)
    (folder / "build.wasm").write_bytes(build)
    return run_again(folder / "build.wasm", "--golden", golden, "--json", *options)


def only(folder: Path, build: bytes, session: Any, answers: Sequence[Any], **more: Any) -> dict[str, Any]:
    """Run one case and return its entry of the report."""
    done = consume(folder, build, {"abi/case": (session, answers)}, **more)
    assert done.err == ""
    (entry,) = done.report["cases"]
    assert done.code == done.report["exit_code"]
    result: dict[str, Any] = entry
    return result


def fields(entry: Mapping[str, Any]) -> list[str]:
    """Return the names of the fields in which a case of a report differs."""
    return [item["field"] for item in entry["first_difference"]["fields"]]
