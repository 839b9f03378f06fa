"""Chains as values, what they refuse, and which of them explains a text."""

from __future__ import annotations

import json
from itertools import islice

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as some

from refruntime.contract.profile import Profile
from refruntime.samplers.catalogue import CANDLE, CHAINS, LLAMA_CPP
from refruntime.samplers.chain import SamplerError, Settings
from refruntime.samplers.contract import contract_chain
from refruntime.samplers.explain import CONTRACT, chains_of, explain
from refruntime.samplers.stages import Float32
from refruntime.session.logits_session import ImportedSession
from refruntime.session.state import SessionError

ROWS = np.random.default_rng(5).normal(0, 2, (6, 30)).astype(np.float32)
CHOSEN = Settings(temperature=0.8, top_k=8, top_p=0.9, seed=21)


def logarithms(*shares: float) -> Float32:
    return np.log(np.array(shares, dtype=np.float32))


def drawn_by(name: str, rows: Float32, chosen: Settings) -> list[int]:
    chain = chains_of([name])[0]
    assert chain.units is not None
    return [chain.run(row, chosen).token(unit) for row, unit in zip(rows, chain.units(chosen.seed), strict=False)]


some_logits = some.lists(some.floats(-20, 20, width=32), min_size=1, max_size=40, unique=True)
some_settings = some.builds(
    Settings,
    temperature=some.floats(0.05, 4),
    top_k=some.integers(1, 50),
    top_p=some.floats(0.0625, 1),
    min_p=some.just(0.0),
    seed=some.integers(0, 2**64 - 1),
)


CUT_BY_WEIGHTS = {"candle", "mistral.rs", "mistral.rs (old)"}


def test_candle_cannot_tell_logits_of_one_weight_apart() -> None:
    """candle's `sample_topk` sorts what the softmax gave: 0 and the smallest float32 both weigh one half.

    Which of them its unstable selection keeps is open; here it is the lower id (`stages`). llama.cpp sorts logits.
    """
    logits = np.array([0.0, 2.0**-149], dtype=np.float32)
    assert set(CANDLE.run(logits, Settings(top_k=1)).probabilities) == {0}
    assert set(LLAMA_CPP.run(logits, Settings(top_k=1)).probabilities) == {1}


@given(some_logits, some_settings, some.floats(0, 1, exclude_max=True, width=32))
@example([0.0, 2.0**-149], Settings(top_k=1), 0.5)
@settings(deadline=None)
def test_every_chain_leaves_the_greatest_and_draws_what_it_leaves(
    values: list[float], chosen: Settings, unit: float
) -> None:
    """SA-2, SA-5: under any settings the greatest logit stays, shares sum to 1, and a draw falls into its interval.

    A runtime that cuts by weights, as candle does, cannot tell logits apart whose weights are one float32: of those one
    stays.
    """
    logits = np.array(values, dtype=np.float32)
    for chain in chains_of():
        run = chain.run(logits, chosen)
        weights = np.exp(np.float64(logits) - np.float64(logits.max())).astype(np.float32)
        alike = np.flatnonzero(weights == 1) if chain.name in CUT_BY_WEIGHTS else [np.argmax(logits)]
        assert any(not run.cut_by(int(token)) for token in alike), chain.name
        assert sum(run.probabilities.values()) == pytest.approx(1)
        token = run.token(unit)
        between = run.interval(token)
        assert between is not None
        assert between[0] - 1e-5 <= unit <= between[1] + 1e-5, chain.name
        assert {int(each) for each in range(logits.size) if not run.cut_by(each)} == set(run.probabilities)


def test_the_contracts_chain_is_the_sampler() -> None:
    """SA-1 .. SA-6, GEN-7: the tokens of the contract's chain are those that a session samples."""
    session = ImportedSession(ROWS).set(temperature=0.8, top_k=8, top_p=0.9, seed=21).step(6)
    assert drawn_by(CONTRACT, ROWS, CHOSEN) == [each.token for each in session.state.taken]


def test_the_profile_reaches_the_contracts_chain() -> None:
    """SA-5: dropping the crossing candidate leaves one token less."""
    row = logarithms(0.4, 0.3, 0.2, 0.1)
    chosen = Settings(top_k=4, top_p=0.65)
    dropping = Profile(top_p_crossing="drop crossing but keep one")
    assert len(contract_chain().run(row, chosen).probabilities) == 2
    assert len(contract_chain(dropping).run(row, chosen).probabilities) == 1


@pytest.mark.parametrize("name", ["llama.cpp", "candle", CONTRACT])
def test_a_text_is_explained_by_the_sampler_that_drew_it(name: str) -> None:
    """PR-1: six tokens that one runtime drew are drawn by its chain, and by no other one, with the same seed."""
    tokens = drawn_by(name, ROWS, CHOSEN)
    explanation = explain(ROWS, CHOSEN, tokens)
    assert explanation.chains[0].chain == name
    assert [each.chain for each in explanation.chains if each.reproduced == 6] == [name]
    assert "draws all 6 tokens with this seed" in str(explanation)


