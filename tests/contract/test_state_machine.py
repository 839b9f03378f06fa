"""Walk the table of `state_table`: every situation, every call, everything that can be seen afterwards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tests.contract.host import Host
from tests.contract.models import story_model
from tests.contract.state_table import TABLE
from tests.support.slm1_by_hand import build

STATES = {"Uninitialized", "Initialized", "Ready", "Continuation ready", "Recoverable error", "Freed"}

SCRATCH_BYTES = 4 * (10 * 16 + 3 * 2 + 8)
"""DG-5 for the story model: H 16, F 2, capacity 8."""

Call = Callable[[Host], int | None]

CALLS: dict[str, Call] = {
    "alloc": lambda host: None if host.abi.alloc(1) else 0,
    "dealloc": lambda host: host.abi.dealloc(host.abi.alloc(3), 3),
    "init": lambda host: host.abi.init_runtime(),
    "load": lambda host: host.load(story_model()),
    "load null": lambda host: host.abi.load_model(0, 8),
    "load length 0": lambda host: host.abi.load_model(host.put(b"SLM1"), 0),
    "load broken": lambda host: host.load(bytes(build(hidden_size=0))),
    "configure": lambda host: host.abi.set_sampling_config(0.0, 3, 0.25, 7),
    "configure badly": lambda host: host.abi.set_sampling_config(0.5, 0, 0.5, 9),
    "generate": lambda host: host.generate(b"b", 1),
    "generate two": lambda host: host.generate(b"a", 2),
    "generate null": lambda host: host.abi.generate(0, 1, 1),
    "generate length 0": lambda host: host.abi.generate(host.put(b"b"), 0, 1),
    "generate bad utf-8": lambda host: host.generate(b"\xc3", 1),
    "generate none": lambda host: host.generate(b"b", 0),
    "generate too long": lambda host: host.generate(b"bbbbbbb", 1),
    "generate bad output": lambda host: host.generate(b"x", 1),
    "next token": lambda host: host.abi.generate_next_token(),
    "result ptr": lambda host: None if host.abi.last_result_ptr() else 0,
    "result len": lambda host: host.abi.last_result_len() and None,
    "diagnostics ptr": lambda host: None if host.abi.get_diagnostics_ptr() else 0,
    "diagnostics len": lambda host: None if host.abi.get_diagnostics_len() else 0,
    "reset": lambda host: host.abi.reset_context(),
    "free": lambda host: host.abi.free_model(),
}
NO_ROWS = {"generate two"}
NO_STATUS = {"alloc", "dealloc", "result ptr", "result len", "diagnostics ptr", "diagnostics len"}


@dataclass(frozen=True)
class Seen:
    """What a host can see, and the state: one row of the table."""

    returned: str
    state: str
    result: str
    counts: str
    last_error: str
    model: str


@dataclass(frozen=True)
class Situation:
    path: tuple[str, ...]
    before: Seen
    rows: dict[str, Seen]


def parse(table: str) -> dict[str, Situation]:
    """Read the table; `=` is replaced by what was seen before the call."""
    situations = {}
    for block in table.strip().split("\n\n"):
        title, *lines = block.splitlines()
        name, _, path = title.removeprefix("# ").partition(": ")
        steps = () if path == "nothing was called" else tuple(path.split(", "))
        rows = {}
        before: Seen | None = None
        for line in lines:
            call, *cells = (cell.strip() for cell in line.split("|"))
            if before is not None:
                inherited = (before.returned, before.state, before.result, before.counts, before.last_error)
                cells = [old if new == "=" else new for new, old in zip(cells, (*inherited, before.model), strict=True)]
            seen = Seen(*cells)
            if before is None:
                assert call == "before"
                before = seen
            else:
                assert call not in rows
                rows[call] = seen
        assert before is not None
        situations[name] = Situation(steps, before, rows)
    return situations


SITUATIONS = parse(TABLE)


def perform(host: Host, call: str) -> str:
    """Make one call; return its status as text, `-` for a call that returns none."""
    returned = CALLS[call](host)
    if call in NO_STATUS:
        # A length may be 0, a pointer never is.
        assert returned is None or call == "result len"
        return "-"
    return str(returned)


def see(host: Host, returned: str) -> Seen:
    """Look at everything; the state comes first, because the getters create a runtime (ST-1)."""
    state = host.abi.state.value.capitalize()
    document = host.diagnostics
    selected = document["selected_token"]
    numbers = (document["kv_length"], document["prompt_tokens"], document["generated_tokens"])
    counts = " ".join([*map(str, numbers), "-" if selected is None else str(selected)])
    return Seen(
        returned=returned,
        state=state,
        result=host.result.decode(),
        counts="clear" if counts == "0 0 0 -" else counts,
        last_error="null" if document["last_error"] is None else document["last_error"],
        model="yes" if document["model_loaded"] else "no",
    )


def reach(situation: Situation) -> tuple[Host, str]:
    host, returned = Host(), "-"
    for call in situation.path:
        returned = perform(host, call)
    return host, returned


@pytest.mark.parametrize("name", SITUATIONS)
def test_situations_are_what_the_table_says(name: str) -> None:
    """ST-1 to ST-9: what can be seen in each state before a row's call."""
    host, returned = reach(SITUATIONS[name])
    assert see(host, returned) == SITUATIONS[name].before


