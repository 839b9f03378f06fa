"""Attention that meets keys and values of another head or position: made here in plain loops (GG-8, FW-9)."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from refruntime.battery.catalogue import default_battery
from refruntime.contract.profile import Profile
from refruntime.hypotheses.observed import WitnessedTensor
from refruntime.model.binding import bind_model
from refruntime.numerics import CompiledSeq32
from refruntime.witness.attended import other_operands
from refruntime.witness.expected import of_position
from refruntime.witness.patterns import find_pattern

Float32 = NDArray[np.float32]
IDS, POSITION, LAYER = (1, 70, 71, 72, 73), 4, 1
FILE = next(case for case in default_battery(Profile(), {}) if case.name == "generate/gguf-f32-gqa-greedy").models[
    "model"
]
MODEL = bind_model(FILE, Profile(), CompiledSeq32(1)).transformer
EXPECTED = {item.name: item.values for item in of_position(MODEL, IDS, POSITION)}
KNOWN = other_operands(MODEL, IDS, POSITION)


def attended(tensor: str, head_of: Any, position_of: Any) -> Float32:
    """Return scores [A, T] or mixed values [A, D] with keys and values of chosen heads and positions."""
    cache = MODEL.new_cache()
    MODEL.forward(list(IDS), cache)
    keys, values = cache.visible(LAYER, POSITION + 1)  # [D, K, T], [T, K, D]
    size, kv_heads, _ = keys.shape
    weights = EXPECTED[f"blk.{LAYER}.attn.weights"]
    heads = len(weights)
    query = EXPECTED[f"blk.{LAYER}.attn_q.rope"].reshape(heads, size)
    result = np.zeros_like(EXPECTED[f"blk.{LAYER}.attn.{tensor}"])
    for head in range(heads):
        other = head_of(head, heads // kv_heads, kv_heads)
        for t in range(POSITION + 1):
            at = position_of(t)
            if not 0 <= at <= POSITION:
                continue
            if tensor == "scores":
                result[head, t] = sum(query[head, d] * keys[d, other, at] for d in range(size)) / np.sqrt(size)
            else:
                result[head] += weights[head, t] * values[at, other]
    return result


def own(head: int, group: int, kv_heads: int) -> int:
    return head // group


def told(found: Float32, tensor: str) -> tuple[str, str, str]:
    """Return pattern, text and rule."""
    name = f"blk.{LAYER}.attn.{tensor}"
    pattern = find_pattern(found, EXPECTED[name], KNOWN, name)
    return pattern.kind, pattern.text, WitnessedTensor(name, POSITION, pattern.kind, pattern.text).rule


@pytest.mark.parametrize("tensor", ["scores", "mixed"])
def test_the_right_heads_and_positions_make_the_right_numbers(tensor: str) -> None:
    """FW-6, GG-8: the loops of this file compute what the oracle does."""
    np.testing.assert_allclose(
        attended(tensor, own, lambda t: t), EXPECTED[f"blk.{LAYER}.attn.{tensor}"], rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize(("tensor", "what"), [("scores", "keys"), ("mixed", "values")])
@pytest.mark.parametrize(("shift", "where"), [(-1, "before"), (1, "behind")])
def test_what_was_stored_one_position_off(tensor: str, what: str, shift: int, where: str) -> None:
    """FW-9: every weight meets the value of the position beside, and one meets zeros."""
    kind, text, rule = told(attended(tensor, own, lambda t: t + shift), tensor)
    assert (kind, rule) == ("other positions", "FW-9")
    assert f"are made of the {what} one position {where}" in text


@pytest.mark.parametrize(("tensor", "what"), [("scores", "keys"), ("mixed", "values")])
def test_heads_that_read_those_of_another_group(tensor: str, what: str) -> None:
    """GG-8: query head h reads h mod K instead of h / G."""
    kind, text, rule = told(attended(tensor, lambda head, group, kv_heads: head % kv_heads, lambda t: t), tensor)
    assert (kind, rule) == ("other heads", "GG-8")
    assert f"are made of the {what} of other heads: 1 instead of 0, 0 instead of 1" in text


def test_heads_that_are_still_to_be_written_are_no_other() -> None:
    """FW-9: some heads hold zeros yet; where most do, nothing is told."""
    found = attended("mixed", own, lambda t: t - 1)
    found[-1] = 0
    assert told(found, "mixed")[0] == "other positions"
    found[:-1] = 0
    assert told(found, "mixed")[0] != "other positions"


def test_other_numbers_are_of_no_other_head() -> None:
    """The control: scores that are wrong in themselves."""
    found = EXPECTED[f"blk.{LAYER}.attn.scores"] * np.float32(1.01) + np.float32(0.3)
    assert told(found.astype(np.float32), "scores")[0] not in ("other heads", "other positions")


def test_values_of_one_position_are_told_by_their_heads() -> None:
    """GG-8: at position 0 heads hold whole values, so that two heads exchanged look like halves exchanged."""
    values = np.random.default_rng(5).standard_normal((2, 8)).astype(np.float32)  # [K, D]
    of_heads = np.stack([values] * 4)  # [A, K, D]
    name = "blk.0.attn.mixed"
    found, right = values[[0, 1, 0, 1]], values[[0, 0, 1, 1]]
    assert find_pattern(found, right, {f"other heads {name}": of_heads}, name).kind == "other heads"
