"""Samplers of llama.cpp by hand: what repetition penalties, breakers, Mirostat's memory and the order of stages do."""

from __future__ import annotations

import numpy as np
import pytest

from refruntime.samplers import llama_cpp_stages as stages
from refruntime.samplers.chain import SamplerError
from refruntime.samplers.llama_cpp_chain import LlamaSettings, llama_stages
from refruntime.samplers.stages import Candidates

LOGITS = np.array([2.0, 1.0, 0.5, -1.0, -3.0], np.float32)


def test_penalties_count_the_last_tokens_only() -> None:
    """SA-2: a positive logit is divided, a negative one multiplied; token 0 lies too far back."""
    left = stages.penalise(Candidates.of(LOGITS), [0, 1, 1, 3], 3, 2.0, 0.25, 0.5)
    np.testing.assert_array_equal(left.logits, [2.0, 0.5 - 0.5 - 0.5, 0.5, -2.0 - 0.25 - 0.5, -3.0])


def test_dry_lowers_what_would_go_on() -> None:
    """SA-2: behind 1 2 3 .. 1 2 a 3 makes a repetition of three; a breaker between cuts it off."""
    history = [1, 2, 3, 4, 1, 2]
    left = stages.dry(Candidates.of(LOGITS), history, 1.0, 2.0, 1, 64)
    np.testing.assert_array_equal(LOGITS - left.logits, [0, 0, 0, 2.0, 0])
    left = stages.dry(Candidates.of(LOGITS), [1, 2, 3, 1, 4, 2], 1.0, 2.0, 1, 64, frozenset({4}))
    np.testing.assert_array_equal(LOGITS - left.logits, [0, 0, 0, 1.0, 0])
    left = stages.dry(Candidates.of(LOGITS), [1, 2, 3, 4, 1, 2], 1.0, 2.0, 1, 64, frozenset({3}))
    np.testing.assert_array_equal(left.logits, LOGITS)
    assert stages.dry(Candidates.of(LOGITS), history, 1.0, 2.0, 1, 0).logits is LOGITS


def test_xtc_draws_once() -> None:
    """SA-6: of two tokens above the threshold the second stays on top, unless the number is too great."""
    left = stages.exclude_top_choices(Candidates.of(LOGITS), 0.4, 0.2, 0.4)
    assert left.ids.tolist() == [1, 2, 3, 4]
    assert stages.exclude_top_choices(Candidates.of(LOGITS), 0.4, 0.2, 0.41).ids.tolist() == [0, 1, 2, 3, 4]


def test_typical_behind_impossible_tokens_is_not_defined() -> None:
    """SA-2: a weight of 0 makes llama.cpp's entropy NaN."""
    with pytest.raises(SamplerError, match="does not define typical sampling"):
        stages.keep_typical(Candidates.of(np.array([1, -np.inf], np.float32)), 0.5)


def test_mirostat_learns_from_surprise() -> None:
    """SA-2: a token that surprises less than wished raises mu."""
    assert stages.next_mu(10.0, 0.5, 5.0, 0.1) == pytest.approx(10.0 + 0.1 * 4)
    assert stages.mirostat_2(Candidates.of(LOGITS), 0.0).ids.tolist() == [0]


def test_every_stage_is_told() -> None:
    """SA-2: the trace has llama.cpp's order; with Mirostat only the temperature comes before it."""
    assert [name for name, _ in llama_stages(LOGITS, LlamaSettings())] == [
        *("penalties", "dry", "top_n_sigma", "top_k", "typ_p", "top_p", "min_p", "xtc", "temperature")
    ]
    for kind in (1, 2):
        trace = llama_stages(LOGITS, LlamaSettings(mirostat=kind, temp=1.0))
        assert [name for name, _ in trace] == ["temperature", "mirostat"]
        assert trace[-1][1].weighed.sum() == pytest.approx(1)
