"""How far two models lie apart, against arithmetic by hand."""

from __future__ import annotations

import math
import os
from fractions import Fraction
from pathlib import Path

import gguf
import numpy as np
import pytest

from refruntime.battery.models.slm1 import random_model
from refruntime.contract.profile import Profile
from refruntime.fidelity.layers import relative_error
from refruntime.fidelity.passes import compare_models, diverge, joined
from refruntime.fidelity.requantize import CannotRequantize, requantized
from refruntime.model.forward import Transformer
from refruntime.model.load import validate_model
from refruntime.numerics import numerics_named
from tests.support.command_line import command


def kl_by_hand(first: list[float], second: list[float]) -> float:
    """Return the KL divergence with exact sums over math.exp, one term after the other."""
    ours, theirs = [math.exp(x) for x in first], [math.exp(x) for x in second]
    p = [Fraction(x) / sum(map(Fraction, ours)) for x in ours]
    q = [Fraction(x) / sum(map(Fraction, theirs)) for x in theirs]
    return math.fsum(float(a) * math.log(float(a / b)) for a, b in zip(p, q, strict=True))


def test_divergence_is_that_of_exact_sums() -> None:
    """The KL divergence, its place and its percentiles are those of a few lines with exact fractions."""
    rng = np.random.default_rng(5)
    first, second = rng.normal(0, 2, (9, 17)), rng.normal(0, 2, (9, 17))
    expected = [kl_by_hand(a.tolist(), b.tolist()) for a, b in zip(first, second, strict=True)]
    found = diverge(first, second)
    np.testing.assert_allclose(found.kl, expected, rtol=1e-12)
    assert found.worst == max(range(9), key=expected.__getitem__)
    assert found.percentiles[50] == pytest.approx(sorted(expected)[4])
    assert found.same_top.tolist() == [int(a.argmax()) == int(b.argmax()) for a, b in zip(first, second, strict=True)]


def test_divergence_knows_equal_and_impossible_logits() -> None:
    """Equal logits are called so, infinities do not make a NaN of an impossible token, NaN is told."""
    row = np.array([[1.0, -np.inf, 0.5]], np.float32)
    assert diverge(row, row).identical
    assert diverge(row, row).band == "bit for bit the same logits"
    assert diverge(row, np.array([[1.0, -3.0, 0.5]], np.float32)).mean > 0
    assert diverge(np.array([[np.nan, 0.0]]), np.array([[0.0, 0.0]])).band == "some logits are not numbers"
    with pytest.raises(ValueError, match="cannot be compared"):
        diverge(row, row[:, :2])


def test_bands_follow_the_mean() -> None:
    """Rounding, a small change and another model are told apart; parts join to the whole."""
    rng = np.random.default_rng(6)
    logits = rng.normal(0, 3, (40, 50)).astype(np.float32)
    assert "rounding" in diverge(logits, logits + rng.normal(0, 2e-5, logits.shape)).band
    assert "q8_0" in diverge(logits, logits + rng.normal(0, 0.03, logits.shape)).band
    assert "another model" in diverge(logits, rng.normal(0, 3, logits.shape)).band
    other = logits + rng.normal(0, 0.3, logits.shape)
    whole, parts = diverge(logits, other), joined([diverge(logits[:7], other[:7]), diverge(logits[7:], other[7:])])
    assert whole.to_dict() == parts.to_dict()


def test_relative_error_of_rows() -> None:
    """The error of a row is |a - b| / |a|; two zero rows do not differ."""
    first, second = np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([[3.0, 4.5], [0.0, 0.0]])
    assert relative_error(first, second).tolist() == [0.1, 0.0]


def _transformer(data: bytes, type_name: str | None = None) -> Transformer:
    model = validate_model(data, Profile())
    if type_name is not None:
        model = requantized(model, type_name)
    return Transformer(model, Profile(), numerics_named("seq32"))


def test_models_are_compared_in_parts_as_in_one_pass() -> None:
    """Logits and tensors of a pass in parts of 32 positions are those of plain forward passes."""
    data = random_model(3, profile=Profile())
    first, second = _transformer(data), _transformer(data, "q8_0")
    ids = [(7 * place) % 256 for place in range(40)]
    first_logits = first.forward(ids, first.new_cache(), first_logit=0)
    second_logits = second.forward(ids, second.new_cache(), first_logit=0)
    found = compare_models(first, second, ids)
    assert found.divergence.to_dict() == diverge(first_logits, second_logits).to_dict()
    by_name = {error.name: error for error in found.tensors}
    rows = relative_error(first_logits, second_logits)
    assert by_name["logits"].worst == int(rows.argmax())
    assert by_name["logits"].mean == pytest.approx(float(rows.mean()))
    assert sorted(found.layers) == list(range(first.hyperparameters.layer_count))
    assert compare_models(first, first, ids).divergence.identical


