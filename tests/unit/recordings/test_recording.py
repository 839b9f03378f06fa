"""Recordings as files: what becomes a step, what is left out, and what is refused."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from refruntime.cases.observation import Trapped, kind_of, result_of
from refruntime.cases.steps import Call, Configure, Generate, Load
from refruntime.contract.exports import EXPORTS_BY_NAME
from refruntime.golden.reading import GoldenError
from refruntime.recordings.convert import MissingModels, RecordedSession, convert
from refruntime.recordings.read import MAX_RECORDING_BYTES, read_recording
from tests.support.command_line import command

ARTIFACT = b"SLM1 but no more"
HASH = hashlib.sha256(ARTIFACT).hexdigest()
FAILED = {"returned": 6, "result": {"text": "invalid header"}, "diagnostics": {"text": "{}"}}


def event(call: str, *arguments: object, **outcome: object) -> dict[str, Any]:
    return {"call": call, "arguments": list(arguments), **(outcome or {"returned": None})}


def load(pointer: int, **changes: object) -> dict[str, Any]:
    data = {"sha256": HASH, "length": len(ARTIFACT)}
    return event("load_model", pointer, len(ARTIFACT), data=data, **FAILED) | changes


def document(*events: dict[str, Any], **changes: object) -> dict[str, Any]:
    """Return a recording, written here by hand after docs/testing-a-build.md."""
    blobs = {HASH: {"length": len(ARTIFACT), "base64": base64.b64encode(ARTIFACT).decode()}}
    return {
        "format": "refruntime recording",
        "version": 1,
        "name": "by hand",
        "build": {"sha256": None, "declaration": None, "exports": list(EXPORTS_BY_NAME)},
        "events": list(events),
        "blobs": blobs,
        "unrecorded": {},
        "truncated": None,
        **changes,
    }


USUAL = document(
    event("alloc", 16, returned=4096),
    load(4096),
    event("last_result_len", returned=14),
    event("dealloc", 4096, 16),
    event("set_sampling_config", "0.7", 5, "-0", "18446744073709551615", **FAILED),
    event("generate", 4096, 2, 9, data={"text": "\u00fc"}, trap="RuntimeError: unreachable"),
)


def converted(made: object, models: dict[str, bytes] | None = None) -> RecordedSession:
    return convert(read_recording(json.dumps(made).encode(), "recording"), "recorded/test", models or {})


def test_usual_transfer() -> None:
    """MEM-9: alloc, call, getters, dealloc become one load step and the getters; every answer goes with its step."""
    session = converted(USUAL)
    assert session.case.steps == (
        Load("model-1"),
        Call("last_result_len"),
        Configure(0.7, 5, -0.0, 2**64 - 1),
        Generate(b"\xc3\xbc", 9),
    )
    assert session.case.models == {"model-1": ARTIFACT}
    assert [kind_of(answer.shown) for answer in session.answers] == ["status", "value", "status", "trap"]
    assert result_of(session.answers[0].shown) == b"invalid header"
    assert session.answers[0].document == b"{}"
    assert session.answers[3].shown == Trapped(session.case.steps[3], "RuntimeError: unreachable")
    assert session.notes == ("call 5, generate: its 2 bytes at 4096 lie in no live allocation (MEM-4)",)


@pytest.mark.parametrize(
    "events",
    [
        pytest.param([event("alloc", 17, returned=4096), load(4096), event("dealloc", 4096, 17)], id="longer buffer"),
        pytest.param([event("alloc", 16, returned=4096), load(4096)], id="never freed"),
        pytest.param(
            [event("alloc", 16, returned=4096), load(4096), load(4096), event("dealloc", 4096, 16)], id="used twice"
        ),
        pytest.param(
            [event("alloc", 16, returned=4096), load(4096), event("dealloc", 4096, 16, trap="RuntimeError: x")],
            id="dealloc traps",
        ),
    ],
)
def test_unusual_transfers_keep_their_calls(events: list[dict[str, Any]]) -> None:
    """MEM-1, MEM-3: a buffer that does more than carry one call's bytes is allocated and freed in steps of its own."""
    steps = converted(document(*events)).case.steps
    assert len(steps) == len(events)
    for step, made in zip(steps, events, strict=True):
        assert isinstance(step, Load) if made["call"] == "load_model" else isinstance(step, Call)
    assert isinstance(steps[0], Call)
    assert steps[0].bind == "buffer_a"


def test_names_of_buffers() -> None:
    """Bound names are made of letters, and no two buffers share one."""
    events = [event("alloc", 1, returned=16 * number) for number in range(1, 801)]
    names = [step.bind for step in converted(document(*events)).case.steps if isinstance(step, Call)]
    assert names[0] == "buffer_a"
    assert names[25:28] == ["buffer_z", "buffer_aa", "buffer_ab"]
    assert names[701:703] == ["buffer_zz", "buffer_aaa"]
    assert len(set(names)) == 800


