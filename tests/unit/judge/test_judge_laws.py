"""Laws that an engine keeps without any reference, each broken once on purpose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from refruntime.engines.asked import EngineAnswer, Kind, Way
from refruntime.engines.http_json import JsonServer
from refruntime.engines.llama_server import LlamaServer
from refruntime.judge.laws import check_laws, finding_of
from refruntime.judge.verdict import StageVerdict
from tests.support.asked_engines import llama_answers, serving

MODEL = Path(__file__).parents[3] / "golden/models/stories.f32.gguf"
IDS = (3, 1, 4, 1, 5, 9, 2, 6)
VOCABULARY = 12


class Engine:
    """Logits that are a function of the ids so far; `broken` says which law it breaks, and by how much."""

    kind: Kind = "logits"
    name = "engine"

    def __init__(self, broken: str = "", size: float = 0.5) -> None:
        self._broken, self._size = broken, size
        self._asked = 0
        self._longest = 0

    def _row(self, ids: Sequence[int]) -> NDArray[np.float32]:
        seed = sum((place + 1) * token for place, token in enumerate(ids))
        return np.random.default_rng(seed).standard_normal(VOCABULARY).astype(np.float32)

    def _wrong(self, row: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(row + np.float32(self._size) * (np.arange(VOCABULARY) == 3), np.float32)

    def rows(self, ids: Sequence[int], positions: Sequence[int]) -> NDArray[Any]:
        """Return logits."""
        self._asked += 1
        found = np.stack([self._row(ids[: place + 1]) for place in positions])
        another = self._broken == "asked twice" and self._asked == 2
        if another or (self._broken == "asked again behind another text" and self._asked == 4):
            found[5:] = np.stack([self._wrong(row) for row in found[5:]])
        if self._broken == "a shorter prompt behind a longer one" and len(ids) < self._longest:
            found = np.stack([self._wrong(row) for row in found])
        self._longest = max(self._longest, len(ids))
        return found

    def greedy(self, ids: Sequence[int], count: int) -> list[int] | None:
        """Return the best tokens."""
        tokens: list[int] = []
        for step in range(count):
            order = np.argsort(-self._row([*ids, *tokens]))
            second = self._broken.startswith("generated") and step == 2
            tokens.append(int(order[1 if second else 0]))
        return tokens

    def ways(self) -> Mapping[str, Way]:
        """Return another way."""

        def in_parts(ids: Sequence[int], positions: Sequence[int]) -> NDArray[Any]:
            found = np.stack([self._row(ids[: place + 1]) for place in positions])
            if self._broken == "in parts":
                found[3:] = np.stack([self._wrong(row) for row in found[3:]])
            return found

        return {"in parts": in_parts}

    def tokenize(self, text: str) -> list[int] | None:
        """Return nothing."""
        return None

    def sampled(self, ids: Sequence[int], settings: Mapping[str, float]) -> dict[int, float] | None:
        """Return nothing."""
        return None

    def close(self) -> None:
        """Do nothing."""


LAWS: dict[str, int] = {
    "asked twice": 6,
    "asked again behind another text": 6,
    "a shorter prompt behind a longer one": 2,
    "in parts": 4,
    "generated tokens are the best of the numbers": len(IDS) + 2,
}
"""Law -> the length from which the engine breaks it."""


def verdicts(engine: Engine, rounding: float) -> dict[str, tuple[StageVerdict, int | None]]:
    """Return what was found of each law."""
    return {one.law: (one.verdict, one.length) for one in check_laws(engine, IDS, rounding)}


def test_an_engine_that_keeps_them() -> None:
    """Every law is told, in its order."""
    assert verdicts(Engine(), 0.0) == dict.fromkeys(LAWS, (StageVerdict.EQUAL, None))


@pytest.mark.parametrize("law", LAWS)
def test_a_law_that_is_broken(law: str) -> None:
    """Exactly this one is named, with the length from which it does not hold."""
    found = verdicts(Engine(law), 1e-6)
    assert found.pop(law) == (StageVerdict.MISMATCH, LAWS[law])
    assert set(found.values()) == {(StageVerdict.EQUAL, None)}


@pytest.mark.parametrize("law", [law for law in LAWS if not law.startswith("generated")])
def test_rounding_breaks_nothing(law: str) -> None:
    """A difference that rounding explains is told and no fault."""
    findings = {one.law: one for one in check_laws(Engine(law, 1e-5), IDS, 1e-4)}
    assert findings[law].verdict is StageVerdict.ROUNDING
    shown = finding_of(findings[law])
    assert shown.fine
    assert f"differs from {LAWS[law]} tokens on" in shown.text


def test_numbers_that_are_not_told() -> None:
    """NaN is no difference, and a greedy path that cannot be asked for is left out."""

    class Sparse(Engine):
        def rows(self, ids: Sequence[int], positions: Sequence[int]) -> NDArray[Any]:
            found = super().rows(ids, positions)
            found[:, 4] = np.nan
            return found

        def greedy(self, ids: Sequence[int], count: int) -> list[int] | None:
            return None

    Sparse.kind = "log probabilities"
    assert set(verdicts(Sparse(), 0.0).values()) == {(StageVerdict.EQUAL, None)}
    assert len(verdicts(Sparse(), 0.0)) == 4


@pytest.mark.parametrize("wrong", [False, True])
def test_a_streamed_answer(wrong: bool) -> None:
    """A server that streams other numbers than it answers with breaks a law."""
    right = llama_answers(MODEL)

    def answer(place: str, question: Any) -> Any:
        changed = wrong and question is not None and question.get("stream")
        return right(place, {**question, "prompt": question["prompt"][::-1]} if changed else question)

    with serving(answer) as address:
        found = {one.law: one for one in check_laws(LlamaServer(JsonServer(address), 260), [1, 70, 101, 34], 0.0)}
    streamed = found.pop("the answer is streamed")
    assert (streamed.verdict, streamed.length) == ((StageVerdict.MISMATCH, 2) if wrong else (StageVerdict.EQUAL, None))
    assert {one.verdict for one in found.values()} == {StageVerdict.EQUAL}


def test_a_server_that_does_not_stream() -> None:
    """What is no stream of events is said to tell nothing."""
    right = llama_answers(MODEL)
    with serving(lambda place, question: right(place, {**question, "stream": False})) as address:
        engine = LlamaServer(JsonServer(address), 260)
        with pytest.raises(EngineAnswer, match="completion_probabilities"):
            engine.ways()["the answer is streamed"]([1, 70], [1])
