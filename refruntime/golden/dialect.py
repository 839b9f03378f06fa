"""The build's way of writing diagnostics as data of the index, so that hosts of every language read it alike (DG-3)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final

from refruntime.contract.dialect import SUMMARY_PARTS, Dialect
from refruntime.contract.forms import KINDS, MISSING, Form
from refruntime.golden.reading import JsonNode
from refruntime.golden.values import DIALECT_FORMAT, FORMAT_VERSION

_TEXTS: Final = ("id", "logit", "separator")


def diagnostics_table(dialect: Dialect) -> dict[str, Any]:
    """Return contract key -> name in the build, or place and form where a name does not say it (FORMAT.md, section 5).

    Values that stand for something are JSON as text, because a JSON number of the format is always an integer.
    """
    places, forms = dict(dialect.places), dict(dialect.forms)
    parts = {part.partition(".")[2]: places[part] for part in SUMMARY_PARTS if part in places}
    table: dict[str, Any] = {}
    for name in dialect.names:
        form, place = Form.parse(forms.get(name, "")), places.get(name, name)
        where = {"parts": parts} if name == "logits_summary" and parts else {"place": place}
        entry = where | _form_document(form)
        table[name] = place if entry == {"place": place} and not place.startswith("/") else entry
    return table


def _form_document(form: Form) -> dict[str, Any]:
    document: dict[str, Any] = {"as": form.kind} if form.kind else {}
    document |= {name: getattr(form, name) for name in _TEXTS if getattr(form, name) != getattr(Form(), name)}
    if form.has_none:
        document |= {"missing": True} if form.none is MISSING else {"none": json.dumps(form.none)}
    if form.labels:
        document["labels"] = {label: json.dumps(value) for label, value in form.labels}
    return document


def dialect_texts(table: Mapping[str, Any]) -> dict[str, str]:
    """Return in words where and how a build writes the fields that it does not write as the contract does."""
    return {name: _text(entry) for name, entry in table.items() if entry != name}


def _text(entry: Any) -> str:
    if isinstance(entry, str):
        return f"at {entry}" if entry else "absent"
    parts = sorted(entry.get("parts", {}).items())
    words = [f"{part} at {place}" for part, place in parts] if "parts" in entry else [f"at {entry['place']}"]
    words += [f"{key} {entry[key]}" for key in ("as", "id", "logit") if key in entry]
    words += [f"separated by {json.dumps(entry['separator'], ensure_ascii=False)}"] if "separator" in entry else []
    words += [f"none is {entry.get('none', 'missing')}"] if "none" in entry or "missing" in entry else []
    return ", ".join((*words, *(f"{label} is {value}" for label, value in sorted(entry.get("labels", {}).items()))))


def format_of(table: Mapping[str, Any]) -> int:
    """Return the format of an index with this table: consumers of the first know names alone."""
    return FORMAT_VERSION if all(isinstance(entry, str) for entry in table.values()) else DIALECT_FORMAT


def parse_diagnostics_entry(node: JsonNode, version: int) -> None:
    """Check keys and types of one entry. GoldenError."""
    if version == FORMAT_VERSION or isinstance(node.value, str):
        node.string()
        return
    fields = node.object(optional=("place", "parts", "as", *_TEXTS, "none", "missing", "labels"))
    if ("place" in fields) == ("parts" in fields):
        node.fail("either the key 'place' or the key 'parts'")
    if "as" in fields:
        fields["as"].one_of(KINDS)
    if "missing" in fields:
        fields["missing"].true()
    texts = [fields[name] for name in ("place", *_TEXTS) if name in fields]
    values = [fields["none"]] if "none" in fields else []
    texts += fields["parts"].members().values() if "parts" in fields else []
    values += fields["labels"].members().values() if "labels" in fields else []
    for text in texts:
        text.string()
    for value in values:
        try:
            json.loads(value.string())
        except ValueError:
            value.fail("JSON as text")
