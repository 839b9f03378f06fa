"""The files of a recorded session: `case.json` in the golden format, `answers.json` with what the build answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from refruntime.cases.observation import EngineFailed, NoAnswer, StatusAnswer, Trapped, ValueAnswer, kind_of
from refruntime.cases.steps import Step
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
    match answer.shown:
        case StatusAnswer(code=code, result=result):
            texts = {"result": result, "diagnostics": answer.document}
            return {"status": code, **{key: bytes_value(text) for key, text in texts.items() if text is not None}}
        case ValueAnswer(value=value):
            return {"value": value}
        case NoAnswer():
            return {"none": True}
        case broken:
            return {kind_of(broken): broken.detail}


@dataclass(frozen=True)
class Answers:
    """What `answers.json` holds: a build's answer to each step, and notes on what the steps leave out."""

    build: RecordedBuild
    answers: tuple[RecordedAnswer, ...]
    notes: tuple[str, ...]


def read_answers(data: bytes, file: str, case_hash: str, steps: Sequence[Step]) -> Answers:
    """Read `answers.json` of the case with this hash and these steps. GoldenError."""
    root = JsonNode(parse_document(data, file), file)
    fields = root.object(("build", "case", "format", "notes", "steps"))
    if fields["format"].value != ANSWERS_VERSION:
        fields["format"].fail(str(ANSWERS_VERSION))
    if fields["case"].string() != case_hash:
        fields["case"].fail(f"the hash of {CASE_FILE}, {case_hash}; the answers belong to other steps")
    nodes = fields["steps"].items(1)
    answers = tuple(_answer(step, node) for step, node in zip(steps, nodes, strict=False))
    if any(isinstance(answer.shown, EngineFailed) for answer in answers[:-1]):
        fields["steps"].fail("no answer after an error", "one")
    if len(nodes) != len(steps):
        raise GoldenError(file, "$.steps", f"{len(steps)} answers, one for each step", str(len(nodes)))
    return Answers(read_build(fields["build"]), answers, tuple(note.string() for note in fields["notes"].items()))


def _answer(step: Step, node: JsonNode) -> RecordedAnswer:
    kinds = ("status", "value", "none", "trap", "error")
    present = [kind for kind in kinds if kind in node.members()]
    if len(present) != 1:
        node.fail(f"exactly one of the keys {', '.join(kinds)}", ", ".join(present) or "none")
    kind = present[0]
    fields = node.object((kind,), ("result", "diagnostics") if kind == "status" else ())
    if kind == "none":
        fields["none"].true()
        return RecordedAnswer(NoAnswer(step))
    if kind in ("trap", "error"):
        return RecordedAnswer((Trapped if kind == "trap" else EngineFailed)(step, fields[kind].string()))
    value = fields[kind].count(2**32 - 1)
    if kind == "value":
        return RecordedAnswer(ValueAnswer(step, value))
    texts = {key: fields[key].bytes() for key in ("result", "diagnostics") if key in fields}
    return RecordedAnswer(StatusAnswer(step, value, texts.get("result")), texts.get("diagnostics"))
