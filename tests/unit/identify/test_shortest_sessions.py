"""The shortest session that contradicts names the rule: of a call by what it leaves behind, of a field, of a draw."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial

import pytest

from refruntime.battery.features import FEATURES
from refruntime.battery.models.slm1 import table_model
from refruntime.cases.observation import StatusAnswer, code_of, diagnostics_of
from refruntime.cases.steps import FREE, INIT, NEXT_TOKEN, RESET, Call, Case, Configure, Generate, Load, Step
from refruntime.contract.dialect import Dialect
from refruntime.contract.profile import DIAGNOSTIC_NAMES, Profile
from refruntime.differential.compare import compare_observations
from refruntime.differential.run import Oracle, PairRun
from refruntime.engines.base import Engine
from refruntime.hypotheses.catalogue import catalogue
from refruntime.hypotheses.hypothesis import varied_engine
from refruntime.identify.ask import designed_experiments, sampled_battery
from refruntime.identify.asking import AskedBuild
from refruntime.identify.blame import rule_of
from refruntime.identify.bugs import oracle_of
from refruntime.identify.evidence import text_of_run
from refruntime.identify.prediction import Predictions
from refruntime.identify.settle import Settlement
from refruntime.identify.shortest import MOST_TRIES, Shortener
from refruntime.identify.texts import Translation
from refruntime.numerics import CompiledSeq32

BASE = Profile()
ORACLE = Oracle(BASE, CompiledSeq32(1))
FAULTS = {item.name: item for item in catalogue(BASE)}
TOLD = (
    "reset-keeps-length", "reset-does-nothing", "reset-restores-sampling", "free-restores-sampling",
    "failed-load-keeps-model", "failure-keeps-state", "count-first", "prompt-may-fill", "context-kept", "eos-kept",
    "prompt-echoed", "bad-config-applied", "error-kept", "eos-counted", "length-of-prompt", "top-tokens-by-top-k",
    "scratch-without-context", "mean-float64", "bpe-rightmost", "argmax-last", "temperature-multiplied",
    "top-p-ignored", "seed-zero-kept",
)  # fmt: skip
"""Known faults whose rule the shortest session tells without anybody knowing the fault."""


@cache
def sessions() -> tuple[Case, ...]:
    """Return sessions about everything but numbers."""
    families = "identify", "state", "sampler", "tokenizer", "status", "output", "generator"
    return tuple(
        case for case in (*designed_experiments(), *sampled_battery()) if case.name.partition("/")[0] in families
    )


def shortener(fresh: Callable[[], Engine], table: tuple[tuple[str, str], ...] = ()) -> Shortener:
    translation = Translation(Dialect.of(DIAGNOSTIC_NAMES, table))
    offered = frozenset(DIAGNOSTIC_NAMES) - {name for name, place in table if not place}
    settlement = Settlement(Predictions(BASE, ORACLE.numerics), translation, offered)
    return Shortener(AskedBuild(fresh), oracle_of(settlement, BASE, ORACLE.numerics), settlement)


def shortest(fresh: Callable[[], Engine], cases: tuple[Case, ...]) -> tuple[Shortener, PairRun]:
    """Return the shortest run of the first of some sessions that contradicts."""
    made = shortener(fresh)
    run = next(run for run in map(made.run, cases) if run.comparison.first is not None)
    return made, made.shortest(run)


@pytest.mark.parametrize("name", TOLD)
def test_the_rule_of_a_fault_that_is_not_known(name: str) -> None:
    """ID-3: sessions on its rule are shortened, and what is left of them tells it."""
    fault = FAULTS[name]
    cases = tuple(sorted(sessions(), key=lambda case: fault.rule not in case.rules))
    made, run = shortest(partial(varied_engine, fault.changes, ORACLE), cases)
    assert rule_of(run, lambda beginnings: "", made) == fault.rule, text_of_run(run)
    assert made.tries <= MOST_TRIES + 1


def test_what_has_no_part_in_a_difference_is_left_out() -> None:
    """The session keeps the load, the generation and the reset, and asks for one token of many."""
    model = sessions()[0].models
    name = next(iter(model))
    steps = (INIT, Configure(0.5, 3, 0.9, 5), Configure(), Load(name), Generate(b"ab", 5), NEXT_TOKEN, RESET, FREE)
    fault = FAULTS["reset-keeps-length"]
    _, run = shortest(partial(varied_engine, fault.changes, ORACLE), (Case("test/long", steps, model, ()),))
    assert run.case.steps == (Load(name), Generate(b"ab", 1), RESET)
    assert [code_of(answer) for answer in run.build] == [0, 0, 0]


def test_a_right_build_is_never_shortened() -> None:
    """The control: nothing differs, so that there is no first difference to keep."""
    made = shortener(ORACLE.engine)
    assert all(made.run(case).comparison.first is None for case in sessions()[:20])


MODEL = {"file": FEATURES["slm1"].make(BASE), "ends": table_model({}, profile=BASE)}
LOADED = (Load("file"), Generate(b"a", 1))


ENDED = (Load("ends"), Generate(b"a", 1), NEXT_TOKEN)
"""An EOS is sampled twice."""


def spoilt(steps: tuple[Step, ...], code: int | None = None, **fields: object) -> PairRun:
    """Return a run of which the build's last answer has another status, or other values of some fields."""
    case = Case("test/spoilt", steps, MODEL)
    run = shortener(ORACLE.engine).run(case)
    *before, answer = run.build
    assert isinstance(answer, StatusAnswer)
    assert answer.diagnostics is not None
    wrong = replace(answer, diagnostics={**answer.diagnostics, **fields}, code=answer.code if code is None else code)
    return PairRun(case, run.reference, [*before, wrong], compare_observations(run.reference, [*before, wrong]))


