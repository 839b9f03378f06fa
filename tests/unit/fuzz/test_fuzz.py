"""Random sessions: what they have to reach, that they repeat, that differences are found, shrunk, kept and replayed."""

from __future__ import annotations

import json
import sys
from functools import cache
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

from refruntime.campaign.ledger import Ledger
from refruntime.cases.observation import code_of
from refruntime.cases.steps import FREE, INIT, NEXT_TOKEN, Call, Generate, Load, Step, Write
from refruntime.contract.profile import Profile
from refruntime.contract.status import Status
from refruntime.differential.run import Oracle
from refruntime.differential.suite import Suite
from refruntime.differential.verdict import FINE
from refruntime.fuzz.batch import FuzzSubject, run_batch, shrink_finding
from refruntime.fuzz.finding import case_from_document, finding_document, finding_of, save_finding, saved_cases
from refruntime.fuzz.pool import BROKEN, LIVELY, STORY, SURPRISES, make_pool
from refruntime.fuzz.reached import LOCKED, SITUATIONS, TRANSITIONS, Reach, Reached, required
from refruntime.golden.reading import GoldenError
from refruntime.numerics import CompiledSeq32
from tests.contract.state_table import TABLE
from tests.contract.test_state_machine import parse
from tests.guest.build import build
from tests.guest.toolchain import Toolchain
from tests.support.builds import changed_build
from tests.support.command_line import command
from tests.support.toolchain import needed_toolchain

pytestmark = pytest.mark.xdist_group("fuzz")  # one worker makes the pool of artifacts


@cache
def subject(profile: Profile | None = None) -> FuzzSubject:
    """The oracle beside itself, changed by a profile."""
    fresh = changed_build(profile)
    oracle = Oracle(numerics=CompiledSeq32(1))
    return FuzzSubject(fresh, oracle, Suite(fresh, oracle).offered())


def test_transitions_are_those_of_the_state_table() -> None:
    """ST-1 to ST-9: what a run has to reach is what the hand-written table of states says, and the lock behind it."""
    walked = set()
    for situation in parse(TABLE).values():
        for row in situation.rows.values():
            walked.add((situation.before.state.lower(), row.state.lower()))
    assert {pair for pair in TRANSITIONS if LOCKED not in pair} == walked
    assert {pair for pair in TRANSITIONS if LOCKED in pair} == {(before, LOCKED) for before in SITUATIONS}


def test_every_status_is_required() -> None:
    """ERR-1, ERR-2: all fifteen statuses, and 13 of every export; under lossy text none that it makes impossible."""
    pairs = required(Profile())["calls and statuses"]
    assert {status for _, status in pairs} == {str(int(status)) for status in Status}
    assert {export for export, status in pairs if status == "13"} == {export for export, _ in pairs}
    lossy = required(Profile(invalid_output_utf8="lossy"))["calls and statuses"]
    assert pairs - lossy == {("generate_next_token", "3")}


def test_what_was_not_reached_is_named() -> None:
    """ST-1: a run that made one call lacks all others, by name; rows survive JSON."""
    reached = Reached()
    reached.counts[Reach("uninitialized", "init_runtime", "0", "initialized")] += 3
    again = Reached.from_document(reached.document())
    again.add(reached)
    assert again.calls == 6
    parts = again.parts(Profile())
    assert "initialized -> init_runtime" in parts["situations and calls"].missing
    assert "uninitialized -> init_runtime" not in parts["situations and calls"].missing
    assert len(parts["situations and calls"].missing) == 7 * 13 - 1
    assert parts["transitions"].reached == {("uninitialized", "initialized")}


def test_the_pool_has_what_sessions_need() -> None:
    """SL-5, ID-1: models that go far are there; a changed file is sealed or not; absent features need no file."""
    pool = make_pool(Profile())
    assert set(LIVELY) <= pool.files.keys()
    assert len(pool.files) > 4500
    name = pool.changed(STORY, len(pool.files[STORY]) - 2, b"\x07\x08", sealed=True)
    sealed, plain = pool.artifact(name), pool.artifact(name.removesuffix("-sealed"))
    assert sum(a != b for a, b in zip(plain, pool.files[STORY], strict=True)) == 2
    assert {place for place in range(len(plain)) if plain[place] != sealed[place]} <= set(range(100, 108))
    judge = subject().judge
    assert code_of(judge("x", (Load(name),)).run.reference[0]) != 6  # type: ignore[union-attr]
    assert code_of(judge("x", (Load(BROKEN),)).run.reference[0]) == 6  # type: ignore[union-attr]


