"""Numbers along a generation against a few lines of plain Python."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from refruntime import Session, open_model
from refruntime.session.logits_session import ImportedSession
from refruntime.session.series import candidates_of, error_by_layer, steps_of
from refruntime.session.state import SessionError

HEAT = float(np.float32(1.1))
MODEL = Path(__file__).resolve().parents[3] / "golden" / "models" / "stories.q8_0.slm1"


@pytest.fixture(scope="module")
def session() -> Session:
    sampled = Session(MODEL).set(temperature=1.1, top_k=30, top_p=0.9, seed=7).prompt("Once upon a time")
    return sampled.step(18).force("$").step(4)


def probabilities_by_hand(logits: list[float], temperature: float) -> list[float]:
    powers = [math.exp((each - max(logits)) / temperature) for each in logits]
    return [each / math.fsum(powers) for each in powers]


def bits_by_hand(shares: list[float]) -> float:
    return -math.fsum(each * math.log2(each) for each in shares if each)


def drawn_by_hand(logits: list[float], temperature: float, top_k: int, top_p: float) -> dict[int, float]:
    """Return what a coin decides between, in real arithmetic: the greatest top_k, then the shortest prefix of top_p."""
    order = sorted(range(len(logits)), key=lambda token: (-logits[token], token))[:top_k]
    shares = dict(zip(order, probabilities_by_hand([logits[token] for token in order], temperature), strict=True))
    kept, running = [], 0.0
    for token in order:
        kept.append(token)
        running += shares[token]
        if running >= top_p:
            break
    return {token: shares[token] / running for token in kept}


def test_steps(session: Session) -> None:
    """SA-2, SA-3, SA-5: entropies, margins and probabilities of each step agree with real arithmetic to 1e-6."""
    steps = steps_of(session)
    for place, taken in enumerate(session.state.taken):
        logits = [float(each) for each in taken.logits]
        model = probabilities_by_hand(logits, 1.0)
        coin = drawn_by_hand(logits, HEAT, 30, 0.9)
        first, second = sorted(logits)[-1], sorted(logits)[-2]
        assert steps.tokens[place] == taken.token
        assert steps.entropy[place] == pytest.approx(bits_by_hand(model), abs=1e-9)
        assert steps.drawn_entropy[place] == pytest.approx(bits_by_hand(list(coin.values())), abs=1e-6)
        assert steps.margin[place] == pytest.approx(first - second, abs=1e-12)
        assert steps.probability[place] == pytest.approx(model[taken.token], rel=1e-9)
        assert steps.drawn[place] == pytest.approx(coin.get(taken.token, 0.0), abs=1e-6)
    assert b"".join(steps.texts) == session.text
    json.dumps(steps.to_dict())


def test_candidates(session: Session) -> None:
    """SA-2, SA-5: the first candidates of each step, their probabilities, and which of them were cut by what."""
    fates = set()
    for step, taken in zip(candidates_of(session, 6), session.state.taken, strict=True):
        logits = [float(each) for each in taken.logits]
        order = sorted(range(len(logits)), key=lambda token: (-logits[token], token))
        coin = drawn_by_hand(logits, HEAT, 30, 0.9)
        assert step.tokens[:6].tolist() == order[:6]
        assert {step.chosen, step.taken} <= set(step.tokens.tolist())
        model = probabilities_by_hand(logits, HEAT)
        for token, share, drawn, fate in zip(step.tokens, step.probability, step.drawn, step.fates, strict=True):
            assert share == pytest.approx(model[token], rel=1e-9)
            assert drawn == pytest.approx(coin.get(int(token), 0.0), abs=1e-6)
            rank = order.index(int(token))
            cut = "cut by top_k" if rank >= 30 else "cut by top_p"
            expected = "won" if token == taken.choice.token else "kept" if int(token) in coin else cut
            assert fate == expected
            fates.add(fate)
    assert fates >= {"won", "kept", "cut by top_p"}
    json.dumps([step.to_dict() for step in candidates_of(session)])


def test_greedy_steps_have_no_coin() -> None:
    """SA-1: in a greedy step one token has all the mass; probabilities are those at temperature 1."""
    greedy = Session(MODEL).prompt("Once").step(3)
    steps = steps_of(greedy)
    assert steps.drawn.tolist() == [1.0, 1.0, 1.0]
    assert steps.drawn_entropy.tolist() == [0.0, 0.0, 0.0]
    step = candidates_of(greedy, 2)[0]
    logits = [float(each) for each in greedy.state.taken[0].logits]
    assert step.probability[0] == pytest.approx(probabilities_by_hand(logits, 1.0)[step.chosen], rel=1e-9)
    assert step.fates == ("won", "lost")


def test_numbers_that_are_none() -> None:
    """SA-2, GEN-11: NaN has no probability, infinite logits share alike, a lone number has no margin."""
    rows = np.full((3, 5), np.nan, dtype=np.float32)
    rows[0, 1], rows[1, :2], rows[2, :3] = 1.0, np.inf, (0.0, 0.0, -np.inf)
    steps = steps_of(ImportedSession(rows).step(3))
    assert steps.probability.tolist() == [1.0, 0.5, 0.5]
    assert steps.entropy.tolist() == [0.0, 1.0, 1.0]
    assert np.isnan(steps.margin[:2]).all()
    assert steps.margin[2] == 0.0


def test_attention(session: Session) -> None:
    """FW-6: a head is the softmax of its scaled products of queries and keys, by hand from the traced tensors."""
    grid = session.attention(1, 2)
    traced = session.tensors("blk.1.attn_*")
    queries = traced["blk.1.attn_q.rope"][:, 2].astype(np.float64)
    keys = traced["blk.1.attn_k.rope"][:, 2].astype(np.float64)
    count = len(session.ids)
    for row in (0, 1, count // 2, count - 1):
        scores = [math.fsum(queries[row] * keys[column]) / math.sqrt(queries.shape[1]) for column in range(row + 1)]
        assert grid.weights[row, : row + 1] == pytest.approx(probabilities_by_hand(scores, 1.0), abs=1e-6)
        assert not grid.weights[row, row + 1 :].any()
    assert len(grid.texts) == count
    json.dumps(grid.to_dict())


def test_error_by_layer(session: Session) -> None:
    """FW-4: the distance from float64 by layer is that of two traced passes, and of float32 size."""
    error = error_by_layer(session)
    truth = Session(MODEL, numerics="f64").prompt(list(session.ids))
    for layer in error.layers:
        name = f"blk.{layer}.residual"
        ours = session.tensors(name)[name].astype(np.float64)
        exact = truth.tensors(name)[name]
        rows = [
            math.dist(mine, real) / math.hypot(*real) for mine, real in zip(ours.tolist(), exact.tolist(), strict=True)
        ]
        assert error.residual[layer] == pytest.approx(sum(rows) / len(rows), rel=1e-9)
        assert error.worst[layer] >= error.residual[layer]
        assert error.worst_names[layer].startswith(f"blk.{layer}.")
    assert len(error.layers) == open_model(MODEL).hyperparameters.layer_count
    assert 1e-9 < error.residual.max() < 1e-5
    json.dumps(error.to_dict())


@pytest.mark.parametrize("of", [steps_of, candidates_of])
def test_before_the_first_token_there_is_no_series(of: Callable[[Session], object]) -> None:
    """A session without steps is refused in words."""
    with pytest.raises(SessionError, match="no token was sampled"):
        of(Session(MODEL).prompt("Once"))


def test_what_a_session_without_a_model_has_not() -> None:
    """Imported logits have no attention and no float64."""
    imported = ImportedSession(np.zeros((1, 4), np.float32))
    for act in (lambda: imported.attention(0, 0), lambda: error_by_layer(imported)):
        with pytest.raises(SessionError):
            act()
