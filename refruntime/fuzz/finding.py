"""What a session showed that is not fine: the group it belongs to, and the session as a case that can be replayed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from refruntime.atomic import write_whole
from refruntime.cases.observation import Broken, Observation, kind_of
from refruntime.cases.steps import Call, Case, Configure, Generate, Load, Step, Write
from refruntime.differential.case_result import CaseResult
from refruntime.differential.compare import outcome
from refruntime.fuzz.pool import Pool
from refruntime.golden.case import parse_case, step_document
from refruntime.golden.reading import GoldenError
from refruntime.golden.values import disk_json

FAMILY: Final = "fuzz"


def save_finding(folder: Path, document: Mapping[str, Any], pool: Pool) -> Path:
    """Write the session of a finding below a folder, its models before it; return its `case.json`: OSError."""
    for name in document["case"].get("models", {}):
        model = folder / "models" / name
        model.parent.mkdir(parents=True, exist_ok=True)
        data = pool.artifact(name)
        if not (model.is_file() and model.read_bytes() == data):
            write_whole(model, data)
    path = folder / "cases" / FAMILY / str(document["name"]) / "case.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, disk_json(document["case"]))
    return path


def case_from_document(document: Mapping[str, Any], pool: Pool) -> Case:
    """Return the session of a finding as a case: GoldenError."""
    golden = parse_case(f"{FAMILY}/{document['name']}", disk_json(document["case"]))
    return golden.case(lambda file: pool.artifact(file.removeprefix("models/")))


def saved_cases(folder: Path) -> Iterator[Case]:
    """Yield the saved sessions of a folder, by name: GoldenError for one that cannot be read, OSError."""
    for path in sorted((folder / "cases" / FAMILY).glob("*/case.json")):
        golden = parse_case(f"{FAMILY}/{path.parent.name}", path.read_bytes())
        yield golden.case(lambda file: _model(folder, file))


def _model(folder: Path, file: str) -> bytes:
    try:
        return (folder / file).read_bytes()
    except FileNotFoundError as error:
        raise GoldenError(file, "$", "a model that the case loads", "no such file") from error


RULES: Final = ("ST-1", "ST-3", "ST-4", "ST-5", "ST-6", "ST-7", "ST-8", "GEN-1", "GEN-5", "NT-4", "SC-2", "MEM-2")
"""What a random session may touch; the first difference says more."""

_EXPORTS: Final = {Load: "load_model", Configure: "set_sampling_config", Generate: "generate", Write: "write"}


@dataclass(frozen=True)
class FuzzFinding:
    """A session that is not fine: `group` names its first difference, `steps` lead to it."""

    group: str
    verdict: str
    steps: tuple[Step, ...]

    @property
    def calls(self) -> int:
        """Return the number of steps that call an export; to write bytes is none."""
        return sum(not isinstance(step, Write) for step in self.steps)


def case_of(name: str, steps: Sequence[Step], pool: Pool) -> Case:
    """Return a session as a case with the artifacts that it loads."""
    names = {step.model for step in steps if isinstance(step, Load)}
    return Case(name, tuple(steps), {name: pool.artifact(name) for name in sorted(names)}, RULES)


def finding_of(result: CaseResult) -> FuzzFinding:
    """Return what a judged session that is not fine showed; its steps end with the first difference."""
    first = result.comparison.first
    steps = result.case.steps
    if first is not None:
        steps = steps[: first.index + 1]
    return FuzzFinding(" ".join(group_of(result).split()), str(result.verdict), steps)


def group_of(result: CaseResult) -> str:
    """Name the first difference: the call, the field, and for a status what both sides answered.

    Sessions with one name have most likely one cause.
    """
    if result.crash:
        return f"bug of the oracle: {result.crash.rstrip().splitlines()[-1]}"
    run, first = result.run, result.comparison.first
    if run is None or first is None or first.index >= len(result.case.steps):
        return f"{result.verdict}: {result.reason}"
    export = export_of(result.case.steps[first.index])
    if first.field != "status" or first.index >= min(len(run.reference), len(run.build)):
        return f"{export}: {first.field}"
    mine, theirs = run.reference[first.index], run.build[first.index]
    return f"{export}: oracle {_end(mine)}, build {_end(theirs)}"


def export_of(step: Step) -> str:
    """Return the export that a step calls, `write` for one that calls none."""
    return step.export if isinstance(step, Call) else _EXPORTS[type(step)]


def _end(observation: Observation) -> str:
    """Describe how a step ended, without the places in a build that a trap names."""
    return kind_of(observation) if isinstance(observation, Broken) else outcome(observation)


def finding_document(finding: FuzzFinding, name: str, pool: Pool) -> dict[str, Any]:
    """Return a finding as JSON-ready values: the session is a `case.json` (golden/FORMAT.md, section 3)."""
    models = {step.model: {"file": f"models/{step.model}"} for step in finding.steps if isinstance(step, Load)}
    case = {
        "about": f"Found by random sessions: {finding.group}.",
        "format": 1,
        "rules": list(RULES),
        "steps": [step_document(step) for step in finding.steps],
        **({"models": dict(sorted(models.items()))} if models else {}),
    }
    return {"group": finding.group, "verdict": finding.verdict, "name": name, "calls": finding.calls, "case": case}