def test_undefined_calls_are_left_out() -> None:
    """MEM-3: a double free, a foreign pointer and a wrong length have no defined answer; the notes name the calls."""
    events = [
        event("alloc", 8, returned=64),
        event("dealloc", 64, 8),
        event("dealloc", 64, 8),
        event("dealloc", 4096, 8),
        event("alloc", 8, returned=64),
        event("dealloc", 64, 9),
        event("set_sampling_config", "0", "1", "1", "1", refused="TypeError: no BigInt\u0007"),
    ]
    session = converted(document(*events, unrecorded={"malloc": 2}, truncated="enough"))
    assert [step.export for step in session.case.steps if isinstance(step, Call)] == ["alloc", "dealloc", "alloc"]
    assert [note.partition(":")[0] for note in session.notes] == [
        "call 2, dealloc",
        "call 3, dealloc",
        "call 5, dealloc",
        "call 6, set_sampling_config",
        "2 calls of malloc, which the contract does not know",
        "the recording ends early",
    ]
    assert "\x07" not in "".join(session.notes)


def test_regions_that_no_runtime_may_give(tmp_path: Path) -> None:
    """MEM-1: what a build gives for a length beyond the limit is a difference, and freeing it is left out."""
    made = document(event("alloc", 134217729, returned=4096), event("dealloc", 4096, 134217729))
    assert [step.export for step in converted(made).case.steps if isinstance(step, Call)] == ["alloc"]
    (tmp_path / "recording.json").write_text(json.dumps(made))
    assert command("record", tmp_path / "recording.json", "-o", tmp_path / "odd").code == 0
    shown = command("diff", "--recorded", tmp_path / "odd", "--no-explain")
    assert shown.code == 1
    assert "oracle value 0    build value 1" in shown.stdout


def test_regions_are_bounded() -> None:
    """MEM-1: a page that never frees does not make the oracle set aside more than a gibibyte."""
    leaks = [event("alloc", 2**27, returned=2**27 * number) for number in range(1, 20)]
    session = converted(document(*leaks, event("dealloc", 2**27, 2**27), event("alloc", 2**27, returned=2**27)))
    assert [step.export for step in session.case.steps if isinstance(step, Call)] == [
        *["alloc"] * 8,
        "dealloc",
        "alloc",
    ]
    assert len(session.notes) == 11


def test_an_unreadable_answer_ends_the_session() -> None:
    """MEM-7: after a result outside of memory nothing that follows can be compared, as with a build that runs here."""
    broken = event("init_runtime", returned=0, result={"error": "range 1 + 2 lies outside memory"})
    session = converted(document(broken, event("reset_context", returned=0, result={"hex": ""})))
    assert [kind_of(answer.shown) for answer in session.answers] == ["error"]


def test_missing_models() -> None:
    """Bytes that the recording does not hold are asked for by hash and size, once each."""
    made = document(load(1), load(1), blobs={HASH: {"length": len(ARTIFACT)}})
    with pytest.raises(MissingModels) as caught:
        converted(made)
    assert [(blob.sha256, blob.length) for blob in caught.value.blobs] == [(HASH, len(ARTIFACT))]
    assert converted(made, {HASH: ARTIFACT}).case.models == {"model-1": ARTIFACT}


def changed(path: str, value: object) -> dict[str, Any]:
    """Return USUAL with another value at a path such as `events.1.arguments`."""
    made = copy.deepcopy(USUAL)
    *parents, last = path.split(".")
    place: Any = made
    for key in parents:
        place = place[int(key) if isinstance(place, list) else key]
    place[int(last) if isinstance(place, list) else last] = value
    return made


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("format", "case", "a recording"),
        ("version", 2, "$.version: expected version 1, found 2"),
        ("more", 1, "$.more: expected one of the keys"),
        ("events", {}, "$.events: expected a list"),
        ("events.0.call", "main", "$.events[0].call: expected one of alloc"),
        ("events.0.arguments", [1, 2], "$.events[0].arguments: expected 1 arguments"),
        ("events.0.arguments", [-1], "$.events[0].arguments[0]: expected an integer 0 .. 4294967295"),
        ("events.0.returned", 2**32, "$.events[0].returned"),
        ("events.0.trap", "x", "$.events[0]: expected one of returned, trap, refused, found returned, trap"),
        ("events.0.data", {"text": "a"}, "$.events[0].data: expected nothing: alloc reads no bytes"),
        ("events.1.data", {"sha256": "0" * 64, "length": 16}, "$.events[1].data: expected the hash of one of the"),
        ("events.1.data", {"text": "short"}, "$.events[1].data: expected 16 bytes, as the argument says, found 5"),
        ("events.1.data", {"outside": False}, "$.events[1].data.outside: expected true"),
        ("events.1.result", {"text": "\ud800"}, "$.events[1].result.text: expected text that UTF-8 can hold"),
        ("events.1.result", {"error": 5}, "$.events[1].result.error: expected a string"),
        ("events.2.result", {"text": ""}, "$.events[2].result: expected nothing: last_result_len returns no status"),
        ("events.3.returned", 0, "$.events[3].returned: expected null: dealloc returns nothing"),
        ("events.4.arguments", ["1e999", 5, "1", "1"], "$.events[4].arguments[0]: expected a float"),
        ("events.4.arguments", ["1", 5, "1", "-1"], "$.events[4].arguments[3]: expected an integer 0 .. 2^64 - 1"),
        (f"blobs.{HASH}.base64", "AAAA", f"$.blobs.{HASH}: expected 16 bytes, found 3"),
        (f"blobs.{HASH}.base64", "****", f"$.blobs.{HASH}.base64: expected base64"),
        (f"blobs.{HASH}.base64", base64.b64encode(bytes(16)).decode(), "expected bytes with the SHA-256"),
        ("build.sha256", "ab", "$.build.sha256: expected a SHA-256"),
    ],
)
def test_malformed_recordings(path: str, value: object, message: str) -> None:
    """A malformed recording is refused with the place, what was expected and what was found."""
    with pytest.raises(GoldenError) as caught:
        converted(changed(path, value))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected JSON"),
        (b"\xff", "expected UTF-8, found byte 0xff at offset 0"),
        (b"[" * 200_000, "beyond all use"),
        (b"1" * 10_000, "beyond all use"),
        (b"[]", "a recording"),
        (b"NaN", "a recording"),
    ],
)
def test_no_recording_at_all(data: bytes, message: str) -> None:
    """What is no JSON, or JSON without end, is refused in words."""
    with pytest.raises(GoldenError, match=message):
        read_recording(data, "recording")


