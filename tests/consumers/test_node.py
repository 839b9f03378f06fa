"""The consumer for Node, against goldens and builds made by hand from the format's text (golden/FORMAT.md)."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.consumers.golden_by_hand import (
    FRESH,
    FRESH_DOCUMENT,
    INIT,
    OK,
    answering,
    case,
    disk_form,
    showing,
    write_goldens,
)
from tests.consumers.node import Consumed, run_node
from tests.unit import wat_modules

TRAP = "(unreachable)"
GGUF = b"GGUF" + bytes(20)
CONFIGURE = {"configure": {"temperature": "0.7", "top_k": 40, "top_p": "0.95", "seed": 7}}
LOAD = {"load": "file"}


def status(name: str, result: bytes = b"", **fields: Any) -> dict[str, Any]:
    return {"status": name, "result": result.hex(), "diagnostics": {**FRESH, **fields}}


def consume(
    folder: Path,
    build: bytes,
    cases: Mapping[str, tuple[Any, Sequence[Any]]],
    *options: str | Path,
    **more: Any,
) -> Consumed:
    """Write goldens and a build, and run the one on the other."""
    golden = folder / "golden"
    if not golden.exists():
        write_goldens(golden, cases, **more)
    (folder / "build.wasm").write_bytes(build)
    return run_node(folder / "build.wasm", "--golden", golden, "--json", *options)


def only(folder: Path, build: bytes, session: Any, answers: Sequence[Any], **more: Any) -> dict[str, Any]:
    """Run one case and return its entry of the report."""
    done = consume(folder, build, {"abi/case": (session, answers)}, **more)
    assert done.err == ""
    (entry,) = done.report["cases"]
    assert done.code == done.report["exit_code"]
    result: dict[str, Any] = entry
    return result


def fields(entry: Mapping[str, Any]) -> list[str]:
    return [item["field"] for item in entry["first_difference"]["fields"]]


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
    ("expected", "code", "data", "verdict"),
    [
        ("Ok", 4, GGUF, "UNSUPPORTED"),
        ("InvalidHeader", 4, GGUF, "UNSUPPORTED"),
        ("Ok", 10, GGUF, "UNSUPPORTED"),
        ("InvalidHeader", 10, GGUF, "MISMATCH"),
        ("Ok", 4, b"SLM1", "ONLY_WASM_FAILED"),
        ("Ok", 6, GGUF, "ONLY_WASM_FAILED"),
    ],
)
def test_builds_without_gguf(tmp_path: Path, expected: str, code: int, data: bytes, verdict: str) -> None:
    """GG-1, GG-3: a build may refuse GGUF, by its magic or by a tensor type; SLM1 it may not."""
    session = case(LOAD, models={"file": {"file": "models/m"}})
    build = answering(load_model=f"(i32.const {code})")
    assert only(tmp_path, build, session, [status(expected)], files={"models/m": data})["verdict"] == verdict


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


# Transfers and memory ------------------------------------------------------------------------------------------------

LIST_CALLS = """
    (func $note (param i32)
        (i32.store8 (i32.add (i32.const 4096) (global.get $calls)) (local.get 0))
        (global.set $calls (i32.add (global.get $calls) (i32.const 1))))
    (global $calls (mut i32) (i32.const 0))
