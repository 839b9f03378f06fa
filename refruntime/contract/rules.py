"""Read the contract's rules from `rules.toml`: id, source, text and options of each, and the sections around them.

>>> rule("SC-3").options
{'SC-3': ('yes', 'no')}
"""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any, Final, Literal, get_args

from refruntime.contract.profile import CONTRACT_VERSION
from refruntime.contract.status import Status

Source = Literal["published", "derived", "declared"]

SOURCE_LETTERS: Final[Mapping[Source, str]] = {"published": "P", "derived": "V", "declared": "D"}
"""How the text of the rules abbreviates a source."""


class UnknownRuleError(LookupError):
    """No rule has this id; `near` holds the ids that look like it, best first."""

    def __init__(self, identifier: str, near: tuple[str, ...]) -> None:
        self.identifier = identifier
        self.near = near
        hint = f"did you mean {' or '.join(near)}?" if near else "an id looks like GEN-9 or CL-gguf"
        super().__init__(f"no rule {identifier!r}; {hint}")


class RulesError(ValueError):
    """The rules file is malformed; the message names the place, what was expected and what was found."""


@dataclass(frozen=True)
class Rule:
    """One rule of the contract.

    `source`: first that of the rule as a whole, then those of the parts that the text marks with P, V or D.
    `options`: options of each switch of the profile, by profile key; the first option is the default.
    `values`: profile keys that take a value instead of an option.
    `clarifies`: ids of the rules that a clarification of section 13 speaks about.
    """

    id: str
    section: int
    source: tuple[Source, ...]
    text: str
    title: str = ""
    options: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    values: tuple[str, ...] = ()
    clarifies: tuple[str, ...] = ()

    @property
    def letters(self) -> str:
        """Return the source as the contract abbreviates it, such as `P` or `P, D`."""
        return ", ".join(SOURCE_LETTERS[source] for source in self.source)


@dataclass(frozen=True)
class LayoutField:
    """One field of a binary structure: `offset` in bytes, little-endian `type`, `note` on its value."""

    offset: int
    type: str
    name: str
    note: str


@dataclass(frozen=True)
class Layout:
    """A binary structure of section 10: `size` in bytes."""

    name: str
    size: int
    fields: tuple[LayoutField, ...]


@dataclass(frozen=True)
class SourcePages:
    """Public pages from which the published rules of some sections come (section 14)."""

    sections: str
    pages: tuple[str, ...]


@dataclass(frozen=True)
class Section:
    """One section: Markdown paragraphs before (`text`) and after (`closing`) its rules and tables."""

    number: int
    title: str
    text: str
    closing: str
    statuses: Mapping[Status, str]
    layouts: tuple[Layout, ...]
    rules: tuple[Rule, ...]
    pages: tuple[SourcePages, ...]


@dataclass(frozen=True)
class Contract:
    """The whole contract in reading order."""

    version: str
    title: str
    introduction: str
    sections: tuple[Section, ...]

    @property
    def rules(self) -> dict[str, Rule]:
        """Return every rule by id, in reading order."""
        return {rule.id: rule for section in self.sections for rule in section.rules}

    def clarifications(self, identifier: str) -> tuple[Rule, ...]:
        """Return the rules of section 13 that clarify the rule with this id."""
        return tuple(rule for rule in self.rules.values() if identifier in rule.clarifies)

    def rule(self, identifier: str) -> Rule:
        """Return the rule with this id, in any letter case. UnknownRuleError."""
        by_folded_id = {rule.id.casefold(): rule for rule in self.rules.values()}
        wanted = identifier.strip().casefold()
        if wanted not in by_folded_id:
            near = difflib.get_close_matches(wanted, by_folded_id, n=3, cutoff=0.6)
            raise UnknownRuleError(identifier, tuple(by_folded_id[folded].id for folded in near))
        return by_folded_id[wanted]


@cache
def load_contract() -> Contract:
    """Read the contract that is packaged with the project, once. RulesError."""
    return parse_contract(resources.files("refruntime.contract").joinpath("rules.toml").read_text(encoding="utf-8"))


def load_rules() -> dict[str, Rule]:
    """Return every rule by id, in reading order. RulesError."""
    return load_contract().rules


def rule(identifier: str) -> Rule:
    """Return the rule with this id, in any letter case. UnknownRuleError, RulesError."""
    return load_contract().rule(identifier)


