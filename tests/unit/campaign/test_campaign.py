"""Campaigns: whatever dies, comes twice or is damaged, each result counts once, and none is lost."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest

from refruntime.campaign.forms import fits
from refruntime.campaign.ledger import CONDITIONS, SHARDS, Ledger, LedgerError
from refruntime.campaign.packed import PackedBuild
from refruntime.campaign.run import MOST_TRIES, Ran, run_tasks
from refruntime.campaign.tasks import FORMS, DiffTask, FuzzTask, ShrinkTask, Task, task_key
from refruntime.campaign.workers import NoCluster, Workers, in_this_process, on_cluster
from refruntime.cases.features import Found
from refruntime.contract.profile import Profile
from refruntime.engines.base import Limits
from tests.support.builds import GUEST, wasm_build
from tests.support.command_line import command
from tests.unit.test_atomic import small_disk as small_disk  # a fixture

HERE = {"who": "test"}


@dataclass(frozen=True)
class Square:
    """A task that is no comparison."""

    number: int
    kind: str = "square"
    form: ClassVar[dict[str, Any]] = {"square": int}

    @property
    def build(self) -> Square:
        return self

    @property
    def identity(self) -> str:
        return "b"

    @property
    def parameters(self) -> dict[str, int]:
        return {"number": self.number}

    def run(self) -> dict[str, Any]:
        if self.number == 13:
            raise ZeroDivisionError("a bug")
        return {"square": self.number**2}


def squares(count: int) -> list[Task]:
    return [cast(Task, Square(number)) for number in range(count)]


EXPECTED = {task_key(task): {"square": place**2} for place, task in enumerate(squares(40)) if place != 13}


@dataclass
class Mortal(Executor):
    """Workers that die over every third task; at some of them the executor dies too, after the result was made."""

    calls: list[int] = field(default_factory=list)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.calls.append(len(self.calls))
        if len(self.calls) % 11 == 0:
            raise RuntimeError("cannot schedule new futures after shutdown")
        if len(self.calls) % 3 == 0:
            future.set_exception(BrokenExecutor("a process died"))
        else:
            future.set_result(fn(*args, **kwargs))
        return future


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refruntime.campaign.run.PAUSE_SECONDS", 0.0)


def mortal(executor: Executor) -> Workers:
    @contextmanager
    def begin() -> Iterator[Executor]:
        yield executor

    return Workers(begin, lambda: 5)


def test_nothing_is_lost_and_nothing_counts_twice(tmp_path: Path) -> None:
    """DG-8: with workers that die the ledger holds what one process makes; a bug of a task is told, not kept."""
    told: list[int] = []
    ledger = Ledger.open(tmp_path, HERE)
    ran = run_tasks(squares(40), ledger, mortal(Mortal()), lambda task, result: told.append(result["square"]))
    assert ledger.results == EXPECTED == Ledger.open(tmp_path, HERE).results
    assert sorted(told) == sorted(result["square"] for result in EXPECTED.values())
    assert (ran.again > 10, ran.lost, list(ran.crashes)) == (True, {}, [task_key(squares(14)[13])])
    alone = Ledger.open(None, HERE)
    run_tasks(squares(40), alone, in_this_process())
    assert alone.results == ledger.results


def test_a_later_run_does_only_what_is_missing(tmp_path: Path) -> None:
    """DG-8: what is kept is not done again."""
    run_tasks(squares(10), Ledger.open(tmp_path, HERE), in_this_process())
    ran = run_tasks(squares(12), Ledger.open(tmp_path, HERE), in_this_process())
    assert (ran.begun, ran.done, len(ran.wanted)) == (2, 2, 12)


def test_a_task_whose_workers_always_die_is_given_up(tmp_path: Path) -> None:
    """DG-8: the others are done; the next run tries it again."""

    class Deadly(Executor):
        def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
            future: Future[Any] = Future()
            if args[0].number == 3:
                future.set_exception(BrokenExecutor("a process died"))
            else:
                future.set_result(fn(*args))
            return future

    ledger = Ledger.open(tmp_path, HERE)
    ran = run_tasks(squares(6), ledger, mortal(Deadly()))
    assert list(ran.lost) == [task_key(squares(4)[3])]
    assert (len(ledger.results), ran.again) == (5, MOST_TRIES - 1)
    assert run_tasks(squares(6), Ledger.open(tmp_path, HERE), in_this_process()).done == 1


def test_workers_that_cannot_begin_at_once_are_tried_again(tmp_path: Path) -> None:
    """DG-8: a cluster may lose what it begins while it begins; the first time that is told at once."""
    openings: list[int] = []

    def open_now_and_then(broken: set[int]) -> Workers:
        @contextmanager
        def begin() -> Iterator[Executor]:
            openings.append(len(openings))
            if openings[-1] in broken:
                raise NoCluster("a nanny failed to start")
            yield Mortal()

        return Workers(begin, lambda: 5)

    ledger = Ledger.open(tmp_path, HERE)
    run_tasks(squares(12), ledger, open_now_and_then({1, 2, 4}))
    assert (len(ledger.results), len(openings) > 4) == (12, True)
    openings.clear()
    with pytest.raises(NoCluster, match="nanny"):
        run_tasks(squares(1), Ledger.open(None, HERE), open_now_and_then({0}))


def test_an_interrupt_keeps_what_is_done(tmp_path: Path) -> None:
    """DG-8: Ctrl-C ends a run, not what it found."""

    def interrupt(task: Task, result: object) -> None:
        if len(ledger.results) == 7:
            raise KeyboardInterrupt

    ledger = Ledger.open(tmp_path, HERE)
    ran = run_tasks(squares(40), ledger, in_this_process(), interrupt)
    assert (ran.interrupted, len(Ledger.open(tmp_path, HERE).results)) == (True, 7)


def test_a_damaged_shard_is_named_and_done_again(tmp_path: Path) -> None:
    """DG-8: a shard that does not hold what its name says counts nothing, and is whole again afterwards."""
    run_tasks(squares(40), Ledger.open(tmp_path, HERE), in_this_process())
    shard = sorted((tmp_path / SHARDS).iterdir())[0]
    shard.write_bytes(shard.read_bytes()[:-9])
    (tmp_path / SHARDS / f".{'0' * 64}.json.x.partial").write_bytes(b"{")  # of a writer that was killed
    ledger = Ledger.open(tmp_path, HERE)
    assert ledger.damaged == [shard.name]
    assert 0 < len(ledger.results) < len(EXPECTED)
    run_tasks(squares(40), ledger, in_this_process())
    assert ledger.results == EXPECTED


EDITED: dict[str, bytes] = {
    "no JSON": b"{",
    "no UTF-8": b"\xff",
    "deep": b"[" * 100_000,
    "a list": b"[]",
    "results that are none": b'{"k": 7}',
    "a result without its parts": b'{"k": {}}',
    "a negative count": b'{"k": {"square": -1}}',
    "a truth for a number": b'{"k": {"square": true}}',
}


@pytest.mark.parametrize("data", EDITED.values(), ids=EDITED)
def test_a_shard_that_was_edited_is_named(data: bytes, tmp_path: Path) -> None:
    """Its name may be the hash of its bytes and its content no result all the same."""
    run_tasks(squares(3), Ledger.open(tmp_path, HERE), in_this_process())
    name = hashlib.sha256(data).hexdigest() + ".json"
    (tmp_path / SHARDS / name).write_bytes(data)
    ledger = Ledger.open(tmp_path, HERE, [Square.form])
    assert ledger.damaged == [name]
    assert len(ledger.results) == 3


def test_what_is_no_file_blocks_nothing(tmp_path: Path) -> None:
    """A pipe and a folder in the place of a shard, a file that claims to be large, a pipe in that of the conditions."""
    run_tasks(squares(3), Ledger.open(tmp_path, HERE), in_this_process())
    os.mkfifo(tmp_path / SHARDS / f"{'0' * 64}.json")
    (tmp_path / SHARDS / f"{'1' * 64}.json").mkdir()
    with (tmp_path / SHARDS / f"{'2' * 64}.json").open("wb") as large:
        large.truncate(2**40)
    ledger = Ledger.open(tmp_path, HERE)
    assert [name[0] for name in ledger.damaged] == ["0", "1", "2"]
    (tmp_path / CONDITIONS).unlink()
    os.mkfifo(tmp_path / CONDITIONS)
    with pytest.raises(LedgerError, match="no conditions"):
        Ledger.open(tmp_path, HERE)


def test_the_result_of_another_task_is_no_result(tmp_path: Path) -> None:
    """It was edited: the task is done again, and the two results are named."""
    key = task_key(squares(1)[0])
    data = json.dumps({key: {"cases": []}}, separators=(",", ":")).encode()
    Ledger.open(tmp_path, HERE)
    (tmp_path / SHARDS / f"{hashlib.sha256(data).hexdigest()}.json").write_bytes(data)
    ledger = Ledger.open(tmp_path, HERE, [Square.form, *FORMS])
    assert run_tasks(squares(1), ledger, in_this_process()).done == 1
    assert ledger.conflicts == {key}


@pytest.mark.slow
def test_results_have_the_forms_that_are_read_again() -> None:
    """Those of every kind of task, made by a run on the guest."""
    pytest.importorskip("wasmtime")
    module, profile = GUEST.read_bytes(), Profile()
    build = PackedBuild.of("guest", module, wasm_build(GUEST), profile, Limits(), "auto", Found())
    tasks: list[Task] = [FuzzTask(build, 1, 0, 2, 3), DiffTask(build, ("generator/*",), None, 0, 2)]
    for task in tasks:
        assert fits(json.loads(json.dumps(task.run())), task.form)
    changed = replace(build, profile=Profile(reset_result="unchanged"))
    batch = FuzzTask(changed, 1, 1, 10, 8)
    groups = [found["group"] for found in batch.run()["findings"]]
    assert groups
    assert fits(json.loads(json.dumps(ShrinkTask(batch, groups[0]).run())), ShrinkTask.form)


def test_results_that_come_twice() -> None:
    """DG-8: an equal one is counted, another one is a conflict; the first stays."""
    ledger = Ledger.open(None, HERE)
    assert ledger.add("k", {"a": 1})
    assert not ledger.add("k", {"a": 1})
    assert (ledger.duplicates, ledger.conflicts) == (1, set())
    assert not ledger.add("k", {"a": 2})
    assert (ledger.results, ledger.conflicts) == ({"k": {"a": 1}}, {"k"})


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    """DG-8: other conditions, other files, no JSON; each by name."""
    Ledger.open(tmp_path / "mine", {"seed": 1, "builds": ["x" * 100]})
    with pytest.raises(LedgerError, match="seed is 1 there and 2 here"):
        Ledger.open(tmp_path / "mine", {"seed": 2, "builds": ["x" * 100]})
    with pytest.raises(LedgerError, match="is not empty"):
        Ledger.open(tmp_path, HERE)
    (tmp_path / "mine" / CONDITIONS).write_text("[")
    with pytest.raises(LedgerError, match="is not JSON"):
        Ledger.open(tmp_path / "mine", HERE)
    (tmp_path / "mine" / CONDITIONS).write_text("[]")
    with pytest.raises(LedgerError, match="no conditions"):
        Ledger.open(tmp_path / "mine", HERE)


def test_a_full_disk_ends_a_run_and_leaves_whole_shards(small_disk: Path) -> None:
    """DG-8: the run says so; with room again it goes on."""

    @dataclass(frozen=True)
    class Large(Square):
        def run(self) -> dict[str, Any]:
            return {"text": "x" * 500, "number": self.number}

    tasks = [cast(Task, Large(number)) for number in range(60)]
    folder = small_disk / "campaign"
    with pytest.raises(OSError, match="No space left"):
        run_tasks(tasks, Ledger.open(folder, HERE), in_this_process())
    kept = Ledger.open(folder, HERE)
    assert kept.damaged == []
    assert set(kept.results) <= {task_key(task) for task in tasks}


def test_ran_adds_up() -> None:
    """DG-8: two stages of one run are told as one."""
    one, two = Ran(["a"], 1, 1, 0, {"x": "t"}), Ran(["b"], 2, 1, 1, {}, {"c": "t"}, interrupted=True)
    one.merge(two)
    assert one == Ran(["a", "b"], 3, 2, 1, {"x": "t"}, {"c": "t"}, interrupted=True)


def test_the_command_refuses_what_it_cannot_use(tmp_path: Path) -> None:
    """ABI-1: names given twice, a filter that fits nothing, a folder with other files; before anything runs."""
    guest = Path(__file__).resolve().parent.parent.parent / "guest" / "guest.wasm"
    assert command("campaign", tmp_path / "a", guest, guest).code == 2
    (tmp_path / "file").write_text("")
    outcome = command("campaign", tmp_path, guest, "--filter", "state/uninitialized-init", "-j", 1)
    assert (outcome.code, "is not empty" in outcome.stderr) == (2, True), outcome.stderr


@pytest.mark.slow
def test_several_builds_in_one_table(tmp_path: Path) -> None:
    """ST-5: cases times builds, resumed without work; the bug shows in its column alone."""
    guest = Path(__file__).resolve().parent.parent.parent / "guest"
    builds = guest / "guest.wasm", guest / "mutants" / "guest-bug-reset_keeps_kv.wasm"
    words = ["campaign", tmp_path / "results", *builds, "--filter", "state/ready-re*", "-j", 1, "--json"]
    document = command(*words).json
    good, bad = document["builds"]
    assert (good["fine"], bad["fine"], document["exit_code"], document["new"]) == (True, False, 1, 2)
    assert bad["families"]["state"].get("MISMATCH", 0) > 0
    assert {case["group"] for case in bad["cases"] if "group" in case} == {"reset_context: kv_length"}
    again = command(*words).json
    assert (again["new"], again["builds"]) == (0, document["builds"])
    assert json.loads((tmp_path / "results" / CONDITIONS).read_text())["work"]["patterns"] == ["state/ready-re*"]


@pytest.mark.package
def test_a_cluster_that_is_not_there() -> None:
    """ABI-1: no scheduler at the address: said by name."""
    pytest.importorskip("distributed")
    import refruntime.campaign.workers as module

    patch = pytest.MonkeyPatch()
    patch.setattr(module, "CONNECT_SECONDS", 0.3)
    with (
        patch.context(),
        pytest.raises(NoCluster, match="no scheduler answers"),
        on_cluster("tcp://127.0.0.1:1", 1).open(),
    ):
        pass
    patch.undo()
