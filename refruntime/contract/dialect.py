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

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from refruntime.contract.fields import FIELDS, SUMMARY_KEYS

FORM: Final = ".form"
"""What follows the key of a field where a table of places holds its form."""

SUMMARY_PARTS: Final = tuple(f"logits_summary.{part}" for part in SUMMARY_KEYS)
"""Places of the parts of `logits_summary`, for builds that have them apart or under other names."""

NULLABLE: Final = tuple(field.name for field in FIELDS if field.nullable)
"""Fields that may be null (DG-6)."""

KINDS: Final = ("number", "text", "hex", "upper", "list", "joined", "objects", "ids", "parallel", "map", "flat")


class FormError(ValueError):
    """A form is not one; the message says why."""


class Missing:
    """The value of a place that a document does not have; there is one of it, `MISSING`."""


MISSING: Final = Missing()


@dataclass(frozen=True)
class Form:
    """One form, read from its text. `labels` are (contract label, value of the build) pairs."""

    kind: str = ""
    has_none: bool = False
    none: Any = None
    id: str = ""
    logit: str = ""
    separator: str = ","
    labels: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def parse(cls, text: str) -> Form:
        """Read the words of a form: FormError."""
        values: dict[str, Any] = {}
        labels = []
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise FormError(f"{text!r}: {error}") from error
        for word in words:
            key, equals, value = word.partition("=")
            if not equals:
                raise FormError(f"{word!r} is no pair such as as=list")
            if key.startswith("label:"):
                labels.append((key.removeprefix("label:"), _json_or_word(value)))
            elif key == "as" and value in KINDS:
                values["kind"] = value
            elif key == "none":
                values |= {"has_none": True, "none": MISSING if value == "missing" else _json_or_word(value)}
            elif key in ("id", "logit", "separator"):
                values[key] = value
            else:
                raise FormError(f"{word!r} is not known; kinds are {', '.join(KINDS)}")
        return cls(**values, labels=tuple(labels))

    @property
    def text(self) -> str:
        """Return the words of the form; `parse` gives an equal form back."""
        words = [f"as={self.kind}"] if self.kind else []
        words += [f"{name}={getattr(self, name)}" for name in ("id", "logit") if getattr(self, name)]
        if self.separator != ",":
            words.append(f"separator={self.separator}")
        if self.has_none:
            words.append("none=missing" if self.none is MISSING else f"none={json.dumps(self.none)}")
        words += [f"label:{name}={json.dumps(value)}" for name, value in self.labels]
        return " ".join(map(shlex.quote, words))


def _json_or_word(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


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


# Values --------------------------------------------------------------------------------------------------------------


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
                value = _read(name, value, form)
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
            value = _write(name, values[name], form)
            if value is not MISSING and place:
                _put(document, place, value)
        return {key: _listed(value) for key, value in document.items()}


@lru_cache(maxsize=64)
def _forms(forms: tuple[tuple[str, str], ...]) -> Mapping[str, Form]:
    return {name: Form.parse(text) for name, text in forms}


def _nothing(name: str) -> Any:
    return {"top_tokens": [], "tokenizer_output": ""}.get(name)


def _read(name: str, value: Any, form: Form) -> Any:
    if form.has_none and _equal(value, form.none):
        return _nothing(name)
    if value is MISSING:
        return MISSING
    for label, theirs in form.labels:
        if _equal(value, theirs):
            return {"true": True, "false": False}.get(label, label) if name == "model_loaded" else label
    if value is None or not form.kind:
        return value
    try:
        return _READERS[form.kind](name, value, form)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError):
        return value  # not of this form: it means something else, and a comparison shows it as it is


def _write(name: str, value: Any, form: Form) -> Any:
    if form.has_none and (value is None or value == _nothing(name)):
        return form.none
    for label, theirs in form.labels:
        if label == (str(value).lower() if isinstance(value, bool) else value):
            return theirs
    if value is None or not form.kind:
        return value
    return _WRITERS[form.kind](name, value, form)


