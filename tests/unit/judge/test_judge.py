"""Judgements of engines: which arithmetic they have, and six planted faults that are each named right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from refruntime.contract.profile import Profile
from refruntime.judge import faults
from refruntime.judge.ask import SETTINGS
from refruntime.judge.faults import faults_of
from refruntime.judge.judge import Judge
from refruntime.judge.junit import judgement_junit
from refruntime.judge.observed import ObservedRows, Sampled, grid_of, log_probabilities
from refruntime.judge.policies import policies
from refruntime.judge.sampler import _difference as difference_of_shares
from refruntime.judge.sampler import judge_sampler
from refruntime.judge.tokens import bos_of, tokens_say
from refruntime.judge.verdict import EngineJudgement, StageFinding, StageVerdict
from refruntime.model.load import validate_model
from refruntime.model.validated import ValidatedModel
from refruntime.numerics import Fast, Numerics
from refruntime.numerics.ggml32 import Reordered, Switches
from refruntime.samplers.catalogue import CHAINS
from refruntime.samplers.chain import Settings

MODELS = Path(__file__).parents[3] / "golden/models"
PLACES = tuple(range(6))
TEXT = "Tom had a red ball."


def opened(name: str) -> ValidatedModel:
    """Return a model of the goldens."""
    return validate_model((MODELS / name).read_bytes(), Profile())


def prompt(model: ValidatedModel) -> tuple[int, ...]:
    """Return the first ids of a text."""
    return tuple(model.tokenizer.encode(TEXT.encode())[: len(PLACES)])


def seen(model: ValidatedModel, make: Callable[[], Numerics], changed: ValidatedModel | None = None) -> ObservedRows:
    """Return what an engine with this arithmetic would show, of a changed model if there is one."""
    ids = prompt(model)
    return ObservedRows("engine", ids, PLACES, Judge(changed or model, Profile()).rows(make, ids, PLACES))


def logits_of(judgement: EngineJudgement) -> StageFinding:
    """Return the last finding on logits."""
    return [finding for finding in judgement.findings if finding.stage == "logits"][-1]


@pytest.fixture(scope="module")
def stories() -> ValidatedModel:
    """Return a trained model in float32."""
    return opened("stories.f32.gguf")


# Arithmetics ---------------------------------------------------------------------------------------------------------


def test_an_engine_in_float32(stories: ValidatedModel) -> None:
    """Another order of float32 is rounding, and no fault."""
    judgement = Judge(stories, Profile()).judge(seen(stories, Fast))
    assert logits_of(judgement).verdict is StageVerdict.ROUNDING
    assert judgement.fine


@pytest.mark.parametrize(
    ("switches", "traits"),
    [
        pytest.param(Switches(), "inputs of products quantised as ggml does", marks=pytest.mark.slow),
        (Switches(kv="f16", flash="on"), "keys and values in f16, flash attention"),
    ],
)
def test_an_engine_like_llama_cpp(switches: Switches, traits: str) -> None:
    """Quantised inputs and half-precision keys are told apart, although sums run in an order of the engine's own."""
    model = opened("stories.q8_0.gguf")
    judgement = Judge(model, Profile()).judge(seen(model, lambda: Reordered(switches, "backwards", 7)))
    assert logits_of(judgement).verdict is StageVerdict.POLICY
    assert traits in logits_of(judgement).text
    nearest, *others = judgement.measured
    assert nearest.name.startswith(str(switches))
    assert max(one.distance.typical for one in others) > 100 * nearest.distance.typical


@pytest.mark.slow
def test_equal_numbers_are_equal(stories: ValidatedModel) -> None:
    """Every bit of a profile is recognised, also where numbers were written with few digits."""
    exact = seen(stories, lambda: next(iter(policies(stories))).make())
    assert logits_of(Judge(stories, Profile()).judge(exact)).verdict is StageVerdict.EQUAL
    rounded = replace(exact, values=np.round(exact.values, 3))
    assert grid_of(rounded.values).name == "3 decimals"
    assert logits_of(Judge(stories, Profile()).judge(rounded)).verdict is StageVerdict.EQUAL
    halves = replace(exact, values=exact.values.astype(np.float16))
    assert logits_of(Judge(stories, Profile()).judge(halves)).verdict is StageVerdict.EQUAL


def test_a_few_log_probabilities_are_enough(stories: ValidatedModel) -> None:
    """What a server tells of its best five tokens is compared, the rest is not."""
    whole = seen(stories, Fast)
    logs = log_probabilities(whole.values)
    best = np.sort(logs, axis=1)[:, -5:-4]
    few = replace(whole, values=np.where(logs >= best, logs, np.nan), kind="log probabilities")
    assert few.told() == 5 * len(PLACES)
    assert logits_of(Judge(stories, Profile()).judge(few)).verdict is StageVerdict.ROUNDING


# Planted faults ------------------------------------------------------------------------------------------------------


