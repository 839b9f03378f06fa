"""What the fields of a contract profile may hold: options, numbers, selections and tables of names, and their TOML."""

from __future__ import annotations

import json
import textwrap
from typing import Any, Final, TypeGuard

from refruntime.contract.checksum_order import OrderError, read_order
from refruntime.contract.dialect import FORM, SUMMARY_PARTS
from refruntime.contract.features import feature
from refruntime.contract.fields import DIAGNOSTIC_NAMES
from refruntime.contract.forms import Form, FormError
from refruntime.contract.status import Status

CONTAINERS: Final = ("slm1", "gguf")
"""Containers that a loader may know (GG-1)."""


class ProfileError(ValueError):
    """A profile file or value is not valid; the message names the key, what was expected and what was found."""


MAPS: Final = ("ERR-3", "DG-3")
"""Keys whose value is a table of names."""

_INTEGER_RANGES: dict[str, tuple[int, int]] = {
    "SL-5.start": (0, 2**64 - 1),
    "SL-5.rotation": (0, 63),
    "GG-7": (1, 2**31 - 1),
}


def check_value(metadata: Any, value: object) -> None:
    """Refuse a value that a field of the profile cannot have: ProfileError names the key."""
    key = metadata["key"]
    if "options" in metadata:
        if value not in metadata["options"]:
            raise ProfileError(f"{key}: {value!r} is no option; expected one of {', '.join(metadata['options'])}")
    elif key == "SL-5.order":
        _check_order(key, value)
    elif key in _INTEGER_RANGES:
        low, high = _INTEGER_RANGES[key]
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise ProfileError(f"{key}: expected an integer {low} .. {high}, found {value!r}")
    elif key == "GG-1":
        if not isinstance(value, tuple) or not value or any(name not in CONTAINERS for name in value):
            raise ProfileError(f"{key}: expected a non-empty selection of slm1 and gguf, found {value!r}")
    elif key == "ID-1":
        _check_features(key, value)
    elif key == "ERR-3" and not _is_message_map(value):
        raise ProfileError(f"{key}: expected a table from names of failing statuses to texts, found {value!r}")
    elif key == "DG-3":
        _check_dialect(key, value)


def _check_dialect(key: str, value: object) -> None:
    """Refuse what is no table of places and forms (see `contract.dialect`)."""
    if not _is_name_map(value):
        raise ProfileError(f"{key}: expected a table from diagnostics keys to names, no name twice, found {value!r}")
    for name, text in value:
        if name.endswith(FORM):
            try:
                Form.parse(text)
            except FormError as error:
                raise ProfileError(f"{key}: {name}: {error}") from error


def _check_features(key: str, value: object) -> None:
    """Refuse what is no tuple of names of features."""
    if not isinstance(value, tuple) or not all(isinstance(name, str) for name in value):
        raise ProfileError(f"{key}: expected a list of features, found {value!r}")
    for name in value:
        try:
            feature(name)
        except ValueError as error:
            raise ProfileError(f"{key}: {error}") from error


def _check_order(key: str, value: object) -> None:
    if not isinstance(value, str):
        raise ProfileError(f"{key}: expected a text such as 'mix, rotate, multiply', found {value!r}")
    try:
        read_order(value)
    except OrderError as error:
        raise ProfileError(f"{key}: {error}") from error


def _is_message_map(value: object) -> bool:
    """Say whether a value is a tuple of (name of a failing status, text), no status twice."""
    if not isinstance(value, tuple) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
        return False
    texts = dict(value)
    failures = {status.name for status in Status if status}
    return len(texts) == len(value) and set(texts) <= failures and all(map(_is_unicode, texts.values()))


def _is_unicode(text: object) -> bool:
    return isinstance(text, str) and not any("\ud800" <= character <= "\udfff" for character in text)


def _is_pairs(value: object) -> TypeGuard[tuple[tuple[str, str], ...]]:
    """Say whether a value is a tuple of pairs of texts, no first text twice."""
    if not isinstance(value, tuple) or not all(isinstance(pair, tuple) and len(pair) == 2 for pair in value):
        return False
    return len(dict(value)) == len(value) and all(isinstance(text, str) for pair in value for text in pair)


def _is_name_map(value: object) -> TypeGuard[tuple[tuple[str, str], ...]]:
    """Say whether a value is a tuple of (diagnostics key, place) that leaves every place unique, and of forms.

    A place is a name, a JSON Pointer, or empty for a field that a build does not have; the parts of `logits_summary`
    may have places of their own. The form of a field stands under its key with `.form` behind it.
    """
    if not _is_pairs(value):
        return False
    forms = {name for name, _ in value if name.endswith(FORM)}
    renamed = {name: place for name, place in value if name not in forms}
    parts = [name for name in SUMMARY_PARTS if name in renamed]
    whole = [name for name in DIAGNOSTIC_NAMES if name != "logits_summary" or not parts]
    places = [place for name in (*whole, *parts) if (place := renamed.get(name, name))]
    known = {*DIAGNOSTIC_NAMES, *SUMMARY_PARTS}
    return set(renamed) <= known and {f.removesuffix(FORM) for f in forms} <= known and len(set(places)) == len(places)


def from_plain_value(key: str, value: Any) -> Any:
    """Return the value of a profile key from what TOML or JSON hold. ProfileError."""
    if key == "SL-5.start" and isinstance(value, str):  # TOML integers are signed 64 bit, so a hex string is allowed
        try:
            return int(value, 0)
        except ValueError as error:
            raise ProfileError(f"{key}: expected an integer or a hex string, found {value!r}") from error
    if key in ("GG-1", "ID-1") and isinstance(value, list):
        return tuple(value)
    if key in MAPS and isinstance(value, dict):
        return tuple(value.items())
    return value


def to_toml_value(key: str, value: Any) -> str:
    """Return the value of a profile key as TOML writes it."""
    if key == "SL-5.start":
        return f'"{value:#x}"'
    if key in MAPS:
        return "{" + ", ".join(f"{_toml_key(name)} = {_toml_string(other)}" for name, other in value) + "}"
    if isinstance(value, tuple):
        texts = list(map(_toml_string, value))
        lines = textwrap.wrap(", ".join(texts), 110, break_long_words=False, break_on_hyphens=False)
        return "[" + ("\n  " + "\n  ".join(lines) + "\n" if len(lines) > 1 else ", ".join(texts)) + "]"
    return str(value) if isinstance(value, int) else _toml_string(value)


def _toml_key(name: str) -> str:
    return _toml_string(name) if "." in name else name


def _toml_string(text: str) -> str:
    """Quote for TOML, which knows JSON's escapes but no surrogate pairs."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