def _equal(value: Any, other: Any) -> bool:
    if isinstance(value, bool) or isinstance(other, bool):
        return value is other
    return (type(value) is type(other) and bool(value == other)) or (value is MISSING and other is MISSING)


def _read_parts(document: Mapping[str, Any], parts: Mapping[str, str], form: Form) -> Any:
    found = {part.partition(".")[2]: at_place(document, place) for part, place in parts.items() if place}
    if form.has_none and found and all(_equal(value, form.none) for value in found.values()):
        return None
    there = {part: value for part, value in found.items() if value is not MISSING}
    if not there:
        return MISSING
    return None if all(value is None for value in there.values()) and not form.has_none else there


def _number(text: Any) -> Any:
    if not isinstance(text, str):
        raise TypeError(text)
    return int(text) if text.lstrip("-").isdigit() else float(text)


def _read_list(name: str, value: Any, form: Form) -> Any:
    items = [item[form.id] if form.id else item for item in value]
    return ",".join(str(_whole(item)) for item in items)


def _whole(item: Any) -> int:
    if isinstance(item, bool) or not isinstance(item, int | str):
        raise TypeError(item)
    return int(item)


def _read_parallel(name: str, value: Any, form: Form) -> Any:
    return [list(pair) for pair in zip(value[form.id], value[form.logit], strict=True)]


def _read_objects(name: str, value: Any, form: Form) -> Any:
    if name == "tokenizer_output":
        return _read_list(name, value, form)
    return [[item[form.id], item[form.logit]] if form.logit else [item[form.id]] for item in value]


def _read_ids(name: str, value: Any, form: Form) -> Any:
    return [[_whole(item)] for item in value]


def _read_map(name: str, value: Any, form: Form) -> Any:
    return [[int(token), logit] for token, logit in value.items()]


def _read_flat(name: str, value: Any, form: Form) -> Any:
    return [[value[at], value[at + 1]] for at in range(0, len(value), 2)]


def _read_joined(name: str, value: Any, form: Form) -> Any:
    if not isinstance(value, str):
        raise TypeError(value)
    return ",".join(str(int(item)) for item in value.split(form.separator)) if value else ""


_READERS: Final[Mapping[str, Callable[[str, Any, Form], Any]]] = {
    "number": lambda name, value, form: str(_whole(value)),
    "text": lambda name, value, form: _number(value),
    "hex": lambda name, value, form: str(int(value, 16)),
    "upper": lambda name, value, form: value.lower(),
    "list": _read_list,
    "joined": _read_joined,
    "objects": _read_objects,
    "ids": _read_ids,
    "parallel": _read_parallel,
    "map": _read_map,
    "flat": _read_flat,
}


def _ids(value: str) -> list[int]:
    return [int(item) for item in value.split(",")] if value else []


def _write_objects(name: str, value: Any, form: Form) -> Any:
    if name == "tokenizer_output":
        return [{form.id: item} for item in _ids(value)]
    return [{form.id: pair[0], **({form.logit: pair[1]} if form.logit else {})} for pair in value]


_WRITERS: Final[Mapping[str, Callable[[str, Any, Form], Any]]] = {
    "number": lambda name, value, form: int(value),
    "text": lambda name, value, form: str(value),
    "hex": lambda name, value, form: f"{int(value):#x}",
    "upper": lambda name, value, form: value.upper(),
    "list": lambda name, value, form: _ids(value),
    "joined": lambda name, value, form: value.replace(",", form.separator),
    "objects": _write_objects,
    "ids": lambda name, value, form: [pair[0] for pair in value],
    "parallel": lambda name, value, form: {
        form.id: [pair[0] for pair in value],
        form.logit: [pair[1] for pair in value],
    },
    "map": lambda name, value, form: {str(pair[0]): pair[1] for pair in value},
    "flat": lambda name, value, form: [item for pair in value for item in pair],
}