def test_bos_too_much(stories: ValidatedModel) -> None:
    """An engine that adds BOS twice is told by its tokens, and by its numbers where it does not show them."""
    ids = prompt(stories)
    bos = bos_of(stories.tokenizer)
    assert bos is not None
    rows = Judge(stories, Profile()).rows(Fast, (bos, *ids), range(1, len(ids) + 1))
    hidden = ObservedRows("engine", ids, PLACES, rows)
    assert "a BOS too much" in logits_of(Judge(stories, Profile()).judge(hidden)).text
    whole = stories.tokenizer.encode(TEXT.encode())
    told = Judge(stories, Profile()).judge(replace(hidden, text=TEXT, tokens=(bos, *whole)))
    assert told.worst.verdict is StageVerdict.TOKENISATION
    assert "BOS too much" in told.worst.text


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("rope-pairs", "rotary pairs were"),
        pytest.param("epsilon", "the epsilon of norms were 1e-06", marks=pytest.mark.slow),
        pytest.param("epsilon", "the epsilon of norms were 0.0001", marks=pytest.mark.slow),
        pytest.param("heads-swapped", "query heads 0 and 3 of layer 2 were", marks=pytest.mark.slow),
        pytest.param("heads-swapped", "query heads 1 and 2 were in each other's place", marks=pytest.mark.slow),
    ],
)
def test_a_fault_of_the_model(stories: ValidatedModel, name: str, words: str) -> None:
    """Pairing, epsilon and permuted heads are named, although the engine rounds in its own way."""
    planted = next(fault for fault in faults_of(stories) if fault.name == name and words in fault.text)
    judgement = Judge(stories, Profile()).judge(seen(stories, Fast, planted.change(stories)))
    assert (judgement.worst.verdict, judgement.fine) == (StageVerdict.FAULT, False)
    assert words in judgement.worst.text


def test_a_large_model_is_not_tried_with_every_pair_of_heads(
    stories: ValidatedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each pair costs a pass: beyond a number of weights times pairs, neighbours in all layers alone are tried."""
    swapped = [fault for fault in faults_of(stories) if fault.name == "heads-swapped"]
    heads, layers = stories.hyperparameters.head_count, stories.hyperparameters.layer_count
    assert len(swapped) == heads * (heads - 1) // 2 * (layers + 1)
    monkeypatch.setattr(faults, "QUICK", 0)
    texts = [fault.text for fault in faults_of(stories) if fault.name == "heads-swapped"]
    assert texts == [f"query heads {head} and {head + 1} were in each other's place" for head in range(heads - 1)]


@pytest.mark.slow
def test_keys_and_values_in_q8_0(stories: ValidatedModel) -> None:
    """A cache of blocks is a policy that is named, where heads are long enough to have one."""
    wide = replace(
        stories, hyperparameters=replace(stories.hyperparameters, head_count=2, kv_head_count=2, head_dim=32)
    )
    judgement = Judge(wide, Profile()).judge(seen(wide, lambda: Reordered(Switches(kv="q8_0"), "backwards", 3)))
    assert logits_of(judgement).verdict is StageVerdict.POLICY
    assert logits_of(judgement).text.startswith("keys and values in q8_0")


@pytest.mark.slow
@pytest.mark.parametrize(("clean", "share"), [(0.0, 0.25), (0.4, 0.25), (0.1, 0.1), (0.1, 0.6)])
def test_no_verdict_hangs_on_a_definition(
    stories: ValidatedModel, clean: float, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which positions are typical, and how many accidents are made, decides nothing: faults and engines keep theirs."""
    monkeypatch.setattr("refruntime.judge.distance.CLEAN", clean)
    monkeypatch.setattr("refruntime.numerics.ggml32.turned.SHARE", share)
    epsilon = next(fault for fault in faults_of(stories) if "epsilon of norms were 1e-06" in fault.text)
    found = logits_of(Judge(stories, Profile()).judge(seen(stories, Fast, epsilon.change(stories))))
    assert (found.verdict, "epsilon" in found.text) == (StageVerdict.FAULT, True)
    assert logits_of(Judge(stories, Profile()).judge(seen(stories, Fast))).verdict is StageVerdict.ROUNDING
    model = opened("stories.q8_0.gguf")
    engine = seen(model, lambda: Reordered(Switches(kv="f16"), "backwards", 7))
    assert "keys and values in f16" in logits_of(Judge(model, Profile()).judge(engine)).text


def test_a_truncated_vocabulary(stories: ValidatedModel) -> None:
    """Rows that are too short are named, and what is there is compared."""
    whole = seen(stories, Fast)
    judgement = Judge(stories, Profile()).judge(replace(whole, values=whole.values[:, :-7]))
    assert judgement.worst.verdict is StageVerdict.VOCABULARY
    assert "rows have 253 numbers, the vocabulary has 260 tokens" in judgement.worst.text
    assert logits_of(judgement).verdict is StageVerdict.ROUNDING


@pytest.mark.slow
def test_what_nothing_explains(stories: ValidatedModel) -> None:
    """Noise is nobody's known fault; the report says how large it is and where."""
    whole = seen(stories, Fast)
    noise = np.random.default_rng(1).standard_normal(whole.values.shape).astype(np.float32) * np.float32(0.1)
    noise[3, 17] = 5
    judgement = Judge(stories, Profile()).judge(replace(whole, values=whole.values + noise))
    assert judgement.worst.verdict is StageVerdict.UNEXPLAINED
    assert "at position 3, token 17" in judgement.worst.text
    assert judgement.tried


# Tokens, greedy path, reports ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        ([1, 5, 6], [5, 6], "BOS is missing"),
        ([1, 5, 6], [1, 1, 5, 6], "BOS too much"),
        ([5, 6], [1, 5, 6], "does not ask for (BOS too much)"),
        ([1, 5], [1, 5, 2], "EOS too much"),
        ([1, 5, 6], [1, 5], "leaves out 6"),
        ([1, 5, 6, 7], [1, 9, 7], "differs first at token 1: 9"),
        ([1, 5], [1, 999_999], "outside of the vocabulary"),
        ([1, 5, 6], [1, 32, 5, 6], "puts a space before the text"),
        ([1, 5, 6], [32, 5, 6], "BOS is missing) and puts a space before the text"),
    ],
)
def test_tokens(stories: ValidatedModel, ours: list[int], theirs: list[int], words: str) -> None:
    """What an engine did to the ids is said in words."""
    assert words in (tokens_say(stories.tokenizer, ours, theirs) or "")
    assert tokens_say(stories.tokenizer, ours, ours) is None


