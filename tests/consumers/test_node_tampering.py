"""The consumer for Node on goldens that somebody changed on purpose: STALE or refused, never a crash or a wait."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.consumers.golden_by_hand import INIT, OK, answering, case, disk_form, hash_of, write_goldens
from tests.consumers.node import Consumed
from tests.consumers.sessions import LOAD, consume

CASES = {
    "abi/case": (case(LOAD, INIT, models={"file": {"file": "models/m"}}), [OK, OK]),
    "abi/other": (case(INIT), [OK]),
}
PLACE = "cases/abi/case"


@pytest.fixture
def golden(tmp_path: Path) -> Path:
    return write_goldens(tmp_path / "golden", CASES, {"models/m": b"bytes"})


def rehash(golden: Path) -> None:
    """Recompute every hash, as somebody would who wants a change to pass."""
    index = json.loads((golden / "INDEX.json").read_bytes())
    for name in ("case", "expect"):
        index["cases"]["abi/case"][name] = hash_of(json.loads((golden / PLACE / f"{name}.json").read_bytes()))
    del index["root"]
    (golden / "INDEX.json").write_bytes(disk_form({**index, "root": hash_of(index)}))


def change(file: Path, how: Callable[[Any], object]) -> None:
    document = json.loads(file.read_bytes())
    how(document)
    file.write_bytes(disk_form(document))


def judged(tmp_path: Path) -> Consumed:
    return consume(tmp_path, answering(), {})


@pytest.mark.parametrize("file", ["case.json", "expect.json"])
@pytest.mark.parametrize("what", ["cut", "empty", "mark", "other encoding", "list", "null", "deep"])
def test_a_file_that_cannot_be_read_is_stale(tmp_path: Path, golden: Path, file: str, what: str) -> None:
    """FORMAT section 7, step 4: a broken file is one STALE case, and the others go on."""
    data = (golden / PLACE / file).read_bytes()
    broken = {
        **{
            "cut": data[:-9],
            "empty": b"",
            "mark": b"\xef\xbb\xbf" + data,
            "other encoding": data.decode().encode("utf-16"),
        },
        **{"list": b"[]\n", "null": b"null\n", "deep": b"[" * 100_000 + b"]" * 100_000},
    }
    (golden / PLACE / file).write_bytes(broken[what])
    if what in ("list", "null"):
        rehash(golden)
    done = judged(tmp_path)
    assert (done.code, done.verdicts) == (1, {"abi/case": "STALE", "abi/other": "MATCH"})


EXPECTATIONS: dict[str, Callable[[Any], object]] = {
    "contract": lambda document: document.update(contract="0.2.0"),
    "profile": lambda document: document.update(profile="0" * 16),
    "case": lambda document: document.update(case="abi/other"),
    "steps": lambda document: document["steps"].pop(),
}


@pytest.mark.parametrize("name", EXPECTATIONS)
def test_answers_that_belong_elsewhere_are_stale(tmp_path: Path, golden: Path, name: str) -> None:
    """FORMAT sections 4 and 7: answers of another case, contract or profile, and too few of them, where hashes fit."""
    change(golden / PLACE / "expect.json", EXPECTATIONS[name])
    rehash(golden)
    done = judged(tmp_path)
    assert (done.code, done.verdicts) == (1, {"abi/case": "STALE", "abi/other": "MATCH"})
    assert f"expect.json: {name}" in done.report["cases"][0]["reason"]


RECIPES: dict[str, Any] = {
    "length beyond": {"length": 6},
    "patch beyond": {"patch": [{"at": 5, "hex": "00"}]},
    "patch before": {"patch": [{"at": -1, "hex": "00"}]},
    "3 GB": {"append": {"hex": "00", "repeat": 3_000_000_000}},
    "less than nothing": {"append": {"hex": "00", "repeat": -1}},
    "outside": {"file": "models/../../secret"},
    "device": {"file": "../../../../../../../../dev/zero"},
}


@pytest.mark.parametrize("name", RECIPES)
def test_an_impossible_model_is_stale(tmp_path: Path, golden: Path, name: str) -> None:
    """FORMAT sections 2 and 3: a model beyond the file, beyond memory or outside of the goldens is not made."""
    change(golden / PLACE / "case.json", lambda document: document["models"]["file"].update(RECIPES[name]))
    rehash(golden)
    done = judged(tmp_path)
    assert (done.code, done.verdicts) == (1, {"abi/case": "STALE", "abi/other": "MATCH"})


INDEXES: dict[str, Callable[[Any], object]] = {
    "cases": lambda index: index.update(cases=[]),
    "an id that leads elsewhere": lambda index: index["cases"].update({"../abi": index["cases"].pop("abi/other")}),
    "an array that lies elsewhere": lambda index: index["cases"]["abi/other"]["arrays"].update({"../../x": "0" * 64}),
    "a model that lies elsewhere": lambda index: index["models"].update({"../x": {}}),
    "no rules": lambda index: index["cases"]["abi/other"].pop("rules"),
    "no exports": lambda index: index.pop("exports"),
}


@pytest.mark.parametrize("name", INDEXES)
def test_an_impossible_index_is_refused(tmp_path: Path, golden: Path, name: str) -> None:
    """FORMAT section 7, step 1: an index that is not as section 5 says ends the run, also where its root fits."""
    change(golden / "INDEX.json", lambda index: (INDEXES[name](index), index.pop("root")))
    index = json.loads((golden / "INDEX.json").read_bytes())
    (golden / "INDEX.json").write_bytes(disk_form({**index, "root": hash_of(index)}))
    done = judged(tmp_path)
    assert (done.code, done.out) == (1, "")
    assert "is not as FORMAT.md says" in done.err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("what", ["pipe", "device", "folder"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, golden: Path, what: str) -> None:
    """FORMAT section 7, step 9: a pipe, a device or a folder in the place of a file counts as a missing one."""
    place = golden / "models/m"
    place.unlink()
    if what == "pipe":
        os.mkfifo(place)
    elif what == "device":
        place.symlink_to("/dev/zero")
    else:
        place.mkdir()
    done = judged(tmp_path)
    assert (done.code, done.out) == (3, "")
    assert "not a file" in done.err
