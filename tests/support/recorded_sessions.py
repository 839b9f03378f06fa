"""Run sessions in Node as a page does, with and without the recorder."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from refruntime.cases.steps import Call, Case, Configure, Generate, Load, Step, Write
from refruntime.contract.exports import EXPORTS_BY_NAME

PROJECT = Path(__file__).resolve().parent.parent.parent
RECORDER = PROJECT / "golden" / "record.mjs"
PAGE = Path(__file__).resolve().parent / "recorded_page.mjs"


@dataclass(frozen=True)
class Visit:
    """What the page saw in one session, and the recording if there is one."""

    seen: list[list[Any]]
    recording: dict[str, Any] | None

    @property
    def file(self) -> bytes:
        """The recording as a page would save it."""
        return json.dumps(self.recording, ensure_ascii=False).encode()


def node_program() -> str:
    """Return the path of Node; skips where there is none."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("Node is not installed")
    return found


def visit(
    build: Path, cases: Sequence[Case], *, record: bool = True, reads: bool = True, **options: int
) -> list[Visit]:
    """Run each case in a page of its own; with `reads` the page looks at the result after every status."""
    models: dict[str, str] = {}
    sessions = []
    for number, case in enumerate(cases):
        names = {name: f"{number}/{name}" for name in case.models}
        models |= {names[name]: base64.b64encode(data).decode() for name, data in case.models.items()}
        sessions.append([_page_step(step, names) for step in case.steps])
    job = {
        "wasm": str(build),
        "record": record,
        "reads": reads,
        "options": options,
        "models": models,
        "sessions": sessions,
    }
    words = [node_program(), str(PAGE), RECORDER.as_uri()]
    shown = subprocess.run(words, input=json.dumps(job).encode(), capture_output=True, timeout=240)
    assert shown.returncode == 0, shown.stderr.decode()
    return [Visit(**json.loads(line)) for line in shown.stdout.splitlines()]


def _page_step(step: Step, models: dict[str, str]) -> dict[str, Any]:
    if isinstance(step, Load):
        return {"load": models[step.model]}
    if isinstance(step, Generate):
        return {"prompt": step.prompt.hex(), "count": str(step.max_new_tokens)}
    if isinstance(step, Write):
        return {"write": step.to, "bytes": step.data.hex()}
    if isinstance(step, Configure):
        step = Call("set_sampling_config", (step.temperature, step.top_k, step.top_p, step.seed))
    kinds = {"i32": "i", "i64": "l", "f32": "f"}
    types = EXPORTS_BY_NAME[step.export].wasm_parameters
    arguments = [
        {"place": value} if isinstance(value, str) else {kinds[kind]: str(value)}
        for value, kind in zip(step.arguments, types, strict=True)
    ]
    return {"call": step.export, "arguments": arguments, "bind": step.bind}