def test_greedy_path(stories: ValidatedModel) -> None:
    """Each token is held against the best one after the engine's own tokens; a far one is a mismatch."""
    whole = seen(stories, Fast)
    path: list[int] = []
    judge = Judge(stories, Profile())
    for _ in range(4):
        ids = (*whole.ids, *path)
        path.append(int(np.argmax(judge.rows(Fast, ids, [len(ids) - 1])[0])))
    found = judge.judge(replace(whole, greedy=tuple(path))).findings[-2]
    assert (found.stage, found.verdict) == ("greedy path", StageVerdict.EQUAL)
    path[2] = (path[2] + 1) % 256
    wrong = judge.judge(replace(whole, values=whole.values[:0], positions=(), greedy=tuple(path))).findings[-2]
    assert (wrong.verdict, wrong.facts["step"]) == (StageVerdict.MISMATCH, 2)


def test_nothing_compared_is_not_fine(stories: ValidatedModel) -> None:
    """A judgement of nothing blames somebody, as a run that compared zero steps does."""
    empty = ObservedRows("engine", prompt(stories), (), np.empty((0, 260)))
    judgement = Judge(stories, Profile()).judge(empty)
    assert (judgement.compared, judgement.fine) == (False, False)


def test_junit() -> None:
    """Blame is a failure, what was not asked is skipped."""
    findings = (
        StageFinding("tokens", StageVerdict.NOT_ASKED, "not asked"),
        StageFinding("logits", StageVerdict.FAULT, "rotary \x01 pairs"),
        StageFinding("greedy path", StageVerdict.EQUAL, "all"),
    )
    suite = ElementTree.fromstring(judgement_junit(EngineJudgement("engine", findings)))
    assert (suite.get("tests"), suite.get("failures"), suite.get("skipped")) == ("3", "1", "1")
    assert [len(case) for case in suite] == [1, 1, 1]


@pytest.mark.parametrize(
    ("chain", "words", "verdict"),
    [
        ("llama.cpp", "3 distributions are those of llama.cpp's chain", StageVerdict.EQUAL),
        ("transformers", "it draws as transformers does, not as llama.cpp: token", StageVerdict.FAULT),
        ("", "no known chain explains it", StageVerdict.UNEXPLAINED),
    ],
)
def test_a_sampler(chain: str, words: str, verdict: StageVerdict) -> None:
    """Probabilities are held against chains by the engine's own logits, whatever constant those have."""
    rows = np.random.default_rng(11).standard_normal((1, 50)).astype(np.float32) * 2
    sampled = []
    for settings in SETTINGS:
        taken = Settings(**{**settings, "top_k": int(settings["top_k"])})  # type: ignore[arg-type]
        shares = dict(CHAINS[chain or "llama.cpp"].run(rows[0], taken).probabilities)
        if not chain:
            shares[next(iter(shares))] += 1e-4
        sampled.append(Sampled(4, settings, shares))
    logs = log_probabilities(rows)
    finding = judge_sampler(ObservedRows("engine", (1,) * 5, (4,), logs, "log probabilities", sampled=tuple(sampled)))
    assert finding.verdict is verdict
    assert words in finding.text


def test_a_known_engine_that_rounds_nothing() -> None:
    """An engine whose constant moves no share says nothing of how far apart those lie whose shares move."""
    ours = {0: 0.5, 1: 0.3, 2: 0.2}

    def moved(by: float) -> dict[int, float]:
        return {token: share * (1 + by) for token, share in ours.items()}

    for known in ([moved(1e-7), moved(6e-7)], [ours, moved(1e-7), moved(6e-7)]):
        assert difference_of_shares(moved(2e-6), ours, known) is None
        assert difference_of_shares(moved(1e-5), ours, known) is not None
    assert difference_of_shares(ours, ours, [ours]) is None
    assert difference_of_shares(moved(1e-7), ours, [ours]) is not None