def test_an_order_explains_a_token_that_others_cut() -> None:
    """0.6, 0.3, 0.1 with temperature 2, top_p 0.85: the last one is possible unless the nucleus comes first."""
    explanation = explain(logarithms(0.6, 0.3, 0.1), Settings(temperature=2.0, top_k=3, top_p=0.85), [2])
    assert [each.chain for each in explanation.chains if not each.possible] == ["llama.cpp"]
    assert explanation["llama.cpp"].verdict() == "impossible: top_p cuts token 2"
    assert explanation["llama.cpp"].order[:4] == ("top_k", "top_p", "min_p", "temperature")
    roots = np.sqrt([0.6, 0.3, 0.1])
    assert explanation["transformers"].probabilities[0] == pytest.approx(roots[2] / roots.sum(), rel=1e-6)
    json.dumps(explanation.to_dict())


def test_draws_before_the_first_token_are_skipped() -> None:
    """GEN-7: a text that begins after two draws is explained with `drawn_before`."""
    units = list(islice(LLAMA_CPP.units(9), 4)) if LLAMA_CPP.units is not None else []
    chosen = Settings(temperature=1.3, seed=9)
    tokens = [LLAMA_CPP.run(row, chosen).token(unit) for row, unit in zip(ROWS[:2], units[2:], strict=True)]
    assert explain(ROWS[:2], chosen, tokens, ["llama.cpp"], drawn_before=2)["llama.cpp"].reproduced == 2
    assert explain(ROWS[:2], chosen, tokens, ["llama.cpp"])["llama.cpp"].reproduced != 2


def test_sessions_explain_their_tokens_and_others() -> None:
    """The settings and logits of a session are asked; a token that was forced counts as the observed one."""
    session = ImportedSession(ROWS).set(temperature=0.8, top_k=8, top_p=0.9, seed=21)
    explanation = session.step(6).samplers()
    assert explanation.chains[0].chain == CONTRACT
    assert explanation.chains[0].reproduced == 6
    theirs = drawn_by("llama.cpp", ROWS, CHOSEN)
    assert session.step(6).samplers(theirs).chains[0].chain == "llama.cpp"
    forced = session
    for token in theirs:
        forced = forced.force(token)
    assert forced.samplers().chains[0].chain == "llama.cpp"


def test_what_cannot_be_explained_is_said() -> None:
    """A changed setting, no token, a token too many and unknown names are refused in words."""
    session = ImportedSession(ROWS)
    for act, said in [
        (lambda: session.samplers(), "no token was sampled"),
        (lambda: session.step().set(temperature=1.0).step().samplers(), "changed between"),
        (lambda: explain(ROWS, CHOSEN, [1]), "6 rows of logits and 1 tokens"),
        (lambda: explain(ROWS[0], CHOSEN, [30]), "no token 30"),
        (lambda: explain(ROWS[0], CHOSEN, [1], ["vllm"]), "expected one of TinyRustLM, llama.cpp, transformers"),
    ]:
        with pytest.raises((SessionError, SamplerError), match=said):
            act()


def test_chains_refuse_what_their_runtime_does_not_have() -> None:
    """SC-2: min_p and top_k 0 are refused by name where they do not exist, the other chains still answer."""
    explanation = explain(ROWS[0], Settings(min_p=0.1), [int(np.argmax(ROWS[0]))])
    refused = {each.chain: each.refused for each in explanation.chains if each.refused}
    assert refused == {CONTRACT: "the contract has no min_p", "candle": "candle has no min_p"}
    assert "top_k 1 .. 1024" in explain(ROWS[0], Settings(), [0])[CONTRACT].refused


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_logits_without_an_order_are_refused_by_other_runtimes_only(bad: float) -> None:
    """SA-2, GEN-11: the contract defines NaN and infinity, the others do not."""
    row = ROWS[0].copy()
    row[3] = bad
    for chain in CHAINS.values():
        with pytest.raises(SamplerError, match="does not define"):
            chain.run(row, CHOSEN)
    assert contract_chain().run(row, CHOSEN).probabilities


@pytest.mark.parametrize(
    "values",
    [{"temperature": -1.0}, {"temperature": np.nan}, {"top_k": -1}, {"top_p": 1.1}, {"min_p": -0.1}, {"seed": -1}],
)
def test_settings_out_of_range(values: dict[str, float]) -> None:
    """Values that no runtime takes are refused with their name."""
    with pytest.raises(SamplerError, match=next(iter(values))):
        Settings(**values)  # type: ignore[arg-type]


def test_greedy_takes_the_first_or_the_last_of_equals() -> None:
    """SA-1: at temperature 0 candle takes the last of equals, everybody else the first; llama.cpp still draws."""
    row = np.array([1.0, 3.0, 3.0, 0.0], dtype=np.float32)
    chosen = Settings(temperature=0.0, top_k=4)
    kept = {chain.name: set(chain.run(row, chosen).probabilities) for chain in chains_of()}
    assert kept.pop("candle") == {2}
    assert set(map(frozenset, kept.values())) == {frozenset({1})}
    assert not LLAMA_CPP.run(row, chosen).greedy
    assert CANDLE.run(row, chosen).greedy
