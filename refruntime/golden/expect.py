"""`expect.json`: what a correct runtime answers, as observations and back (golden/FORMAT.md, section 4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from refruntime.cases.observation import (
    NoAnswer,
    Observation,
    StatusAnswer,
    Trapped,
    ValueAnswer,
    diagnostics_of,
    kind_of,
)
from refruntime.cases.steps import Call, Case, Step, Write
from refruntime.contract.exports import EXPORTS_BY_NAME
from refruntime.contract.fields import DIAGNOSTIC_NAMES, FIELDS_BY_NAME, SUMMARY_KEYS, Kind
from refruntime.contract.profile import CONTRACT_VERSION, Profile
from refruntime.contract.status import Status
from refruntime.golden.case import GoldenCase
from refruntime.golden.reading import JsonNode, check_disk_form, parse_document
from refruntime.golden.samples import read_sample
from refruntime.golden.values import FORMAT_VERSION, bytes_hash, hex_float, json_hash

SHA256: Final = r"[0-9a-f]{64}"
FINGERPRINT: Final = r"[0-9a-f]{16}"
NON_ZERO: Final = "non-zero"


@dataclass(frozen=True)
class GoldenExpectation:
    """An `expect.json` as it was read: for each step the answers of which any is right, usually one.

    Diagnostics are complete, floats are floats.
    """

    steps: tuple[tuple[Observation, ...], ...]
    samples: tuple[Mapping[str, Any], ...]
    inputs: str
    contract: str
    profile: str
    document: Any
    hash: str


def known_as_zero_or_not(step: Step) -> bool:
    """Say whether only zero or not is defined of the step's value: addresses, and the length of the diagnostics."""
    return isinstance(step, Call) and EXPORTS_BY_NAME[step.export].value_is == "zero or not"


def inputs_hash(golden: GoldenCase, case: Case) -> str:
    """Return the hash of everything that the answers follow from."""
    models = {name: bytes_hash(data) for name, data in case.models.items()}
    return json_hash({"case": golden.hash, "models": models})


# Writing -------------------------------------------------------------------------------------------------------------


def expectation_document(
    golden: GoldenCase,
    case: Case,
    observations: Sequence[Observation],
    samples: Sequence[Mapping[str, Any]],
    profile: Profile,
    info: Mapping[str, str],
) -> dict[str, Any]:
    """Return the `expect.json` of a case whose right answers are these observations."""
    return {
        "_info": dict(info),
        "case": golden.id,
        "contract": CONTRACT_VERSION,
        "format": FORMAT_VERSION,
        "inputs": inputs_hash(golden, case),
        "profile": profile.fingerprint,
        "samples": [dict(sample) for sample in samples],
        "steps": list(_answers(observations)),
    }


def _answers(observations: Sequence[Observation]) -> Iterator[dict[str, Any]]:
    before: dict[str, Any] = {}
    for observation in observations:
        if isinstance(observation, StatusAnswer):
            entry: dict[str, Any] = {"status": Status(observation.code).name}
            result = observation.result or b""
            entry["result"] = result.hex()
            text = _printable(result)
            if text:
                entry["_text"] = text
            if observation.diagnostics is not None:
                values = {name: diagnostics_value(name, value) for name, value in observation.diagnostics.items()}
                entry["diagnostics"] = {key: value for key, value in values.items() if before.get(key, ...) != value}
                before = values
            yield entry
        elif isinstance(observation, ValueAnswer):
            unknown = known_as_zero_or_not(observation.step) and observation.value
            yield {"value": NON_ZERO if unknown else observation.value}
        else:
            yield {kind_of(observation): True}


def _printable(result: bytes) -> str:
    """Return the text of a result, empty where it is not printable UTF-8."""
    try:
        text = result.decode("utf-8")
    except UnicodeDecodeError:
        return ""
    return text if text.isprintable() else ""


def diagnostics_value(name: str, value: Any) -> Any:
    """Return a field of a parsed diagnostics document as the golden format writes it."""
    kind = FIELDS_BY_NAME[name].kind
    if kind == "float":
        return _float(value)
    if kind == "pairs":
        return [[token, *map(_float, logit)] for token, *logit in value]
    if kind == "summary" and value is not None:
        return {key: _float(value[key]) for key in SUMMARY_KEYS if key in value}
    return value


def _float(value: float | None) -> str | None:
    # A document holds the shortest decimal of a float32 (DG-7). -0 is written as 0: they are equal.
    return None if value is None else hex_float(np.float32(value) + np.float32(0))


# Reading -------------------------------------------------------------------------------------------------------------


