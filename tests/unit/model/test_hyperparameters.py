"""Hyper-parameters are grouped: a group that a model lacks is None, and each value has one name."""

from __future__ import annotations

from dataclasses import replace

import pytest

from refruntime.model.hyperparameters import RecurrentParameters, WindowParameters, needed
from tests.unit.model.test_buffer_limits import SMALL


def test_layers_of_a_plain_model_are_alike() -> None:
    """FW-6: without groups every layer attends to all positions, with the heads and the width of the model."""
    assert [SMALL.window(layer) for layer in range(2)] == [0, 0]
    assert all(map(SMALL.attends, range(2)))
    assert {SMALL.head_dim_of(0), SMALL.rotated} == {SMALL.head_dim}


@pytest.mark.parametrize(
    ("windows", "expected"),
    [
        (WindowParameters(7), [7, 7, 7, 7]),
        (WindowParameters(7, period=2), [7, 0, 7, 0]),
        (WindowParameters(7, layers=(0, 3), period=2), [7, 0, 0, 7]),
    ],
)
def test_windows(windows: WindowParameters, expected: list[int]) -> None:
    """GG-11: a list of layers counts before the period, and without either every layer has the window."""
    sizes = replace(SMALL, layer_count=4, windows=windows)
    assert [sizes.window(layer) for layer in range(4)] == expected


def test_heads_of_windowed_layers() -> None:
    """GG-14: only windowed layers have heads of their own size."""
    sizes = replace(SMALL, windows=WindowParameters(7, period=2, head_dim=6))
    assert [sizes.head_dim_of(layer) for layer in range(2)] == [6, SMALL.head_dim]


def test_recurrent_layers() -> None:
    """GG-14: an interval counts before a list; C = I + 2 G N channels, and two numbers a head beside them."""
    listed = RecurrentParameters(4, attention_layers=(1,), state_size=3, heads=5, groups=2, inner_size=10)
    assert [listed.attends(layer) for layer in range(3)] == [False, True, False]
    assert [replace(listed, attention_interval=2).attends(layer) for layer in range(3)] == [False, True, False]
    assert (listed.channels, listed.width) == (10 + 2 * 2 * 3, 10 + 2 * 2 * 3 + 2 * 5)


def test_names_reach_into_groups() -> None:
    """GG-11: a value of a group is named by both, beside its neutral value; an absent group is one name."""
    named = replace(SMALL, windows=WindowParameters(7)).named()
    assert named["windows.size"] == (7, None)
    assert named["rope.theta"] == (10000.0, None)
    assert named["scales.logit"] == (1.0, 1.0)
    assert named["experts"] == (None, None)


def test_a_group_that_is_needed() -> None:
    """GG-11: a block whose sizes are nowhere is a mistake of the program, not of a file."""
    with pytest.raises(ValueError, match="lack"):
        needed(SMALL.experts)
