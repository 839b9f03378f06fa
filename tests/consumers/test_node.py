"""The consumer for Node on hand-made goldens and builds: verdicts, and values by their meaning (golden/FORMAT.md)."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.consumers.golden_by_hand import FRESH, FRESH_DOCUMENT, INIT, OK, answering, case, showing
from tests.consumers.sessions import CONFIGURE, GGUF, LOAD, TRAP, consume, fields, only, status

# Verdicts ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verdict", "session", "answers", "bodies"),
    [
        ("MATCH", case(INIT), [OK], {}),
        ("MATCH", case(INIT), [{"either": [status("NullPointer"), status("Ok")]}], {}),
        ("BOTH_FAILED", case(INIT), [status("ContextExceeded")], {"init_runtime": "(i32.const 11)"}),
        ("BOTH_FAILED", case(INIT), [{"trap": True}], {"init_runtime": TRAP}),
        ("MISMATCH", case(INIT), [status("NullPointer")], {"init_runtime": "(i32.const 2)"}),
        ("MISMATCH", case(INIT), [status("Ok", kv_length=1)], {}),
        ("MISMATCH", case(INIT), [status("Ok", result=b"x")], {}),
        ("ONLY_WASM_FAILED", case(INIT), [OK], {"init_runtime": "(i32.const 13)"}),
        ("ONLY_WASM_FAILED", case(INIT), [OK], {"init_runtime": "(i32.const 99)"}),
        ("ONLY_WASM_FAILED", case(INIT), [OK], {"init_runtime": TRAP}),
        ("ONLY_WASM_FAILED", case(INIT), [OK], {"last_result_ptr": TRAP}),
        ("ONLY_REF_FAILED", case(INIT), [status("InvalidLength")], {}),
        ("ONLY_REF_FAILED", case(INIT), [{"trap": True}], {}),
        ("MISMATCH", case({"call": ["last_result_len"]}), [{"value": 7}], {}),
        ("MATCH", case({"call": ["alloc", 3]}), [{"value": "non-zero"}], {}),
        ("MISMATCH", case({"call": ["alloc", 3]}), [{"value": 0}], {}),
    ],
)
def test_verdicts(
    tmp_path: Path, verdict: str, session: Any, answers: Sequence[Any], bodies: Mapping[str, str]
) -> None:
    """ABI-1: each verdict follows from the first difference as section 7.7 says; exit code 0 only when all is fine."""
    done = consume(tmp_path, answering(**bodies), {"abi/case": (session, answers)})
    assert done.verdicts == {"abi/case": verdict}
    assert done.code == (0 if verdict in ("MATCH", "BOTH_FAILED") else 1)


@pytest.mark.parametrize(
    ("code", "status_name"), [(4, "InvalidModelMagic"), (6, "InvalidHeader"), (10, "UnsupportedDType")]
)
def test_a_feature_that_is_refused_is_absent(tmp_path: Path, code: int, status_name: str) -> None:
    """ID-1: where the plain file is refused with 4, 6 or 10 the cases that need it are not run; the report says so."""
    session = case(LOAD, models={"file": {"file": "models/m"}})
    build = answering(load_model=f"(i32.const {code})")
    cases = {"abi/init": (case(INIT), [OK]), "abi/load": (session, [OK])}
    done = consume(
        tmp_path, build, cases, files={"models/m": GGUF}, plain={"gguf": b"GGUF"}, needs={"abi/load": ["gguf"]}
    )
    assert done.verdicts == {"abi/init": "MATCH", "abi/load": "UNSUPPORTED"}
    assert done.report["build"]["absent"] == {"gguf": status_name}
    assert done.report["cases"][1]["reason"] == f"without <gguf>: {status_name}"
    assert (done.report["cases"][1]["steps"], done.code) == (0, 0)


@pytest.mark.parametrize("answer", ["(i32.const 0)", "(i32.const 5)", "(i32.const 7)", "(i32.const 9)", TRAP])
def test_any_other_answer_is_held_to_the_contract(tmp_path: Path, answer: str) -> None:
    """ID-1: a build that answers a plain file otherwise has the feature, and its cases are run."""
    session = case(LOAD, models={"file": {"file": "models/m"}})
    files, plain = {"models/m": GGUF}, {"gguf": b"GGUF"}
    entry = only(
        tmp_path, answering(load_model=answer), session, [OK], files=files, plain=plain, needs={"abi/case": ["gguf"]}
    )
    assert entry["verdict"] == ("MATCH" if answer == "(i32.const 0)" else "ONLY_WASM_FAILED")


def test_only_what_cases_need_is_asked(tmp_path: Path) -> None:
    """ID-1: what stands on an absent feature is not asked, nor what no chosen case needs."""
    session = case(LOAD, models={"file": {"file": "models/m"}})
    build = answering(load_model="(i32.const 10)")
    plain = {"gguf": b"GGUF", "gguf/storage/q4_k": b"GGUFq", "slm1": b"SLM1"}
    cases = {"abi/init": (case(INIT), [OK]), "abi/load": (session, [OK])}
    needs = {"abi/load": ["gguf", "gguf/storage/q4_k"]}
    done = consume(tmp_path, build, cases, files={"models/m": GGUF}, plain=plain, needs=needs)
    assert done.report["build"]["absent"] == {"gguf": "UnsupportedDType"}
    assert done.code == 0


def test_a_build_without_slm1_is_wrong(tmp_path: Path) -> None:
    """ID-1: where the plain SLM1 file is refused one case shows it, and the run is not fine."""
    session = case(LOAD, models={"file": {"file": "models/m"}})
    build = answering(load_model="(i32.const 6)")
    cases = {"abi/init": (case(INIT), [OK]), "abi/load": (session, [OK])}
    done = consume(
        tmp_path, build, cases, files={"models/m": b"SLM1"}, plain={"slm1": b"SLM1"}, needs={"abi/load": ["slm1"]}
    )
    first = done.report["cases"][0]
    assert done.verdicts == {"features/slm1": "ONLY_WASM_FAILED", "abi/init": "MATCH", "abi/load": "UNSUPPORTED"}
    assert first["reason"] == "refused <slm1>: InvalidHeader"
    assert first["first_difference"]["fields"] == [{"field": "status", "expected": "Ok", "found": "InvalidHeader"}]
    assert done.code == 1


def test_first_difference_ends_the_comparison(tmp_path: Path) -> None:
    """DG-3: the first differing step is named with its call and both values, and counted; later ones are not."""
    answers = [OK, status("Ok", kv_length=3, seed="9"), status("InvalidUtf8")]
    entry = only(tmp_path, answering(), case(INIT, CONFIGURE, INIT), answers)
    assert (entry["steps"], entry["fields"]) == (2, 2 * 19)
    assert entry["first_difference"]["step"] == 1
    assert entry["first_difference"]["call"] == "set_sampling_config(0.7, 40, 0.95, 7)"
    assert entry["first_difference"]["fields"] == [
        {"field": "kv_length", "expected": 3, "found": 0},
        {"field": "seed", "expected": "9", "found": "1"},
    ]


def test_diagnostics_are_carried_over(tmp_path: Path) -> None:
    """DG-2: fields that a step does not name are those of the step before; without `diagnostics` none is compared."""
    shown = answering({**FRESH_DOCUMENT, "kv_length": 5})
    answers = [
        status("Ok", kv_length=5),
        {"status": "Ok", "result": ""},
        {"status": "Ok", "result": "", "diagnostics": {}},
    ]
    entry = only(tmp_path, shown, case(INIT, INIT, INIT), answers)
    assert (entry["verdict"], entry["fields"]) == ("MATCH", 19 + 2 + 19)
    changed = [status("Ok", kv_length=5), {"status": "Ok", "result": "", "diagnostics": {"kv_length": 6}}, OK]
    (tmp_path / "other").mkdir()
    entry = only(tmp_path / "other", shown, case(INIT, INIT, INIT), changed)
    assert (entry["verdict"], entry["first_difference"]["step"], fields(entry)) == ("MISMATCH", 1, ["kv_length"])


def test_lost_fields(tmp_path: Path) -> None:
    """DG-3: a field that a build shows nowhere is lost and counted; one that it shows elsewhere is a difference."""
    document = {key: value for key, value in FRESH_DOCUMENT.items() if key not in ("top_tokens", "seed")}
    done = consume(tmp_path, answering(document), {"abi/case": (case(INIT, INIT), [OK, OK])})
    assert done.code == 0
    assert done.report["lost"] == {"top_tokens": 2, "seed": 2}
    assert done.report["summary"] == {"cases": 1, "steps": 2, "fields": 2 * 17, "verdicts": {"MATCH": 1}}
    count = "(global.set 0 (i32.add (global.get 0) (i32.const 1)))"
    lengths = f"(i32.const {len(json.dumps(FRESH_DOCUMENT))}) (i32.const 2)"
    sometimes = answering(
        get_diagnostics_len=f"{count} (select {lengths} (i32.lt_u (global.get 0) (i32.const 2)))",
        more="(global (mut i32) (i32.const 0))",
    )
    (tmp_path / "other").mkdir()
    entry = only(tmp_path / "other", sometimes, case(INIT, INIT), [OK, OK])
    assert (entry["verdict"], entry["first_difference"]["step"]) == ("MISMATCH", 1)


# Values --------------------------------------------------------------------------------------------------------------


EQUALITIES: tuple[tuple[str, Any, str, bool], ...] = (
    ("kv_length", 1, "1", True),
    ("kv_length", 1, "1.0", False),
    ("kv_length", 1, "1e0", False),
    ("kv_length", 0, "-0", True),
    ("kv_length", 1, '"1"', False),
    ("kv_length", 0, "false", False),
    ("kv_length", 2**53 - 1, "9007199254740991", True),
    ("kv_length", 2**53 - 1, "9007199254740991.0", False),
    ("peak_scratch_bytes", 9007199254740990, "9007199254740991", False),
    ("peak_scratch_bytes", 9007199254740991, "9007199254740992", False),
    ("top_p", "0x1.e66666p-1", "0.95", True),
    ("top_p", "0x1.e66666p-1", "0.949999988079071", True),
    ("top_p", "0x1.e66666p-1", "0.9499999", False),
    ("top_p", "0x1p+0", "1", True),
    ("top_p", "0x0p+0", "-0.0", True),
    ("top_p", "0x1p-149", "1e-45", True),
    ("top_p", "inf", "1e400", True),
    ("top_p", "0x1p+0", '"1"', False),
    ("top_p", "0x1p+0", "null", False),
    ("top_p", None, "null", True),
    ("top_p", None, "0", False),
    ("temperature", "0x1.fffffep+127", "3.4028235e38", True),
    ("seed", "1", "1", False),
    ("seed", "18446744073709551615", '"18446744073709551615"', True),
    ("last_error", None, '"x"', False),
    ("last_error", 'a"\\é\U0001f600\x7f\n', json.dumps('a"\\é\U0001f600\x7f\n'), True),
    ("last_error", "é", '"é"', True),
    ("model_loaded", True, "true", True),
    ("model_loaded", True, "1", False),
    ("selected_token", 5, "null", False),
    ("top_tokens", [[3, "0x1.8p+0"], [1, None]], "[[3, 1.5], [1, null]]", True),
    ("top_tokens", [[3, "0x1.8p+0"]], "[[3, 1.5], [1, null]]", False),
    ("top_tokens", [[3, "0x1.8p+0"]], "[[3.0, 1.5]]", False),
    ("top_tokens", [[3, "0x1.8p+0"]], '{"0": [3, 1.5], "length": 1}', False),
    ("logits_summary", {"max": "0x1p+1", "mean": "0x0p+0", "min": None}, '{"min":null,"max":2,"mean":0}', True),
    ("logits_summary", {"max": "0x1p+1", "mean": "0x0p+0", "min": None}, '{"min":null,"max":2}', False),
    ("logits_summary", {"max": "0x1p+1"}, '{"max":2,"more":2}', False),
    ("logits_summary", None, "{}", False),
)


def test_equal_by_meaning(tmp_path: Path) -> None:
    """DG-6, DG-7: floats agree as float32, all else only if identical; `1.0` is no integer, and 2^53 is no limit."""
    documents, cases = ["{}"], {}
    for number, (field, expected, shown, _) in enumerate(EQUALITIES, start=1):
        others = json.dumps({key: value for key, value in FRESH_DOCUMENT.items() if key != field})
        documents.append(f'{others[:-1]}, "{field}": {shown}}}')
        session = case({"call": ["alloc", number]}, INIT)
        cases[f"abi/case-{number}"] = session, [{"value": "non-zero"}, status("Ok", **{field: expected})]
    done = consume(tmp_path, showing(documents), cases)
    found = {entry["id"]: entry for entry in done.report["cases"]}
    for number, (field, expected, shown, agrees) in enumerate(EQUALITIES, start=1):
        entry = found[f"abi/case-{number}"]
        assert entry["verdict"] == ("MATCH" if agrees else "MISMATCH"), (field, expected, shown)
        assert agrees or fields(entry) == [field]


NO_OBJECTS = (
    *("", "null", "[]", "{", '{"kv_length": 0,}', '{"kv_length": NaN}', '{"kv_length": 01}', '{"kv_length": 0} x'),
    *("{kv_length: 0}", "{'kv_length': 0}", '{"kv_length": 0 "seed": "1"}', '{"last_error": "a\tb"}', "\x00"),
    *('\ufeff{"kv_length": 0}', '{"last_error": "\\x"}', '{"a": ' + "[" * 100000 + "]" * 100000 + "}"),
)


def test_documents_that_do_not_parse(tmp_path: Path) -> None:
    """DG-1: what is no JSON object counts as a document without fields, so every field is lost."""
    cases = {
        f"abi/case-{number}": (case({"call": ["alloc", number]}, INIT), [{"value": "non-zero"}, OK])
        for number in range(len(NO_OBJECTS))
    }
    done = consume(tmp_path, showing(NO_OBJECTS), cases)
    assert set(done.verdicts.values()) == {"MATCH"}
    assert done.report["build"]["offered"] == []
    assert done.report["lost"] == dict.fromkeys(FRESH, len(NO_OBJECTS))


def test_hashes_of_unusual_text(tmp_path: Path) -> None:
    """ABI-5: canonical JSON sorts keys by code point, drops comments and escapes all but printable ASCII."""
    session = case(INIT)
    session["models"] = {}
    session["_comment"] = {"anything": 0.5}
    session["about"] = 'tab\t del\x7f quote" back\\ é \u2028 \U0001f600 \x00'
    session["extra"] = {"\U00010000": 1, "\uffff": {"_x": 1, "y": [1, {"_z": 2}]}, "a": None, "B": True, "é": "x"}
    entry = only(tmp_path, answering(), session, [{**OK, "_text": "a comment"}])
    assert entry["verdict"] == "MATCH"


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p", "seed", "bits"),
    [
        ("0.7", 40, "0.95", 7, (0x3F333333, 40, 0x3F733333, 7)),
        ("0x1.666666p-1", -1, "inf", -1, (0x3F333333, 2**32 - 1, 0x7F800000, 2**64 - 1)),
        (2, 2**32, "-inf", "18446744073709551615", (0x40000000, 0, 0xFF800000, 2**64 - 1)),
        ("16777217", "4294967295", "-0x0p+0", "-9223372036854775808", (0x4B800000, 2**32 - 1, 0x80000000, 2**63)),
        ("1e39", "18446744073709551615", "0x1p-149", 0, (0x7F800000, 2**32 - 1, 1, 0)),
        ("0x1p-1074", -(2**53) + 1, "3.4028235677973366e38", 2**53 - 1, (0, 1, 0x7F800000, 2**53 - 1)),
        ("0x1.8p-149", 0, "1e-46", 1, (2, 0, 0, 1)),
    ],
)
def test_host_numbers(tmp_path: Path, temperature: Any, top_k: Any, top_p: Any, seed: Any, bits: Sequence[int]) -> None:
    """ABI-3, ABI-2: integers modulo 2^32 and 2^64, floats as the nearest float32; the build shows what it was given."""
    stores = "(f32.store (i32.const 4096) (local.get 0)) (i32.store (i32.const 4100) (local.get 1))"
    stores += "(f32.store (i32.const 4104) (local.get 2)) (i64.store (i32.const 4108) (local.get 3)) (i32.const 0)"
    build = answering(set_sampling_config=stores, last_result_len="(i32.const 20)")
    given = {"temperature": temperature, "top_k": top_k, "top_p": top_p, "seed": seed}
    answer = status("Ok", result=struct.pack("<IIIQ", *bits))
    raw = {"call": ["set_sampling_config", temperature, top_k, top_p, seed]}
    entry = only(tmp_path, build, case({"configure": given}, raw), [answer, answer])
    assert (entry["verdict"], entry["steps"]) == ("MATCH", 2)


def test_nan_parameter(tmp_path: Path) -> None:
    """ABI-3: `nan` arrives as a NaN of any bits."""
    build = answering(set_sampling_config="(f32.ne (local.get 0) (local.get 0))")
    session = case({"configure": {"temperature": "nan", "top_k": 1, "top_p": 1, "seed": 0}})
    assert only(tmp_path, build, session, [status("NullPointer")])["verdict"] == "BOTH_FAILED"