@pytest.mark.parametrize(
    ("run", "rule"),
    [
        (partial(spoilt, (*LOADED, Generate(b"a", 0)), kv_length=0), "ST-8"),
        (partial(spoilt, (*LOADED, Generate(b"\xff", 1)), kv_length=0), "ST-8"),
        (partial(spoilt, (*LOADED, Generate(b"a" * 99, 1)), kv_length=9), "ST-7"),
        (partial(spoilt, (Configure(1.0, 40, 1.0, 7), INIT), top_k=1), "ST-2"),
        (partial(spoilt, (*LOADED, FREE), quantization="f32"), "ST-6"),
        (partial(spoilt, (*LOADED, FREE), peak_scratch_bytes=4), "DG-5"),
        (partial(spoilt, (*LOADED, Configure(-1.0, 1, 1.0, 1)), temperature=-1.0), "SC-2"),
        (partial(spoilt, (Load("file"), Generate(b"\xff", 1)), code=0), "GEN-1"),
        (partial(spoilt, (Load("file"), Generate(b"a" * 99, 1)), code=0), "GEN-3"),
        (partial(spoilt, LOADED, code=3), "GEN-9"),
        (partial(spoilt, LOADED, code=13), "SL-8"),
        (partial(spoilt, (*LOADED, NEXT_TOKEN), code=3), "NT-7"),
        (partial(spoilt, (*LOADED, Generate(b"a", 0), NEXT_TOKEN), code=13), "ST-8"),
        (partial(spoilt, (*LOADED, RESET, NEXT_TOKEN), code=2), "NT-2"),
        (partial(spoilt, (NEXT_TOKEN,), code=13), "NT-1"),
        (partial(spoilt, LOADED, last_error="no"), "ERR-5"),
        (partial(spoilt, LOADED, kv_length=1), "DG-8"),
        (partial(spoilt, LOADED, kv_length=2), "GEN-5"),
        (partial(spoilt, (*LOADED, NEXT_TOKEN), kv_length=0), "NT-6"),
        (partial(spoilt, (*LOADED, NEXT_TOKEN), kv_length=1), "DG-8"),
        (partial(spoilt, ENDED, kv_length=0), "NT-5"),
        (partial(spoilt, (Configure(1.0, 40, 1.0, 2**64 - 5),), seed="-5"), "DG-6"),
        (partial(spoilt, (Configure(1.0, 40, 1.0, 2**64 - 5),), seed="5"), "SC-2"),
        (partial(spoilt, (Configure(1.0, 40, 1.0, 2**64 - 5),), seed="much"), "SC-2"),
        (partial(spoilt, (INIT, Call("generate", (0, 0, 1))), code=2), "MEM-2"),
        (partial(spoilt, (INIT, Call("generate", (0, 1, 1))), code=12), "GEN-1"),
    ],
)
def test_what_a_last_call_does_tells_the_rule(run: Callable[[], PairRun], rule: str) -> None:
    """ID-3: a call that keeps or clears too much, a wrong status, a wrong field."""
    assert rule_of(run(), lambda beginnings: "") == rule


