"""Dumps of an engine's layers: the first wrong operation, freely and with the engine's own inputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from refruntime.contract.profile import Profile
from refruntime.judge.layers import LayerJudge
from refruntime.judge.names import Names, UnknownNames, names_of, read_names
from refruntime.model.load import validate_model
from refruntime.model.validated import ValidatedModel
from refruntime.numerics import Fast
from refruntime.numerics.ggml32 import Reordered, Switches
from tests.support.asked_engines import DUMPED_IDS as IDS
from tests.support.asked_engines import Change, Dumping, dumped

MODELS = Path(__file__).parents[3] / "golden/models"


def opened(name: str) -> ValidatedModel:
    """Return a model of the goldens."""
    return validate_model((MODELS / name).read_bytes(), Profile())


def scaled(factor: float) -> Change:
    """Return a fault: every number times a factor."""
    return lambda values: values * np.float32(factor)


def one_row(values: np.ndarray) -> np.ndarray:
    """Set a part of the last position to zero."""
    values = values.copy()
    values.reshape(len(values), -1)[-1, : values[0].size // 4] = 0
    return values


def reversed_numbers(values: np.ndarray) -> np.ndarray:
    """Turn the numbers of each position round."""
    return np.ascontiguousarray(values.reshape(len(values), -1)[:, ::-1]).reshape(values.shape)


def of_position_before(values: np.ndarray) -> np.ndarray:
    """Give each position the numbers of the one before it."""
    return np.roll(values, 1, axis=0)


def in_bfloat16(values: np.ndarray) -> np.ndarray:
    """Drop the lower half of each number."""
    return (np.ascontiguousarray(values).view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)


FAULTS: list[tuple[str, Change]] = [
    ("token_embd", scaled(1.01)),
    ("blk.0.attn_norm", scaled(0.99)),
    ("blk.0.attn_q", reversed_numbers),
    ("blk.0.attn_k", one_row),
    ("blk.0.attn_v", scaled(2)),
    ("blk.0.attn_q.rope", of_position_before),
    ("blk.1.attn_k.rope", scaled(-1)),
    ("blk.1.attn.mixed", one_row),
    ("blk.1.attn_output", scaled(1.001)),
    ("blk.1.attn_residual", in_bfloat16),
    ("blk.1.ffn_norm", scaled(1.0001)),
    ("blk.2.ffn_gate", scaled(-1)),
    ("blk.2.ffn_up", reversed_numbers),
    ("blk.2.ffn_hidden", in_bfloat16),
    ("blk.2.ffn_down", one_row),
    ("blk.2.residual", scaled(1.01)),
    ("blk.3.attn_q", scaled(1.001)),
    ("blk.3.residual", in_bfloat16),
    ("output_norm", one_row),
    ("logits", scaled(1.0001)),
]


def marked(place: int, name: str, change: Change) -> Any:
    """Keep one of the twenty in the fast suite."""
    return pytest.param(name, change, marks=[] if place == 7 else pytest.mark.slow, id=f"{place} {name}")


@pytest.mark.parametrize(
    ("name", "change"), [marked(place, name, change) for place, (name, change) in enumerate(FAULTS)]
)
def test_a_planted_fault_is_found(name: str, change: Change) -> None:
    """The first wrong operation is the planted one both ways, and behind it only what the fault made wrong is."""
    model = opened("stories.f32.gguf")
    finding = LayerJudge(model, Profile()).judge(dumped(model, Dumping(name, change), Fast()), IDS)
    assert finding.first_free is not None
    assert finding.first_forced is not None
    assert (finding.first_free.name, finding.first_forced.name) == (name, name)
    assert [one.name for one in finding.forced if one.differs] == [name]
    assert finding.text


@pytest.mark.slow
def test_a_fault_under_quantised_inputs() -> None:
    """The arithmetic of the engine is found by its operations, and the fault in spite of it."""
    model = opened("stories.q8_0.gguf")
    engine = Reordered(Switches(kv="f16"), "backwards", 5)
    dump = dumped(model, Dumping("blk.2.ffn_up", scaled(1.01)), engine)
    finding = LayerJudge(model, Profile()).judge(dump, IDS)
    assert finding.policy.name == "ggml32,kv=f16"
    assert finding.first_forced is not None
    assert finding.first_forced.name == "blk.2.ffn_up"


def first_head_scaled(values: np.ndarray) -> np.ndarray:
    """Make the queries of the first of four heads larger by a hundredth."""
    values = values.copy()
    values.reshape(len(values), 4, -1)[:, 0] *= np.float32(1.01)
    return values


def all_larger(values: np.ndarray) -> np.ndarray:
    """Make all numbers larger by a thousandth, those near zero by less than rounding."""
    return values * np.float32(1.001)


def two_rows_exchanged(values: np.ndarray) -> np.ndarray:
    """Exchange two numbers of each position."""
    rows = values.reshape(len(values), -1)
    return rows[:, [*range(10), 11, 10, *range(12, rows.shape[1])]].reshape(values.shape)


@pytest.mark.parametrize(
    ("name", "change", "text"),
    [
        ("blk.3.attn_q.rope", first_head_scaled, "elements 0 .. 15 times 1.01"),
        ("blk.2.ffn_up", two_rows_exchanged, "elements 10 .. 11 "),
        ("blk.2.ffn_up", all_larger, "all 192 times 1.001"),
    ],
)
def test_a_fault_smaller_than_a_turned_quant(name: str, change: Change, text: str) -> None:
    """Inputs that rounding turned over may carry as far: the operation is named both ways, and what it does exactly."""
    model = opened("stories.q8_0.gguf")
    engine = Reordered(Switches(kv="f16"), "backwards", 5)
    finding = LayerJudge(model, Profile()).judge(dumped(model, Dumping(name, change), engine), IDS)
    assert finding.first_free is not None
    assert finding.first_forced is not None
    assert (finding.first_free.name, finding.first_forced.name) == (name, name)
    assert finding.text.startswith(text), finding.text


def test_an_engine_without_fault() -> None:
    """Rounding parts from nothing; tensors that are not ours are named."""
    model = opened("rope.f32.gguf")
    dump = {**dumped(model, Dumping(), Fast()), "blk.0.secret": np.zeros((5, 3), np.float32)}
    finding = LayerJudge(model, Profile()).judge(dump, IDS)
    assert (finding.first_free, finding.first_forced, finding.text) == (None, None, "")
    assert finding.unknown == ("blk.0.secret",)
    assert len(finding.forced) == len(finding.free) == len(dump) - 1


@pytest.mark.parametrize(
    ("name", "order", "switches"),
    [
        ("stories.f32.gguf", "even before odd", Switches()),
        pytest.param("stories.f32.gguf", "decoded", Switches(kv="f16", flash="on"), marks=pytest.mark.slow),
        pytest.param("stories.q4_0.gguf", "decoded", Switches(kv="f16"), marks=pytest.mark.slow),
        pytest.param("stories.q4_0.gguf", "backwards", Switches(kv="f16", flash="on"), marks=pytest.mark.slow),
    ],
)
def test_engines_with_an_order_of_their_own(name: str, order: str, switches: Switches) -> None:
    """No tensor of an engine differs that rounds elsewhere than every one by which the limits were measured."""
    model = opened(name)
    finding = LayerJudge(model, Profile()).judge(dumped(model, Dumping(), Reordered(switches, order, 51)), IDS)
    assert (finding.first_free, finding.first_forced) == (None, None)
    assert max(one.limit for one in finding.forced) < 1e-2


def test_names_of_hugging_face() -> None:
    """Module paths are ours; queries and keys lie in halves there, and side by side in a file of llama.cpp."""
    model = opened("rope.f32.gguf")
    ours = dumped(model, Dumping(), Fast())
    size = model.hyperparameters.head_dim
    theirs = {}
    for name, own in (
        ("model.layers.0.input_layernorm", "blk.0.attn_norm"),
        ("model.layers.0.self_attn.q_proj", "blk.0.attn_q"),
        ("model.layers.0.mlp.down_proj", "blk.0.ffn_down"),
        ("model.layers.0.0", "blk.0.residual"),
    ):
        rows = ours[own]
        if own.endswith("attn_q"):
            rows = rows.reshape(5, -1, size // 2, 2).swapaxes(2, 3).reshape(5, -1)
        theirs[name] = rows[None]
    finding = LayerJudge(model, Profile()).judge(theirs, IDS)
    assert finding.names == "Hugging Face"
    assert not finding.unknown
    assert finding.first_forced is None


def test_names() -> None:
    """llama.cpp's names, tables of one's own, and what is neither."""
    known = ["blk.0.residual", "blk.1.residual", "logits"]
    names = names_of(["l_out-0", "l_out-1", "result_output"], known)
    assert (names.kind, names.ours("l_out-1"), names.ours("other-1")) == ("ggml", "blk.1.residual", None)
    table = read_names('halves = true\n"h.N.out" = "blk.N.residual"\n')
    assert table == Names("a table", {"h.N.out": "blk.N.residual"}, halves=True)
    assert table.ours("h.12.out") == "blk.12.residual"
    with pytest.raises(UnknownNames, match="the dump holds a, b"):
        names_of(["a", "b"], known)
    for text in ("", "a = 1", "halves = 3\na = 'b'", "[["):
        with pytest.raises(UnknownNames, match="table"):
            read_names(text)


def test_a_shape_that_does_not_fit() -> None:
    """A tensor of another size is named with both shapes."""
    model = opened("rope.f32.gguf")
    with pytest.raises(ValueError, match=r"l_out-0 has shape \(5, 3\), which does not fit blk.0.residual of shape"):
        LayerJudge(model, Profile()).judge({"l_out-0": np.zeros((5, 3))}, IDS)
