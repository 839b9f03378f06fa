"""The JavaScript consumers read places and forms of diagnostics from the index as the oracle does (DG-3, DG-6)."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from refruntime.contract.dialect import Dialect
from refruntime.contract.profile import DIAGNOSTIC_NAMES
from refruntime.golden.dialect import diagnostics_table
from tests.consumers.golden_by_hand import FRESH, FRESH_DOCUMENT, INIT, OK, answering, case, disk_form, hash_of
from tests.consumers.node import GOLDEN, missing_node
from tests.consumers.sessions import consume, only
from tests.unit.contract.test_dialect import DIALECTS, VALUES

SCRIPT = """
import { readDiagnostics } from "GOLDEN/consumer/dialect.mjs";
import { isNumber } from "GOLDEN/consumer/json.mjs";
const plain = (value) =>
  Array.isArray(value) ? value.map(plain)
  : isNumber(value) ? { number: value.number }
  : value?.members instanceof Map ? Object.fromEntries([...value.members].map(([key, item]) => [key, plain(item)]))
  : value;
const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const found = JSON.parse(Buffer.concat(chunks)).map(({ document, table }) =>
  Object.fromEntries(Object.entries(readDiagnostics(Buffer.from(document), Object.entries(table)))
    .map(([key, value]) => [key, plain(value)])));
