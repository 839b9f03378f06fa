"""`INDEX.json`: every case and model with its hash, and the tables of the contract (golden/FORMAT.md, section 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from refruntime.cases.needs import needs_of
from refruntime.contract.exports import EXPORTS, Export
from refruntime.contract.fields import COMPARED_FIELDS, KINDS
from refruntime.contract.profile import CONTRACT_VERSION, Profile, ProfileError
from refruntime.contract.rules import load_rules
from refruntime.contract.status import Status
from refruntime.contract.values import MAPS
from refruntime.golden.corpus import Corpus
from refruntime.golden.dialect import diagnostics_table, format_of, parse_diagnostics_entry
from refruntime.golden.features import feature_table, parse_feature_table
from refruntime.golden.reading import GoldenError, JsonNode, check_disk_form, parse_document
from refruntime.golden.values import ARRAY_TYPES, DIALECT_FORMAT, FORMAT_VERSION, bytes_hash, json_hash, json_integer

INDEX: Final = "INDEX.json"
KEYS: Final = (
    "format",
    "contract",
    "profile",
    "statuses",
    "exports",
    "diagnostics",
    "fields",
    "features",
    "cases",
    "models",
    "rules",
    "root",
)


def contract_tables(profile: Profile) -> dict[str, Any]:
    """Return the part of the index that follows from contract and profile."""
    diagnostics = diagnostics_table(profile.dialect)
    return {
        "format": format_of(diagnostics),
        "contract": CONTRACT_VERSION,
        "profile": {
            "fingerprint": profile.fingerprint,
            "options": {key: _json_option(key, value) for key, value in profile.choices().items()},
        },
        "statuses": {status.name: int(status) for status in Status},
        "exports": {
            export.name: {"parameters": list(export.wasm_parameters), "result": result_kind(export)}
            for export in EXPORTS
        },
        "diagnostics": diagnostics,
        "fields": [
            {"name": field.name, "kind": field.kind, "nullable": field.nullable, "of_model": field.of_model}
            for field in COMPARED_FIELDS
        ],
        "rules": {identifier: json_hash(rule.text) for identifier, rule in load_rules().items()},
    }


def result_kind(export: Export) -> str:
    """Return what a consumer does with the result of an export."""
    if export.returns_status:
        return "status"
    return "pointer" if export.is_address else "value" if export.result else "none"


def _json_option(key: str, value: Any) -> Any:
    """Return a profile value as the golden format holds it."""
    if isinstance(value, int):
        return json_integer(value)
    if key in MAPS:
        return dict(value)
    return list(value) if isinstance(value, tuple) else value


def profile_of(index: Mapping[str, Any]) -> Profile:
    """Return the profile that an index names, recomputed from its options. GoldenError."""
    try:
        return Profile.from_choices(index["profile"]["options"])
    except (ProfileError, TypeError) as error:
        raise GoldenError(INDEX, "$.profile.options", "a contract profile", str(error)) from None


def case_entry(corpus: Corpus, identifier: str) -> dict[str, Any] | None:
    """Return the entry of a case as its files are now, None while it has no answers. GoldenError."""
    golden = corpus.case(identifier)
    expect = corpus.read_if_there(f"cases/{identifier}/expect.json")
    if expect is None:
        return None
    arrays = {name: corpus.read_if_there(f"cases/{identifier}/{name}") for name in ARRAY_TYPES}
    return {
        "features": list(needs_of(golden.case(corpus.artifact))),
        "case": golden.hash,
        "expect": json_hash(parse_document(expect, f"cases/{identifier}/expect.json")),
        "arrays": {name: bytes_hash(data) for name, data in arrays.items() if data is not None},
        "rules": list(golden.rules),
    }


def _entry_or_none(corpus: Corpus, identifier: str) -> dict[str, Any] | None:
    try:
        return case_entry(corpus, identifier)
    except (GoldenError, OSError):  # whoever reads the case is told
        return None


def model_entries(corpus: Corpus) -> dict[str, dict[str, Any]]:
    """Return the entry of every artifact below `models/`."""
    names = sorted(path.name for path in (corpus.root / "models").iterdir() if path.is_file())
    artifacts = [name for name in names if not name.startswith(".") and not name.endswith((".json", ".md"))]
    data = {f"models/{name}": corpus.artifact(f"models/{name}") for name in artifacts}
    return {name: {"bytes": len(artifact), "sha256": bytes_hash(artifact)} for name, artifact in data.items()}


def with_root(index: Mapping[str, Any]) -> dict[str, Any]:
    """Return the index with its root hash, made of all that it holds otherwise."""
    rest = {key: value for key, value in index.items() if key != "root"}
    return {**rest, "root": json_hash(rest)}


def build_index(corpus: Corpus, profile: Profile) -> dict[str, Any]:
    """Return the index of a corpus as its files are now; cases that are broken or not filled yet are left out."""
    entries = {identifier: _entry_or_none(corpus, identifier) for identifier in corpus.ids()}
    cases = {identifier: entry for identifier, entry in entries.items() if entry is not None}
    needed = {name for entry in cases.values() for name in entry["features"]}
    tables = {**contract_tables(profile), "features": feature_table(needed, profile)}
    return with_root({**tables, "cases": cases, "models": model_entries(corpus)})


def parse_index(data: bytes, *, form: bool = True) -> dict[str, Any]:
    """Read an index: keys and types are checked, contents are not trusted. GoldenError."""
    document = parse_document(data, INDEX)
    root = JsonNode(document, INDEX)
    fields = root.object(KEYS)
    version = fields["format"].value
    if version not in (FORMAT_VERSION, DIALECT_FORMAT) or isinstance(version, bool):
        fields["format"].fail(f"{FORMAT_VERSION} or {DIALECT_FORMAT}")
    fields["contract"].string()
    profile = fields["profile"].object(("fingerprint", "options"))
    profile["fingerprint"].string()
    profile["options"].members()
    for node in fields["statuses"].members().values():
        node.count()
    for node in fields["exports"].members().values():
        export = node.object(("parameters", "result"))
        for parameter in export["parameters"].items():
            parameter.one_of(("i32", "i64", "f32"))
        export["result"].one_of(("status", "pointer", "value", "none"))
    for node in (*fields["rules"].members().values(), fields["root"]):
        node.string()
    for node in fields["diagnostics"].members().values():
        parse_diagnostics_entry(node, version)
    for node in fields["fields"].items(1):
        field = node.object(("name", "kind", "nullable", "of_model"))
        field["name"].string()
        field["kind"].one_of(KINDS)
        field["nullable"].boolean()
        field["of_model"].boolean()
    parse_feature_table(fields["features"])
    for node in fields["cases"].members().values():
        entry = node.object(("case", "expect", "arrays", "features", "rules"))
        for text in (entry["case"], entry["expect"], *entry["arrays"].members().values(), *entry["rules"].items()):
            text.string()
        for name in entry["features"].items():
            name.one_of(tuple(fields["features"].value["plain"]))
    for node in fields["models"].members().values():
        model = node.object(("bytes", "sha256"))
        model["bytes"].count()
        model["sha256"].string()
    if form:
        check_disk_form(data, document, INDEX)
    return {key: node.value for key, node in fields.items()}