"""


def noting(**bodies: str) -> bytes:
    """Return a build whose result text is the list of calls of alloc (a), dealloc (d), load_model (l), generate (g)."""
    letters = {"alloc": 97, "dealloc": 100, "load_model": 108, "generate": 103}
    defaults = {"alloc": "(i32.const 1024)", "dealloc": "", "load_model": "(i32.const 0)", "generate": "(i32.const 0)"}
    noted = {
        name: f"(call $note (i32.const {code})) {bodies.get(name, defaults[name])}" for name, code in letters.items()
    }
    others = {name: body for name, body in bodies.items() if name not in letters}
    return answering(more=LIST_CALLS, last_result_len="(global.get $calls)", **noted, **others)


def test_transfers(tmp_path: Path) -> None:
    """MEM-2, MEM-3: bytes go through alloc and dealloc, no bytes through neither; a trap does not leak the buffer."""
    generate = {"generate": {"prompt": {"text": "hi"}, "max_new_tokens": 3}}
    nothing = {"generate": {"prompt": "", "max_new_tokens": 3}}
    session = case(LOAD, generate, nothing, INIT, models={"file": {"file": "models/m"}})
    done = [status("Ok", result=result) for result in (b"ald", b"aldagd", b"aldagdg", b"aldagdg")]
    assert only(tmp_path, noting(), session, done, files={"models/m": b"xyz"})["verdict"] == "MATCH"
    (tmp_path / "trap").mkdir()
    trapped = [{"trap": True}, status("Ok", result=b"agd")]
    assert only(tmp_path / "trap", noting(generate=TRAP), case(generate, INIT), trapped)["verdict"] == "MATCH"


def test_transferred_bytes_and_recipes(tmp_path: Path) -> None:
    """MEM-9: the artifact is the file, cut, patched and extended in that order; the build shows what it received."""
    copy = "(memory.copy (i32.const 4096) (local.get 0) (local.get 1)) (global.set $n (local.get 1)) (i32.const 0)"
    build = answering(load_model=copy, last_result_len="(global.get $n)", more="(global $n (mut i32) (i32.const 0))")
    recipe = {
        "file": "models/m",
        "length": 6,
        "patch": [{"at": 0, "hex": "5859"}, {"at": 1, "hex": "5a"}],
        "append": {"hex": "2b2d", "repeat": 2},
    }
    whole = b"XZcdef+-+-"
    entry = only(
        tmp_path,
        build,
        case(LOAD, models={"file": recipe}),
        [status("Ok", result=whole)],
        files={"models/m": b"abcdefghij"},
        artifacts={("abi/case", "file"): whole},
    )
    assert entry["verdict"] == "MATCH"


def test_memory_that_grew(tmp_path: Path) -> None:
    """MEM-5: after growth the new memory is read and written, not an old view of it."""
    grow = "(drop (memory.grow (i32.const 1))) (i32.const 70000)"
    echo = "(memory.copy (i32.const 250000) (local.get 0) (local.get 1)) (i32.const 0)"
    build = answering(
        alloc=f"(drop (memory.grow (i32.const 2))) {grow}",
        generate=echo,
        last_result_ptr="(i32.const 250000)",
        last_result_len="(i32.const 2)",
    )
    session = case({"generate": {"prompt": {"text": "hi"}, "max_new_tokens": 1}})
    assert only(tmp_path, build, session, [status("Ok", result=b"hi")])["verdict"] == "MATCH"


def test_places(tmp_path: Path) -> None:
    """MEM-1: bound results with offsets are addresses; one whose call trapped ends the case with an error."""
    steps = [
        {"call": ["alloc", 8], "bind": "buffer"},
        {"write": "buffer+1", "bytes": {"text": "hey"}},
        {"call": ["generate", "buffer+1", 3, 1]},
        {"call": ["dealloc", "buffer", 8]},
    ]
    echo = "(memory.copy (i32.const 4096) (local.get 0) (local.get 1)) (i32.const 0)"
    build = answering(generate=echo, last_result_len="(i32.const 3)")
    answers = [{"value": "non-zero"}, {"none": True}, status("Ok", result=b"hey"), {"none": True}]
    assert only(tmp_path, build, case(*steps), answers)["verdict"] == "MATCH"
    (tmp_path / "trap").mkdir()
    entry = only(tmp_path / "trap", answering(alloc=TRAP), case(*steps), [{"trap": True}, *answers[1:]])
    assert (entry["verdict"], entry["first_difference"]["step"]) == ("ONLY_WASM_FAILED", 1)
    assert "buffer has no value" in entry["reason"]


@pytest.mark.parametrize(
    ("bodies", "reason"),
    [
        ({"last_result_ptr": "(i32.const -1)", "last_result_len": "(i32.const 2)"}, "reach past memory"),
        ({"last_result_len": "(i32.const -1)"}, "at most 16777216"),
        ({"get_diagnostics_len": "(i32.const 16777217)"}, "at most 16777216"),
        ({"alloc": "(i32.const 0)"}, "alloc(2) returned 0"),
        ({"alloc": "(i32.const 0x7fffffff)"}, "reach past memory"),
        ({"generate": wat_modules.RECURSE, "more": wat_modules.RECURSION}, "trapped"),
        ({"more": "(func $begin unreachable) (start $begin)"}, "instantiation failed"),
    ],
)
def test_hostile_answers(tmp_path: Path, bodies: Mapping[str, str], reason: str) -> None:
    """MEM-6, MEM-7: pointers outside of memory, hopeless lengths and endless recursion fail the build, not the host."""
    entry = only(
        tmp_path, answering(**bodies), case({"generate": {"prompt": {"text": "hi"}, "max_new_tokens": 1}}), [OK]
    )
    assert entry["verdict"] == "ONLY_WASM_FAILED"
    assert reason in entry["reason"]


def test_long_text(tmp_path: Path) -> None:
    """MEM-7: 16 MiB of text are read and compared; of a difference only the surroundings are shown to people."""
    length = 16 * 2**20
    build = answering(
        init_runtime=f"(memory.fill (i32.const 65536) (i32.const 97) (i32.const {length})) (i32.const 0)",
        last_result_ptr="(i32.const 65536)",
        last_result_len=f"(i32.const {length})",
        more="(func $begin (drop (memory.grow (i32.const 300)))) (start $begin)",
    )
    cases = {"abi/case": (case(INIT), [status("Ok", result=b"a" * 1000 + b"b")])}
    write_goldens(tmp_path / "golden", cases)
    (tmp_path / "build.wasm").write_bytes(build)
    text = run_node(tmp_path / "build.wasm", "--golden", tmp_path / "golden").out
    assert f"1001 bytes expected, {length} found; they differ at byte 1000" in text
    assert len(text) < 3000


@pytest.mark.parametrize(("pages", "verdicts"), [(1024, {"MATCH"}), (1, {"MATCH", "POISONED"})])
def test_growth_without_end(tmp_path: Path, pages: int, verdicts: set[str]) -> None:
    """MEM-5: growth is refused somewhere, and the build goes on; one that takes too long with it is stopped."""
    growing = wat_modules.GROW_UNTIL_REFUSED.replace("memory.grow (i32.const 1)", f"memory.grow (i32.const {pages})")
    build = answering(init_runtime=f"{growing} (drop) (i32.const 0)")
    done = consume(tmp_path, build, {"abi/case": (case(INIT), [OK])}, "--timeout", "3")
    assert set(done.verdicts.values()) <= verdicts


# Limits --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["init_runtime", "alloc", "generate", "dealloc", "last_result_len", "start"])
def test_loops_are_stopped(tmp_path: Path, name: str) -> None:
    """ABI-4: a call that does not return is stopped and named, wherever it loops; the next case runs all the same."""
    loops = (
        {"more": f"(func $begin {wat_modules.FOREVER}) (start $begin)"}
        if name == "start"
        else {name: wat_modules.FOREVER}
    )
    generate = {"generate": {"prompt": {"text": "hi"}, "max_new_tokens": 1}}
    cases = {"abi/a": (case(INIT, generate), [OK, OK]), "abi/b": (case({"call": ["last_result_ptr"]}), [{"value": 4}])}
    done = consume(tmp_path, answering(**loops), cases, "--timeout", "0.3")
    first, second = done.report["cases"]
    assert (first["verdict"], done.code) == ("POISONED", 1)
    assert f"{'instantiation' if name == 'start' else name} was stopped after 0.3 s" in first["reason"]
    assert second["verdict"] == ("POISONED" if name == "start" else "MISMATCH")


def test_a_difference_before_the_loop_counts(tmp_path: Path) -> None:
    """ABI-4: what a build showed before it was stopped is compared, and differs first."""
    build = answering(generate_next_token=wat_modules.FOREVER)
    session = case(INIT, {"call": ["generate_next_token"]})
    done = consume(tmp_path, build, {"abi/case": (session, [status("Ok", kv_length=1), OK])}, "--timeout", "0.3")
    assert done.verdicts == {"abi/case": "MISMATCH"}


def test_a_build_that_always_hangs_is_given_up(tmp_path: Path) -> None:
    """ABI-4: after five cases that a limit stopped, the rest is POISONED without being run."""
    cases = {f"abi/case-{number}": (case(INIT), [OK]) for number in range(8)}
    done = consume(tmp_path, answering(init_runtime=wat_modules.FOREVER), cases, "--timeout", "0.2")
    assert set(done.verdicts.values()) == {"POISONED"}
    reasons = [entry["reason"].partition(":")[0] for entry in done.report["cases"]]
    assert reasons == ["init_runtime was stopped after 0.2 s"] * 5 + ["not run"] * 3


# Surface -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"without": "generate"}, ("generate", "function (i32, i32, i32) -> i32", "nothing")),
        ({"memory": "(memory 1)"}, ("memory", "memory", "nothing")),
        ({"more": '(func (export "version") (result i32) (i32.const 1))'},
         ("version", "no other export", "function () -> i32")),
        ({"more": '(table (export "t") 1 funcref)'}, ("t", "no other export", "table")),
        ({"signatures": {"alloc": "(param i64) (result i32)"}},
         ("alloc", "function (i32) -> i32", "function (i64) -> i32")),
        ({"signatures": {"dealloc": "(param i32 i32) (result i32)"}, "dealloc": "(i32.const 0)"},
         ("dealloc", "function (i32, i32) -> ()", "function (i32, i32) -> i32")),
        ({"memory": '(import "env" "f" (func (param f64))) (memory (export "memory") 2)'},
         ("env.f", "no import", "function (f64) -> ()")),
        ({"memory": '(memory (export "memory") 1 2 shared)'}, ("memory", "memory", "shared memory")),
    ],
)  # fmt: skip
def test_surface(tmp_path: Path, changes: dict[str, Any], problem: tuple[str, str, str]) -> None:
    """ABI-1, ABI-2: every import, and every export that is missing, mistyped or extra, is told; nothing is run."""
    done = consume(tmp_path, wat_modules.build(**changes), {"abi/case": (case(INIT), [OK])})
    assert (done.code, done.report["exit_code"], done.report["cases"]) == (1, 1, [])
    assert [tuple(item.values()) for item in done.report["problems"]] == [problem]


def test_exported_globals_are_ignored(tmp_path: Path) -> None:
    """ABI-1: a linker exports globals such as `__heap_base`."""
    build = answering(more='(global (export "__heap_base") i32 (i32.const 9))')
    assert only(tmp_path, build, case(INIT), [OK])["verdict"] == "MATCH"


@pytest.mark.parametrize("data", [b"", b"\0asm", b"\0asm\1\0\0\0\7", b"(module)", b"\x7fELF" + bytes(64)])
def test_no_module(tmp_path: Path, data: bytes) -> None:
    """ABI-1: a file that is no module is refused with exit code 2; an empty module lacks every export."""
    done = consume(tmp_path, data, {"abi/case": (case(INIT), [OK])})
    assert (done.code, done.out) == (2, "")
    assert "not a WebAssembly module" in done.err


# Goldens -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["case.json", "expect.json", "ids.npy", "model", "inputs"])
def test_stale(tmp_path: Path, file: str) -> None:
    """ABI-5: a case any of whose hashes does not fit is STALE and not run; the others are judged."""
    golden = tmp_path / "golden"
    cases = {
        "abi/case": (case(LOAD, models={"file": {"file": "models/m"}}), [OK]),
        "abi/other": (case(INIT), [OK]),
    }
    arrays = {"abi/case": {"ids.npy": b"numbers"}}
    artifacts = {("abi/case", "file"): b"other"} if file == "inputs" else {}
    write_goldens(golden, cases, {"models/m": b"bytes"}, artifacts=artifacts, arrays=arrays)
    if file != "inputs":
        place = golden / "models/m" if file == "model" else golden / "cases/abi/case" / file
        text = place.read_bytes()
        place.write_bytes(text.replace(b'"format": 1', b'"format": 2') if file.endswith("json") else text + b"!")
    done = consume(tmp_path, answering(), {})
    assert done.verdicts == {"abi/case": "STALE", "abi/other": "MATCH"}
    assert done.code == 1
    assert "expect.json was made from" in done.out if file == "inputs" else "does not fit INDEX.json" in done.out


@pytest.mark.parametrize(
    ("session", "answers", "reason"),
    [
        (case({"call": ["version"]}), [OK], "no export takes version()"),
        (case({"call": ["alloc"]}), [{"value": 0}], "no export takes alloc()"),
        (case({"call": ["alloc", "0.5"]}), [{"value": 0}], "no integer"),
        (case({"call": ["alloc", "A"]}), [{"value": 0}], "no integer"),
        (case({"call": ["alloc", "buffer"]}), [{"value": 0}], "no place"),
        (case({"write": "8", "bytes": ""}), [{"none": True}], "no place"),
        (case({"generate": {"prompt": "FF", "max_new_tokens": 1}}), [OK], "no bytes"),
        (case({"configure": {"temperature": "hot", "top_k": 1, "top_p": 1, "seed": 1}}), [OK], "no float"),
        (case(INIT), [{"state": "Ok"}], "no answer"),
        (case(INIT), [OK, OK], "expect.json: steps"),
        (case(INIT), [], "expect.json: steps"),
        (case(), [], "case.json: steps"),
        ({**case(INIT), "format": 2}, [OK], "case.json: format"),
        ({**case(INIT), "number": 0.5}, [OK], "0.5 is no integer"),
    ],
)
def test_malformed_goldens(tmp_path: Path, session: Any, answers: Sequence[Any], reason: str) -> None:
    """ABI-5: a case that is not as the format says is STALE with the reason, also where its hashes fit."""
    done = consume(tmp_path, answering(), {"abi/case": (session, answers), "abi/other": (case(INIT), [OK])})
    assert done.verdicts == {"abi/case": "STALE", "abi/other": "MATCH"}
    assert reason in done.report["cases"][0]["reason"]


def test_comments_and_layout_do_not_matter(tmp_path: Path) -> None:
    """ABI-5: hashes are those of the values: other layout and comments leave a case as it was."""
    golden = write_goldens(tmp_path / "golden", {"abi/case": (case(INIT), [OK])})
    place = golden / "cases/abi/case/case.json"
    place.write_text(json.dumps({"_note": "said later", **json.loads(place.read_text())}, indent=4))
    assert consume(tmp_path, answering(), {}).verdicts == {"abi/case": "MATCH"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda index: {**index, "format": 2}, "format 2"),
        (lambda index: {**index, "contract": "0.2.0"}, "root hash"),
        (lambda index: {**index, "root": "0" * 64}, "root hash"),
    ],
)
def test_wrong_index(tmp_path: Path, change: Any, message: str) -> None:
    """ABI-5: another format, or an index that is not the one that was written, is refused."""
    golden = write_goldens(tmp_path / "golden", {"abi/case": (case(INIT), [OK])})
    index = golden / "INDEX.json"
    index.write_bytes(disk_form(change(json.loads(index.read_text()))))
    done = consume(tmp_path, answering(), {})
    assert (done.code, done.out) == (1, "")
    assert message in done.err


@pytest.mark.parametrize("missing", ["INDEX.json", "cases/abi/case/expect.json", "models/m"])
def test_missing_files(tmp_path: Path, missing: str) -> None:
    """ABI-5: a missing file ends the run with exit code 3 and its name."""
    cases = {"abi/case": (case(LOAD, models={"file": {"file": "models/m"}}), [OK])}
    (write_goldens(tmp_path / "golden", cases, {"models/m": b"bytes"}) / missing).unlink()
    done = consume(tmp_path, answering(), {})
    assert done.code == 3
    assert missing in done.err
    assert "no such file" in done.err


# Sampler trace -------------------------------------------------------------------------------------------------------


def test_sampler_trace(tmp_path: Path) -> None:
    """SA-6, PR-3: the trace of the first token that differs is reported, with the candidates around the coin."""
    drawn = {
        **{"top": [[97, "0x1p+0"], [98, "0x0p+0"]], "retained": 5, "total": "0x1p+2", "threshold": "0x1.8p+1"},
        **{"kept": 3, "mass": "0x1.cp+1", "state_before": "01" * 8, "output": "02" * 8, "state_after": "03" * 8},
        **{"unit": "0x1p-1", "point": "0x1.cp+0", "index": 1},
    }
    samples = [
        {"step": 0, "token": 97, "top": [[97, "0x1p+0"], [98, "0x0p+0"]], "greedy": "temperature is 0"},
        *({"step": 1, "token": token, "first": 3 * place, **drawn} for place, token in enumerate((97, 98, 256, 99))),
    ]
    numbers = {"ids.npy": np.arange(90, 102, dtype="<i4"), "weights.npy": np.linspace(1, 2, 12, dtype="<f4")}
    arrays = {}
    for name, values in numbers.items():
        np.save(tmp_path / name, values)
        arrays[name] = (tmp_path / name).read_bytes()
    generate = {"generate": {"prompt": {"text": "hi"}, "max_new_tokens": 3}}
    write_goldens(
        tmp_path / "golden",
        {"sampling/case": (case(INIT, generate), [status("Ok", result=b"abX"), status("Ok", result=b"abc")])},
        samples={"sampling/case": samples},
        arrays={"sampling/case": arrays},
    )
    done = consume(tmp_path, answering(text=b"abX"), {})
    assert done.report["cases"][0]["sample"] == samples[4]
    text = run_node(tmp_path / "build.wasm", "--golden", tmp_path / "golden").out
    assert 'token 99 "c" was right here; greatest logits: 97 (1), then 98 (0)' in text
    assert "u = 0.5, so the point u x mass = 1.75 (0x1.cp+0)" in text
    weights = numbers["weights.npy"][9:]
    assert f'>    1  100 "d"      weight {weights[1]!s}, sum {weights[0] + weights[1]!s}' in text
    assert "output 0202020202020202" in text


# Command line --------------------------------------------------------------------------------------------------------


@pytest.fixture
def three(tmp_path: Path) -> Path:
    """Return a folder with three cases, the last of which fails, and a build."""
    wrong = status("Ok", result='a\n\u202e"'.encode() + b"\xff")
    cases = {
        "abi/init": (case(INIT, rules=["ABI-1", "ST-1"]), [OK]),
        "abi/again": (case(INIT, INIT, rules=["ST-2"]), [OK, OK]),
        "memory/wrong": (case(INIT, INIT, rules=["MEM-7"]), [OK, wrong]),
    }
    assert consume(tmp_path, answering(), cases).code == 1
    return tmp_path


@pytest.mark.parametrize(
    ("filters", "ids"),
    [
        ([], ["abi/again", "abi/init", "memory/wrong"]),
        (["abi/init"], ["abi/init"]),
        (["abi"], ["abi/again", "abi/init"]),
        (["ST-2", "MEM-7"], ["abi/again", "memory/wrong"]),
        (["*i*t"], ["abi/init"]),
        (["abi/[!i]*"], ["abi/again"]),
        (["???/[ai]n*"], ["abi/init"]),
        (["mem*"], ["memory/wrong"]),
    ],
)
def test_filters(three: Path, filters: Sequence[str], ids: Sequence[str]) -> None:
    """ABI-5: a filter is an id, a family, a rule, or a shell pattern; cases run in the order of their ids."""
    options = [part for text in filters for part in ("--filter", text)]
    assert list(consume(three, answering(), {}, *options).verdicts) == ids


def test_nothing_left_to_run(three: Path) -> None:
    """ABI-5: a filter that fits no case is said and is no success."""
    done = consume(three, answering(), {}, "--filter", "abi/ini")
    assert (done.code, done.out, done.err) == (1, "", "no case fits abi/ini\n")


def test_words(three: Path) -> None:
    """DG-3: the report for people names what was run against what, the first divergence in full, and sums by family."""
    done = run_node(three / "build.wasm", "--golden", three / "golden")
    lines = done.out.splitlines()
    report = consume(three, answering(), {}).report
    assert lines[0] == f"build     build.wasm  sha256 {report['build']['sha256']}"
    assert lines[1] == "contract  0.1.0, profile 0123456789abcdef"
    assert lines[2] == f"goldens   format 1, root {report['golden']['root']}"
    assert "MISMATCH memory/wrong   (MEM-7)" in lines
    assert "  step 1              init_runtime()   (step 0 agrees)" in lines
    assert r'    expected          "a\n\u{202e}\"\xff"' in lines
    table = [line.split() for line in lines]
    assert ["family", "cases", "steps", "fields", "MATCH", "MISMATCH"] in table
    assert ["abi", "2", "3", "57", "2", "0"] in table
    assert ["memory", "1", "2", "38", "0", "1"] in table
    assert lines[-1] == "NOT FINE: 3 cases, 5 steps and 95 fields compared; 1 MISMATCH"
    assert done.code == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--help"], 0, ""),
        ([], 2, "name a build"),
        (["x.wasm", "--fast"], 2, "no option --fast"),
        (["x.wasm", "y.wasm"], 2, "one build at a time"),
        (["x.wasm", "--timeout", "0"], 2, "seconds"),
        (["x.wasm", "--timeout=soon"], 2, "seconds"),
        (["x.wasm", "--filter"], 2, "--filter needs a value"),
        (["does-not-exist.wasm"], 3, "does-not-exist.wasm: no such file"),
    ],
)
def test_usage(arguments: Sequence[str], code: int, message: str) -> None:
    """ABI-5: wrong usage is exit code 2 with one line, a missing file 3; --help lists every option."""
    done = run_node(*arguments)
    assert done.code == code
    assert message in done.err
    assert "    at " not in done.err, "a stack"
    if code == 0:
        assert all(option in done.out for option in ("--filter", "--golden", "--timeout", "--json"))
