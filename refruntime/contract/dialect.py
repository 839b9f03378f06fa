"""How a build writes its diagnostics: places and forms of the fields, to and from the contract's own (DG-3, DG-6).

A *place* says where a field lies: a top-level key, or a JSON Pointer (RFC 6901) such as `/context/length` or
`/logits/0`; the empty text means that the build does not have the field. The parts of `logits_summary` may lie apart
(`logits_summary.min` and so on). A *form* says in words what a value looks like where it is not the contract's:

    as=number | text | hex | upper | list | joined | objects | ids | parallel | map | flat
    none=VALUE      what stands for "there is none"; `none=missing` when the place is not there then
    id=KEY logit=KEY    the members of `objects` and `parallel`
    separator=TEXT  of `joined`
    label:NAME=VALUE    what stands for a label, or for true and false

A VALUE is JSON, or a word that stands for itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from refruntime.contract.fields import FIELDS, SUMMARY_KEYS
from refruntime.contract.forms import MISSING, Form, equal, read_value, write_value

FORM: Final = ".form"
"""What follows the key of a field where a table of places holds its form."""

SUMMARY_PARTS: Final = tuple(f"logits_summary.{part}" for part in SUMMARY_KEYS)
"""Places of the parts of `logits_summary`, for builds that have them apart or under other names."""

NULLABLE: Final = tuple(field.name for field in FIELDS if field.nullable)
"""Fields that may be null (DG-6)."""

# Places --------------------------------------------------------------------------------------------------------------


def at_place(document: Any, place: str) -> Any:
    """Return the value at a place of a document, MISSING where there is none."""
    if not place.startswith("/"):
        return document.get(place, MISSING) if isinstance(document, Mapping) and place else MISSING
    value = document
    for key in _keys(place):
        if isinstance(value, Mapping):
            value = value.get(key, MISSING)
        elif isinstance(value, list) and key.isascii() and key.isdigit() and int(key) < len(value):
            value = value[int(key)]
        else:
            return MISSING
    return value


@lru_cache(maxsize=256)
def _keys(place: str) -> tuple[str, ...]:
    """Return the keys of a JSON Pointer that begins with a slash."""
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in place[1:].split("/"))


def place_of(path: tuple[str, ...]) -> str:
    """Return the place of a path of keys: the key itself at the top, else a JSON Pointer."""
    if len(path) == 1 and path[0] and not path[0].startswith("/"):
        return path[0]
    return "".join("/" + key.replace("~", "~0").replace("/", "~1") for key in path)


def _put(document: dict[str, Any], place: str, value: Any) -> None:
    """Put a value at a place; a part of a list is put as a member with a number for its name until `_listed`."""
    if not place.startswith("/"):
        document[place] = value
        return
    *parents, last = _keys(place)
    inner = document
    for key in parents:
        below = inner.setdefault(key, {})
        inner = below if isinstance(below, dict) else inner.setdefault(key + "'", {})
    inner[last] = value


def _listed(value: Any) -> Any:
    """Turn objects whose members are numbered from 0 on into lists."""
    if not isinstance(value, dict):
        return value
    members = {key: _listed(item) for key, item in value.items()}
    if members and list(members) == [str(index) for index in range(len(members))]:
        return list(members.values())
    return members


@dataclass(frozen=True)
class Dialect:
    """Places and forms of the fields `names`; see the module's text."""

    names: tuple[str, ...]
    places: tuple[tuple[str, str], ...] = ()
    forms: tuple[tuple[str, str], ...] = ()

    @classmethod
    def of(cls, names: tuple[str, ...], table: tuple[tuple[str, str], ...]) -> Dialect:
        """Return the dialect of a table of places, and of forms under keys such as `seed.form`."""
        places = tuple((name, text) for name, text in table if not name.endswith(FORM))
        forms = tuple((name.removesuffix(FORM), text) for name, text in table if name.endswith(FORM))
        return cls(names, places, forms)

    @property
    def table(self) -> tuple[tuple[str, str], ...]:
        """Return places and forms as one table; `of` gives an equal dialect back."""
        return (*self.places, *((name + FORM, text) for name, text in self.forms))

    @property
    def plain(self) -> bool:
        """Say whether every field lies and looks as in the contract."""
        return not self.places and not self.forms

    def read(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a build's document in the contract's form; what the build does not have is absent."""
        if self.plain:
            return {name: document[name] for name in self.names if name in document}
        found: dict[str, Any] = {}
        places, forms = dict(self.places), _forms(self.forms)
        parts = {part: places[part] for part in SUMMARY_PARTS if part in places}
        for name in self.names:
            form = forms.get(name, Form())
            if name == "logits_summary" and parts:
                value = _read_parts(document, parts, form)
            else:
                value = at_place(document, places.get(name, name))
                value = read_value(name, value, form)
            if value is not MISSING:
                found[name] = value
        return found

    def write(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return the build's document of fields in the contract's form; what the build does not have is left out."""
        document: dict[str, Any] = {}
        places, forms = dict(self.places), _forms(self.forms)
        parts = {part: places[part] for part in SUMMARY_PARTS if part in places}
        for name in self.names:
            form, place = forms.get(name, Form()), places.get(name, name)
            if name == "logits_summary" and parts:
                for part, where in parts.items():
                    whole = values[name]
                    value = whole[part.partition(".")[2]] if whole is not None else form.none if form.has_none else None
                    if value is not MISSING and where:
                        _put(document, where, value)
                continue
            value = write_value(name, values[name], form)
            if value is not MISSING and place:
                _put(document, place, value)
        return {key: _listed(value) for key, value in document.items()}


@lru_cache(maxsize=64)
def _forms(forms: tuple[tuple[str, str], ...]) -> Mapping[str, Form]:
    return {name: Form.parse(text) for name, text in forms}


def _read_parts(document: Mapping[str, Any], parts: Mapping[str, str], form: Form) -> Any:
    found = {part.partition(".")[2]: at_place(document, place) for part, place in parts.items() if place}
    if form.has_none and found and all(equal(value, form.none) for value in found.values()):
        return None
    there = {part: value for part, value in found.items() if value is not MISSING}
    if not there:
        return MISSING
    return None if all(value is None for value in there.values()) and not form.has_none else there
