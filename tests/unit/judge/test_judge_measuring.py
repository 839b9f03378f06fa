"""What a judgement computes and asks: each matrix and row once, accidents of rounding, engines of texts alone."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from refruntime.contract.profile import Profile
from refruntime.judge.ask import ask_engine
from refruntime.judge.faults import faults_of
from refruntime.judge.judge import Judge
from refruntime.judge.tokens import tokens_say
from refruntime.judge.verdict import StageVerdict
from refruntime.model.validated import ValidatedModel
from refruntime.numerics import F64, Fast
from refruntime.numerics.ggml32 import Reordered, Switches, Turned
from refruntime.numerics.sources import RowSource
from tests.unit.judge.test_judge import PLACES, TEXT, logits_of, opened, prompt, seen


@pytest.fixture(scope="module")
def stories() -> ValidatedModel:
    """Return a trained model in float32."""
    return opened("stories.f32.gguf")


def test_matrices_are_stored_once(stories: ValidatedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Arithmetics that store matrices alike share them, and a row is computed once."""
    made: list[int] = []
    plain = F64.matrix

    def counted(self: F64, sources: Sequence[RowSource]) -> Any:
        made.append(len(sources))
        return plain(self, sources)

    monkeypatch.setattr(F64, "matrix", counted)
    judge = Judge(stories, Profile())
    exact = judge.rows(F64, prompt(stories), PLACES)
    once = len(made)
    assert np.array_equal(judge.rows(F64, prompt(stories), PLACES), exact)
    judge.rows(Fast, prompt(stories), PLACES)
    epsilon = next(fault for fault in faults_of(stories) if fault.name == "epsilon")
    changed = judge.rows(F64, prompt(stories), PLACES, epsilon.change(stories))
    assert len(made) == once
    assert not np.array_equal(changed, exact)
    heads = next(fault for fault in faults_of(stories) if fault.name == "heads-swapped")
    judge.rows(F64, prompt(stories), PLACES, heads.change(stories))
    assert once < len(made) < 2 * once


@pytest.mark.parametrize("switches", [Switches(), Switches(kv="f16"), Switches(kv="f16", flash="on")])
def test_an_accident_is_rounding(switches: Switches) -> None:
    """One input that is rounded to the other side changes everything behind it, and blames nobody."""
    model = opened("stories.q8_0.gguf")
    right = seen(model, lambda: Reordered(switches, "backwards", 9))
    accident = Judge(model, Profile()).rows(lambda: Turned(switches, 5), right.ids, PLACES)
    values = right.values.copy()
    values[3:] = accident[3:]
    assert np.abs(values - right.values).max() > 1e-3
    finding = logits_of(Judge(model, Profile()).judge(replace(right, values=values)))
    assert finding.verdict is StageVerdict.POLICY
    assert str(switches) in finding.facts["alike"]


def test_a_judge_needs_no_wasmtime() -> None:
    """Engines are judged where no WebAssembly is run, dumps of layers too."""
    program = "import sys; sys.modules['wasmtime'] = None; import refruntime.commands.judge"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class OwnTexts:
    """An engine that takes texts alone, and puts a space before each."""

    kind = "logits"
    name = "texts"

    def tokenize(self, text: str) -> list[int]:
        """Return ids of its own."""
        return [32, *text.encode()]

    def rows(self, ids: Sequence[int], positions: Sequence[int]) -> np.ndarray:
        """Return rows of texts with a space before them, and nothing of others."""
        told = ids[0] == 32
        return np.array([[float(ids[place]) if told else np.nan] * 260 for place in positions])

    def greedy(self, ids: Sequence[int], count: int) -> None:
        """Return nothing."""

    def sampled(self, ids: Sequence[int], settings: object) -> None:
        """Return nothing."""


def test_an_engine_that_takes_texts_alone(stories: ValidatedModel) -> None:
    """What it tells of its own ids is judged where it tells nothing of ours."""
    ours = prompt(stories)
    observed = ask_engine(OwnTexts(), TEXT, ours, 4, 2)  # type: ignore[arg-type]
    assert observed.ids == (32, *TEXT.encode()[:3])
    assert observed.values[:, 0].tolist() == list(observed.ids)
    said = tokens_say(stories.tokenizer, stories.tokenizer.encode(TEXT.encode()), observed.tokens or ())
    assert said is not None
    assert "BOS is missing) and puts a space before the text" in said