@pytest.mark.parametrize(
    ("name", "call"), [(name, call) for name, situation in SITUATIONS.items() for call in situation.rows]
)
def test_every_call_in_every_state(name: str, call: str) -> None:
    """ST-1 to ST-9, ERR-3, ERR-4, ERR-5, NT-1, NT-2, CL-state: status, next state, result and diagnostics."""
    host, _ = reach(SITUATIONS[name])
    expected = SITUATIONS[name].rows[call]
    returned = perform(host, call)
    assert see(host, returned) == expected
    document = host.diagnostics
    loaded, sampled = expected.model == "yes", expected.counts != "clear"
    assert document["quantization"] == ("f32" if loaded else "none")
    assert document["peak_scratch_bytes"] == (SCRATCH_BYTES if loaded else 0)
    assert (document["logits_summary"] is not None) is sampled
    assert len(document["top_tokens"]) == (5 if sampled else 0)
    assert (document["tokenizer_output"] != "") is (document["prompt_tokens"] > 0)
    sampling = (document["temperature"], document["top_k"], document["top_p"], document["seed"])
    assert sampling == ((0, 3, 0.25, "7") if call == "configure" else (0, 1, 1, "1"))


def test_table_is_complete() -> None:
    """ST-1 to ST-9: the table has every call in every situation, and enters and leaves every published state."""
    for situation in SITUATIONS.values():
        assert set(situation.rows) == set(CALLS) - NO_ROWS
    origins = {situation.before.state for situation in SITUATIONS.values()}
    entered = {row.state for situation in SITUATIONS.values() for row in situation.rows.values()}
    left = {
        situation.before.state
        for situation in SITUATIONS.values()
        if any(row.state != situation.before.state for row in situation.rows.values())
    }
    assert origins == entered == left == STATES


def test_states_through_a_whole_life() -> None:
    """ST-3, ST-6, CL-state: one long session passes through all states, and errors return to where they came from."""
    host = Host()
    seen = [host.abi.state.value]
    calls = "init, load, generate, configure badly, configure, free, configure badly, configure, load broken, configure"
    for call in [*calls.split(", "), "load", "generate", "load"]:
        perform(host, call)
        seen.append(host.abi.state.value)
    assert seen == [
        "uninitialized",
        "initialized",
        "ready",
        "continuation ready",
        "recoverable error",
        "continuation ready",
        "freed",
        "recoverable error",
        "freed",
        "recoverable error",
        "initialized",
        "ready",
        "continuation ready",
        "ready",
    ]
