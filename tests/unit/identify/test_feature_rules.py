"""Which feature all wrong numbers need, and a model that is read from the host's buffer (GG-8, GG-11, SL-2, MEM-9)."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from refruntime.battery.features import FEATURES
from refruntime.cases.steps import Call, Case, Configure, Generate, Load, Write
from refruntime.contract.dialect import Dialect
from refruntime.contract.profile import DIAGNOSTIC_NAMES, Profile
from refruntime.differential.run import Oracle
from refruntime.hypotheses.catalogue import catalogue
from refruntime.hypotheses.hypothesis import varied_engine
from refruntime.identify.asking import AskedBuild, BuildAnswer
from refruntime.identify.feature_rules import ENOUGH, only_with, rule_of_feature, rule_of_files
from refruntime.identify.kept_buffer import needs_the_buffer
from refruntime.identify.prediction import Predictions
from refruntime.identify.settle import Settlement
from refruntime.identify.shortest import Shortener
from refruntime.identify.texts import Translation
from refruntime.numerics import CompiledSeq32
from refruntime.witness.generation import generation_of

BASE = Profile()


def generating(feature: str, number: int = 0) -> Case:
    """Return a session that generates on the plain file of a feature."""
    return Case(f"{feature}/{number}", (Load("file"), Generate(b"ab", 1)), {"file": FEATURES[feature].make(BASE)})


PLAIN = [generating("gguf", number) for number in range(ENOUGH)]


@pytest.mark.parametrize(
    ("feature", "rule"), [("gguf/storage/f16", "GG-8"), ("gguf/rotary/linear", "GG-11"), ("slm1/storage/q8_0", "SL-2")]
)
def test_a_feature_that_all_wrong_sessions_need(feature: str, rule: str) -> None:
    """Plain files are right in many sessions: what the wrong ones have beyond is what is wrong."""
    assert only_with([generating(feature)], PLAIN) == feature
    assert rule_of_feature(feature, "FW-4", "other") == rule


def test_nothing_is_told_where_plain_files_are_wrong_or_few() -> None:
    """The controls: a plain file among the wrong ones, few right ones, and a feature that is right in most sessions."""
    f16 = generating("gguf/storage/f16")
    assert not only_with([f16, PLAIN[0]], PLAIN)
    assert not only_with([f16], PLAIN[:-1])
    assert not only_with([f16], [*PLAIN, *(generating("gguf/storage/f16", number) for number in range(11))])
    assert not only_with([], PLAIN)


def cites(name: str, *rules: str) -> Case:
    return Case(name, (), {}, rules)


def test_a_rule_of_files_that_all_wrong_sessions_cite() -> None:
    """SL-3: numbers are wrong for files with a name twice, and right for others, among them a few of the same rule."""
    wrong = [cites("broad", "SL-1", "SL-2", "SL-3", "SL-4", "SL-5"), cites("twice", "SL-3"), cites("again", "SL-3")]
    right = [*(cites("plain", "GEN-8") for _ in range(ENOUGH)), *(cites("unknown", "SL-3") for _ in range(6))]
    broad = [cites("broad", "SL-1", "SL-2", "SL-3", "SL-4", "SL-5")] * 40
    assert rule_of_files(wrong, [*right, *broad]) == "SL-3"
    assert not rule_of_files(wrong, [*right, cites("unknown", "SL-3")])
    assert not rule_of_files(wrong, right[1:])
    assert not rule_of_files([*wrong, cites("other", "GEN-8")], right)
    assert not rule_of_files([cites("number", "FW-5")], right)
    assert not rule_of_files([], right)


def test_products_that_are_only_rounded_otherwise_stay_products() -> None:
    """FW-4: scales of SLM1 may be applied in more than one place; of GGUF in one (GG-8)."""
    assert rule_of_feature("slm1/storage/q8_0", "FW-4", "rounding") == "FW-4"
    assert rule_of_feature("gguf/storage/f16", "FW-4", "rounding") == "GG-8"


def test_a_generation_of_raw_calls_is_understood() -> None:
    """MEM-5: a host that allocates, writes and calls for itself generates as the steps for it do."""
    data = FEATURES["slm1"].make(BASE)
    raw = (
        Call("alloc", (len(data),), "file"),
        Write("file", data),
        Call("load_model", ("file", len(data))),
        Call("set_sampling_config", (0.5, 3, 1.0, 7)),
        Call("alloc", (64,), "text"),
        Write("text+2", b"ab"),
        Call("generate", ("text+2", 2, 3)),
    )
    steps = (Load("file"), Configure(0.5, 3, 1.0, 7), Generate(b"ab", 3))
    model = {"file": data}.__getitem__
    assert generation_of(raw, model) == generation_of(steps, model) is not None
    assert generation_of((*raw[:-1], Call("generate", ("text+1", 2, 3))), model) is None
    assert generation_of((*raw[:-1], Call("generate", ("text+2", 2, 0))), model) is None
    unfinished = partial(generation_of, model=model)
    assert unfinished(raw[:-1]) is None


class ReadsTheBuffer(AskedBuild):
    """A build that answers otherwise where a step transfers a model and frees its buffer."""

    def ask(self, experiment: Case) -> list[BuildAnswer]:
        """Return right answers, or those to another prompt where the buffer was freed."""
        freed = any(isinstance(step, Load) for step in experiment.steps)
        other = tuple(replace(step, prompt=b"zz") if isinstance(step, Generate) else step for step in experiment.steps)
        return super().ask(replace(experiment, steps=other) if freed else experiment)


@pytest.mark.parametrize(("build", "told"), [(ReadsTheBuffer, True), (AskedBuild, False)])
def test_a_build_that_reads_a_model_from_the_hosts_buffer(build: type[AskedBuild], told: bool) -> None:
    """MEM-9: the session agrees where the host frees nothing; in the control it differs all the same."""
    oracle = Oracle(BASE, CompiledSeq32(1))
    wrong = next(item.changes for item in catalogue(BASE) if item.name == "prompt-echoed")
    fresh = oracle.engine if told else partial(varied_engine, wrong, oracle)
    translation = Translation(Dialect.of(DIAGNOSTIC_NAMES, ()))
    settlement = Settlement(Predictions(BASE, oracle.numerics), translation, frozenset(DIAGNOSTIC_NAMES))
    shortener = Shortener(build(fresh), oracle, settlement)
    run = shortener.run(generating("slm1"))
    assert run.comparison.first is not None
    assert needs_the_buffer(run, shortener) is told