@pytest.mark.slow
def test_the_pool_leaves_out_what_a_build_does_not_have() -> None:
    """ID-1: no file needs an absent feature, also one that is malformed behind what names it."""
    fewer = make_pool(Profile(), frozenset({"gguf/storage/q4_0"})).files
    assert "malformed.gguf.entry.token_embd.weight-block-2" not in fewer
    assert "malformed.gguf.entry.token_embd.weight-block-8" in fewer
    without = make_pool(Profile(), frozenset({"gguf"})).files
    assert not any(data[:4] == b"GGUF" for data in without.values())


def test_surprises_reach_the_rare_statuses() -> None:
    """GEN-9, GEN-10, NT-7: a continuation that is too long, and one that is no UTF-8."""
    steps = (Load(SURPRISES), Generate(b"a", 1), NEXT_TOKEN, Generate(b"x", 1), NEXT_TOKEN)
    run = subject().judge("x", steps).run
    assert run is not None
    assert [code_of(answer) for answer in run.reference] == [0, 0, 14, 0, 3]


def test_a_batch_repeats_itself_and_finds_nothing_where_nothing_is() -> None:
    """ST-1: the same seed and number give the same sessions; none is undefined; the oracle agrees with itself."""
    first, second, other = (run_batch(subject(), 1, number, sessions=8, rules=10) for number in (3, 3, 4))
    assert first == second
    assert first.reached.counts != other.reached.counts
    assert (first.differing, first.findings, first.undefined) == (0, {}, 0)
    assert first.sessions >= 8
    assert first.reached.calls > 2 * first.steps


def test_sessions_do_not_depend_on_the_modules_that_are_loaded(tmp_path: Path) -> None:
    """ST-1: Hypothesis draws constants of local modules, of which a worker has others than the command."""
    before = run_batch(subject(), 1, 3, sessions=8, rules=10)
    module = tmp_path / "constants_of_a_person.py"
    module.write_text("".join(f"x{i} = {i}, {i / 7}, b'{i}'\n" for i in range(2, 1024, 3)))
    spec = spec_from_file_location(module.stem, module)
    assert spec is not None
    sys.modules[module.stem] = module_from_spec(spec)
    try:
        assert run_batch(subject(), 1, 3, sessions=8, rules=10) == before
    finally:
        del sys.modules[module.stem]


@pytest.fixture(scope="module")
def kept_context() -> tuple[FuzzSubject, dict[str, object]]:
    """A build whose reset leaves the result as it was, and the shrunk session that shows it."""
    changed = subject(Profile(reset_result="unchanged"))
    found = run_batch(changed, 1, 1, sessions=10, rules=8).findings["reset_context: result"]
    shrunk = shrink_finding(changed, found, 1, 1, sessions=10, rules=8)
    return changed, finding_document(shrunk, "1-0-test", changed.pool)


def test_a_difference_is_found_and_shrunk(kept_context: tuple[FuzzSubject, dict[str, object]]) -> None:
    """ST-5: a call that leaves a text behind, and the reset; nothing else is left."""
    changed, document = kept_context
    assert document["group"] == "reset_context: result"
    case = case_from_document(document, changed.pool)
    assert document["calls"] == len(case.steps) <= 3
    assert case.steps[-1] == Call("reset_context")
    assert changed.judge("again", case.steps).verdict not in FINE


def test_a_finding_is_kept_as_a_golden_case(
    kept_context: tuple[FuzzSubject, dict[str, object]], tmp_path: Path
) -> None:
    """ST-5: what is kept is replayed with its own models; a file that was changed by hand is refused by name."""
    changed, document = kept_context
    story = finding_of(changed.judge("x", (Load(STORY), Generate(b"a", 2), Call("reset_context"))))
    path = save_finding(tmp_path, finding_document(story, "with-model", changed.pool), changed.pool)
    save_finding(tmp_path, document, changed.pool)
    cases = list(saved_cases(tmp_path))
    assert [case.name for case in cases] == ["fuzz/1-0-test", "fuzz/with-model"]
    assert cases[1].models == {STORY: changed.pool.files[STORY]}
    assert changed.judge("again", cases[1].steps).verdict not in FINE
    path.write_bytes(path.read_bytes().replace(b'"reset_context"', b'"reset_contex"'))
    with pytest.raises(GoldenError, match="reset_contex"):
        list(saved_cases(tmp_path))