def parse_contract(text: str) -> Contract:
    """Read the format of `rules.toml`. RulesError names the first key that is missing, unknown or wrong."""
    try:
        document = _Table(tomllib.loads(text), "the file")
    except tomllib.TOMLDecodeError as error:
        raise RulesError(f"not TOML: {error}") from error
    version = document.string("contract")
    if version != CONTRACT_VERSION:
        raise RulesError(f"contract: expected {CONTRACT_VERSION!r}, found {version!r}")
    contract = Contract(
        version,
        document.string("title"),
        document.string("introduction"),
        tuple(_section(table) for table in document.tables("section")),
    )
    document.done()
    _check_references(contract)
    return contract


class _Table:
    """A TOML table whose keys are taken one by one; `done` refuses what was not taken."""

    def __init__(self, values: Mapping[str, Any], place: str) -> None:
        self.values = dict(values)
        self.place = place

    def take(self, key: str, kind: type, default: Any = None) -> Any:
        value = self.values.pop(key, default)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise RulesError(f"{self.place}: {key}: expected {kind.__name__}, found {value!r}")
        return value

    def string(self, key: str, default: str | None = None) -> str:
        return str(self.take(key, str, default)).strip()

    def integer(self, key: str) -> int:
        return int(self.take(key, int))

    def strings(self, key: str, *, required: bool = False) -> tuple[str, ...]:
        values = self.take(key, list, None if required else [])
        if not all(isinstance(value, str) for value in values):
            raise RulesError(f"{self.place}: {key}: expected strings, found {values!r}")
        return tuple(values)

    def table(self, key: str) -> _Table:
        return _Table(self.take(key, dict, {}), f"{self.place}: {key}")

    def tables(self, key: str) -> list[_Table]:
        tables = []
        for index, value in enumerate(self.take(key, list, []), start=1):
            if not isinstance(value, dict):
                raise RulesError(f"{self.place}: {key} {index}: expected a table, found {value!r}")
            name = value.get("id", value.get("number", index))
            tables.append(_Table(value, f"{self.place}: {key} {name}"))
        return tables

    def done(self) -> None:
        if self.values:
            raise RulesError(f"{self.place}: unknown key {sorted(self.values)[0]!r}")


def _section(table: _Table) -> Section:
    number = table.integer("number")
    section = Section(
        number=number,
        title=table.string("title"),
        text=table.string("text", ""),
        closing=table.string("closing", ""),
        statuses=_statuses(table.table("statuses")),
        layouts=tuple(_layout(layout) for layout in table.tables("layout")),
        rules=tuple(_rule(rule, number) for rule in table.tables("rule")),
        pages=tuple(_pages(pages) for pages in table.tables("pages")),
    )
    table.done()
    return section


def _rule(table: _Table, section: int) -> Rule:
    switches = table.table("options")
    options = {key: switches.strings(key, required=True) for key in list(switches.values)}
    rule = Rule(
        id=table.string("id"),
        section=section,
        source=_source(table),
        text=" ".join(table.string("text").split()),
        title=table.string("title", ""),
        options=options,
        values=table.strings("values"),
        clarifies=table.strings("clarifies"),
    )
    table.done()
    return rule


def _source(table: _Table) -> tuple[Source, ...]:
    known = {name: name for name in get_args(Source)}
    names = table.strings("source", required=True)
    if not names or not set(names) <= set(known):
        raise RulesError(f"{table.place}: source: expected some of {', '.join(known)}, found {list(names)!r}")
    return tuple(known[name] for name in names)


def _statuses(table: _Table) -> dict[Status, str]:
    unknown = [name for name in table.values if name not in Status.__members__]
    if unknown:
        raise RulesError(f"{table.place}: unknown status {unknown[0]!r}")
    return {Status[name]: table.string(name) for name in list(table.values)}


def _layout(table: _Table) -> Layout:
    fields = [
        LayoutField(item.integer("offset"), item.string("type"), item.string("name"), item.string("note"))
        for item in table.tables("fields")
    ]
    layout = Layout(table.string("name"), table.integer("size"), tuple(fields))
    table.done()
    return layout


def _pages(table: _Table) -> SourcePages:
    pages = SourcePages(table.string("sections"), table.strings("pages", required=True))
    table.done()
    return pages


def _check_references(contract: Contract) -> None:
    ids = [rule.id for section in contract.sections for rule in section.rules]
    doubled = sorted({identifier for identifier in ids if ids.count(identifier) > 1})
    if doubled:
        raise RulesError(f"rule {doubled[0]} is there twice")
    for rule in contract.rules.values():
        for other in rule.clarifies:
            if other not in ids:
                raise RulesError(f"rule {rule.id}: clarifies: there is no rule {other!r}")
