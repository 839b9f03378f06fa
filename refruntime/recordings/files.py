"""The files of a recorded session: `case.json` in the golden format, `answers.json` with what the build answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from refruntime.cases.observe import ObservationKind
from refruntime.golden.case import bytes_value, step_document
from refruntime.golden.reading import GoldenError, JsonNode, parse_document
from refruntime.golden.values import FORMAT_VERSION, json_hash
from refruntime.recordings.convert import RecordedAnswer, RecordedSession
from refruntime.recordings.read import RecordedBuild, read_build

ANSWERS_VERSION: Final = 1
CASE_FILE: Final = "case.json"
ANSWERS_FILE: Final = "answers.json"


def case_document(session: RecordedSession, about: str, files: Mapping[str, str]) -> dict[str, Any]:
    """Return `case.json`; `files` maps model names to paths beside it."""
    return {
        "about": about,
        "format": FORMAT_VERSION,
        "models": {name: {"file": files[name]} for name in session.case.models},
        "rules": list(session.case.rules),
        "steps": [step_document(step) for step in session.case.steps],
    }


def answers_document(session: RecordedSession, case: Any) -> dict[str, Any]:
    """Return `answers.json` for the steps of this `case.json`."""
    build = session.build
    return {
        "build": {"sha256": build.sha256, "declaration": build.declaration, "exports": list(build.exports)},
        "case": json_hash(case),
        "format": ANSWERS_VERSION,
        "notes": list(session.notes),
        "steps": [_answer_document(answer) for answer in session.answers],
    }


def _answer_document(answer: RecordedAnswer) -> dict[str, Any]:
    if answer.kind == "none":
        return {"none": True}
    if answer.kind in ("trap", "error"):
        return {answer.kind: answer.detail}
    if answer.kind == "value":
        return {"value": answer.value}
    texts = {"result": answer.result, "diagnostics": answer.diagnostics}
    return {"status": answer.value, **{key: bytes_value(text) for key, text in texts.items() if text is not None}}


@dataclass(frozen=True)
class Answers:
    """What `answers.json` holds: a build's answer to each step, and notes on what the steps leave out."""

    build: RecordedBuild
    answers: tuple[RecordedAnswer, ...]
    notes: tuple[str, ...]


def read_answers(data: bytes, file: str, case_hash: str, steps: int) -> Answers:
    """Read `answers.json` of the case with this hash and so many steps. GoldenError."""
    root = JsonNode(parse_document(data, file), file)
    fields = root.object(("build", "case", "format", "notes", "steps"))
    if fields["format"].value != ANSWERS_VERSION:
        fields["format"].fail(str(ANSWERS_VERSION))
    if fields["case"].string() != case_hash:
        fields["case"].fail(f"the hash of {CASE_FILE}, {case_hash}; the answers belong to other steps")
    answers = tuple(_answer(node) for node in fields["steps"].items(1))
    if any(answer.kind == "error" for answer in answers[:-1]):
        fields["steps"].fail("no answer after an error", "one")
    if len(answers) != steps:
        raise GoldenError(file, "$.steps", f"{steps} answers, one for each step", str(len(answers)))
    return Answers(read_build(fields["build"]), answers, tuple(note.string() for note in fields["notes"].items()))


def _answer(node: JsonNode) -> RecordedAnswer:
    kinds: tuple[ObservationKind, ...] = ("status", "value", "none", "trap", "error")
    present = [kind for kind in kinds if kind in node.members()]
    if len(present) != 1:
        node.fail(f"exactly one of the keys {', '.join(kinds)}", ", ".join(present) or "none")
    kind = present[0]
    fields = node.object((kind,), ("result", "diagnostics") if kind == "status" else ())
    if kind == "none":
        fields["none"].true()
        return RecordedAnswer("none")
    if kind in ("trap", "error"):
        return RecordedAnswer(kind, detail=fields[kind].string())
    value = fields[kind].count(2**32 - 1)
    texts = {key: fields[key].bytes() for key in ("result", "diagnostics") if key in fields}
    return RecordedAnswer(kind, value, texts.get("result"), texts.get("diagnostics"))