def test_a_draw_with_a_seed_is_no_matter_of_the_seed_0() -> None:
    """PR-1, PR-2: a wrong generator shows with every seed, and with the seed 0, too."""
    tokens = {
        seed: spoilt((Load("file"), Configure(1.0, 40, 1.0, seed), Generate(b"a", 1)), selected_token=5)
        for seed in (0, 7)
    }
    asked: list[str] = []

    def tags(beginnings: tuple[str, ...]) -> str:
        asked.extend(beginnings)
        return "PR-1"

    assert {seed: rule_of(run, tags) for seed, run in tokens.items()} == {0: "PR-2", 7: "PR-1"}
    assert "PR-1" in asked
    assert not any("PR-2".startswith(each) for each in asked)


def test_a_right_build_whose_documents_hold_less_is_right() -> None:
    """DG-6, ID-3: sessions are compared as far as the form of the build's fields can hold it."""
    table = ("top_tokens.form", "as=ids"), ("selected_token", "")
    oracle = Oracle(replace(BASE, diagnostic_names=table), ORACLE.numerics)
    made = shortener(oracle.engine, table)
    run = made.run(Case("test/ids", LOADED, MODEL))
    assert run.comparison.first is None
    assert "selected_token" not in diagnostics_of(run.build[1])
    assert not any(isinstance(part, float) for each in diagnostics_of(run.build[1])["top_tokens"] for part in each)


@pytest.mark.parametrize(("theirs", "rule"), [("256", "SL-8"), ("256,32,257", "GEN-2"), ("32", "GEN-2"), ("9", "SL-8")])
def test_ids_of_a_prompt_tell_a_kept_end_from_a_wrong_tokenizer(theirs: str, rule: str) -> None:
    """GEN-2, SL-8: one EOS goes and BOS stays; a character that is lost at the end is the tokenizer's."""
    steps = (Load("file"), Generate(b" ", 1))
    run = spoilt(steps, tokenizer_output=theirs, prompt_tokens=len(theirs.split(",")))
    assert diagnostics_of(run.reference[1])["tokenizer_output"] == "256,32"
    assert rule_of(run, lambda beginnings: "") == rule
    more = spoilt(steps, tokenizer_output="256,32,97")
    assert rule_of(more, lambda beginnings: "") == "DG-6"  # the build counts two of them


def test_a_text_of_other_tokens_is_no_matter_of_its_bytes() -> None:
    """GEN-9, SA-3: where tokens are drawn, a status of the text tells of the draw; where they are dictated, not."""
    hot, one = Configure(0.5, 40, 1.0, 7), Generate(b"a", 1)
    tags = ",".join
    assert rule_of(spoilt((Load("file"), hot, one), code=3), tags) == "SA-3"
    assert rule_of(spoilt((Load("file"), hot, one, NEXT_TOKEN), code=3), tags) == "SA-3"
    assert rule_of(spoilt((Load("file"), Configure(0.0), one), code=3), tags) == "GEN-9"
