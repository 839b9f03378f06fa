"""Small goldens and builds made by hand from golden/FORMAT.md and the contract, sharing no code with the package."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support import wat_modules

STATUSES = (
    *("Ok", "NullPointer", "InvalidLength", "InvalidUtf8", "InvalidModelMagic", "UnsupportedModelVersion"),
    *("InvalidHeader", "InvalidTensorDirectory", "MissingTensor", "ShapeMismatch", "UnsupportedDType"),
    *("ContextExceeded", "ModelNotLoaded", "GenerationFailed", "OutputBufferExceeded"),
)

EXPORTS = {
    "alloc": {"parameters": ["i32"], "result": "pointer"},
    "dealloc": {"parameters": ["i32", "i32"], "result": "none"},
    "init_runtime": {"parameters": [], "result": "status"},
    "load_model": {"parameters": ["i32", "i32"], "result": "status"},
    "set_sampling_config": {"parameters": ["f32", "i32", "f32", "i64"], "result": "status"},
    "generate": {"parameters": ["i32", "i32", "i32"], "result": "status"},
    "generate_next_token": {"parameters": [], "result": "status"},
    "last_result_ptr": {"parameters": [], "result": "pointer"},
    "last_result_len": {"parameters": [], "result": "value"},
    "get_diagnostics_ptr": {"parameters": [], "result": "pointer"},
    "get_diagnostics_len": {"parameters": [], "result": "value"},
    "reset_context": {"parameters": [], "result": "status"},
    "free_model": {"parameters": [], "result": "status"},
}

FRESH: dict[str, Any] = {
    "model_load_ms": 0,
    "prompt_tokens": 0,
    "generated_tokens": 0,
    "tokens_per_second": 0,
    "peak_scratch_bytes": 0,
    "kv_length": 0,
    "quantization": "none",
    "last_error": None,
    "model_loaded": False,
    "tokenizer_output": "",
    "logits_summary": None,
    "selected_token": None,
    "top_tokens": [],
    "temperature": "0x0p+0",
    "top_k": 1,
    "top_p": "0x1p+0",
    "seed": "1",
}
"""The diagnostics of a fresh runtime as expect.json writes them (DG-6, SC-1, section 13)."""

FIELDS = [
    *({"name": name, "kind": kind, "nullable": name == "last_error", "of_model": False}
      for name, kind in (
          ("model_load_ms", "count"), ("prompt_tokens", "count"), ("generated_tokens", "count"),
          ("tokens_per_second", "count"), ("peak_scratch_bytes", "count"), ("kv_length", "count"),
          ("quantization", "string"), ("last_error", "string"), ("model_loaded", "boolean"),
          ("temperature", "float"), ("top_k", "count"), ("top_p", "float"), ("seed", "decimal"),
      )),
    {"name": "tokenizer_output", "kind": "string", "nullable": False, "of_model": True},
    {"name": "selected_token", "kind": "count", "nullable": True, "of_model": True},
    {"name": "top_tokens", "kind": "pairs", "nullable": False, "of_model": True},
    {"name": "logits_summary", "kind": "summary", "nullable": True, "of_model": True},
]  # fmt: skip
"""The fields with their kinds as INDEX.json lists them (section 5)."""

FRESH_DOCUMENT: dict[str, Any] = {**FRESH, "temperature": 0, "top_p": 1}
"""The same as a build writes it."""

OK: dict[str, Any] = {"status": "Ok", "result": "", "diagnostics": FRESH}
INIT: dict[str, Any] = {"call": ["init_runtime"]}

TEXT_AT, DOCUMENT_AT = 4096, 8192


def answering(document: str | Mapping[str, Any] = FRESH_DOCUMENT, text: bytes = b"", **bodies: str) -> bytes:
    """Return a build that shows one text and one document all the time; `bodies` replace those of exports."""
    shown = document if isinstance(document, str) else json.dumps(document)
    data = shown.encode()
    escaped = ["".join(f"\\{byte:02x}" for byte in value) for value in (text, data)]
    return wat_modules.build(
        memory=f'(memory (export "memory") {3 + len(data) // 65536})',
        more=f'(data (i32.const {TEXT_AT}) "{escaped[0]}") (data (i32.const {DOCUMENT_AT}) "{escaped[1]}")'
        + bodies.pop("more", ""),
        **{
            "last_result_ptr": f"(i32.const {TEXT_AT})",
            "last_result_len": f"(i32.const {len(text)})",
            "get_diagnostics_ptr": f"(i32.const {DOCUMENT_AT})",
            "get_diagnostics_len": f"(i32.const {len(data)})",
            **bodies,
        },
    )


def showing(documents: Sequence[str]) -> bytes:
    """Return a build that shows documents[n] after `alloc(n)`, and documents[0] before."""
    data = [document.encode() for document in documents]
    places = [DOCUMENT_AT + sum(map(len, data[:number])) for number in range(len(data))]
    table = b"".join(struct.pack("<II", place, len(document)) for place, document in zip(places, data, strict=True))
    escaped = ["".join(f"\\{byte:02x}" for byte in part) for part in (table, b"".join(data))]
    entry = f"(i32.add (i32.const {TEXT_AT}) (i32.shl (global.get $shown) (i32.const 3)))"
    return wat_modules.build(
        memory=f'(memory (export "memory") {3 + sum(map(len, data)) // 65536}) (global $shown (mut i32) (i32.const 0))',
        more=f'(data (i32.const {TEXT_AT}) "{escaped[0]}") (data (i32.const {DOCUMENT_AT}) "{escaped[1]}")',
        alloc="(global.set $shown (local.get 0)) (i32.const 1024)",
        get_diagnostics_ptr=f"(i32.load {entry})",
        get_diagnostics_len=f"(i32.load offset=4 {entry})",
    )


def disk_form(value: Any) -> bytes:
    """Return JSON as section 2 wants it on disk."""
    return (json.dumps(value, sort_keys=True, indent=1, ensure_ascii=True) + "\n").encode()


def hash_of(value: Any) -> str:
    """Return the hash of a JSON value without comments, in the words of section 2."""

    def bare(item: Any) -> Any:
        if isinstance(item, dict):
            return {key: bare(part) for key, part in item.items() if not key.startswith("_")}
        return [bare(part) for part in item] if isinstance(item, list) else item

    return sha256(json.dumps(bare(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode())


def sha256(data: bytes) -> str:
    """Return the hash of bytes."""
    return hashlib.sha256(data).hexdigest()


def case(*steps: Mapping[str, Any], models: Mapping[str, Any] | None = None, rules: Sequence[str] = ("ABI-1",)) -> Any:
    """Return a case.json."""
    about = "A wrong runtime answers otherwise."
    return {"about": about, "format": 1, "models": dict(models or {}), "rules": list(rules), "steps": list(steps)}


def write_goldens(
    folder: Path,
    cases: Mapping[str, tuple[Any, Sequence[Mapping[str, Any]]]],
    files: Mapping[str, bytes] | None = None,
    artifacts: Mapping[tuple[str, str], bytes] | None = None,
    samples: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
    arrays: Mapping[str, Mapping[str, bytes]] | None = None,
    plain: Mapping[str, bytes] | None = None,
    needs: Mapping[str, Sequence[str]] | None = None,
) -> Path:
    """Write cases (id -> case.json and the steps of expect.json) with model files into an empty folder; return it.

    `artifacts` are the bytes of (case, model) where the case changes the file. `plain` are features with their plain
    files, each standing on the one before the first slash; `needs` says which of them a case needs.
    """
    plain_files = {name: f"models/plain-{name.replace('/', '-')}" for name in plain or {}}
    files = {**(files or {}), **{plain_files[name]: data for name, data in (plain or {}).items()}}
    entries = {}
    for identifier, (session, answers) in cases.items():
        place = folder / "cases" / identifier
        place.mkdir(parents=True)
        hashes = {}
        for name, recipe in session["models"].items():
            whole = (artifacts or {}).get((identifier, name), (files or {}).get(recipe["file"], b""))
            hashes[name] = sha256(whole)
        expect = {
            "case": identifier,
            "contract": "0.1.0",
            "format": 1,
            "inputs": hash_of({"case": hash_of(session), "models": hashes}),
            "profile": "0123456789abcdef",
            "samples": list((samples or {}).get(identifier, [])),
            "steps": list(answers),
        }
        (place / "case.json").write_bytes(disk_form(session))
        (place / "expect.json").write_bytes(disk_form(expect))
        for name, data in (arrays or {}).get(identifier, {}).items():
            (place / name).write_bytes(data)
        entries[identifier] = {
            "case": hash_of(session),
            "expect": hash_of(expect),
            "arrays": {name: sha256(data) for name, data in (arrays or {}).get(identifier, {}).items()},
            "features": list((needs or {}).get(identifier, [])),
            "rules": session["rules"],
        }
    for path, data in (files or {}).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    index = {
        "format": 1,
        "contract": "0.1.0",
        "profile": {"fingerprint": "0123456789abcdef", "options": {}},
        "statuses": {name: number for number, name in enumerate(STATUSES)},
        "exports": EXPORTS,
        "diagnostics": {name: name for name in FRESH},
        "fields": FIELDS,
        "features": {
            "absence": "without {title}: {status}",
            "refusal": "refused {title}: {status}",
            "refusals": ["InvalidModelMagic", "InvalidHeader", "UnsupportedDType"],
            "required": "slm1",
            "plain": {
                name: {"file": path, "needs": [name.split("/")[0]] if "/" in name else [], "title": f"<{name}>"}
                for name, path in plain_files.items()
            },
        },
        "cases": entries,
        "models": {path: {"bytes": len(data), "sha256": sha256(data)} for path, data in (files or {}).items()},
        "rules": {},
    }
    (folder / "INDEX.json").write_bytes(disk_form({**index, "root": hash_of(index)}))
    return folder
