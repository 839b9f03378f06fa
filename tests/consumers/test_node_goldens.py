"""The consumer for Node: hashes, malformed goldens, the sampler trace, filters, words, command line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.consumers.golden_by_hand import INIT, OK, answering, case, disk_form, write_goldens
from tests.consumers.node import run_node
from tests.consumers.sessions import LOAD, consume, status

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
        (lambda index: {**index, "format": 3}, "format 3"),
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
        pytest.param(["abi/init"], ["abi/init"], marks=pytest.mark.slow),
        (["abi"], ["abi/again", "abi/init"]),
        (["ST-2", "MEM-7"], ["abi/again", "memory/wrong"]),
        pytest.param(["*i*t"], ["abi/init"], marks=pytest.mark.slow),
        (["abi/[!i]*"], ["abi/again"]),
        pytest.param(["???/[ai]n*"], ["abi/init"], marks=pytest.mark.slow),
        pytest.param(["mem*"], ["memory/wrong"], marks=pytest.mark.slow),
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