def test_requantized_weights_are_those_of_the_gguf_package() -> None:
    """A requantised matrix holds what gguf's own quantiser and decoder leave of it; vectors stay as they are."""
    model = validate_model(random_model(4, profile=Profile()), Profile())
    other = requantized(model, "q8_0")
    kind = gguf.GGMLQuantizationType.Q8_0
    for name, source in model.tensors.items():
        values = source.rows()
        if values.ndim > 1:
            values = gguf.quants.dequantize(gguf.quants.quantize(values, kind), kind)
        np.testing.assert_array_equal(other.tensors[name].rows(), values)


@pytest.mark.parametrize(("name", "message"), [("q4_k", "no quantiser"), ("tq1_0", "multiples of 256")])
def test_requantizing_refuses_by_name(name: str, message: str) -> None:
    """A type without a quantiser, and rows that do not fill its blocks, are refused with the reason."""
    model = validate_model(random_model(4, profile=Profile()), Profile())
    with pytest.raises(CannotRequantize, match=message):
        requantized(model, name)


def test_compare_command(tmp_path: Path) -> None:
    """The command tells identical files, a requantised one, and refuses what cannot be compared."""
    model = tmp_path / "model.slm1"
    model.write_bytes(random_model(3, profile=Profile()))
    same = command("compare", model, model, "--json", "--positions", "12")
    assert same.code == 0
    assert same.json["identical"]
    other = command("compare", model, "--requantize", "q8_0", "--text", "hello there", "--json").json
    assert not other["identical"]
    assert other["kl_mean"] == pytest.approx(np.mean(other["kl"]))
    shown = command("compare", model, "--requantize", "q8_0", "--text", "hello there")
    assert other["band"] in shown.stdout
    precise = command("compare", model, "--numerics", "fast", "--against", "f64", "--json").json
    assert 0 < precise["logit_max_difference"] < 1e-4
    assert "rounding" in precise["band"]
    assert command("compare", model).code == 2
    assert command("compare", model, "--requantize", "q9").code == 2


@pytest.mark.parametrize("name", ["trace", "logits"])
def test_saving_leaves_the_model_and_devices_alone(name: str, tmp_path: Path) -> None:
    """--save writes a new file as any program would; it replaces neither the model nor what is no regular file."""
    model, link, pipe, saved = (tmp_path / name for name in ("model.slm1", "link", "pipe", "saved"))
    model.write_bytes(random_model(3, profile=Profile()))
    before = model.read_bytes()
    link.symlink_to(model)
    os.mkfifo(pipe)
    for target in (model, link, pipe):
        outcome = command(name, model, "--ids", "1,2,3", "--save", target)
        assert outcome.code == 2
        assert str(target) in outcome.stderr
    assert command(name, model, "--ids", "1,2,3", "--save", tmp_path).code == 3
    assert model.read_bytes() == before
    assert pipe.is_fifo()
    assert command(name, model, "--ids", "1,2,3", "--save", saved).code == 0
    assert saved.stat().st_mode == model.stat().st_mode
    assert {path.name for path in tmp_path.iterdir()} == {"model.slm1", "link", "pipe", "saved"}


def test_a_text_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    """GEN-1: the bytes of --text are judged like those of a prompt or a file."""
    model, text = tmp_path / "model.slm1", tmp_path / "text"
    model.write_bytes(random_model(3, profile=Profile()))
    text.write_bytes(b"\xff")
    for source in (["--text", "\udcff"], ["--file", text]):
        outcome = command("compare", model, model, *source)
        assert outcome.code == 1
        assert "InvalidUtf8" in outcome.stderr


def test_trace_command(tmp_path: Path) -> None:
    """Tensors are found by layer and name, saved as they are, and a name that nothing has is a usage error."""
    model, saved = tmp_path / "model.slm1", tmp_path / "tensors.npz"
    model.write_bytes(random_model(3, profile=Profile()))
    shown = command("trace", model, "--ids", "1,2,3", "--at", "0/attn_q", "--save", saved, "--json")
    assert shown.code == 0
    (tensor,) = shown.json["tensors"]
    assert tensor["name"] == "blk.0.attn_q"
    with np.load(saved) as arrays:
        assert arrays.files == ["blk.0.attn_q"]
        assert list(arrays["blk.0.attn_q"].shape) == tensor["shape"]
        assert tensor["max"] == float(arrays["blk.0.attn_q"].max())
    missing = command("trace", model, "--ids", "1,2,3", "--at", "0/nothing")
    assert missing.code == 2
    assert "attn_q" in missing.stderr