def parse_expectation(golden: GoldenCase, data: bytes, *, form: bool = True) -> GoldenExpectation:
    """Read the `expect.json` of a case; with `form` it must be in the on-disk form. GoldenError."""
    file = f"cases/{golden.id}/expect.json"
    document = parse_document(data, file)
    fields = JsonNode(document, file).object(("case", "contract", "format", "inputs", "profile", "samples", "steps"))
    if fields["format"].value != FORMAT_VERSION or isinstance(fields["format"].value, bool):
        fields["format"].fail(str(FORMAT_VERSION))
    if fields["case"].string() != golden.id:
        fields["case"].fail(repr(golden.id))
    entries = fields["steps"].items(1)
    if len(entries) > len(golden.steps):
        fields["steps"].fail(f"at most {len(golden.steps)} entries, as the case has steps", str(len(entries)))
    carried: dict[str, Any] = {}
    steps = []
    for entry, step in zip(entries, golden.steps, strict=False):
        answers, carried = _alternatives(entry, step, carried)
        steps.append(answers)
    if len(entries) < len(golden.steps) and not any(isinstance(answer, Trapped) for answer in steps[-1]):
        fields["steps"].fail(f"{len(golden.steps)} entries, or fewer with a trap at the end", str(len(entries)))
    if form:
        check_disk_form(data, document, file)
        for node in fields["steps"].items():
            _check_texts(node)
    return GoldenExpectation(
        steps=tuple(steps),
        samples=tuple(read_sample(node, len(entries)) for node in fields["samples"].items()),
        inputs=fields["inputs"].string(SHA256, "a SHA-256"),
        contract=fields["contract"].string(),
        profile=fields["profile"].string(FINGERPRINT, "the fingerprint of a profile"),
        document=document,
        hash=json_hash(document),
    )


def _check_texts(entry: JsonNode) -> None:
    """Refuse a `_text` that is not the text of the result beside it."""
    members = entry.members()
    for answer in members["either"].items() if "either" in members else [entry]:
        fields = answer.members()
        text = _printable(fields["result"].hex_bytes()) if "result" in fields else ""
        found = answer.value.get("_text")
        if found != (text or None):
            JsonNode(found, answer.file, f"{answer.path}._text").fail(repr(text) if text else "none")


def _alternatives(
    entry: JsonNode, step: Step, carried: dict[str, Any]
) -> tuple[tuple[Observation, ...], dict[str, Any]]:
    """Return the answers of one entry, and the diagnostics that the next entry carries over.

    Each alternative of an `either`, and the next entry with diagnostics after it, shows every field.
    """
    members = entry.members()
    if "either" in members:
        nodes = entry.object(("either",))["either"].items(2)
        answers = tuple(_answer(node, step, {}) for node in nodes)
        return answers, {} if any(map(diagnostics_of, answers)) else carried
    answer = _answer(entry, step, carried)
    return (answer,), dict(diagnostics_of(answer)) or carried


def _answer(node: JsonNode, step: Step, carried: Mapping[str, Any]) -> Observation:
    export = EXPORTS_BY_NAME[step.export] if isinstance(step, Call) else None
    members = node.members()
    if "trap" in members:
        node.object(("trap",))["trap"].true()
        return Trapped(step)
    if isinstance(step, Write) or (export is not None and not export.result):
        node.object(("none",))["none"].true()
        return NoAnswer(step)
    if export is not None and not export.returns_status:
        return ValueAnswer(step, _value(node.object(("value",))["value"], step))
    fields = node.object(("status", "result"), ("diagnostics",))
    status = Status[fields["status"].one_of(tuple(Status.__members__))]
    result = fields["result"].hex_bytes()
    diagnostics = None
    if "diagnostics" in fields:
        changed = fields["diagnostics"].object(optional=DIAGNOSTIC_NAMES)
        values = {**carried, **{name: _field(name, item) for name, item in changed.items()}}
        missing = [name for name in DIAGNOSTIC_NAMES if name not in values]
        if missing:
            fields["diagnostics"].fail(f"the field {missing[0]!r}, which no step before shows", "none")
        diagnostics = {name: values[name] for name in DIAGNOSTIC_NAMES}
    return StatusAnswer(step, status, result, diagnostics)


def _value(node: JsonNode, step: Step) -> int:
    if not known_as_zero_or_not(step):
        return node.count(2**32 - 1)
    if node.value != NON_ZERO and (node.value != 0 or isinstance(node.value, bool)):
        node.fail(f'0 or "{NON_ZERO}", which is all that is defined')
    return int(node.value == NON_ZERO)


def _field(name: str, node: JsonNode) -> Any:
    field = FIELDS_BY_NAME[name]
    return None if field.nullable and node.value is None else _READERS[field.kind](node)


def _pair(node: JsonNode) -> list[Any]:
    items = node.items()
    if len(items) not in (1, 2):
        node.fail("a pair of an id and a logit, or an id alone where the build shows no logits")
    return [items[0].count(), *map(_null_or_float, items[1:])]


def _null_or_float(node: JsonNode) -> float | None:
    return None if node.value is None else node.float32()


_READERS: Final[Mapping[Kind, Callable[[JsonNode], Any]]] = {
    "count": JsonNode.count,
    "float": _null_or_float,
    "boolean": JsonNode.boolean,
    "string": JsonNode.string,
    "decimal": lambda node: node.string(r"[0-9]+", "a decimal string"),
    "pairs": lambda node: [_pair(item) for item in node.items()],
    "summary": lambda node: {key: _null_or_float(item) for key, item in node.object(optional=SUMMARY_KEYS).items()},
}