def test_too_long() -> None:
    """A file beyond the limit is refused before it is parsed."""
    with pytest.raises(GoldenError, match="at most"):
        read_recording(bytes(MAX_RECORDING_BYTES + 1), "recording")


def test_nothing_to_repeat() -> None:
    """A session without a call that can be repeated is no case."""
    for made in (document(), document(event("dealloc", 1, 1))):
        with pytest.raises(GoldenError, match="a call that can be repeated"):
            converted(made)


def test_documented_keys() -> None:
    """The how-to describes every key of the document and of an event."""
    text = (Path(__file__).resolve().parents[3] / "docs" / "testing-a-build.md").read_text()
    described = text[text.index("### The document") :]
    events = {key for item in USUAL["events"] for key in item} | {"refused", "outside", "error", "hex"}
    for key in (*USUAL, *USUAL["build"], *events):
        assert re.search(rf"[`\"{{]{key}[`\":]", described), key


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just(HASH),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def paths_of(value: Any, before: str = "") -> list[str]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path for key, item in items for path in (f"{before}{key}", *paths_of(item, f"{before}{key}."))]


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(paths_of(USUAL)), JSON)
def test_any_value_anywhere(path: str, value: object) -> None:
    """Whatever stands where, a recording is converted or refused in words; nothing else happens."""
    try:
        session = converted(changed(path, value))
    except (GoldenError, MissingModels):
        return
    assert session.case.steps
    assert len(session.answers) == len(session.case.steps)


# The command ---------------------------------------------------------------------------------------------------------


def test_command_errors(tmp_path: Path) -> None:
    """Exit codes: 2 wrong usage, 3 a missing file, 1 a malformed one; the message names it."""
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    assert command("record", broken).code == 2
    assert command("record", tmp_path / "none.json", "-o", tmp_path / "x").code == 3
    shown = command("record", broken, "-o", tmp_path / "x")
    assert shown.code == 1
    assert str(broken) in shown.stderr
    assert not (tmp_path / "x").exists()


def test_recorded_folder_errors(tmp_path: Path) -> None:
    """`diff --recorded` refuses what `record` did not write: missing files 3, edited ones 1, mixed options 2."""
    assert command("diff", "--recorded", tmp_path / "none").code == 3
    assert command("diff").code == 2
    assert command("diff", "build.wasm", "--recorded", tmp_path).code == 2
    recording = tmp_path / "recording.json"
    recording.write_text(json.dumps(USUAL))
    assert command("record", recording, "-o", tmp_path / "My Session!").code == 0
    folder = tmp_path / "My Session!"
    assert "recorded/my-session-" in command("diff", "--recorded", folder).stdout
    answers = (folder / "answers.json").read_text()
    for old, new, message in [
        ('"status": 6', '"status": "6"', "$.steps[0].status"),
        ('"trap"', '"trapped"', "$.steps[3]"),
        ('"case": "', '"case": "0', "the answers belong to other steps"),
    ]:
        (folder / "answers.json").write_text(answers.replace(old, new))
        shown = command("diff", "--recorded", folder)
        assert shown.code == 1
        assert message in shown.stderr
    (folder / "answers.json").write_text(answers)
    (model,) = (folder / "models").iterdir()
    model.unlink()
    shown = command("diff", "--recorded", folder)
    assert shown.code == 3
    assert model.name in shown.stderr


def test_status_outside_the_table(tmp_path: Path) -> None:
    """ERR-1: a status that the contract does not know is kept as a number and reported as a difference."""
    recording = tmp_path / "recording.json"
    recording.write_text(json.dumps(document(event("init_runtime", returned=99, result={"hex": ""}))))
    assert command("record", recording, "-o", tmp_path / "odd").code == 0
    shown = command("diff", "--recorded", tmp_path / "odd", "--no-explain")
    assert shown.code == 1
    assert "unknown status (99)" in shown.stdout
