"""The oracle's answers of an earlier run: taken where everything is the same, and nowhere else."""

from __future__ import annotations

import gc
import pickle
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from refruntime.battery.catalogue import default_battery
from refruntime.cases.observation import LimitReached, StatusAnswer
from refruntime.cases.steps import Case, Load
from refruntime.contract.profile import Profile
from refruntime.differential import remembered as module
from refruntime.differential.remembered import NO_CACHE, Remembered, remembered
from refruntime.differential.run import Oracle, observe
from refruntime.engines.reference import ReferenceEngine
from refruntime.numerics import F64

PROFILE = Profile()


class Silent(Oracle):
    """An oracle that must not be asked."""

    def engine(self, *_: object, **__: object) -> ReferenceEngine:
        raise AssertionError("the oracle was asked again")


@pytest.fixture(scope="module")
def cases() -> Sequence[Case]:
    """Some cases of every kind: failures, traps, draws, texts."""
    patterns = ["status/trap-*", "sampler/ties-*", "slm1/header-max-context-*", "generate/slm1-f32-greedy"]
    return default_battery(PROFILE, patterns=patterns)


def test_what_was_answered_is_not_asked_again(tmp_path: Path, cases: Sequence[Case]) -> None:
    """ERR-3, DG-7, GEN-10: a later run takes the same answers without asking the oracle, in this process or not."""
    plain, first = Oracle(), Oracle(remembered=Remembered(tmp_path))
    alone = {case.name: observe(case, plain.engine(), PROFILE) for case in cases}
    assert [first.answers(case, alone[case.name]) for case in cases] == [alone[case.name] for case in cases]
    for later in (Remembered(tmp_path), pickle.loads(pickle.dumps(Remembered(tmp_path)))):
        silent = Silent(remembered=later)
        for case in cases:
            found = silent.answers(case, alone[case.name])
            assert repr(found) == repr(alone[case.name])  # 0.0 is not -0.0, and 1 is not 1.0
            assert silent.answers(case, alone[case.name][:2]) == alone[case.name][:2]


def test_the_file_is_closed_with_what_it_holds(tmp_path: Path) -> None:
    """ERR-3: nobody has to close it, and no connection is left over, whichever thread lets go of it."""
    (case,) = default_battery(PROFILE, patterns=["generate/slm1-f32-greedy"])
    held = [Remembered(tmp_path)]
    held[0].keep(PROFILE, case, observe(case, Oracle().engine(), PROFILE))
    file = held[0]._file
    assert file is not None
    assert file.execute("SELECT count(*) FROM answers").fetchone() == (1,)
    last = threading.Thread(target=lambda: (held.clear(), gc.collect()))
    last.start()
    last.join()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        file.execute("SELECT 1")


def test_anything_else_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """SL-5, ERR-4: another profile, other steps, other bytes or another state of the package has answers of its own."""
    (case,) = default_battery(PROFILE, patterns=["generate/slm1-f32-greedy"])
    answers = observe(case, Oracle().engine(), PROFILE)
    Remembered(tmp_path).keep(PROFILE, case, answers)
    assert Remembered(tmp_path).answers(PROFILE, case, len(answers)) == answers
    assert Remembered(tmp_path).answers(replace(PROFILE, failed_call_result="empty"), case, 1) is None
    others = [
        replace(case, steps=case.steps[:-1]),
        replace(case, models={name: data[:-1] + b"\1" for name, data in case.models.items()}),
        replace(case, models={f"{name}x": data for name, data in case.models.items()}),
    ]
    assert [Remembered(tmp_path).answers(PROFILE, other, 1) for other in others] == [None] * 3
    monkeypatch.setattr(module, "_package", lambda: "another")
    assert Remembered(tmp_path).answers(PROFILE, case, 1) is None
    assert [path.name for path in tmp_path.iterdir()] == ["another.sqlite"]


def test_an_oracle_of_another_kind_does_not_take_them(tmp_path: Path) -> None:
    """SL-5, FW-4: an oracle whose profile or numbers were replaced answers for itself."""
    kept = Remembered(tmp_path)
    (case,) = default_battery(PROFILE, patterns=["generate/slm1-f32-greedy"])
    oracle = Oracle(remembered=kept)
    answers = observe(case, Oracle().engine(), PROFILE)
    assert oracle.answers(case, answers) == answers
    other = replace(PROFILE, checksum_rotation=7)
    assert replace(oracle, profile=other).answers(case, answers) != answers
    assert replace(oracle, numerics=F64()).answers(case, answers) != answers
    assert oracle.answers(case, answers) == answers


def test_what_a_limit_stopped_is_not_kept(tmp_path: Path) -> None:
    """A limit of this machine says nothing about the next run, nor does a session that ended early."""
    case = Case("limited", (Load("m"), Load("m")), {"m": b"SLM1"})
    kept = Remembered(tmp_path)
    ends = StatusAnswer(case.steps[0], 0), LimitReached(case.steps[1], "too much memory")
    kept.keep(PROFILE, case, ends)
    kept.keep(PROFILE, case, ends[:1])
    assert kept.answers(PROFILE, case, 1) is None


def test_nothing_is_kept_where_that_is_not_wanted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable switches it off, and a folder that cannot be made is no error."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv(NO_CACHE, "1")
    assert remembered() is None
    monkeypatch.delenv(NO_CACHE)
    (tmp_path / "refruntime").write_text("a file where a folder should be")
    (case,) = default_battery(PROFILE, patterns=["state/uninitialized-alloc"])
    oracle = Oracle(remembered=remembered())
    answers = observe(case, Oracle().engine(), PROFILE)
    assert oracle.answers(case, answers) == oracle.answers(case, answers) == answers
    assert not (tmp_path / "refruntime").is_dir()
