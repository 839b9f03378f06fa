"""What a value of a field looks like where it is not as the contract has it; `contract.dialect` tells the words."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

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


def _nothing(name: str) -> Any:
    return {"top_tokens": [], "tokenizer_output": ""}.get(name)


def read_value(name: str, value: Any, form: Form) -> Any:
    """Return a build's value of a field in the contract's form."""
    if form.has_none and equal(value, form.none):
        return _nothing(name)
    if value is MISSING:
        return MISSING
    for label, theirs in form.labels:
        if equal(value, theirs):
            return {"true": True, "false": False}.get(label, label) if name == "model_loaded" else label
    if value is None or not form.kind:
        return value
    try:
        return _READERS[form.kind](name, value, form)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError):
        return value  # not of this form: it means something else, and a comparison shows it as it is


def write_value(name: str, value: Any, form: Form) -> Any:
    """Return a field in the form of a build; MISSING where it is left out then."""
    if form.has_none and (value is None or value == _nothing(name)):
        return form.none
    for label, theirs in form.labels:
        if label == (str(value).lower() if isinstance(value, bool) else value):
            return theirs
    if value is None or not form.kind:
        return value
    return _WRITERS[form.kind](name, value, form)


def equal(value: Any, other: Any) -> bool:
    """Say whether two JSON values are of one type and equal; what is missing equals what is missing."""
    if isinstance(value, bool) or isinstance(other, bool):
        return value is other
    return (type(value) is type(other) and bool(value == other)) or (value is MISSING and other is MISSING)


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