def test_steps_that_use_a_lost_buffer_go_with_it() -> None:
    """MEM-3: no shrunk session uses what it does not allocate."""
    changed = subject(Profile(reset_result="unchanged"))
    steps: tuple[Step, ...] = (
        *(INIT, Call("alloc", (4,), "a"), Write("a", b"abcd"), Call("generate", ("a", 4, 1))),
        *(Call("dealloc", ("a", 4)), FREE, NEXT_TOKEN, Call("reset_context")),
    )
    found = finding_of(changed.judge("x", steps))
    from refruntime.fuzz.batch import _without_needless

    assert _without_needless(changed, found).steps == (NEXT_TOKEN, Call("reset_context"))


def test_usage_and_what_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ABI-1: wrong use is told before anything runs, and the software that is missing by name."""
    assert command("fuzz", "build.wasm", "--replay").code == 2
    monkeypatch.setattr("refruntime.commands.packing.find_spec", lambda name: None)
    outcome = command("fuzz", tmp_path / "build.wasm")
    assert (outcome.code, "refruntime[fuzz]" in outcome.stderr) == (3, True)
    assert Ledger.open(None, {}).results == {}


# On a compiled build -------------------------------------------------------------------------------------------------

GUEST = Path(__file__).resolve().parent.parent.parent / "guest"
BUGS: dict[str, dict[str, str]] = json.loads((GUEST / "bugs.json").read_text("utf-8"))
SEEDED = [name for name, bug in BUGS.items() if bug["family"] in ("state", "container")]
MOST_CALLS = 8


def fuzz_report(build: Path, *options: object) -> dict[str, Any]:
    """Run the command and return its document."""
    pytest.importorskip("wasmtime")
    outcome = command("fuzz", build, "-j", 1, "--no-explain", "--json", *options)
    document: dict[str, Any] = outcome.json
    assert document["exit_code"] == outcome.code
    return document


@pytest.mark.slow
def test_the_guest_differs_nowhere_and_everything_is_reached() -> None:
    """ST-1 to ST-9, ERR-1, ERR-2, MEM-6: an independent build, every situation x call pair, status and transition."""
    document = fuzz_report(GUEST / "guest.wasm", "--batches", 18, "--seed", 5)
    assert (document["findings"], document["undefined"], document["missed"]) == ([], 0, {})
    assert (document["exit_code"], document["long_enough"]) == (0, True)
    assert document["reached"]["situations and calls"] == {"wanted": 91, "reached": 91}


@pytest.mark.slow
def test_kept_findings_are_replayed_on_the_next_build(tmp_path: Path) -> None:
    """ST-5: on the build that has the bug still they differ, on one without it no more; the second run goes on."""
    mutant = GUEST / "mutants" / "guest-bug-reset_keeps_kv.wasm"
    first = fuzz_report(mutant, "--batches", 1, "--corpus", tmp_path)
    assert first["exit_code"] == 1
    assert max(finding["calls"] for finding in first["findings"]) <= MOST_CALLS
    again = fuzz_report(mutant, "--batches", 1, "--corpus", tmp_path)
    assert ({each["verdict"] for each in again["replayed"]}, again["findings"]) == ({"MISMATCH"}, first["findings"])
    fixed = fuzz_report(GUEST / "guest.wasm", "--replay", "--corpus", tmp_path)
    assert ({each["verdict"] for each in fixed["replayed"]}, fixed["exit_code"]) == ({"MATCH"}, 0)


@pytest.fixture(scope="module")
def toolchain() -> Toolchain:
    """The Rust compiler for wasm32; skips where there is none."""
    return needed_toolchain()


@pytest.mark.slow
@pytest.mark.parametrize("name", SEEDED)
def test_a_seeded_bug_is_found_by_fuzzing_alone(name: str, toolchain: Toolchain, tmp_path: Path) -> None:
    """ST-1 to ST-9, SL-1 to SL-9, GG-7: states and containers, each in a few calls after shrinking."""
    built = build(tmp_path, bugs=[name], toolchain=toolchain)
    kept = ("--identify", "never", "--no-seal", "--corpus", tmp_path / "corpus")
    for batches in (1, 4, 16):
        document = fuzz_report(built.path, *kept, "--batches", batches)
        if document["findings"]:
            break
    assert document["findings"], BUGS[name]["description"]
    assert min(finding["calls"] for finding in document["findings"]) <= MOST_CALLS
