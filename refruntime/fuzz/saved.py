"""Found sessions on disk, in the form of golden cases: `cases/fuzz/NAME/case.json` and the `models` that they load."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from refruntime.atomic import write_whole
from refruntime.cases.steps import Case
from refruntime.fuzz.pool import Pool
from refruntime.golden.case import parse_case
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
