"""Write calls as a golden case (golden/FORMAT.md, section 3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from refruntime.cases.steps import FREE, INIT, NEXT_TOKEN, RESET, Call, Configure, Generate, Load, Step, Write
from refruntime.contract.rules import load_rules
from refruntime.golden.case import IDENTIFIER, parse_case, step_document
from refruntime.golden.corpus import Corpus
from refruntime.golden.reading import GoldenError
from refruntime.golden.values import FORMAT_VERSION, disk_json
from refruntime.session.state import SessionError

RULES_OF_CALLS: Final[dict[Call, str]] = {NEXT_TOKEN: "NT-4", RESET: "ST-5", FREE: "ST-6", INIT: "ST-1"}


class BadName(SessionError):
    """The id is none, or a rule is no rule of the contract."""


@dataclass(frozen=True)
class Shelf:
    """Where a case is saved: the goldens, the bytes of a model by name, and how the case they came from names them."""

    golden: Corpus
    content: Callable[[str], bytes]
    specs: Mapping[str, Any] = field(default_factory=dict)


def save_case(shelf: Shelf, script: Sequence[Step], identifier: str, about: str = "", rules: str = "") -> Path:
    """Write `case.json` below the goldens and return its path.

    BadName for an id or rule that is none; SessionError for what a case cannot hold, or a case that exists; OSError.
    """
    if not IDENTIFIER.fullmatch(identifier):
        raise BadName(f"expected an id FAMILY/NAME of a-z, 0-9, `-` and `.`, found {identifier!r}")
    if not script:
        raise SessionError("there are no calls to save yet")
    path = shelf.golden.path(f"cases/{identifier}/case.json")
    if not shelf.golden.path("models").is_dir():
        raise SessionError(f"{shelf.golden.root} holds no goldens; start with --golden DIR")
    if path.exists():
        raise SessionError(f"{path} exists; a case is not overwritten")
    loaded = dict.fromkeys(step.model for step in script if isinstance(step, Load))
    document: dict[str, Any] = {
        "about": about.strip() or _about(script),
        "format": FORMAT_VERSION,
        "rules": _rules(rules, script),
        "steps": [step_document(step) for step in script],
    }
    if loaded:
        document["models"] = {name: _spec(shelf, name) for name in loaded}
    data = disk_json(document)
    try:
        if parse_case(identifier, data).steps != tuple(script):
            raise SessionError("the calls do not survive being written; no case was saved")
    except GoldenError as error:
        raise SessionError(f"a case cannot hold this: {error}") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    shelf.golden.write(f"cases/{identifier}/case.json", data)
    return path


def _about(script: Sequence[Step]) -> str:
    kinds = [type(step).__name__.lower() if not isinstance(step, Call) else step.export for step in script]
    return f"A session saved from the REPL: {', '.join(dict.fromkeys(kinds))}."


def _rules(written: str, script: Sequence[Step]) -> list[str]:
    """Return the rules that a person named, or those that the calls touch most plainly."""
    if written:
        known = load_rules().keys()
        named = list(dict.fromkeys(part.strip() for part in written.split(",")))
        unknown = [rule for rule in named if rule not in known]
        if unknown:
            raise BadName(f"{unknown[0]!r} is no rule of the contract; `refruntime contract` lists them")
        return named
    found: dict[str, None] = {}
    for step in script:
        if isinstance(step, Generate):
            found["GEN-5"] = None
        elif isinstance(step, Configure):
            found |= {"SA-6": None} if step.temperature > 0 else {"SA-1": None}
        elif isinstance(step, Call) and step in RULES_OF_CALLS:
            found[RULES_OF_CALLS[step]] = None
        elif isinstance(step, Call | Write):
            found["MEM-1"] = None
    return sorted(found) or ["ST-3"]


def _spec(shelf: Shelf, name: str) -> Any:
    """Return how the case names an artifact: as the case it came from did, or the equal file below the goldens."""
    if name in shelf.specs:
        return shelf.specs[name]
    content = shelf.content(name)
    for file in sorted(shelf.golden.path("models").iterdir()):
        if file.is_file() and file.stat().st_size == len(content) and file.read_bytes() == content:
            return {"file": f"models/{file.name}"}
    raise SessionError(
        f"model {name} is no file in {shelf.golden.path('models')}; a case loads only those, so put it there first"
    )