process.stdout.write(JSON.stringify(found));
"""

STRANGE: tuple[tuple[str, str, str], ...] = (
    ("seed", "as=number", '"12"'),
    ("seed", "as=number", "1.5"),
    ("seed", "as=number", "true"),
    ("seed", "as=hex", '"0xFF"'),
    ("seed", "as=hex", '"ten"'),
    ("top_k", "as=text", '"007"'),
    ("top_k", "as=text", '"1.25e2"'),
    ("top_k", "as=text", "7"),
    ("tokenizer_output", "as=joined separator=' '", '"1 2 x"'),
    ("tokenizer_output", "as=joined separator=' '", '""'),
    ("tokenizer_output", "as=list none=null", "null"),
    ("tokenizer_output", "as=list", "[1, true]"),
    ("tokenizer_output", "as=objects id=t", '[{"u": 1}]'),
    ("top_tokens", "as=ids", "[3, 4]"),
    ("top_tokens", "as=objects id=i", '[{"i": 3, "l": 0.5}]'),
    ("top_tokens", "as=objects id=i logit=l", '[{"i": 3}]'),
    ("top_tokens", "as=flat none=missing", "[1, 0.5, 2]"),
    ("top_tokens", "as=parallel id=a logit=b", '{"a": [1], "b": []}'),
    ("top_tokens", "as=map", '{"1": 0.5, "x": 1}'),
    ("quantization", "as=upper", '"Q8_0"'),
    ("quantization", "label:none=0", "0"),
    ("quantization", "label:none=0", "0.0"),
    ("quantization", "label:none=0", "false"),
    ("last_error", 'none="-"', '"-"'),
    ("last_error", 'none="-"', '"?"'),
    ("selected_token", "none=-1", "-1"),
    ("selected_token", "none=-1", "-1.0"),
    ("model_loaded", "label:true=1 label:false=0", "1"),
    ("model_loaded", "label:true=1 label:false=0", "true"),
    ("logits_summary", 'none={"a":[1,null]}', '{"a": [1, null]}'),
)
"""Field, form and value: what is of the form, and what is not."""


def documents() -> Iterator[tuple[Dialect, str]]:
    """Yield documents with the dialect that they are to be read in."""
    nothing = {**VALUES, "last_error": None, "selected_token": None, "logits_summary": None, "top_tokens": []}
    for places, forms, _ in DIALECTS.values():
        dialect = Dialect(DIAGNOSTIC_NAMES, places, forms)
        yield dialect, json.dumps(dialect.write(VALUES))
        yield dialect, json.dumps(dialect.write(nothing))
        yield dialect, "{}"
    for name, form, value in STRANGE:
        yield Dialect((name,), ((name, "/a~1b/0"),), ((name, form),)), f'{{"a/b": [{value}]}}'
        yield Dialect((name,), ((name, ""),), ((name, form),)), f'{{"": {value}}}'
    parts = tuple((f"logits_summary.{part}", place) for part, place in (("min", "/s/0"), ("max", ""), ("mean", "m")))
    for form in ("", "none=0", "none=missing"):
        dialect = Dialect(("logits_summary",), parts, (("logits_summary", form),) if form else ())
        for text in ('{"s": [0], "m": 0}', '{"s": [null], "m": null}', '{"s": {"0": 1.5}}', "{}"):
            yield dialect, text


def as_read(value: Any) -> Any:
    """Return a value as the script writes it; numbers are compared by their value."""
    if isinstance(value, dict) and set(value) == {"number"}:
        return float(value["number"])
    if isinstance(value, dict):
        return {key: as_read(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_read(item) for item in value]
    return value if isinstance(value, bool | str) or value is None else float(value)


def test_every_form_is_read_alike_in_both_languages() -> None:
    """DG-3, DG-6: places, forms, what stands for none, labels, and values that are not of their form."""
    if missing_node():
        pytest.skip(missing_node())
    asked = list(documents())
    orders = [{"document": text, "table": diagnostics_table(dialect)} for dialect, text in asked]
    script = SCRIPT.replace("GOLDEN", GOLDEN.as_uri())
    command = ["node", "--input-type=module", "--eval", script]
    done = subprocess.run(command, input=json.dumps(orders), capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert len(found) == len(asked) >= 100
    for (dialect, text), seen in zip(asked, found, strict=True):
        assert as_read(seen) == as_read(dialect.read(json.loads(text))), (dialect, text)


def in_dialect(folder: Path, table: dict[str, Any], version: int = 2) -> None:
    """Give the goldens of a folder another table of diagnostics."""
    index = json.loads((folder / "INDEX.json").read_bytes())
    del index["root"]
    index |= {"format": version, "diagnostics": {**index["diagnostics"], **table}}
    (folder / "INDEX.json").write_bytes(disk_form({**index, "root": hash_of(index)}))


TABLE: dict[str, Any] = {
    "kv_length": {"place": "/state/kv"},
    "seed": {"place": "seed", "as": "number"},
    "last_error": {"place": "problem", "none": '"-"'},
    "top_k": "k",
    "temperature": "",
}


def shown(**changes: Any) -> bytes:
    """Return a build that writes its document as TABLE says."""
    document = {key: value for key, value in FRESH_DOCUMENT.items() if key not in TABLE}
    return answering({**document, "state": {"kv": 0}, "seed": 1, "problem": "-", "k": 1, **changes})


def test_a_build_is_judged_through_places_and_forms(tmp_path: Path) -> None:
    """DG-3: nested, renamed, otherwise written and absent fields; what differs is told in the contract's form."""
    done = consume(tmp_path, shown(), {"abi/case": (case(INIT), [OK])})
    assert done.verdicts == {"abi/case": "MISMATCH"}
    in_dialect(tmp_path / "golden", TABLE)
    done = consume(tmp_path, shown(), {})
    assert done.verdicts == {"abi/case": "MATCH"}
    assert done.report["lost"] == {"temperature": 1}
    assert done.report["summary"]["fields"] == len(FRESH) + 1
    assert done.report["golden"]["fields"]["last_error"] == 'at problem, none is "-"'
    entry = only(tmp_path, shown(state={"kv": 3}, seed=2), case(INIT), [OK])
    assert [item["field"] for item in entry["first_difference"]["fields"]] == ["kv_length", "seed"]


@pytest.mark.parametrize(
    ("version", "entry"),
    [
        (1, {"place": "/a"}),
        (2, {"as": "number"}),
        (2, {"place": "/a", "as": "roman"}),
        (2, {"place": 1}),
        (2, {"place": "/a", "more": ""}),
        (3, {"place": "/a"}),
    ],
)
def test_an_index_with_another_table_is_refused(tmp_path: Path, version: int, entry: dict[str, Any]) -> None:
    """DG-3: what is no place and no form, or of a format that knows none, ends the run with exit code 1."""
    consume(tmp_path, shown(), {"abi/case": (case(INIT), [OK])})
    in_dialect(tmp_path / "golden", {"seed": entry}, version)
    done = consume(tmp_path, shown(), {})
    assert done.code == 1
    assert "INDEX.json" in done.err
